//! `dhow top`: the status, each second.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use dhow_api::{Status, TenantStatus};
use tokio::time::{MissedTickBehavior, interval};

use super::{args::TopArgs, client::Client, show, status};
use crate::{
    error::CliError,
    output::{self, Screen},
    signals::Signals,
};

/// As often as eyes follow.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn top(TopArgs { app, server }: TopArgs) -> Result<ExitCode, CliError> {
    let client = Client::new(&server)?;
    // Before the screen is taken: an error at once is not hidden with it.
    let mut now = status::read(&client, app.as_ref()).await?;
    let mut signals = Signals::new()?;
    let Some(screen) = Screen::take() else {
        output::text(&status::describe(&now, status::cpu_so_far));
        return Ok(ExitCode::SUCCESS);
    };
    let mut before: Option<Before> = None;
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        screen.show(&status::describe(&now, |tenant| match &before {
            Some(before) => before.cpu(tenant),
            None => status::cpu_so_far(tenant),
        }));
        before = Some(Before::new(&now));
        let next = async {
            interval.tick().await;
            status::read(&client, app.as_ref()).await
        };
        tokio::select! {
            next = next => now = next?,
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// What tenants had used a while ago.
struct Before {
    when: Instant,
    cpu_seconds: BTreeMap<String, f64>,
}

impl Before {
    fn new(status: &Status) -> Self {
        let tenants = status.tenants.iter();
        let cpu_seconds = tenants.map(|it| (it.tenant.clone(), it.cpu_seconds)).collect();
        Self { when: Instant::now(), cpu_seconds }
    }

    /// What `tenant` has used for each second since.
    fn cpu(&self, tenant: &TenantStatus) -> String {
        let before = self.cpu_seconds.get(&tenant.tenant).copied().unwrap_or(0.0);
        let seconds = self.when.elapsed().as_secs_f64().max(f64::EPSILON);
        // A server that was started anew has counted from nothing.
        let used = (tenant.cpu_seconds - before).max(0.0) / seconds;
        show::of(format_args!("{used:.2}"), tenant.cpu_quota)
    }
}
