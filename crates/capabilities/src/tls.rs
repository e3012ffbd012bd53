//! TLS towards others.

use std::sync::OnceLock;

use rustls::{RootCertStore, pki_types::CertificateDer};

/// TLS with the system's roots, which are read when they are first needed.
#[derive(Default)]
pub(crate) struct Tls(OnceLock<rustls::ClientConfig>);

impl Tls {
    pub(crate) fn config(&self) -> rustls::ClientConfig {
        self.0.get_or_init(client_config).clone()
    }
}

/// The system's roots, for a driver that takes those and no configuration. One that can't be read
/// would keep it from all others.
pub(crate) fn certificates() -> Vec<CertificateDer<'static>> {
    let is_readable =
        |root: &CertificateDer<'static>| RootCertStore::empty().add(root.clone()).is_ok();
    system_roots().into_iter().filter(is_readable).collect()
}

fn system_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "reading the system's certificates");
    }
    found.certs
}

fn client_config() -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_roots());
    if roots.is_empty() {
        tracing::warn!("the system has no root certificates: no https origin can be reached");
    }
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .unwrap_or_else(|error| unreachable!("ring supports the default versions: {error}"))
}
