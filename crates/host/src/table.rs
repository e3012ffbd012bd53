//! Who answers at which host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;

use crate::{RequestId, Revision, Site};

/// The apps by the hosts at which they answer. Reading it takes no lock.
#[derive(Default)]
pub struct Table {
    by_host: ArcSwap<Hosts>,
    /// Who answers at every other host.
    elsewhere: ArcSwapOption<Site>,
    /// Held by the one who changes it.
    changing: Mutex<()>,
}

/// Sites by the names of hosts, in lower case and without a port.
pub type Hosts = HashMap<Box<str>, Arc<Site>>;

/// What separates a revision from its app in the name of a host: `r12--shop.example.com`.
const PREVIEW: &str = "--";

/// The revision that a host's first label names, and the host without it.
pub fn preview_of(host: &str) -> Option<(u32, &str)> {
    let (revision, rest) = host.strip_prefix('r')?.split_once(PREVIEW)?;
    let is_number = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_digit());
    let number = revision.parse().ok().filter(|_| is_number && !revision.starts_with('0'))?;
    (!rest.is_empty()).then_some((number, rest))
}

/// The host at which the revision `number` of the app at `host` answers, whatever traffic it has.
pub fn preview_host(number: u32, host: &str) -> String {
    format!("r{number}{PREVIEW}{host}")
}

impl Table {
    /// Makes `site` the one that answers at every host that is no other's.
    pub fn set_elsewhere(&self, site: Arc<Site>) {
        self.elsewhere.store(Some(site));
    }

    /// Changes who answers where. Whoever changes more than one host at a time does it in one `change`.
    pub fn update(&self, change: impl FnOnce(&mut Hosts)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = Hosts::clone(&self.by_host.load());
        change(&mut hosts);
        self.by_host.store(Arc::new(hosts));
    }

    /// All hosts.
    pub fn hosts(&self) -> Arc<Hosts> {
        self.by_host.load_full()
    }

    /// Who answers a request at `host`: `None` where nobody does, and a site without a revision where
    /// none of it has any traffic, or the one that was asked for is gone.
    pub fn find(
        &self,
        host: &str,
        id: RequestId,
        headers: &HeaderMap,
    ) -> Option<(Arc<Site>, Option<Arc<Revision>>)> {
        let hosts = self.by_host.load();
        let lower;
        // Clients write it in lower case (RFC 3986, section 3.2.2), if anything is written at all.
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            lower.as_str()
        } else {
            host
        };
        if let Some(site) = hosts.get(host) {
            return Some((site.clone(), site.pick(id, headers)));
        }
        if let Some((number, rest)) = preview_of(host)
            && let Some(site) = hosts.get(rest)
        {
            return Some((site.clone(), site.revision(number)));
        }
        let site = self.elsewhere.load_full()?;
        let revision = site.pick(id, headers);
        Some((site, revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_revisions() {
        for (host, found) in [
            ("r12--shop.localhost", Some((12, "shop.localhost"))),
            ("r1--r2--a", Some((1, "r2--a"))),
            ("shop.localhost", None),
            ("r--shop", None),
            ("r+1--shop", None),
            ("r01--shop", None),
            ("r1--", None),
            ("r99999999999--shop", None),
            ("x1--shop", None),
        ] {
            assert_eq!(preview_of(host), found, "{host}");
        }
        assert_eq!(preview_of(&preview_host(3, "shop.localhost")), Some((3, "shop.localhost")));
    }
}
