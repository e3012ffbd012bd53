//! The only door to the network: resolving, checking and connecting are one step, and the
//! address that was checked is the address that is dialled.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::TlsConnector;

use crate::tls::Tls;

/// Connects to `host`, a DNS name or an address as it stands in a URL, for which the caller holds
/// a grant.
///
/// An address that is granted as such may be any; a name only leads to public addresses, since
/// whoever runs the name's zone chooses where it points to. `localhost` is an address in all but
/// spelling (RFC 6761, section 6.3).
///
/// Of several addresses the next is tried when the one before has not answered for a moment, and
/// the first that does is taken (RFC 8305, "Happy Eyeballs").
///
/// # Errors
/// When the name does not resolve, leads to addresses that are not public only, or none of them
/// accepts.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, EgressError> {
    let mut addresses = resolve(host, port).await?.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = EgressError::NotFound;
    loop {
        if let Some(address) = addresses.next() {
            attempts.push(dial(address));
        } else if attempts.is_empty() {
            return Err(last_error);
        }
        let next_attempt = async {
            if addresses.len() > 0 {
                sleep(NEXT_ATTEMPT).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = EgressError::Connect(error),
            },
            () = next_attempt => {}
        }
    }
}

/// Connects to a server that the operator has named, wherever that is.
///
/// # Errors
/// When it can't be reached, or TLS does not come about.
pub(crate) async fn connect_backend(
    host: &str,
    port: u16,
    tls: Option<&Tls>,
) -> io::Result<Box<dyn BackendStream>> {
    let stream = dial_backend(host, port).await?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(tls.config());
    Ok(Box::new(connector.connect(name, stream).await?))
}

/// Connects to a server that the operator has named, wherever that is, without TLS.
///
/// # Errors
/// When it can't be reached.
#[expect(clippy::disallowed_methods, reason = "the door")]
pub(crate) async fn dial_backend(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection to a backend, with TLS or without.
pub(crate) trait BackendStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> BackendStream for T {}

/// The addresses of `name`, for which the caller holds a grant: those that the policy of
/// [`connect`] lets names lead to.
///
/// # Errors
/// When the name does not resolve, or leads to addresses that are not public only.
pub(crate) async fn addresses(name: &str) -> Result<Vec<IpAddr>, EgressError> {
    let resolved = resolve(name, 0).await?;
    Ok(resolved.into_iter().map(|CheckedAddr(address)| address.ip().to_canonical()).collect())
}

/// RFC 8305, section 5: the "Connection Attempt Delay".
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

/// An address that a guest may be connected to.
struct CheckedAddr(SocketAddr);

#[expect(clippy::disallowed_methods, reason = "the door")]
async fn dial(CheckedAddr(address): CheckedAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "the door")]
async fn resolve(host: &str, port: u16) -> Result<Vec<CheckedAddr>, EgressError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![CheckedAddr(SocketAddr::new(address, port))]);
    }
    let found: Vec<_> =
        tokio::net::lookup_host((host, port)).await.map_err(|_| EgressError::NotFound)?.collect();
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    let allowed = |address: &SocketAddr| match address.ip().to_canonical() {
        address if is_local => address.is_loopback(),
        address => is_public(address),
    };
    let Some(first) = found.first() else { return Err(EgressError::NotFound) };
    let first = first.ip();
    let checked: Vec<_> = found.into_iter().filter(allowed).map(CheckedAddr).collect();
    if checked.is_empty() { Err(EgressError::NotPublic(first)) } else { Ok(checked) }
}

/// Whether anybody on the internet could reach `address`: what is left after the special-purpose
/// registries of IANA (RFC 6890 and later entries) and multicast.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b)) // Shared address space, with a cloud's metadata.
        || (a == 169 && b == 254) // Link-local, with most clouds' metadata.
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 carries an IPv4 address, which has to be public itself.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Global unicast is 2000::/3; within it, what leads elsewhere or nowhere:
        [0x2001, 0..0x200 | 0xdb8, ..] => false, // Teredo, benchmarking, ORCHID; documentation.
        [0x2002, ..] => false,                   // 6to4 carries an IPv4 address.
        [0x3fff, 0..0x1000, ..] => false,        // Documentation.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

/// A connection that was not made.
#[derive(Debug, Error)]
pub(crate) enum EgressError {
    #[error("the name does not resolve")]
    NotFound,
    #[error("the name leads to {0}, which is not public: grant the address itself to allow it")]
    NotPublic(IpAddr),
    #[error("{0}")]
    Connect(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert!(!is_public(mapped.to_canonical()));
        for address in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn names_lead_to_public_addresses_only_and_other_spellings_are_names() {
        for host in ["0x7f.0.0.1", "2130706433", "127.1"] {
            assert!(
                matches!(
                    connect(host, 9).await,
                    Err(EgressError::NotPublic(_) | EgressError::NotFound)
                ),
                "{host}"
            );
        }
        assert!(matches!(connect("localhost", 9).await, Err(EgressError::Connect(_))));
        assert!(matches!(connect("127.0.0.1", 9).await, Err(EgressError::Connect(_))));
        assert!(matches!(connect("[::1]", 9).await, Err(EgressError::Connect(_))));
    }
}
