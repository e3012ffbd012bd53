//! `dhow status`: how the apps of a server are, and what its tenants use.

use std::process::ExitCode;

use dhow_api::{AppStatus, Status, TenantStatus};
use dhow_manifest::Name;

use super::{
    Report,
    args::{Format, StatusArgs},
    client::Client,
    problem::Refusal,
    show,
};
use crate::{error::CliError, output};

pub(crate) async fn status(
    StatusArgs { app, server, output }: StatusArgs,
) -> Result<ExitCode, CliError> {
    let status = read(&Client::new(&server)?, app.as_ref()).await?;
    match output.output {
        Format::Json => output::json(&Report { schema: "dhow.status/1", report: &status })?,
        Format::Text => output::text(&describe(&status, cpu_so_far)),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn read(client: &Client, app: Option<&Name>) -> Result<Status, Refusal> {
    let query = app.map(|app| ("app", app.as_str()));
    client.get("/v1/status", query.as_slice()).await
}

/// The status for people. What is said of a tenant's processor time depends on what is known.
pub(super) fn describe(status: &Status, cpu: impl Fn(&TenantStatus) -> String) -> String {
    let uptime = humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds));
    let mut text = format!(
        "Dhow {}, up for {uptime}, {} requests under way\n\n",
        status.version, status.in_flight
    );
    if status.apps.is_empty() {
        text.push_str("There is no app.");
    } else {
        let headings = [
            "TENANT",
            "APP",
            "TRAFFIC",
            "REQ/S",
            "ERRORS",
            "P50",
            "P99",
            "INSTANCES",
            "MEMORY",
            "CPU",
            "URL",
        ];
        let numbers = [3, 4, 5, 6, 7, 8, 9];
        text.push_str(&show::table(headings, &numbers, status.apps.iter().map(app_row)));
    }
    let others = status.apps_total.saturating_sub(status.apps.len() as u64);
    if others > 0 {
        text.push_str(&format!("\nand {others} more"));
    }
    if !status.tenants.is_empty() {
        let headings =
            ["TENANT", "APPS", "MEMORY", "INSTANCES", "IN FLIGHT", "CPU", "STORED", "LOG DROPPED"];
        let rows = status.tenants.iter().map(|tenant| tenant_row(tenant, cpu(tenant)));
        text.push_str("\n\n");
        text.push_str(&show::table(headings, &[1, 2, 3, 4, 5, 6, 7], rows));
    }
    text
}

fn app_row(app: &AppStatus) -> [String; 11] {
    [
        app.tenant.clone(),
        app.app.clone(),
        show::traffic(&app.traffic),
        format!("{:.1}", app.requests_per_second),
        format!("{:.1}%", app.error_rate * 100.0),
        show::milliseconds(app.p50_ms),
        show::milliseconds(app.p99_ms),
        app.instances.to_string(),
        show::bytes(app.memory_bytes),
        format!("{:.1} s", app.cpu_seconds),
        app.url.clone(),
    ]
}

fn tenant_row(tenant: &TenantStatus, cpu: String) -> [String; 8] {
    let bytes = |part, whole| show::of(show::bytes(part), show::bytes(whole));
    [
        tenant.tenant.clone(),
        show::of(tenant.apps, tenant.apps_quota),
        bytes(tenant.memory_bytes, tenant.memory_quota),
        tenant.instances.to_string(),
        tenant.in_flight.to_string(),
        cpu,
        bytes(tenant.stored_bytes, tenant.stored_quota),
        show::bytes(tenant.log_bytes_dropped),
    ]
}

/// What a tenant has had in all.
pub(super) fn cpu_so_far(tenant: &TenantStatus) -> String {
    format!("{:.1} s", tenant.cpu_seconds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_status_is_described() {
        let app = AppStatus {
            tenant: "acme".to_owned(),
            app: "shop".to_owned(),
            url: "http://shop.localhost:8080".to_owned(),
            traffic: BTreeMap::from([(12, 90), (13, 10)]),
            requests_per_second: 12.34,
            error_rate: 0.015,
            p50_ms: Some(1.25),
            p99_ms: None,
            requests: 1000,
            memory_bytes: 3 << 20,
            instances: 2,
            cpu_seconds: 1.25,
            in_flight: 1,
            denied: 0,
        };
        let status = Status {
            version: "0.1.0".to_owned(),
            uptime_seconds: 61,
            in_flight: 2,
            apps: vec![app],
            apps_total: 3,
            tenants: Vec::new(),
        };
        let expected = "Dhow 0.1.0, up for 1m 1s, 2 requests under way\n\n\
            TENANT  APP   TRAFFIC           REQ/S  ERRORS     P50  P99  INSTANCES    MEMORY    CPU  \
            URL\n\
            acme    shop  r13 10%, r12 90%   12.3    1.5%  1.2 ms    -          2  3.00 MiB  1.2 s  \
            http://shop.localhost:8080\n\
            and 2 more";
        assert_eq!(describe(&status, cpu_so_far), expected);
    }
}
