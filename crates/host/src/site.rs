//! An app where requests find it: its revisions, and which of them has how much of the traffic.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use dhow_manifest::Name;
use http::{HeaderMap, HeaderName, header::COOKIE};
use thiserror::Error;
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{Host, LinkedApp, LiveApp, LoadError, RequestId, Share, Stats, Tenant};

/// An app, as requests find it.
pub struct Site {
    tenant: Arc<Tenant>,
    name: Name,
    share: Arc<Share>,
    traffic: ArcSwap<Traffic>,
    revisions: ArcSwap<BTreeMap<u32, Arc<Revision>>>,
}

/// A revision of an app, linked or not.
pub struct Revision {
    number: u32,
    source: Option<Box<dyn Source>>,
    live: ArcSwapOption<LiveApp>,
    /// Held by the one who links it.
    linking: AsyncMutex<()>,
    stats: Stats,
}

/// Where a revision is linked from when it is called and is not linked.
pub trait Source: Send + Sync + 'static {
    /// Links it; `None` with a line in the log where that is not possible any more.
    fn link(&self) -> Option<LinkedApp>;
}

/// Which revisions have how much of the traffic.
#[derive(Default)]
pub struct Traffic {
    /// In percent, each with the sum of those before it and its own.
    shares: Box<[(u8, Arc<Revision>)]>,
    sticky: Option<Sticky>,
}

/// By what a client stays with one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// By the value of a header.
    Header(HeaderName),
    /// By the value of a cookie.
    Cookie(String),
}

/// Shares that are not 100 together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the shares are {0} % together, and not 100")]
pub struct NotWhole(
    /// What they are.
    pub u32,
);

impl Traffic {
    /// All of it for `revision`.
    pub fn all(revision: Arc<Revision>) -> Self {
        Self { shares: Box::new([(100, revision)]), sticky: None }
    }

    /// A percentage for each revision.
    ///
    /// # Errors
    /// When they are not 100 together.
    pub fn shared(
        shares: impl IntoIterator<Item = (u8, Arc<Revision>)>,
        sticky: Option<Sticky>,
    ) -> Result<Self, NotWhole> {
        let mut sum = 0_u32;
        let shares: Box<[_]> = shares
            .into_iter()
            .filter(|(percent, _)| *percent > 0)
            .map(|(percent, revision)| {
                sum += u32::from(percent);
                (u8::try_from(sum).unwrap_or(u8::MAX), revision)
            })
            .collect();
        if sum == 100 { Ok(Self { shares, sticky }) } else { Err(NotWhole(sum)) }
    }

    /// Who answers a request.
    fn pick(&self, id: RequestId, headers: &HeaderMap) -> Option<&Arc<Revision>> {
        if let [(_, only)] = &*self.shares {
            return Some(only);
        }
        let by_client = self.sticky.as_ref().and_then(|sticky| sticky.value(headers));
        let place = match by_client {
            Some(value) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(value);
                hasher.finish()
            }
            None => id.spread(),
        };
        let place = u8::try_from(place % 100).unwrap_or_default();
        self.shares.iter().find(|(below, _)| place < *below).map(|(_, revision)| revision)
    }
}

impl Sticky {
    fn value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| value.as_bytes()),
            Self::Cookie(name) => headers.get_all(COOKIE).iter().find_map(|cookies| {
                let mut pairs = cookies.to_str().ok()?.split(';').map(str::trim);
                pairs.find_map(|pair| {
                    let (key, value) = pair.split_once('=')?;
                    (key == name).then_some(value.as_bytes())
                })
            }),
        }
    }
}

impl Site {
    /// An app of `tenant`'s, of which no revision is there yet.
    pub fn new(tenant: Arc<Tenant>, name: Name) -> Arc<Self> {
        let (traffic, revisions) = (ArcSwap::default(), ArcSwap::default());
        let share = tenant.app(&name);
        Arc::new(Self { tenant, name, share, traffic, revisions })
    }

    /// Whose it is.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// What the app has of its tenant's.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The app's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Makes `revisions` those that can be called, and shares the traffic among them. Requests that are
    /// under way stay with the revision that they have.
    pub fn set(&self, revisions: BTreeMap<u32, Arc<Revision>>, traffic: Traffic) {
        // First those that are new, last those that are gone.
        let both =
            self.revisions().iter().chain(&revisions).map(|(n, r)| (*n, r.clone())).collect();
        self.revisions.store(Arc::new(both));
        self.traffic.store(Arc::new(traffic));
        self.revisions.store(Arc::new(revisions));
    }

    /// All revisions that can be called.
    pub fn revisions(&self) -> Arc<BTreeMap<u32, Arc<Revision>>> {
        self.revisions.load_full()
    }

    /// Percentages by revision, of those that have any.
    pub fn shares(&self) -> BTreeMap<u32, u8> {
        let mut before = 0;
        let traffic = self.traffic.load();
        let shares = traffic.shares.iter().map(|(sum, revision)| {
            let percent = sum - before;
            before = *sum;
            (revision.number, percent)
        });
        shares.collect()
    }

    /// The revision `number`, whatever traffic it has.
    pub(crate) fn revision(&self, number: u32) -> Option<Arc<Revision>> {
        self.revisions.load().get(&number).cloned()
    }

    /// Who answers a request.
    pub(crate) fn pick(&self, id: RequestId, headers: &HeaderMap) -> Option<Arc<Revision>> {
        self.traffic.load().pick(id, headers).cloned()
    }
}

impl Revision {
    /// One that is linked from `source` when it is called first.
    pub fn unlinked(number: u32, source: Box<dyn Source>) -> Arc<Self> {
        Self::new(number, Some(source), None)
    }

    /// One that is linked; again from `source`, where there is one.
    pub fn linked(number: u32, app: Arc<LiveApp>, source: Option<Box<dyn Source>>) -> Arc<Self> {
        Self::new(number, source, Some(app))
    }

    fn new(number: u32, source: Option<Box<dyn Source>>, live: Option<Arc<LiveApp>>) -> Arc<Self> {
        Arc::new(Self {
            number,
            source,
            live: ArcSwapOption::from(live),
            linking: AsyncMutex::new(()),
            stats: Stats::default(),
        })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What is counted of its requests.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Host {
    /// The app of `revision` at work: linked, where it is not yet.
    ///
    /// # Errors
    /// When it can't be linked any more.
    pub async fn live(&self, revision: &Arc<Revision>) -> Result<Arc<LiveApp>, LoadError> {
        if let Some(live) = &*revision.live.load() {
            return Ok(live.clone());
        }
        let _linking = revision.linking.lock().await;
        if let Some(live) = revision.live.load_full() {
            return Ok(live);
        }
        let unlinked = revision.clone();
        let link = move || unlinked.source.as_ref().and_then(|source| source.link());
        let linked = spawn_blocking(link).await.map_err(|_| LoadError::Cancelled)?;
        let live = self.start(linked.ok_or(LoadError::Damaged)?);
        revision.live.store(Some(live.clone()));
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u32) -> Arc<Revision> {
        Revision::new(number, None, None)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn requests_are_spread_by_percent() {
        let traffic =
            Traffic::shared([(90, revision(1)), (0, revision(2)), (10, revision(3))], None)
                .unwrap();
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            let picked = traffic.pick(RequestId::next(), &HeaderMap::new()).unwrap();
            *counts.entry(picked.number()).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert!((800..1_200).contains(&counts[&3]), "{counts:?}");
    }

    #[test]
    fn a_client_stays_with_its_revision() {
        for sticky in [
            Sticky::Header(HeaderName::from_static("x-user")),
            Sticky::Cookie("session".to_owned()),
        ] {
            let shares = [(50, revision(1)), (50, revision(2))];
            let traffic = Traffic::shared(shares, Some(sticky.clone())).unwrap();
            let mut seen = [0, 0];
            for user in 0..200 {
                let headers = match &sticky {
                    Sticky::Header(_) => headers("x-user", &user.to_string()),
                    Sticky::Cookie(_) => headers("cookie", &format!("a=b; session={user}")),
                };
                let pick = || traffic.pick(RequestId::next(), &headers).unwrap().number();
                let first = pick();
                assert!((0..20).all(|_| pick() == first));
                seen[first as usize - 1] += 1;
            }
            assert!(seen.iter().all(|count| *count > 60), "{seen:?}");
        }
    }

    #[test]
    fn shares_are_a_hundred_together() {
        let shared = |percent: &[u8]| {
            Traffic::shared(percent.iter().map(|percent| (*percent, revision(1))), None).map(drop)
        };
        assert_eq!(shared(&[50, 50]), Ok(()));
        assert_eq!(shared(&[]), Err(NotWhole(0)));
        assert_eq!(shared(&[99]), Err(NotWhole(99)));
        assert_eq!(shared(&[200, 200]), Err(NotWhole(400)));
        assert!(Traffic::default().pick(RequestId::next(), &HeaderMap::new()).is_none());
    }
}
