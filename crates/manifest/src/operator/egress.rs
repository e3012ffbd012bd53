//! Where apps may reach at all, whatever they are granted.

use std::net::SocketAddr;

use crate::{
    Endpoint, Fault, HostPattern, Origin, Peer,
    raw::{self, Value},
};

/// Where apps may reach at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// Nothing else; where there is none, whatever is public, and what is granted by its address.
    pub allow: Option<Vec<Rule>>,
    /// Not these, whatever else is said.
    pub deny: Vec<Rule>,
    /// Who is asked for the addresses of names; the system where there is none.
    pub dns: Vec<SocketAddr>,
}

/// A rule of the operator's: an endpoint, or a port of everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `*:443`; every port where there is none.
    Anybody(Option<u16>),
    /// `db.internal:5432`, `10.0.0.0/8:*`.
    Endpoint(Endpoint),
}

impl Rule {
    /// Whether all that `endpoint` means is meant.
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Anybody(port) => covers_port(*port, endpoint.port),
            Self::Endpoint(rule) => rule.covers(endpoint),
        }
    }

    /// Whether `address` is meant, by its address.
    pub fn contains(&self, address: SocketAddr) -> bool {
        match self {
            Self::Anybody(port) => covers_port(*port, Some(address.port())),
            Self::Endpoint(endpoint) => endpoint.contains(address),
        }
    }

    /// Whether the name `host` is meant, with `port`.
    pub fn is_for_name(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Anybody(rule) => covers_port(*rule, Some(port)),
            Self::Endpoint(endpoint) => endpoint.is_for_name(host) && endpoint.has_port(port),
        }
    }
}

fn covers_port(rule: Option<u16>, port: Option<u16>) -> bool {
    rule.is_none() || rule == port
}

impl From<&Origin> for Endpoint {
    fn from(origin: &Origin) -> Self {
        let peer = match &origin.host {
            HostPattern::Address(address) => Peer::Network((*address).into()),
            name => Peer::Named(name.clone()),
        };
        Self { peer, port: Some(origin.port) }
    }
}

const EXAMPLE: &str = "[egress]\nallow = [\"*:443\", \"10.1.0.0/16:5432\"]\ndeny = [\"10.0.0.0/8:*\"]\ndns = [\"10.0.0.2:53\"]";

pub(super) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> Egress {
    let Some(mut table) = raw::table(value, "egress", EXAMPLE, faults) else {
        return Egress::default();
    };
    let allow = table.get("allow").map(|value| read_rules(value, faults));
    let deny = table.get("deny").map(|value| read_rules(value, faults));
    let dns = table.get("dns").map(|value| read_servers(value, faults));
    table.finish(faults);
    Egress { allow, deny: deny.unwrap_or_default(), dns: dns.unwrap_or_default() }
}

fn read_rules(value: Value<'_>, faults: &mut Vec<Fault>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (text, span) in raw::strings(value, EXAMPLE, faults) {
        match parse_rule(text) {
            Ok(rule) => rules.push(rule),
            Err(message) => faults.push(
                Fault::new(span, format!("`{text}`: {message}"))
                    .help(r#"write: "*:443", "*.example.com:443" or "10.0.0.0/8:*""#),
            ),
        }
    }
    rules
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    // As for endpoints, with a host that has to be something.
    let endpoint = |text: &str| Endpoint::parse(text).map_err(|error| error.to_string());
    match text.strip_prefix("*:") {
        Some(port) => Ok(Rule::Anybody(endpoint(&format!("a:{port}"))?.port)),
        None => endpoint(text).map(Rule::Endpoint),
    }
}

fn read_servers(value: Value<'_>, faults: &mut Vec<Fault>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for (text, span) in raw::strings(value, EXAMPLE, faults) {
        match text.parse() {
            Ok(server) => servers.push(server),
            Err(_) => faults.push(
                Fault::new(span, format!("`{text}` is no address with a port"))
                    .help(r#"write: dns = ["10.0.0.2:53"]"#),
            ),
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rule_covers() {
        let covers = |rule: &str, endpoint: &str| {
            parse_rule(rule).unwrap().covers(&Endpoint::parse(endpoint).unwrap())
        };
        for (rule, endpoint, expected) in [
            ("*:443", "api.example.com:443", true),
            ("*:443", "api.example.com:80", false),
            ("*:443", "api.example.com:*", false),
            ("*:*", "api.example.com:*", true),
            ("10.0.0.0/8:*", "10.1.0.0/16:5432", true),
            ("10.1.0.0/16:*", "10.0.0.0/8:5432", false),
            ("10.0.0.0/8:5432", "10.0.0.1:5432", true),
            ("10.0.0.0/8:*", "db.example.com:5432", false),
            ("*.example.com:443", "api.example.com:443", true),
            ("*.example.com:443", "*.api.example.com:443", true),
            ("*.example.com:443", "*.example.com:443", true),
            ("*.example.com:443", "example.com:443", false),
            ("*.api.example.com:443", "*.example.com:443", false),
            ("api.example.com:443", "*.example.com:443", false),
        ] {
            assert_eq!(covers(rule, endpoint), expected, "{rule} {endpoint}");
        }
        for text in ["*", "*:http", "10.0.0.1/8:*", "example.com"] {
            assert!(parse_rule(text).is_err(), "{text}");
        }
    }
}
