//! Calls that were denied: a record of each in the log, and how many there were.

use std::{
    collections::BTreeMap,
    fmt::Display,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use dhow_engine::{Bucket, Rate};
use dhow_manifest::Name;
use tracing::field::display;

/// How often each component of a tenant was denied what.
pub struct Denials {
    /// Where there are several.
    tenant: Option<Name>,
    counts: Mutex<BTreeMap<Denied, u64>>,
    /// Of records in the log.
    records: Bucket,
    /// How many have no record since the last that has one.
    unrecorded: AtomicU64,
}

/// What is counted together: an app, one of its components, and a capability.
pub type Denied = (Name, Name, &'static str);

/// Records for each second: a guest that tries again and again would fill the log. All are counted.
const RECORDS: u64 = 20;
/// As many may come at once.
const RECORDS_AT_ONCE: u64 = 200;
/// What is shown of what a guest asked for, in characters.
const MAX_SHOWN: usize = 400;

impl Denials {
    pub(crate) fn new(tenant: Option<Name>) -> Self {
        let rate = NonZeroU64::new(RECORDS);
        let rate = rate.map(|per_second| Rate { per_second, burst: RECORDS_AT_ONCE });
        Self {
            tenant,
            counts: Mutex::default(),
            records: Bucket::new(rate),
            unrecorded: AtomicU64::new(0),
        }
    }

    /// How many calls were denied so far.
    pub fn counts(&self) -> BTreeMap<Denied, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is to be a record of a denial now, and how many had none before it.
    fn record(&self) -> Option<u64> {
        if self.records.try_take(1, Instant::now()).is_err() {
            self.unrecorded.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.unrecorded.swap(0, Relaxed))
    }
}

impl Default for Denials {
    fn default() -> Self {
        Self::new(None)
    }
}

/// Where the denials of one component are recorded.
#[derive(Clone)]
pub(crate) struct Audit {
    app: Name,
    component: Name,
    denials: Arc<Denials>,
}

impl Audit {
    pub(crate) fn new(app: &Name, component: &Name, denials: &Arc<Denials>) -> Self {
        Self { app: app.clone(), component: component.clone(), denials: denials.clone() }
    }

    /// What the component is called.
    pub(crate) fn component(&self) -> &Name {
        &self.component
    }

    /// Records that `capability` was denied: what was asked for, and what would allow it.
    pub(crate) fn deny(
        &self,
        capability: &'static str,
        asked_for: impl Display,
        help: impl Display,
    ) {
        let Self { app, component, denials } = self;
        let mut counts = denials.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((app.clone(), component.clone(), capability)).or_default() += 1;
        drop(counts);
        let Some(unrecorded) = denials.record() else { return };
        let tenant = denials.tenant.as_ref().map(display);
        let (asked_for, help) = (shown(&asked_for), shown(&help));
        let others = match unrecorded {
            0 => String::new(),
            count => format!("; {count} denials before it have no record"),
        };
        tracing::warn!(%component, %app, tenant, capability, "denied: {asked_for}; {help}{others}");
    }
}

/// As much of a text as helps: a guest chooses how long it is.
fn shown(text: &dyn Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_tries_again_and_again_is_counted_and_does_not_fill_the_log() {
        let denials = Denials::new(None);
        let recorded = (0..10 * RECORDS_AT_ONCE).filter(|_| denials.record().is_some()).count();
        assert!((RECORDS_AT_ONCE as usize..2 * RECORDS_AT_ONCE as usize).contains(&recorded));
        assert!(denials.unrecorded.load(Relaxed) > RECORDS_AT_ONCE);
        assert_eq!(shown(&"\u{fc}".repeat(10 * MAX_SHOWN)).chars().count(), MAX_SHOWN + 1);
    }
}
