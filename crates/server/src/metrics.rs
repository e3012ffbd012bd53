//! What Prometheus collects. Series are bounded by what is registered: apps, tenants, and the answers that
//! there are; nothing that a client or a guest writes is a label.

use std::fmt;

use dhow_api::Problem;
use dhow_host::Histogram;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::control::{Control, internal};

/// All metrics as text.
pub(crate) fn text(control: &Control) -> Result<String, Problem> {
    let status = crate::status::of(control, None, None)?;
    let apps = control.apps();
    let apps = apps.iter().map(|app| {
        let (mut requests, mut errors, mut refused) = (0, 0, 0);
        let mut times = Histogram::default();
        for revision in app.site.revisions().values() {
            requests += revision.stats().requests();
            errors += revision.stats().errors();
            refused += revision.stats().refused();
            revision.stats().add_to_histogram(&mut times);
        }
        let (tenant, name) = &app.key;
        AppCounts {
            tenant: tenant.to_string(),
            app: name.to_string(),
            requests,
            errors,
            refused,
            times,
        }
    });
    let mut registry = Registry::default();
    let denials = control.tenants.all().into_iter().flat_map(|tenant| {
        let counts = tenant.capabilities().denials().counts();
        counts.into_iter().map(move |((app, component, capability), count)| Denial {
            tenant: tenant.name().to_string(),
            app: app.to_string(),
            component: component.to_string(),
            capability,
            count,
        })
    });
    let apps = apps.filter(|app| app.requests + app.refused > 0).collect();
    let all = Everything { apps, denials: denials.collect(), status };
    registry.register_collector(Box::new(all));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| internal(&error))?;
    Ok(text)
}

/// What is shown, as it was when it was asked for.
#[derive(Debug)]
struct Everything {
    apps: Vec<AppCounts>,
    denials: Vec<Denial>,
    status: dhow_api::Status,
}

/// Of apps, components and capabilities that there are.
#[derive(Debug)]
struct Denial {
    tenant: String,
    app: String,
    component: String,
    capability: &'static str,
    count: u64,
}

#[derive(Debug)]
struct AppCounts {
    tenant: String,
    app: String,
    requests: u64,
    errors: u64,
    refused: u64,
    times: Histogram,
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor(
            "dhow_requests",
            "Requests that an app has answered.",
            None,
            kind,
        )?;
        for app in &self.apps {
            let labels = [("tenant", &*app.tenant), ("app", &*app.app)];
            ConstCounter::new(app.requests).encode(family.encode_family(&labels)?)?;
        }
        let help = "Requests that came to a status of 500 and above.";
        let mut family = encoder.encode_descriptor("dhow_request_errors", help, None, kind)?;
        for app in &self.apps {
            let labels = [("tenant", &*app.tenant), ("app", &*app.app)];
            ConstCounter::new(app.errors).encode(family.encode_family(&labels)?)?;
        }
        let help = "Requests that were refused for want of room.";
        let mut family = encoder.encode_descriptor("dhow_requests_refused", help, None, kind)?;
        for app in &self.apps {
            let labels = [("tenant", &*app.tenant), ("app", &*app.app)];
            ConstCounter::new(app.refused).encode(family.encode_family(&labels)?)?;
        }
        self.encode_times(&mut encoder)?;
        let help = "Calls of capabilities that were denied.";
        let mut family = encoder.encode_descriptor("dhow_denials", help, None, kind)?;
        for Denial { tenant, app, component, capability, count } in &self.denials {
            let labels = [
                ("tenant", &**tenant),
                ("app", &**app),
                ("component", &**component),
                ("capability", *capability),
            ];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Processor time of a tenant's guests.";
        let unit = prometheus_client::registry::Unit::Seconds;
        let mut family = encoder.encode_descriptor("dhow_tenant_cpu", help, Some(&unit), kind)?;
        for tenant in &self.status.tenants {
            let counter = ConstCounter::new(tenant.cpu_seconds);
            counter.encode(family.encode_family(&[("tenant", &*tenant.tenant)])?)?;
        }
        self.encode_gauges(&mut encoder)
    }
}

impl Everything {
    fn encode_times(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Time until the head of the response.";
        let (kind, unit) = (MetricType::Histogram, prometheus_client::registry::Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("dhow_request_duration", help, Some(&unit), kind)?;
        for AppCounts { tenant, app, requests, times: Histogram { buckets, sum }, .. } in &self.apps
        {
            let labels = [("tenant", &**tenant), ("app", &**app)];
            let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
            let beyond = (f64::INFINITY, requests.saturating_sub(counted));
            let buckets: Vec<_> = buckets.iter().copied().chain([beyond]).collect();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(*sum, *requests, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = MetricType::Gauge;
        type Of = fn(&dhow_api::TenantStatus) -> u64;
        let of_tenants: [(&str, &str, Of); 5] = [
            ("dhow_tenant_memory_bytes", "Memory of a tenant's instances.", |it| it.memory_bytes),
            ("dhow_tenant_instances", "Live instances of a tenant.", |it| it.instances),
            ("dhow_tenant_in_flight", "Requests of a tenant under way.", |it| it.in_flight),
            ("dhow_tenant_apps", "Apps of a tenant.", |it| it.apps),
            ("dhow_tenant_stored_bytes", "Bytes that a tenant has uploaded.", |it| it.stored_bytes),
        ];
        for (name, help, of) in of_tenants {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for tenant in &self.status.tenants {
                let gauge = ConstGauge::new(i64::try_from(of(tenant)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&[("tenant", &*tenant.tenant)])?)?;
            }
        }
        let all: [(&str, &str, u64); 2] = [
            ("dhow_in_flight", "Requests under way.", self.status.in_flight),
            ("dhow_apps", "Apps.", self.status.apps_total),
        ];
        for (name, help, value) in all {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
