//! The only door to the network: resolving, checking and connecting are one step, and the
//! address that was checked is the address that is dialled.

mod public;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use dhow_engine::{Bucket, Rate};
use dhow_manifest::{self as manifest, Endpoint, HostPattern, Peer, Rule};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::sleep,
};
use tokio_rustls::TlsConnector;

use crate::{cork::Corked, tls::Tls};
use public::{is_public, is_public_network};

/// What the operator lets guests reach.
pub(crate) struct Egress {
    rules: manifest::Egress,
    /// Where names are looked up; by the system where there is none.
    resolver: Option<TokioResolver>,
    /// Connections that guests open.
    connections: Bucket,
    /// Whether they may open none.
    is_closed: AtomicBool,
    /// Whether who grants is not who runs the machine: what is not public has to be named by the operator.
    is_confined: AtomicBool,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            rules: manifest::Egress::default(),
            resolver: None,
            connections: Bucket::new(None),
            is_closed: AtomicBool::new(false),
            is_confined: AtomicBool::new(false),
        }
    }
}

impl Egress {
    /// As `rules` say.
    ///
    /// # Errors
    /// When names can't be looked up as they say.
    pub(crate) fn new(rules: &manifest::Egress) -> Result<Self, NameServerError> {
        let resolver = if rules.dns.is_empty() { None } else { Some(resolver(&rules.dns)?) };
        Ok(Self { rules: rules.clone(), resolver, ..Self::default() })
    }

    /// From here on manifests are anybody's: this machine and its neighbours are reached only where the
    /// operator names them.
    pub(crate) fn confine(&self) {
        self.is_confined.store(true, Relaxed);
    }

    /// Bounds how many connections guests open for each second. Those of a second may come at once.
    pub(crate) fn limit_connections(&self, per_second: u32) {
        let rate = NonZeroU64::new(u64::from(per_second));
        self.is_closed.store(rate.is_none(), Relaxed);
        let rate = rate.map(|per_second| Rate { per_second, burst: per_second.get() });
        self.connections.set_rate(rate);
    }

    /// Whether a guest may open another connection now.
    pub(crate) fn may_connect(&self) -> bool {
        !self.is_closed.load(Relaxed) && self.connections.try_take(1, Instant::now()).is_ok()
    }

    /// Holds a grant against the rules.
    ///
    /// # Errors
    /// When it is for more than the operator allows.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), BeyondEgress> {
        let is_allowed =
            self.rules.allow.as_ref().is_none_or(|rules| rules.iter().any(|r| r.covers(endpoint)));
        let is_denied = self.rules.deny.iter().any(|rule| rule.covers(endpoint));
        let beyond = |why| Err(BeyondEgress { endpoint: endpoint.to_string(), why });
        if is_denied {
            return beyond(Why::Denied);
        }
        if !is_allowed {
            return beyond(Why::NotAllowed);
        }
        let is_named = || {
            let mut allowed = self.rules.allow.iter().flatten();
            allowed.any(|rule| matches!(rule, Rule::Endpoint(_)) && rule.covers(endpoint))
        };
        if self.is_confined.load(Relaxed) && !is_elsewhere(&endpoint.peer) && !is_named() {
            return beyond(Why::NotPublic);
        }
        Ok(())
    }

    /// Whether `address`, which is granted as such, may be reached.
    pub(crate) fn permits(&self, address: SocketAddr) -> bool {
        let by_rule = |rule: &Rule| match rule {
            // Everybody is everybody on the internet.
            Rule::Anybody(_) => rule.contains(address) && is_public(address.ip().to_canonical()),
            Rule::Endpoint(_) => rule.contains(address),
        };
        let is_allowed = match &self.rules.allow {
            Some(rules) => rules.iter().any(by_rule),
            None => !self.is_confined.load(Relaxed) || is_public(address.ip().to_canonical()),
        };
        is_allowed && !self.is_denied(address)
    }

    /// Whether `address`, to which a granted name leads, may be reached: since whoever runs the
    /// name's zone chooses where it points to, it has to be public, or one that the operator names.
    pub(crate) fn permits_found(&self, address: SocketAddr) -> bool {
        !self.is_denied(address)
            && (is_public(address.ip().to_canonical()) || self.is_named(address))
    }

    /// Whether `address`, to which a name has led when it was looked up, may still be reached: then its
    /// port was not known.
    pub(crate) fn permits_again(&self, address: SocketAddr) -> bool {
        !self.is_denied(address)
    }

    fn is_denied(&self, address: SocketAddr) -> bool {
        self.rules.deny.iter().any(|rule| rule.contains(address))
    }

    /// Whether the operator allows what is called `name`.
    fn is_named_as(&self, name: &str, port: u16) -> bool {
        let mut allowed = self.rules.allow.iter().flatten();
        allowed.any(|rule| matches!(rule, Rule::Endpoint(_)) && rule.is_for_name(name, port))
    }

    /// Whether the operator allows `address` by a network.
    fn is_named(&self, address: SocketAddr) -> bool {
        let mut allowed = self.rules.allow.iter().flatten();
        allowed.any(|rule| matches!(rule, Rule::Endpoint(_)) && rule.contains(address))
    }

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
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, EgressError> {
        if !self.may_connect() {
            return Err(EgressError::TooMany);
        }
        let mut addresses = self.resolve(host, port).await?.into_iter();
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

    /// The addresses of `name`, for which the caller holds a grant with each of `ports`: those that the
    /// policy of [`Self::connect`] lets names lead to, each with the ports of these that it may be reached by.
    ///
    /// # Errors
    /// When the name does not resolve, or leads to no address that may be reached.
    pub(crate) async fn addresses(
        &self,
        name: &str,
        ports: &[Option<u16>],
    ) -> Result<Vec<(IpAddr, Option<u16>)>, EgressError> {
        let found = self.lookup(name).await?;
        let mut reached = BTreeSet::new();
        let mut error = EgressError::NotFound;
        for port in ports {
            match self.checked(name, &found, port.unwrap_or_default()) {
                Ok(checked) => {
                    let addresses = checked.into_iter().map(|CheckedAddr(address)| address.ip());
                    reached.extend(addresses.map(|ip| (ip.to_canonical(), *port)));
                }
                Err(denied) => error = denied,
            }
        }
        if reached.is_empty() { Err(error) } else { Ok(reached.into_iter().collect()) }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<CheckedAddr>, EgressError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port);
            return match self.permits(address) {
                true => Ok(vec![CheckedAddr(address)]),
                false => Err(EgressError::Denied(address.ip())),
            };
        }
        self.checked(host, &self.lookup(host).await?, port)
    }

    /// All addresses of the name `host`.
    #[expect(clippy::disallowed_methods, reason = "the door")]
    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        match &self.resolver {
            Some(resolver) => {
                let found = resolver.lookup_ip(host).await.map_err(|_| EgressError::NotFound)?;
                Ok(found.iter().collect())
            }
            None => {
                let found = lookup_host((host, 0)).await.map_err(|_| EgressError::NotFound)?;
                Ok(found.map(|address| address.ip()).collect())
            }
        }
    }

    /// Those of `found`, to which `host` leads, that may be reached with `port`.
    fn checked(
        &self,
        host: &str,
        found: &[IpAddr],
        port: u16,
    ) -> Result<Vec<CheckedAddr>, EgressError> {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let Some(first) = found.first() else { return Err(EgressError::NotFound) };
        if self.rules.deny.iter().any(|rule| rule.is_for_name(&name, port)) {
            return Err(EgressError::Denied(*first));
        }
        let is_local = is_local(&name);
        let allowed = |address: &SocketAddr| match is_local {
            true => {
                address.ip().to_canonical().is_loopback()
                    && !self.is_denied(*address)
                    && (!self.is_confined.load(Relaxed)
                        || self.is_named(*address)
                        || self.is_named_as(&name, port))
            }
            false => self.permits_found(*address),
        };
        let addresses = found.iter().map(|ip| SocketAddr::new(*ip, port));
        let checked: Vec<_> = addresses.filter(allowed).map(CheckedAddr).collect();
        match checked.is_empty() {
            false => Ok(checked),
            true if is_public(first.to_canonical()) => Err(EgressError::Denied(*first)),
            true => Err(EgressError::NotPublic(*first)),
        }
    }
}

/// Asks `servers`, after the hosts file.
fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NameServerError> {
    let servers = servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        for connection in &mut config.connections {
            connection.port = server.port();
        }
        config
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .build()
        .map_err(|error| NameServerError(error.to_string()))
}

/// The operator's name servers can't be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("names can't be looked up by egress.dns: {0}")]
pub(crate) struct NameServerError(String);

/// A grant for more than the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it may reach {endpoint}, which {why}")]
pub struct BeyondEgress {
    /// As in a grant.
    pub endpoint: String,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum Why {
    #[error("the operator denies")]
    Denied,
    #[error("the operator does not allow")]
    NotAllowed,
    #[error("is not on the internet, and which the operator has not named")]
    NotPublic,
}

/// Whether `peer` is on the internet: no name of this machine, and no network with anything in it that is
/// not public.
fn is_elsewhere(peer: &Peer) -> bool {
    match peer {
        Peer::Named(HostPattern::Name(name) | HostPattern::Below(name)) => !is_local(name),
        Peer::Named(HostPattern::Address(address)) => is_public(address.to_canonical()),
        Peer::Network(network) => is_public_network(*network),
    }
}

/// RFC 6761, section 6.3.
fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

impl BeyondEgress {
    /// What to do about it.
    pub(crate) fn help(&self) -> String {
        match self.why {
            Why::Denied => {
                "remove the grant, or the rule from egress.deny of the operator's configuration"
                    .to_owned()
            }
            Why::NotAllowed => format!(
                "write in the operator's configuration: egress.allow = [{:?}]",
                self.endpoint
            ),
            // Without rules the internet is allowed, and with rules only what they say.
            Why::NotPublic => format!(
                "write in the operator's configuration: egress.allow = [\"*:*\", {:?}], in which the first \
                 is all that is on the internet",
                self.endpoint
            ),
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
pub(crate) async fn dial_backend(host: &str, port: u16) -> io::Result<Corked<TcpStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Corked::new(stream))
}

/// A connection to a backend, with TLS or without.
pub(crate) trait BackendStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> BackendStream for T {}

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

/// A connection that was not made.
#[derive(Debug, Error)]
pub(crate) enum EgressError {
    #[error("the name does not resolve")]
    NotFound,
    #[error("the name leads to {0}, which is not public: grant the address itself to allow it")]
    NotPublic(IpAddr),
    #[error("the operator does not let anybody reach {0}")]
    Denied(IpAddr),
    #[error("more connections for each second than the tenant may open")]
    TooMany,
    #[error("{0}")]
    Connect(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_lead_to_public_addresses_only_and_other_spellings_are_names() {
        let egress = Egress::default();
        for host in ["0x7f.0.0.1", "2130706433", "127.1"] {
            assert!(
                matches!(
                    egress.connect(host, 9).await,
                    Err(EgressError::NotPublic(_) | EgressError::NotFound)
                ),
                "{host}"
            );
        }
        assert!(matches!(egress.connect("localhost", 9).await, Err(EgressError::Connect(_))));
        assert!(matches!(egress.connect("127.0.0.1", 9).await, Err(EgressError::Connect(_))));
        assert!(matches!(egress.connect("[::1]", 9).await, Err(EgressError::Connect(_))));
    }
}
