//! The TLS handshake of one connection, and what it says of the protocol.

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::tls::{Certificates, HTTP2};

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or HTTP/2, told apart by the first bytes.
    Any,
    Http1,
    Http2,
}

impl Protocol {
    /// What was agreed on with ALPN (RFC 7301).
    pub(super) fn agreed<S>(stream: &TlsStream<S>) -> Self {
        match stream.get_ref().1.alpn_protocol() {
            // A client that does not know ALPN.
            None => Self::Any,
            Some(HTTP2) => Self::Http2,
            Some(_) => Self::Http1,
        }
    }
}

/// The stream inside of TLS; none where the client fails, has not come to an end of it at
/// `deadline`, or `stop` is true first.
pub(super) async fn shake_hands(
    stream: TcpStream,
    certificates: &Certificates,
    deadline: Instant,
    stop: &mut watch::Receiver<bool>,
) -> Option<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(certificates.config()).accept(stream);
    tokio::select! {
        biased;
        result = timeout_at(deadline, handshake) => match result {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake timed out");
                None
            }
        },
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket},
    };
    use tokio_rustls::{TlsConnector, client};

    use super::{super::tls::tests::Issued, *};

    const NAME: &str = "a.example";

    struct Rig {
        certificates: Certificates,
        client: ClientConfig,
        stop: watch::Sender<bool>,
        /// The files, which are read again.
        _issued: Issued,
    }

    impl Rig {
        fn new() -> Self {
            Self::speaking(rustls::ALL_VERSIONS)
        }

        fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
            let issued = Issued::new();
            let files = issued.issue("a", &[NAME]);
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&files.chain).unwrap()).unwrap();
            let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let certificates = Certificates::read(&[files]).unwrap();
            Self { certificates, client, stop: watch::Sender::new(false), _issued: issued }
        }

        async fn accept(&self, stream: TcpStream, time: Duration) -> Option<TlsStream<TcpStream>> {
            let mut stop = self.stop.subscribe();
            shake_hands(stream, &self.certificates, Instant::now() + time, &mut stop).await
        }

        /// Both ends of a handshake, if it succeeds.
        async fn connect(&self) -> Option<(TlsStream<TcpStream>, client::TlsStream<TcpStream>)> {
            let (client, server) = pair().await;
            let connector = TlsConnector::from(Arc::new(self.client.clone()));
            let name = ServerName::try_from(NAME).unwrap();
            let (server, client) = tokio::join!(
                self.accept(server, Duration::from_secs(10)),
                connector.connect(name, client)
            );
            server.zip(client.ok())
        }

        /// How a client was let in that has exchanged a byte afterwards, and so has its tickets.
        async fn kind(&self) -> HandshakeKind {
            let (mut server, mut client) = self.connect().await.unwrap();
            server.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
            server.get_ref().1.handshake_kind().unwrap()
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        let (client, server) = tokio::join!(socket.connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn the_protocol_is_what_was_agreed_on() {
        let mut rig = Rig::new();
        let cases: [(&[&str], Option<Protocol>); 6] = [
            (&["h2", "http/1.1"], Some(Protocol::Http2)),
            (&["http/1.1", "h2"], Some(Protocol::Http2)),
            (&["h2"], Some(Protocol::Http2)),
            (&["http/1.1"], Some(Protocol::Http1)),
            (&[], Some(Protocol::Any)),
            (&["spdy/3"], None),
        ];
        for (offer, agreed) in cases {
            rig.client.alpn_protocols =
                offer.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            let streams = rig.connect().await;
            let protocol = streams.map(|(server, _)| Protocol::agreed(&server));
            assert_eq!(protocol, agreed, "{offer:?}");
        }
    }

    #[tokio::test]
    async fn clients_choose_between_tls_1_2_and_1_3() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let rig = Rig::speaking(&[version]);
            let (server, _) = rig.connect().await.unwrap();
            assert_eq!(server.get_ref().1.protocol_version(), Some(version.version));
        }
    }

    #[tokio::test]
    async fn a_session_is_resumed_until_the_certificates_are_replaced() {
        let rig = Rig::new();
        assert_eq!(rig.kind().await, HandshakeKind::Full);
        assert_eq!(rig.kind().await, HandshakeKind::Resumed);
        rig.certificates.reload().unwrap();
        assert_eq!(rig.kind().await, HandshakeKind::Full);
        assert_eq!(rig.kind().await, HandshakeKind::Resumed);
    }

    #[tokio::test]
    async fn a_client_that_stalls_is_closed_at_the_deadline() {
        let rig = Rig::new();
        // A record of 512 bytes is announced, of which two come.
        for stalls_after in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
            let (mut client, server) = pair().await;
            client.write_all(stalls_after).await.unwrap();
            let begun = Instant::now();
            let time = Duration::from_millis(50);
            assert!(rig.accept(server, time).await.is_none());
            assert!(begun.elapsed() >= time);
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_tls_is_closed() {
        let rig = Rig::new();
        let (mut client, server) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        assert!(rig.accept(server, Duration::from_secs(10)).await.is_none());
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_ends_the_handshake() {
        let rig = Rig::new();
        let time = Duration::from_secs(10);
        let begun = Instant::now();
        let (mut client, server) = pair().await;
        let stop = async {
            client.write_all(b"\x16\x03\x01").await.unwrap();
            tokio::task::yield_now().await;
            rig.stop.send(true).unwrap();
        };
        let (stream, ()) = tokio::join!(rig.accept(server, time), stop);
        assert!(stream.is_none());

        let (_client, server) = pair().await;
        assert!(rig.accept(server, time).await.is_none(), "stopped before");
        assert!(begun.elapsed() < time, "by the stop, not by the deadline");
    }
}
