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
pub(crate) struct Tls {
    others: RootCertStore,
    config: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { others: RootCertStore::empty(), config: OnceLock::new() }
    }
}

impl Tls {
    /// Trusts the authorities whose certificates are in the file at `path`, too.
    pub(crate) fn trusting(path: &Path) -> Result<Self, UnknownAuthority> {
        let error = |reason| UnknownAuthority { path: path.to_owned(), reason };
        let mut others = RootCertStore::empty();
        let found =
            CertificateDer::pem_file_iter(path).map_err(|fault| error(fault.to_string()))?;
        for certificate in found {
            certificate
                .map_err(|fault| fault.to_string())
                .and_then(|certificate| others.add(certificate).map_err(|fault| fault.to_string()))
                .map_err(error)?;
        }
        if others.is_empty() {
            return Err(error("it holds no certificate".to_owned()));
        }
        Ok(Self { others, config: OnceLock::new() })
    }

    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        self.config.get_or_init(|| Arc::new(client_config(self.others.clone()))).clone()
    }
}

fn client_config(mut roots: RootCertStore) -> rustls::ClientConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "reading the system's certificates");
    }
    roots.add_parsable_certificates(found.certs);
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
