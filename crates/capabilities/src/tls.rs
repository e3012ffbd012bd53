//! TLS towards others.

use std::sync::OnceLock;

/// TLS with the system's roots, which are read when they are first needed.
#[derive(Default)]
pub(crate) struct Tls(OnceLock<rustls::ClientConfig>);

impl Tls {
    pub(crate) fn config(&self) -> rustls::ClientConfig {
        self.0.get_or_init(client_config).clone()
    }
}

fn client_config() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
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
