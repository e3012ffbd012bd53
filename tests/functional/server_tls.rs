//! Apps by TLS: the certificate fits the host, and is renewed while the server runs.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use dhow_tests::Server;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A certificate that its own client trusts.
struct Own(CertifiedKey<KeyPair>);

impl Own {
    fn new(host: &str) -> Self {
        Self(generate_simple_self_signed([host.to_owned()]).unwrap())
    }

    /// Writes it and its key to `folder`.
    fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.key")), self.0.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join(format!("{name}.pem")), self.0.cert.pem()).unwrap();
    }

    fn der(&self) -> &CertificateDer<'static> {
        self.0.cert.der()
    }
}

/// What answers at `host`, and what certificate it shows; an error where that is none of `trusted`.
async fn ask(
    address: SocketAddr,
    host: &str,
    trusted: &[&Own],
) -> std::io::Result<(CertificateDer<'static>, String)> {
    let mut roots = RootCertStore::empty();
    for own in trusted {
        roots.add(own.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let request = format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok((shown, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_fit_the_host_and_are_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (shop, domain) = (Own::new("shop.example.com"), Own::new("shop.localhost"));
    shop.write(path, "shop");
    domain.write(path, "domain");
    let files = |name: &str| {
        let file = path.join(name).display().to_string();
        format!("{{ chain = \"{file}.pem\", key = \"{file}.key\" }}")
    };
    let server = Server::with(&format!(
        "[[server.listen]]\naddress = \"127.0.0.1:0\"\ncertificates = [{}, {}]\n\
         [tenant.default]\nhosts = {{ \"shop.example.com\" = \"shop\" }}\n",
        files("domain"),
        files("shop"),
    ));
    server.wait_for_log("Serving on https://");
    let deployed = server.deploy_guest("shop", "hello-p2");
    let port = server.address.port();
    assert_eq!(deployed["url"], format!("https://shop.localhost:{port}"));
    for (host, own) in [("shop.example.com", &shop), ("shop.localhost", &domain)] {
        let (shown, answer) = ask(server.address, host, &[&shop, &domain]).await.unwrap();
        assert_eq!(shown, *own.der(), "{host}");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains(&format!("Hello of 0.2: {host} /x")), "{answer}");
    }

    // A renewal that is none: the one before stays.
    fs::write(path.join("shop.pem"), "no certificate").unwrap();
    server.wait_for_log("certificates are not renewed, those before stay: ");
    let (shown, _) = ask(server.address, "shop.example.com", &[&shop]).await.unwrap();
    assert_eq!(shown, *shop.der());

    let renewed = Own::new("shop.example.com");
    renewed.write(path, "shop");
    server.wait_for_log("certificates were renewed");
    let (shown, _) = ask(server.address, "shop.example.com", &[&renewed]).await.unwrap();
    assert_eq!(shown, *renewed.der());
    assert!(ask(server.address, "shop.example.com", &[&shop]).await.is_err());
    let (shown, _) = ask(server.address, "shop.localhost", &[&domain]).await.unwrap();
    assert_eq!(shown, *domain.der());
}

#[test]
fn a_server_does_not_start_without_its_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dhow-server.toml");
    let listen = "[[server.listen]]\naddress = \"127.0.0.1:0\"\n\
         certificates = [{ chain = \"/nowhere/a.pem\", key = \"/nowhere/a.key\" }]\n";
    fs::write(&config, listen).unwrap();
    let mut serve = dhow_tests::dhow(["serve", "--admin", "127.0.0.1:0", "--config"]);
    serve.0.arg(config).arg("--data").arg(folder.path().join("data"));
    let finished = serve.finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("/nowhere/a."), "{finished:?}");
}
