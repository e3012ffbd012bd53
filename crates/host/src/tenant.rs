//! Whose apps are served, and what they may have together.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use dhow_capabilities::{Capabilities, Granted, Parts, State};
use dhow_engine::{Account, AccountLimits, Bucket, CpuShare, Rate};
use dhow_manifest::{Ceilings, Name, Quota};

use crate::{Failure, Host, ReserveError, admission::Claimant};

/// The owner of apps: the boundary of trust. What its components can be granted, and what they may use
/// together.
pub struct Tenant {
    name: Name,
    capabilities: Capabilities,
    /// The most that its components may ask for.
    ceilings: ArcSwap<Ceilings>,
    pub(crate) claimant: Arc<Claimant>,
    pub(crate) account: Arc<Account>,
    under_way: Arc<UnderWay>,
    /// Requests from outside.
    requests: Bucket,
}

/// The invocations of one tenant, and how many there may be.
struct UnderWay {
    count: AtomicU32,
    limit: AtomicU32,
}

/// An invocation that the tenant may have, for as long as it is under way.
pub(crate) struct Admitted(Arc<UnderWay>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}

impl Host {
    /// A tenant whose components can be granted what `capabilities` has, ask for no more than `ceilings`,
    /// and use no more than `quota` together; without one, what there is.
    ///
    /// # Errors
    /// When there are not as many instances left as are to be kept for it.
    pub fn tenant(
        &self,
        name: Name,
        capabilities: Capabilities,
        ceilings: Ceilings,
        quota: Option<&Quota>,
    ) -> Result<Arc<Tenant>, ReserveError> {
        let reserve = quota.map_or(0, |quota| quota.reserve as usize);
        let tenant = Tenant {
            name,
            capabilities,
            ceilings: ArcSwap::from_pointee(ceilings),
            claimant: self.core.admission.claimant(reserve)?,
            account: self.core.loader.engine.account(AccountLimits::NONE),
            under_way: Arc::new(UnderWay {
                count: AtomicU32::new(0),
                limit: AtomicU32::new(u32::MAX),
            }),
            requests: Bucket::new(None),
        };
        if let Some(quota) = quota {
            tenant.set_quota(quota);
        }
        Ok(Arc::new(tenant))
    }
}

impl Tenant {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What its components can be granted.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What its instances use together.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The most that its components may ask for.
    pub(crate) fn ceilings(&self) -> Ceilings {
        **self.ceilings.load()
    }

    /// Changes the most that its components may ask for, when they are linked next.
    pub fn set_ceilings(&self, ceilings: Ceilings) {
        self.ceilings.store(Arc::new(ceilings));
    }

    /// The invocations under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.count.load(Relaxed)
    }

    /// Changes what it may use, at once; but for the instances that are kept for it.
    pub fn set_quota(&self, quota: &Quota) {
        let cpu = NonZeroU32::new(quota.cpu.thousandths());
        self.account.set_limits(AccountLimits {
            memory: quota.memory.bytes(),
            cpu: cpu.map_or(CpuShare::NO_LIMIT, CpuShare::millicores),
        });
        self.under_way.limit.store(quota.concurrency, Relaxed);
        self.capabilities.limit_connections(quota.connections);
        let per_second = NonZeroU64::new(u64::from(quota.requests));
        // Those of a second may come at once.
        self.requests.set_rate(per_second.map(|it| Rate { per_second: it, burst: it.get() }));
    }

    /// Whether it may have another invocation.
    pub(crate) fn admit(&self, is_from_outside: bool) -> Result<Admitted, Failure> {
        let under_way = self.under_way.count.fetch_add(1, Relaxed);
        let admitted = Admitted(self.under_way.clone());
        let limit = self.under_way.limit.load(Relaxed);
        if under_way >= limit {
            return Err(Failure::TenantBusy(self.name.clone(), limit));
        }
        if is_from_outside {
            let taken = self.requests.try_take(1, Instant::now());
            taken.map_err(|wait| Failure::TenantRate(self.name.clone(), wait))?;
        }
        Ok(admitted)
    }

    /// Makes the state of one of its instances.
    pub(crate) fn open(&self, granted: &Parts<Granted>) -> State {
        self.capabilities.open(granted, &self.account)
    }
}
