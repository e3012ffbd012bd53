//! The metrics of a server for an OpenTelemetry collector: what `dhow status` shows, of as many apps as it shows.

use std::sync::{Arc, Weak};

use dhow_api::{AppStatus, Status, TenantStatus};
use dhow_telemetry::{KeyValue, Meter};

use crate::{control::Control, status};

/// A number of an app or of a tenant, and what it is called.
struct Number<T> {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    of: fn(&T) -> f64,
}

/// What only grows, but where revisions are forgotten, whose requests go with them.
const APP_COUNTERS: [Number<AppStatus>; 3] = [
    Number {
        name: "dhow.app.requests",
        description: "Requests that an app has answered.",
        unit: "{request}",
        of: |app| app.requests as f64,
    },
    Number {
        name: "dhow.app.cpu.time",
        description: "Processor time of an app's guests.",
        unit: "s",
        of: |app| app.cpu_seconds,
    },
    Number {
        name: "dhow.app.denials",
        description: "Calls of capabilities that were denied to an app.",
        unit: "{call}",
        of: |app| app.denied as f64,
    },
];

const APP_GAUGES: [Number<AppStatus>; 6] = [
    Number {
        name: "dhow.app.error_rate",
        description: "The part of an app's requests that came to a 5xx, of the last minute.",
        unit: "1",
        of: |app| app.error_rate,
    },
    Number {
        name: "dhow.app.duration.p50",
        description: "The median of the last minute until the head of the response.",
        unit: "ms",
        of: |app| app.p50_ms.unwrap_or(0.0),
    },
    Number {
        name: "dhow.app.duration.p99",
        description: "The 99th percentile likewise.",
        unit: "ms",
        of: |app| app.p99_ms.unwrap_or(0.0),
    },
    Number {
        name: "dhow.app.memory",
        description: "Memory of an app's instances.",
        unit: "By",
        of: |app| app.memory_bytes as f64,
    },
    Number {
        name: "dhow.app.instances",
        description: "Live instances of an app.",
        unit: "{instance}",
        of: |app| app.instances as f64,
    },
    Number {
        name: "dhow.app.requests.in_flight",
        description: "Requests of an app under way.",
        unit: "{request}",
        of: |app| app.in_flight as f64,
    },
];

const TENANT_GAUGES: [Number<TenantStatus>; 3] = [
    Number {
        name: "dhow.tenant.memory",
        description: "Memory of a tenant's instances.",
        unit: "By",
        of: |tenant| tenant.memory_bytes as f64,
    },
    Number {
        name: "dhow.tenant.apps",
        description: "Apps of a tenant.",
        unit: "{app}",
        of: |tenant| tenant.apps as f64,
    },
    Number {
        name: "dhow.tenant.stored",
        description: "Bytes that a tenant has uploaded.",
        unit: "By",
        of: |tenant| tenant.stored_bytes as f64,
    },
];

/// Has `meter` know the metrics of `control`, for as long as that is there.
pub(crate) fn observe(control: &Arc<Control>, meter: &Meter) {
    for Number { name, description, unit, of } in APP_COUNTERS {
        let control = Arc::downgrade(control);
        let counter = meter.f64_observable_counter(name);
        let observe = counter.with_description(description).with_unit(unit);
        observe.with_callback(move |to| apps(&control, |app, at| to.observe(of(app), at))).build();
    }
    for Number { name, description, unit, of } in APP_GAUGES {
        let control = Arc::downgrade(control);
        let gauge = meter.f64_observable_gauge(name);
        let observe = gauge.with_description(description).with_unit(unit);
        observe.with_callback(move |to| apps(&control, |app, at| to.observe(of(app), at))).build();
    }
    for Number { name, description, unit, of } in TENANT_GAUGES {
        let control = Arc::downgrade(control);
        let gauge = meter.f64_observable_gauge(name);
        let observe = gauge.with_description(description).with_unit(unit);
        let each = move |tenant: &TenantStatus| {
            (of(tenant), [KeyValue::new("dhow.tenant", tenant.tenant.clone())])
        };
        observe
            .with_callback(move |to| {
                let Some(status) = now(&control) else { return };
                status.tenants.iter().map(each).for_each(|(value, at)| to.observe(value, &at));
            })
            .build();
    }
}

/// Gives each app that was ever called, and what it is known by.
fn apps(control: &Weak<Control>, mut observe: impl FnMut(&AppStatus, &[KeyValue])) {
    let Some(status) = now(control) else { return };
    for app in status.apps.iter().filter(|app| app.requests > 0) {
        let (tenant, name) = (app.tenant.clone(), app.app.clone());
        observe(app, &[KeyValue::new("dhow.tenant", tenant), KeyValue::new("dhow.app", name)]);
    }
}

fn now(control: &Weak<Control>) -> Option<Status> {
    status::of(&*control.upgrade()?, None, None).ok()
}
