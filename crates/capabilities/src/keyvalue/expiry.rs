//! When an entry is over. Clocks of processes do not outlive them, so it is a time of day that is
//! kept, as in Redis.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; what expires then is not there from then on.
pub(super) type Moment = u64;

/// When an entry expires that does not.
pub(super) const NEVER: Moment = Moment::MAX;

pub(super) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(NEVER)
}

/// How long an entry is there, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl(u64);

/// A hundred years: more than anybody waits for, and far from where a store's numbers end.
const MAX_TTL: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;

impl Ttl {
    /// None for no time at all, and for more than a hundred years.
    pub(super) fn from_millis(millis: u64) -> Option<Self> {
        (1..=MAX_TTL).contains(&millis).then_some(Self(millis))
    }

    pub(super) fn millis(self) -> u64 {
        self.0
    }

    /// When what is set at `now` expires.
    pub(super) fn end(ttl: Option<Self>, now: Moment) -> Moment {
        ttl.map_or(NEVER, |ttl| now.saturating_add(ttl.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_bounds() {
        for (millis, is_one) in
            [(0, false), (1, true), (MAX_TTL, true), (MAX_TTL + 1, false), (u64::MAX, false)]
        {
            assert_eq!(Ttl::from_millis(millis).is_some(), is_one, "{millis}");
        }
        assert_eq!(Ttl::end(Ttl::from_millis(5), 10), 15);
        assert_eq!(Ttl::end(None, 10), NEVER);
    }
}
