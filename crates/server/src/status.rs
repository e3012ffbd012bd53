//! How apps and tenants are, as people ask for it.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use dhow_api::{AppStatus, Code, Problem, Status, TenantStatus};
use dhow_host::Summary;
use dhow_manifest::Name;

use crate::{
    control::{Control, KnownApp},
    registry::RegistryError,
};

/// The apps that are listed at most.
const MAX_APPS: usize = 1_000;

/// How the apps of `tenant` are, or of all; or only `app`.
pub(crate) fn of(
    control: &Control,
    tenant: Option<&Name>,
    app: Option<&Name>,
) -> Result<Status, Problem> {
    let mut apps = control.apps();
    apps.retain(|known| {
        tenant.is_none_or(|name| known.key.0 == *name)
            && app.is_none_or(|name| known.key.1 == *name)
    });
    if apps.is_empty()
        && let Some(name) = app
    {
        return Err(Problem::new(Code::NotFound, format!("no app is called `{name}`")));
    }
    let apps_total = apps.len() as u64;
    let mut apps: Vec<_> = apps.into_iter().map(|app| (summary(&app), app)).collect();
    apps.sort_by_cached_key(|(summary, app)| (Reverse(summary.requests), app.key.clone()));
    apps.truncate(MAX_APPS);
    let denied = denied(control, tenant);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: control.started.elapsed().as_secs(),
        in_flight: in_flight(control, tenant),
        apps: apps
            .into_iter()
            .map(|(summary, app)| of_app(control, &app, &summary, &denied))
            .collect(),
        apps_total,
        tenants: tenants(control, tenant)?,
    })
}

/// The requests under way of `tenant`, or of all: nobody learns how much others have to do.
fn in_flight(control: &Control, tenant: Option<&Name>) -> u64 {
    match tenant {
        None => control.host.invocations() as u64,
        Some(name) => {
            let all = control.tenants.all();
            let found = all.iter().find(|tenant| tenant.name() == name);
            found.map_or(0, |tenant| u64::from(tenant.under_way()))
        }
    }
}

/// How many calls were denied to each app of `tenant`, or of all.
fn denied(control: &Control, tenant: Option<&Name>) -> BTreeMap<(Name, Name), u64> {
    let mut denied = BTreeMap::new();
    for tenant in control.tenants.all().iter().filter(|it| tenant.is_none_or(|n| it.name() == n)) {
        for ((app, ..), count) in tenant.capabilities().denials().counts() {
            *denied.entry((tenant.name().clone(), app)).or_default() += count;
        }
    }
    denied
}

fn summary(app: &KnownApp) -> Summary {
    let mut summary = Summary::default();
    for revision in app.site.revisions().values() {
        revision.stats().add_to(&mut summary);
    }
    summary
}

fn of_app(
    control: &Control,
    app: &KnownApp,
    summary: &Summary,
    denied: &BTreeMap<(Name, Name), u64>,
) -> AppStatus {
    let millis = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
    let (tenant, name) = &app.key;
    let share = app.site.share();
    AppStatus {
        tenant: tenant.to_string(),
        app: name.to_string(),
        url: control.url(&app.key),
        traffic: app.site.shares(),
        requests_per_second: summary.rate(),
        error_rate: summary.error_rate(),
        p50_ms: summary.percentile(0.5).map(millis),
        p99_ms: summary.percentile(0.99).map(millis),
        requests: app.site.revisions().values().map(|it| it.stats().requests()).sum(),
        memory_bytes: share.account().memory(),
        instances: share.account().instances() as u64,
        cpu_seconds: share.account().cpu_time().as_secs_f64(),
        in_flight: u64::from(share.under_way()),
        denied: denied.get(&app.key).copied().unwrap_or(0),
    }
}

fn tenants(control: &Control, only: Option<&Name>) -> Result<Vec<TenantStatus>, RegistryError> {
    let mut stored: BTreeMap<String, u64> = BTreeMap::new();
    for (tenant, _, upload) in control.registry.uploads()? {
        *stored.entry(tenant).or_default() += upload.size;
    }
    let mut apps: BTreeMap<Name, u64> = BTreeMap::new();
    for app in control.apps() {
        *apps.entry(app.key.0.clone()).or_default() += 1;
    }
    let operator = control.tenants.operator();
    let all = control.tenants.all().into_iter();
    let wanted = all.filter(|tenant| only.is_none_or(|name| tenant.name() == name));
    Ok(wanted
        .map(|tenant| {
            let name = tenant.name();
            let quota = operator.quota_of(name);
            TenantStatus {
                tenant: name.to_string(),
                apps: apps.get(name).copied().unwrap_or(0),
                apps_quota: u64::from(quota.apps),
                stored_bytes: stored.get(name.as_str()).copied().unwrap_or(0),
                stored_quota: quota.stored.bytes(),
                memory_bytes: tenant.account().memory(),
                memory_quota: quota.memory.bytes(),
                instances: tenant.account().instances() as u64,
                cpu_seconds: tenant.account().cpu_time().as_secs_f64(),
                cpu_quota: f64::from(quota.cpu.thousandths()) / 1000.0,
                in_flight: u64::from(tenant.under_way()),
                log_bytes_dropped: control.logs.log(name).dropped(),
            }
        })
        .collect())
}
