//! Whose apps are served, and what they may have together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use dhow_capabilities::{Capabilities, Granted, Parts, State};
use dhow_engine::{Account, AccountLimits};
use dhow_manifest::{AppQuota, Ceilings, Name, Quota};

use crate::{
    Failure, Host, ReserveError,
    admission::Claimant,
    share::{Admitted, Limits, Refused, Share},
};

/// The owner of apps: the boundary of trust. What its components can be granted, and what they may use
/// together.
pub struct Tenant {
    name: Name,
    capabilities: Capabilities,
    /// The most that its components may ask for.
    ceilings: ArcSwap<Ceilings>,
    pub(crate) claimant: Arc<Claimant>,
    share: Share,
    apps: Mutex<Apps>,
}

/// The apps of a tenant that are there, and how much of what is the tenant's each may have.
#[derive(Default)]
struct Apps {
    quotas: BTreeMap<Name, AppQuota>,
    shares: BTreeMap<Name, Weak<Share>>,
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
            share: Share::new(self.core.loader.engine.account(AccountLimits::NONE)),
            apps: Mutex::default(),
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
        self.share.account()
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
        self.share.under_way()
    }

    /// Changes what it may use, at once; but for the instances that are kept for it.
    pub fn set_quota(&self, quota: &Quota) {
        self.share.set(Limits {
            memory: Some(quota.memory.bytes()),
            cpu: Some(quota.cpu.thousandths()),
            concurrency: Some(quota.concurrency),
            requests: Some(quota.requests),
        });
        self.capabilities.limit_connections(quota.connections);
    }

    /// Changes what single apps may use of it, at once.
    pub fn set_app_quotas(&self, quotas: &BTreeMap<Name, AppQuota>) {
        let mut apps = self.apps();
        apps.quotas.clone_from(quotas);
        for (name, share) in &apps.shares {
            if let Some(share) = share.upgrade() {
                share.set(limits(quotas.get(name)));
            }
        }
    }

    /// What the app `name` has of it: one for all of its revisions, for as long as there is any.
    pub fn app(&self, name: &Name) -> Arc<Share> {
        let mut apps = self.apps();
        if let Some(share) = apps.shares.get(name).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(Share::new(Account::within(&self.share.account)));
        share.set(limits(apps.quotas.get(name)));
        apps.shares.retain(|_, share| share.strong_count() > 0);
        apps.shares.insert(name.clone(), Arc::downgrade(&share));
        share
    }

    fn apps(&self) -> MutexGuard<'_, Apps> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `app`, which has `share` of it, may have another invocation.
    pub(crate) fn admit(
        &self,
        app: &Name,
        share: &Share,
        is_from_outside: bool,
    ) -> Result<[Admitted; 2], Failure> {
        let of_app = share.admit(is_from_outside).map_err(|refused| match refused {
            Refused::Busy(limit) => Failure::AppBusy(app.clone(), limit),
            Refused::Rate(wait) => Failure::AppRate(app.clone(), wait),
        })?;
        let of_all = self.share.admit(is_from_outside).map_err(|refused| match refused {
            Refused::Busy(limit) => Failure::TenantBusy(self.name.clone(), limit),
            Refused::Rate(wait) => Failure::TenantRate(self.name.clone(), wait),
        })?;
        Ok([of_app, of_all])
    }

    /// Makes the state of an instance of an app that has `share` of it.
    pub(crate) fn open(&self, share: &Share, granted: &Parts<Granted>) -> State {
        self.capabilities.open(granted, &share.account)
    }

    /// Where a command counts, which is of no app.
    pub(crate) fn own_account(&self) -> &Arc<Account> {
        &self.share.account
    }
}

fn limits(quota: Option<&AppQuota>) -> Limits {
    let Some(AppQuota { memory, cpu, concurrency, requests }) = quota else {
        return Limits::default();
    };
    Limits {
        memory: memory.map(|memory| memory.bytes()),
        cpu: cpu.map(|cpu| cpu.thousandths()),
        concurrency: *concurrency,
        requests: *requests,
    }
}
