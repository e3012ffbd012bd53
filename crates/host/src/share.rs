//! What one app may have of what its tenant has, and the tenant itself.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dhow_engine::{Account, AccountLimits, Bucket, CpuShare, Rate};

/// What the invocations of one app, or of all apps of a tenant, use together, and how much they may.
pub struct Share {
    pub(crate) account: Arc<Account>,
    under_way: Arc<UnderWay>,
    /// From outside.
    requests: Bucket,
}

/// How much that is; where it says nothing, as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory: Option<u64>,
    /// In thousandths of a core.
    pub(crate) cpu: Option<u32>,
    pub(crate) concurrency: Option<u32>,
    /// For each second.
    pub(crate) requests: Option<u32>,
}

/// The invocations that are under way, and how many there may be.
struct UnderWay {
    count: AtomicU32,
    limit: AtomicU32,
}

/// An invocation that there may be, for as long as it is under way.
pub(crate) struct Admitted(Arc<UnderWay>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}

/// Why there may be no further invocation now.
pub(crate) enum Refused {
    /// There are so many.
    Busy(u32),
    /// There were as many as there may be; for so long.
    Rate(Duration),
}

impl Share {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        let under_way = UnderWay { count: AtomicU32::new(0), limit: AtomicU32::new(u32::MAX) };
        Self { account, under_way: Arc::new(under_way), requests: Bucket::new(None) }
    }

    /// What its instances use together.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The invocations under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.count.load(Relaxed)
    }

    /// Changes what it may use, at once.
    pub(crate) fn set(&self, Limits { memory, cpu, concurrency, requests }: Limits) {
        let cpu = cpu.and_then(NonZeroU32::new);
        self.account.set_limits(AccountLimits {
            memory: memory.unwrap_or(u64::MAX),
            cpu: cpu.map_or(CpuShare::NO_LIMIT, CpuShare::millicores),
        });
        self.under_way.limit.store(concurrency.unwrap_or(u32::MAX), Relaxed);
        let per_second = requests.and_then(|requests| NonZeroU64::new(u64::from(requests)));
        // Those of a second may come at once.
        self.requests.set_rate(per_second.map(|it| Rate { per_second: it, burst: it.get() }));
    }

    /// Whether it may have another invocation.
    pub(crate) fn admit(&self, is_from_outside: bool) -> Result<Admitted, Refused> {
        let under_way = self.under_way.count.fetch_add(1, Relaxed);
        let admitted = Admitted(self.under_way.clone());
        let limit = self.under_way.limit.load(Relaxed);
        if under_way >= limit {
            return Err(Refused::Busy(limit));
        }
        if is_from_outside {
            self.requests.try_take(1, Instant::now()).map_err(Refused::Rate)?;
        }
        Ok(admitted)
    }
}
