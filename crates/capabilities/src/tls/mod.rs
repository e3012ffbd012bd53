//! TLS towards others.

mod guest;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

pub(crate) use guest::{Granted, Opened, grant, link, open};

/// TLS that trusts the system's authorities, and maybe others. The system's are read when they are
/// first needed.
#[derive(Default)]
pub(crate) struct Tls {
    others: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Tls {
    /// Trusts the authorities whose certificates are in the file at `path`, too.
    pub(crate) fn trusting(path: &Path) -> Result<Self, UnknownAuthority> {
        let error = |reason| UnknownAuthority { path: path.to_owned(), reason };
        let read = || -> Result<Vec<_>, String> {
            let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
            found
                .map(|certificate| readable(certificate.map_err(|error| error.to_string())?))
                .collect()
        };
        let others = read().map_err(error)?;
        if others.is_empty() {
            return Err(error("it holds no certificate".to_owned()));
        }
        Ok(Self { others, config: OnceLock::new() })
    }

    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        self.config.get_or_init(|| Arc::new(client_config(self.certificates()))).clone()
    }

    /// Of all that are trusted. One that can't be read would keep a driver from all others.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "reading the system's certificates");
        }
        let system = system.certs.into_iter().filter_map(|certificate| readable(certificate).ok());
        self.others.iter().cloned().chain(system).collect()
    }
}

/// `certificate`, if it can be trusted in.
fn readable(certificate: CertificateDer<'static>) -> Result<CertificateDer<'static>, String> {
    let added = RootCertStore::empty().add(certificate.clone());
    added.map(|()| certificate).map_err(|error| error.to_string())
}

fn client_config(certificates: Vec<CertificateDer<'static>>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        tracing::warn!("the system has no root certificates: no https origin can be reached");
    }
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .unwrap_or_else(|error| unreachable!("ring supports the default versions: {error}"))
}

/// A file of certificates that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the certificates in {} can't be read: {reason}", path.display())]
pub struct UnknownAuthority {
    path: PathBuf,
    reason: String,
}
