//! What the instances of one owner use together.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    bucket::{Bucket, Rate, SECOND, nanos},
    schedule::{Pace, Schedule},
    turns::Line,
};

/// What the instances of one owner use together, and how much they may. Whose it is the engine does
/// not know.
///
/// Its numbers are only counted and compared, nothing else is learned from them, so that all
/// of them are `Relaxed`; what is counted is changed by one atomic operation, so that nothing is lost.
#[derive(Debug)]
pub struct Account {
    memory: AtomicU64,
    memory_limit: AtomicU64,
    instances: AtomicUsize,
    /// In nanoseconds: enough for 584 years of one core.
    cpu_time: AtomicU64,
    /// In nanoseconds of a core.
    share: Arc<Bucket>,
    /// While there is anything in it guests need no turn. In nanoseconds of a core.
    quick: Bucket,
    /// How long the last steps of its guests were, in nanoseconds: an average to which each adds a part.
    step: AtomicU64,
    /// How many steps are still measured by the time of their threads.
    doubted: AtomicU32,
    /// None for one that is alone, and for a part of another.
    among: Option<Among>,
    /// Of which this is a part: what is counted here is counted there as well.
    whole: Option<Arc<Account>>,
}

/// Where an account stands among others.
#[derive(Debug)]
struct Among {
    schedule: Arc<Schedule>,
    /// Where its guests wait for their turns.
    brief: Line,
    long: Line,
}

/// How much the instances of an account may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLimits {
    /// The bytes of all linear memories and tables.
    pub memory: u64,
    /// The time that guests are run.
    pub cpu: CpuShare,
}

/// How much of the machine's cores guests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuShare(Option<NonZeroU32>);

/// Who uses less than a quarter of a core needs no turns: that is hundreds of usual requests in a
/// second. Who uses more has no more of it than others, since what is beyond is owed.
const QUICK: u64 = SECOND / 4;
/// What they use of that at once: a few requests that come together, or a larger one.
const QUICK_BURST: u64 = 10_000_000;
/// What was used beyond it is owed up to about this, so that who has computed for long is quick again
/// after a tenth of a second without.
const QUICK_DEBT: Duration = Duration::from_millis(40);

/// The part that each step has in the average.
const STEPS: u64 = 16;

/// So many steps after one that may have been interrupted are measured by the time of their threads, which takes
/// a call of the system.
const DOUBTED: u32 = 16;

/// What of its share an account can use at once after a quiet time, as a part of a second's.
const BURST_IN_SECOND: u64 = 10;

const NANOS_IN_MILLISECOND: u64 = 1_000_000;

impl Account {
    /// An account without limits, whose guests wait for nobody: for the only one.
    pub fn alone() -> Arc<Self> {
        Arc::new(Self::new(AccountLimits::NONE, None, None))
    }

    /// A part of `whole`, with limits of its own besides: an app among those of one owner. Its guests wait in
    /// the line of the whole.
    pub fn within(whole: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self::new(AccountLimits::NONE, None, Some(whole.clone())))
    }

    /// An account whose guests take turns with those of others.
    pub(crate) fn among(schedule: &Arc<Schedule>, limits: AccountLimits) -> Arc<Self> {
        Arc::new(Self::new(limits, Some(schedule), None))
    }

    fn new(
        limits: AccountLimits,
        schedule: Option<&Arc<Schedule>>,
        whole: Option<Arc<Self>>,
    ) -> Self {
        let share = Arc::new(Bucket::new(limits.cpu.rate()));
        let quick = NonZeroU64::new(QUICK);
        let among = schedule.map(|schedule| Among {
            brief: schedule.turns(Pace::Brief).line(&share),
            long: schedule.turns(Pace::Long).line(&share),
            schedule: schedule.clone(),
        });
        Self {
            memory: AtomicU64::new(0),
            memory_limit: AtomicU64::new(limits.memory),
            instances: AtomicUsize::new(0),
            cpu_time: AtomicU64::new(0),
            step: AtomicU64::new(0),
            doubted: AtomicU32::new(0),
            among,
            whole,
            share,
            quick: Bucket::new(quick.map(|per_second| Rate { per_second, burst: QUICK_BURST })),
        }
    }

    /// Changes what its instances may use. Those that use more of the memory keep it, and get no
    /// more; of an account that is alone the CPU has no limit.
    pub fn set_limits(&self, limits: AccountLimits) {
        self.memory_limit.store(limits.memory, Relaxed);
        self.share.set_rate(limits.cpu.rate());
    }

    /// The bytes of memory that its instances use.
    pub fn memory(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    /// The bytes of memory that its instances may use.
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Relaxed)
    }

    /// For how long its guests have run.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_time.load(Relaxed))
    }

    /// How many instances it has, idle ones included.
    pub fn instances(&self) -> usize {
        self.instances.load(Relaxed)
    }

    pub(crate) fn add_instance(&self) {
        self.instances.fetch_add(1, Relaxed);
        self.whole.iter().for_each(|whole| whole.add_instance());
    }

    pub(crate) fn remove_instance(&self) {
        self.instances.fetch_sub(1, Relaxed);
        self.whole.iter().for_each(|whole| whole.remove_instance());
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// With the limit that would be exceeded.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), u64> {
        if !self.grow_own(bytes) {
            return Err(self.memory_limit());
        }
        let grown = self.whole.as_ref().map_or(Ok(()), |whole| whole.grow(bytes));
        if grown.is_err() {
            self.memory.fetch_sub(bytes, Relaxed);
        }
        grown
    }

    fn grow_own(&self, bytes: u64) -> bool {
        let limit = self.memory_limit();
        let grown = self.memory.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(bytes).filter(|wanted| bytes == 0 || *wanted <= limit)
        });
        grown.is_ok()
    }

    /// Takes back what [`Self::grow`] has counted.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
        self.whole.iter().for_each(|whole| whole.shrink(bytes));
    }

    /// What runs its guests where their steps are long, and not where they are polled.
    pub(crate) fn schedule(&self) -> Option<&Arc<Schedule>> {
        self.in_line().among.as_ref().map(|among| &among.schedule)
    }

    /// How long its guests' steps are, as far as can be said before.
    pub(crate) fn pace(&self) -> Pace {
        let account = self.in_line();
        match &account.among {
            Some(among) if among.schedule.is_long(account.step()) => Pace::Long,
            _ => Pace::Brief,
        }
    }

    fn step(&self) -> Duration {
        Duration::from_nanos(self.step.load(Relaxed))
    }

    /// Where its guests have to wait for a turn before they are run; `None` where they need none.
    pub(crate) fn needs_turn(&self, pace: Pace, now: Instant) -> Option<&Line> {
        let line = self.line(pace)?;
        let account = self.in_line();
        let is_quick = account.quick.debt(now).is_zero() && account.share.debt(now).is_zero();
        (!is_quick).then_some(line)
    }

    /// For how long its guests rest before they are run again, where it is a part that has used more than
    /// its own share. Of a whole the line knows.
    pub(crate) fn rest(&self, now: Instant) -> Option<Duration> {
        self.whole.as_ref()?;
        Some(self.share.debt(now)).filter(|debt| !debt.is_zero())
    }

    /// The one whose line its guests wait in.
    fn in_line(&self) -> &Self {
        self.whole.as_deref().unwrap_or(self)
    }

    /// Where its guests wait.
    pub(crate) fn line(&self, pace: Pace) -> Option<&Line> {
        let among = self.in_line().among.as_ref()?;
        Some(match pace {
            Pace::Brief => &among.brief,
            Pace::Long => &among.long,
        })
    }

    /// Whether a step that seems long may be one that the system has interrupted, as one before it may have
    /// been: then it is to be measured by the time of its thread.
    pub(crate) fn doubts(&self) -> bool {
        self.in_line().doubted.load(Relaxed) > 0
    }

    /// A guest has run for `time`, in a step of this length, where that is known.
    pub(crate) fn charge(&self, time: Duration, length: Option<Duration>, now: Instant) {
        let nanos = nanos(time);
        self.cpu_time.fetch_add(nanos, Relaxed);
        if let Some(whole) = &self.whole {
            self.share.take(nanos, now);
            whole.charge(time, length, now);
            return;
        }
        if self.among.is_none() {
            return;
        }
        self.share.take(nanos, now);
        if self.quick.debt(now) < QUICK_DEBT {
            self.quick.take(nanos.min(2 * QUICK_BURST), now);
        }
        self.learn(length);
    }

    /// What a step says of the next ones. Where two do this at a time one of them is not seen, which an average can
    /// do without.
    fn learn(&self, length: Option<Duration>) {
        let Some(length) = length else { return self.doubted.store(DOUBTED, Relaxed) };
        let average = self.step.load(Relaxed);
        self.step.store(average - average / STEPS + nanos(length) / STEPS, Relaxed);
        let doubted = self.doubted.load(Relaxed);
        if doubted > 0 {
            self.doubted.store(doubted - 1, Relaxed);
        }
    }
}

impl AccountLimits {
    /// No limit.
    pub const NONE: Self = Self { memory: u64::MAX, cpu: CpuShare::NO_LIMIT };
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self::NONE
    }
}

impl CpuShare {
    /// As much as there is.
    pub const NO_LIMIT: Self = Self(None);

    /// So many thousandths of a core: that many milliseconds of CPU time in each second. A tenth of a
    /// second's worth can be used at once.
    pub const fn millicores(millicores: NonZeroU32) -> Self {
        Self(Some(millicores))
    }

    fn rate(self) -> Option<Rate> {
        let per_second =
            NonZeroU64::from(self.0?).checked_mul(NonZeroU64::new(NANOS_IN_MILLISECOND)?)?;
        Some(Rate { per_second, burst: per_second.get() / BURST_IN_SECOND })
    }
}

#[cfg(test)]
impl Account {
    /// One whose guests always need turns.
    pub(crate) fn heavy(schedule: &Arc<Schedule>) -> Arc<Self> {
        let mut account = Self::new(AccountLimits::NONE, Some(schedule), None);
        account.quick = Bucket::new(Some(Rate { per_second: NonZeroU64::MIN, burst: 0 }));
        account.quick.take(1_000_000, Instant::now());
        Arc::new(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::LONG_STEP;

    const MS: Duration = Duration::from_millis(1);

    fn share(millicores: u32) -> AccountLimits {
        let cpu = CpuShare::millicores(NonZeroU32::new(millicores).unwrap());
        AccountLimits { cpu, ..AccountLimits::NONE }
    }

    /// A step of `length`.
    fn charge(account: &Account, length: Duration, now: Instant) {
        account.charge(length, Some(length), now);
    }

    #[test]
    fn memory_is_counted_up_to_the_limit() {
        let account = Account::alone();
        account.set_limits(AccountLimits { memory: 100, ..AccountLimits::NONE });
        assert!(account.grow(60).is_ok());
        assert!(account.grow(41).is_err());
        assert!(account.grow(u64::MAX).is_err(), "no overflow");
        assert!(account.grow(40).is_ok());
        assert_eq!(account.memory(), 100);
        account.shrink(60);
        assert!(account.grow(1).is_ok());
        // What is used beyond a new limit stays.
        account.set_limits(AccountLimits { memory: 10, ..AccountLimits::NONE });
        assert_eq!(account.memory(), 41);
        assert!(account.grow(1).is_err());
        assert!(account.grow(0).is_ok());
        account.set_limits(AccountLimits::NONE);
        assert!(account.grow(1 << 40).is_ok());
    }

    #[test]
    fn a_guest_is_quick_until_it_computes() {
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let start = Instant::now();
        charge(&account, 9 * MS, start);
        assert!(account.needs_turn(Pace::Brief, start).is_none());
        charge(&account, 2 * MS, start);
        assert!(account.needs_turn(Pace::Brief, start).is_some());
        assert!(account.needs_turn(Pace::Brief, start + 3 * MS).is_some());
        assert!(account.needs_turn(Pace::Brief, start + 4 * MS).is_none(), "a quarter of a core");
        assert_eq!(account.cpu_time(), 11 * MS);
    }

    #[test]
    fn who_has_computed_for_long_is_quick_again_soon() {
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let start = Instant::now();
        for _ in 0..10_000 {
            charge(&account, 10 * MS, start);
        }
        assert!(account.needs_turn(Pace::Brief, start).is_some());
        assert!(account.needs_turn(Pace::Brief, start + 120 * MS).is_none());
        assert_eq!(account.cpu_time(), Duration::from_secs(100));
    }

    #[test]
    fn a_share_is_kept_to_over_time() {
        let account = Account::among(&Schedule::new(1, LONG_STEP), share(100));
        let start = Instant::now();
        charge(&account, 10 * MS, start);
        assert!(account.needs_turn(Pace::Brief, start).is_none(), "a tenth of a second's worth");
        charge(&account, 100 * MS, start);
        let is_over = |after: Duration| !account.share.debt(start + after).is_zero();
        assert!(is_over(999 * MS));
        assert!(!is_over(1_000 * MS));
        account.set_limits(AccountLimits::NONE);
        assert!(!is_over(Duration::ZERO));
    }

    #[test]
    fn what_may_have_been_interrupted_is_doubted_for_a_while() {
        let whole = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let account = Account::within(&whole);
        let now = Instant::now();
        account.charge(100 * MS, None, now);
        assert_eq!((account.cpu_time(), account.pace()), (100 * MS, Pace::Brief));
        for _ in 0..DOUBTED {
            assert!(account.doubts());
            charge(&account, MS / 1_000, now);
        }
        assert!(!account.doubts());
    }

    #[test]
    fn one_that_is_alone_never_waits() {
        let account = Account::alone();
        let start = Instant::now();
        account.set_limits(share(1));
        charge(&account, Duration::from_secs(100), start);
        assert!(account.needs_turn(Pace::Brief, start).is_none());
        assert_eq!(account.cpu_time(), Duration::from_secs(100));
    }

    #[test]
    fn a_part_has_limits_of_its_own_and_counts_in_the_whole() {
        let limits = AccountLimits { memory: 100, ..AccountLimits::NONE };
        let whole = Account::among(&Schedule::new(1, LONG_STEP), limits);
        let (one, other) = (Account::within(&whole), Account::within(&whole));
        one.set_limits(AccountLimits { memory: 60, ..share(100) });
        assert_eq!(one.grow(61), Err(60));
        one.grow(60).unwrap();
        assert_eq!(other.grow(41), Err(100));
        assert_eq!((one.memory(), other.memory(), whole.memory()), (60, 0, 60));
        other.grow(40).unwrap();
        one.shrink(60);
        assert_eq!((one.memory(), other.memory(), whole.memory()), (0, 40, 40));
        one.add_instance();
        assert_eq!((one.instances(), other.instances(), whole.instances()), (1, 0, 1));
        let start = Instant::now();
        charge(&one, 200 * MS, start);
        assert_eq!((one.cpu_time(), whole.cpu_time()), (200 * MS, 200 * MS));
        assert!(one.rest(start).is_some_and(|rest| rest > 500 * MS));
        assert!(other.rest(start).is_none() && whole.rest(start).is_none());
        assert!(one.rest(start + 2_000 * MS).is_none());
    }
}
