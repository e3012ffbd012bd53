//! How much of something there is in a second.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How fast a [`Bucket`] fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units for each second.
    pub per_second: NonZeroU64,
    /// The units that it holds when it is full: what can be taken at once after a quiet time.
    pub burst: u64,
}

/// A bucket of units (requests, bytes, nanoseconds of a CPU) that fills at a [`Rate`], and from which
/// is taken what is used. It takes no lock.
///
/// All that changes is one number, the time at which it will be full again: the generic cell rate
/// algorithm (ITU-T I.371). What is taken moves that time on by as long as it takes to come back.
/// Each change is one atomic exchange of that number, and nothing else is learned from it, so that
/// `Relaxed` suffices.
#[derive(Debug)]
pub struct Bucket {
    start: Instant,
    /// In nanoseconds after `start`: enough for 584 years.
    full_at: AtomicU64,
    /// 0 where there is no bound.
    per_second: AtomicU64,
    /// Who reads it beside another rate's `per_second` decides once by neither: no harm.
    burst: AtomicU64,
}

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

impl Bucket {
    /// A bucket that is full; without a rate there is no bound to what can be taken.
    pub fn new(rate: Option<Rate>) -> Self {
        let bucket = Self {
            start: Instant::now(),
            full_at: AtomicU64::new(0),
            per_second: AtomicU64::new(0),
            burst: AtomicU64::new(0),
        };
        bucket.set_rate(rate);
        bucket
    }

    /// Changes the rate. With another than before it is full again, whatever was owed.
    pub fn set_rate(&self, rate: Option<Rate>) {
        if rate != self.rate() {
            self.burst.store(rate.map_or(0, |rate| rate.burst), Relaxed);
            self.per_second.store(rate.map_or(0, |rate| rate.per_second.get()), Relaxed);
            self.full_at.store(0, Relaxed);
        }
    }

    /// How fast it fills.
    pub fn rate(&self) -> Option<Rate> {
        let per_second = NonZeroU64::new(self.per_second.load(Relaxed))?;
        Some(Rate { per_second, burst: self.burst.load(Relaxed) })
    }

    /// Takes `units`, whether they are there or not: what is missing is owed.
    pub fn take(&self, units: u64, now: Instant) {
        let Some(rate) = self.rate() else { return };
        let (cost, now) = (rate.time_of(units), self.nanos(now));
        let take = |full_at: u64| Some(full_at.max(now).saturating_add(cost));
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, take);
    }

    /// Takes `units` where they are there; more than it ever holds are taken where it is full.
    ///
    /// # Errors
    /// When they are not there, with the time in which they will be, if nobody else takes any.
    pub fn try_take(&self, units: u64, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate() else { return Ok(()) };
        let (cost, burst, now) = (rate.time_of(units), rate.time_of(rate.burst), self.nanos(now));
        // The latest that it may be full at, for so much to be in it.
        let latest = now.saturating_add(burst - cost.min(burst));
        let taken = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            (full_at <= latest).then(|| full_at.max(now).saturating_add(cost))
        });
        taken.map(drop).map_err(|full_at| Duration::from_nanos(full_at.saturating_sub(latest)))
    }

    /// How long it takes until nothing is owed; zero where nothing is.
    pub fn debt(&self, now: Instant) -> Duration {
        let Some(rate) = self.rate() else { return Duration::ZERO };
        let latest = self.nanos(now).saturating_add(rate.time_of(rate.burst));
        Duration::from_nanos(self.full_at.load(Relaxed).saturating_sub(latest))
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}

impl Rate {
    /// The nanoseconds in which so many units come, rounded up: a bucket gives rather too little,
    /// by a nanosecond's worth each time, than too much.
    fn time_of(self, units: u64) -> u64 {
        match units.checked_mul(SECOND) {
            Some(product) => product.div_ceil(self.per_second.get()),
            None => {
                let product = u128::from(units) * u128::from(SECOND);
                let time = product.div_ceil(u128::from(self.per_second.get()));
                u64::try_from(time).unwrap_or(u64::MAX)
            }
        }
    }
}

/// The nanoseconds of `time`, as many as fit.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u64, burst: u64) -> (Bucket, Instant) {
        let rate = Rate { per_second: NonZeroU64::new(per_second).unwrap(), burst };
        (Bucket::new(Some(rate)), Instant::now())
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_taken_at_once_and_then_what_comes() {
        let (bucket, start) = bucket(1_000, 5);
        for _ in 0..5 {
            assert_eq!(bucket.try_take(1, start), Ok(()));
        }
        assert_eq!(bucket.try_take(1, start), Err(MS));
        assert_eq!(bucket.try_take(3, start), Err(3 * MS));
        assert_eq!(bucket.try_take(1, start + MS), Ok(()));
        assert_eq!(bucket.try_take(1, start + MS), Err(MS));
        // Never more than the burst, however long it was quiet.
        let later = start + Duration::from_secs(3_600);
        assert_eq!(bucket.try_take(5, later), Ok(()));
        assert_eq!(bucket.try_take(1, later), Err(MS));
    }

    #[test]
    fn what_is_refused_is_not_taken() {
        let (bucket, start) = bucket(1_000, 2);
        assert_eq!(bucket.try_take(2, start), Ok(()));
        for _ in 0..100 {
            assert_eq!(bucket.try_take(1, start), Err(MS));
        }
        assert_eq!(bucket.try_take(1, start + MS), Ok(()));
    }

    #[test]
    fn what_is_owed_comes_back_at_the_rate() {
        let (bucket, start) = bucket(1_000, 10);
        bucket.take(10, start);
        assert_eq!(bucket.debt(start), Duration::ZERO);
        bucket.take(30, start);
        assert_eq!(bucket.debt(start), 30 * MS);
        assert_eq!(bucket.try_take(1, start), Err(31 * MS));
        assert_eq!(bucket.debt(start + 29 * MS), MS);
        assert_eq!(bucket.debt(start + 30 * MS), Duration::ZERO);
    }

    #[test]
    fn more_than_it_holds_is_taken_from_a_full_one() {
        let (bucket, start) = bucket(1_000, 10);
        assert_eq!(bucket.try_take(50, start), Ok(()));
        assert_eq!(bucket.debt(start), 40 * MS);
        assert_eq!(bucket.try_take(50, start), Err(50 * MS));
        assert_eq!(bucket.try_take(50, start + 50 * MS), Ok(()));
    }

    #[test]
    fn one_without_a_burst_gives_one_after_the_other() {
        let (bucket, start) = bucket(1_000, 0);
        assert_eq!(bucket.try_take(1, start), Ok(()));
        assert_eq!(bucket.try_take(1, start), Err(MS));
        assert_eq!(bucket.try_take(1, start + MS), Ok(()));
    }

    #[test]
    fn rates_may_be_above_one_in_a_nanosecond() {
        let (bucket, start) = bucket(32 * SECOND, 0);
        bucket.take(64 * SECOND, start);
        assert_eq!(bucket.debt(start), Duration::from_secs(2));
        bucket.take(1, start);
        assert_eq!(bucket.debt(start), Duration::from_secs(2) + Duration::from_nanos(1));
    }

    #[test]
    fn no_amount_overflows() {
        let (bucket, start) = bucket(1, u64::MAX);
        bucket.take(u64::MAX, start);
        bucket.take(u64::MAX, start);
        assert!(bucket.try_take(u64::MAX, start + MS).is_err());
        assert!(bucket.try_take(1, start).is_err());
    }

    #[test]
    fn another_rate_begins_with_a_full_bucket() {
        let (bucket, start) = bucket(1, 1);
        bucket.take(1_000, start);
        bucket.set_rate(bucket.rate());
        assert_eq!(bucket.debt(start), Duration::from_secs(999));
        bucket.set_rate(None);
        assert_eq!(bucket.debt(start), Duration::ZERO);
        assert_eq!(bucket.try_take(u64::MAX, start), Ok(()));
    }
}
