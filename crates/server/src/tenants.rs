//! Those who share a server: each with its own backends, folders, secrets and quota.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use dhow_capabilities::{BackendError, Backends, Capabilities, GuestOutput, SecretFolder};
use dhow_host::{Host, ReserveError, Tenant};
use dhow_manifest::{AppQuota, Name, Operator};
use thiserror::Error;

use crate::{data::DataFolder, logs::Logs};

/// Gives a variable of the environment that the server runs in: for the operator's own configuration,
/// and never for a tenant's.
pub(crate) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The tenants of a server, each from when it is first known.
pub(crate) struct Tenants {
    host: Arc<Host>,
    data: Arc<DataFolder>,
    environment: Environment,
    operator: ArcSwap<Operator>,
    logs: Arc<Logs>,
    by_name: Mutex<BTreeMap<Name, Arc<Tenant>>>,
}

/// A tenant can't have what is configured for it.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum TenantError {
    #[error("tenant `{tenant}`: {}", list(errors))]
    Backends { tenant: Name, errors: Vec<BackendError> },
    #[error("tenant `{tenant}`: {error}")]
    Reserve { tenant: Name, error: ReserveError },
}

fn app_quotas(operator: &Operator, tenant: &Name) -> BTreeMap<Name, AppQuota> {
    operator.tenants.get(tenant).map(|settings| settings.apps.clone()).unwrap_or_default()
}

fn list(errors: &[BackendError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Tenants {
    /// Those that `operator` names, and whoever else comes.
    pub(crate) fn new(
        host: Arc<Host>,
        data: Arc<DataFolder>,
        environment: Environment,
        operator: Operator,
        logs: Arc<Logs>,
    ) -> Result<Self, TenantError> {
        let tenants = Self {
            host,
            data,
            environment,
            operator: ArcSwap::from_pointee(operator),
            logs,
            by_name: Mutex::default(),
        };
        for name in tenants.operator().tenants.keys() {
            tenants.get(name)?;
        }
        Ok(tenants)
    }

    /// The configuration.
    pub(crate) fn operator(&self) -> Arc<Operator> {
        self.operator.load_full()
    }

    /// Changes the configuration, and what tenants may use.
    pub(crate) fn set_operator(&self, operator: Operator) {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, tenant) in &*by_name {
            let quota = operator.quota_of(name);
            tenant.set_quota(&quota);
            tenant.set_app_quotas(&app_quotas(&operator, name));
            tenant.set_ceilings(operator.limits);
            self.logs.log(name).set_rate(quota.log);
        }
        self.operator.store(Arc::new(operator));
    }

    /// The tenant `name`.
    pub(crate) fn get(&self, name: &Name) -> Result<Arc<Tenant>, TenantError> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = by_name.get(name) {
            return Ok(tenant.clone());
        }
        let operator = self.operator();
        let backends = self.backends(&operator, name)?;
        let quota = operator.quota_of(name);
        let output: Arc<dyn GuestOutput> = Arc::new(self.logs.of_tenant(name, quota.log));
        // Nothing of the server's environment is a tenant's.
        let capabilities = Capabilities::new(output, |_| None, backends).of_tenant(name);
        let tenant = self
            .host
            .tenant(name.clone(), capabilities, operator.limits, Some(&quota))
            .map_err(|error| TenantError::Reserve { tenant: name.clone(), error })?;
        tenant.set_app_quotas(&app_quotas(&operator, name));
        by_name.insert(name.clone(), tenant.clone());
        Ok(tenant)
    }

    /// All tenants that are known.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The secrets that were set for `tenant` by the API.
    pub(crate) fn secrets(&self, tenant: &Name) -> SecretFolder {
        let key = (self.environment)("DHOW_SECRET_KEY_FILE").map(Into::into);
        let key = key.unwrap_or_else(|| self.data.secret_key());
        SecretFolder::new(&self.data.tenant(tenant), Some(key))
    }

    fn backends(&self, operator: &Operator, name: &Name) -> Result<Backends, TenantError> {
        let folder = self.data.tenant(name);
        let own = operator.of_tenant(name);
        let (data, files) = (Some(folder.clone()), folder.join("files"));
        let secrets = Some(self.secrets(name));
        Backends::new(&own, data, files, secrets, &*self.environment)
            .map(Backends::confined)
            .map_err(|errors| TenantError::Backends { tenant: name.clone(), errors })
    }
}
