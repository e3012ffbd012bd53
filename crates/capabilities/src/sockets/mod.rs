//! Sockets: `wasi:sockets`, TCP, UDP and name lookup.
//!
//! wasmtime-wasi opens the sockets; it asks here about each address before it is used, so that the
//! address that was checked is the one that is dialled. A name is granted, looked up by `egress/`
//! and checked there; what it leads to can then be connected to by the instance that asked.

mod create;
mod lookup;

use std::{
    collections::VecDeque,
    future::ready,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dhow_manifest::{Endpoint, Sockets};
use dhow_telemetry::span::call;
use wasmtime_wasi::{WasiCtxBuilder, sockets::SocketAddrUse};

use crate::{audit::Audit, egress::Egress, linking::Linking};

/// What one component may do with sockets.
#[derive(Clone)]
pub(crate) struct Granted(Arc<Policy>);

struct Policy {
    audit: Audit,
    sockets: Sockets,
    egress: Arc<Egress>,
}

pub(crate) fn grant(audit: &Audit, sockets: &Sockets, egress: &Arc<Egress>) -> Granted {
    let (audit, sockets, egress) = (audit.clone(), sockets.clone(), egress.clone());
    Granted(Arc::new(Policy { audit, sockets, egress }))
}

/// Puts our own name lookup in place of wasmtime-wasi's, which knows only all names or none, and
/// reports who asks for sockets without a grant.
pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    lookup::link(to)?;
    create::link(to)
}

pub(crate) fn open(Granted(policy): &Granted, wasi: &mut WasiCtxBuilder) -> Opened {
    let Sockets { tcp, udp, tcp_listen, udp_listen } = &policy.sockets;
    let may_tcp = !tcp.is_empty() || !tcp_listen.is_empty();
    let may_udp = !udp.is_empty() || !udp_listen.is_empty();
    let opened = Opened { policy: policy.clone(), met: None };
    if !may_tcp && !may_udp {
        return opened;
    }
    let met = Arc::new(Mutex::new(Met::default()));
    let opened = Opened { met: Some(met), ..opened };
    let check = opened.clone();
    wasi.allow_tcp(may_tcp)
        .allow_udp(may_udp)
        .socket_addr_check(move |address, purpose| Box::pin(ready(check.allows(address, purpose))));
    opened
}

/// The sockets of one instance.
#[derive(Clone)]
pub(crate) struct Opened {
    policy: Arc<Policy>,
    /// Whom this instance has to do with; none where it has no grant.
    met: Option<Arc<Mutex<Met>>>,
}

/// More addresses than this are not remembered for an instance: the oldest is forgotten.
const MAX_MET: usize = 1_024;

/// Whom an instance has to do with, besides those whose address is granted.
#[derive(Default)]
struct Met {
    /// Addresses that granted names have led to, and the ports that they are granted with.
    found: VecDeque<(Protocol, IpAddr, Option<u16>)>,
    /// Who has sent datagrams to where the instance may listen.
    heard: VecDeque<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Opened {
    fn met(&self) -> Option<MutexGuard<'_, Met>> {
        self.met.as_ref().map(|met| met.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a socket may use `address`. What may not is logged with the grant that is missing.
    fn allows(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        let Sockets { tcp, udp, tcp_listen, udp_listen } = &self.policy.sockets;
        match purpose {
            // The system chooses, as it does for a client. Where anybody may be heard that is not
            // granted besides: whoever listens somewhere would listen everywhere.
            SocketAddrUse::TcpBind if is_chosen_by_system(address) => true,
            SocketAddrUse::UdpBind if is_chosen_by_system(address) && udp_listen.is_empty() => true,
            SocketAddrUse::TcpBind | SocketAddrUse::TcpListen => {
                listens(tcp_listen, address) || self.deny("tcp-listen", address)
            }
            SocketAddrUse::UdpBind => {
                listens(udp_listen, address) || self.deny("udp-listen", address)
            }
            // Where it may listen, anybody may connect.
            SocketAddrUse::TcpAccept => true,
            SocketAddrUse::TcpConnect => {
                // How long it takes only wasmtime-wasi knows.
                drop(call("sockets", "connect"));
                let leads = self.leads_to(Protocol::Tcp, tcp, address);
                (leads || self.deny("tcp", address)) && self.policy.egress.may_connect()
            }
            SocketAddrUse::UdpSend => {
                self.leads_to(Protocol::Udp, udp, address)
                    || self.has_heard(address)
                    || self.deny("udp", address)
            }
            SocketAddrUse::UdpReceive => {
                self.leads_to(Protocol::Udp, udp, address)
                    || (!udp_listen.is_empty() && self.hear(address))
            }
        }
    }

    fn leads_to(&self, protocol: Protocol, endpoints: &[Endpoint], address: SocketAddr) -> bool {
        let egress = &self.policy.egress;
        let is_granted = || endpoints.iter().any(|endpoint| endpoint.contains(address));
        let is_found = || {
            self.met().is_some_and(|met| {
                let ip = address.ip().to_canonical();
                met.found.iter().any(|(by, found, port)| {
                    (*by, *found) == (protocol, ip)
                        && port.is_none_or(|port| port == address.port())
                })
            })
        };
        // What a name leads to was checked when it was looked up, but for its port.
        (egress.permits(address) && is_granted()) || (egress.permits_again(address) && is_found())
    }

    fn has_heard(&self, address: SocketAddr) -> bool {
        self.policy.egress.permits_again(address)
            && self.met().is_some_and(|met| met.heard.contains(&address))
    }

    fn hear(&self, address: SocketAddr) -> bool {
        if let Some(mut met) = self.met()
            && !met.heard.contains(&address)
        {
            remember(&mut met.heard, address);
        }
        true
    }

    /// What `name` is granted with, of either protocol.
    fn endpoints_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (Protocol, &'a Endpoint)> {
        let Sockets { tcp, udp, .. } = &self.policy.sockets;
        let tcp = tcp.iter().map(|endpoint| (Protocol::Tcp, endpoint));
        let udp = udp.iter().map(|endpoint| (Protocol::Udp, endpoint));
        tcp.chain(udp).filter(move |(_, endpoint)| endpoint.is_for_name(name))
    }

    /// `name`, which is granted, leads to `addresses`, each by that port of the grants.
    fn found(&self, name: &str, addresses: &[(IpAddr, Option<u16>)]) {
        let Some(mut met) = self.met() else { return };
        for (protocol, endpoint) in self.endpoints_of(name) {
            for (address, _) in addresses.iter().filter(|(_, port)| *port == endpoint.port) {
                let entry = (protocol, address.to_canonical(), endpoint.port);
                if !met.found.contains(&entry) {
                    remember(&mut met.found, entry);
                }
            }
        }
    }

    /// What is missing is a grant, or the operator's leave, which is granted for nothing else.
    fn deny(&self, key: &str, asked_for: impl std::fmt::Display) -> bool {
        self.policy.audit.deny(
            "sockets",
            format_args!("{key} {asked_for}"),
            format_args!("to allow it: grants.sockets.{key} = [\"{asked_for}\"]"),
        );
        false
    }

    /// Logs that a socket was asked for by who has no grant of its kind.
    fn report_ungranted(&self, protocol: Protocol) {
        let Sockets { tcp, udp, tcp_listen, udp_listen } = &self.policy.sockets;
        let is_granted = match protocol {
            Protocol::Tcp => !tcp.is_empty() || !tcp_listen.is_empty(),
            Protocol::Udp => !udp.is_empty() || !udp_listen.is_empty(),
        };
        if !is_granted {
            let key = protocol.as_str();
            self.policy.audit.deny(
                "sockets",
                format_args!("a {key} socket"),
                format_args!(
                    "to allow it, say where it may lead: \
                     grants.sockets.{key} = [\"db.example.com:5432\"]"
                ),
            );
        }
    }
}

fn is_chosen_by_system(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

/// Whether `address` is among those to listen on. A granted port of 0 is any.
fn listens(granted: &[SocketAddr], address: SocketAddr) -> bool {
    granted.iter().any(|granted| {
        granted.ip() == address.ip() && (granted.port() == 0 || granted.port() == address.port())
    })
}

fn remember<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() == MAX_MET {
        list.pop_front();
    }
    list.push_back(entry);
}

#[cfg(test)]
mod tests {
    use dhow_manifest::Name;

    use super::*;

    fn opened(tcp: &[&str], listen: &[&str]) -> Opened {
        let sockets = Sockets {
            tcp: tcp.iter().map(|text| Endpoint::parse(text).unwrap()).collect(),
            udp: Vec::new(),
            tcp_listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            udp_listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let name = Name::new("client").unwrap();
        let audit = Audit::new(&name, &name, &Arc::default());
        open(&grant(&audit, &sockets, &Arc::default()), &mut WasiCtxBuilder::new())
    }

    fn allows(opened: &Opened, purpose: SocketAddrUse, address: &str) -> bool {
        opened.allows(address.parse().unwrap(), purpose)
    }

    #[test]
    fn a_name_leads_where_it_led_when_it_was_looked_up() {
        let opened = opened(&["db.example.com:5432"], &[]);
        assert!(!allows(&opened, SocketAddrUse::TcpConnect, "203.0.113.7:5432"));
        let port = Some(5432);
        opened.found("db.example.com", &[("203.0.113.7".parse().unwrap(), port)]);
        // One that it may only reach by another port.
        opened.found("db.example.com", &[("203.0.113.8".parse().unwrap(), Some(22))]);
        assert!(allows(&opened, SocketAddrUse::TcpConnect, "203.0.113.7:5432"));
        for other in ["203.0.113.7:5433", "203.0.113.8:5432", "203.0.113.8:22"] {
            assert!(!allows(&opened, SocketAddrUse::TcpConnect, other), "{other}");
        }
        // By the protocol that it is granted with.
        assert!(!allows(&opened, SocketAddrUse::UdpSend, "203.0.113.7:5432"));
        // A name that is not granted adds nothing.
        opened.found("other.example.com", &[("203.0.113.9".parse().unwrap(), port)]);
        assert!(!allows(&opened, SocketAddrUse::TcpConnect, "203.0.113.9:5432"));
    }

    #[test]
    fn listening_is_granted_by_address() {
        let opened = opened(&[], &["127.0.0.1:7000", "[::1]:0"]);
        for (address, expected) in [
            ("127.0.0.1:7000", true),
            ("127.0.0.1:7001", false),
            ("0.0.0.0:7000", false),
            ("[::1]:7001", true),
        ] {
            for purpose in
                [SocketAddrUse::TcpBind, SocketAddrUse::TcpListen, SocketAddrUse::UdpBind]
            {
                assert_eq!(allows(&opened, purpose, address), expected, "{purpose:?} {address}");
            }
        }
        // Where the system chooses one can bind, and not listen.
        assert!(allows(&opened, SocketAddrUse::TcpBind, "0.0.0.0:0"));
        assert!(!allows(&opened, SocketAddrUse::TcpListen, "0.0.0.0:40000"));
    }

    #[test]
    fn whoever_was_heard_may_be_answered() {
        let opened = opened(&[], &["127.0.0.1:7000"]);
        assert!(!allows(&opened, SocketAddrUse::UdpSend, "192.0.2.1:9"));
        assert!(allows(&opened, SocketAddrUse::UdpReceive, "192.0.2.1:9"));
        assert!(allows(&opened, SocketAddrUse::UdpSend, "192.0.2.1:9"));
    }
}
