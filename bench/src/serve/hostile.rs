//! Two tenants who mean ill, and what a third notices of it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use dhow_api::Deploy;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    clients::{Seen, be_silent, insist, look_on},
    program::{Hello, guest, manifest},
    report::{Findings, median, percentile},
    server::{Program, Server},
};

const ROUNDS: usize = 3;
const DURATION: Duration = Duration::from_secs(8);
/// Until they do what they do.
const BEGINNING: Duration = Duration::from_secs(1);
/// Until what they did is over: a request of theirs may take as long.
const END: Duration = Duration::from_secs(6);

const SPINNING: usize = 64;
const FILLING: usize = 32;
const SILENT: usize = 10_000;
const FLOODING: usize = 16;

const QUOTAS: [(&str, &str); 2] = [
    ("no quota", ""),
    ("half a core each", "[tenant.a.quota]\ncpu = 0.5\n[tenant.b.quota]\ncpu = 0.5\n"),
];

/// What tenants do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attack {
    Spin,
    Fill,
    Silence,
    Flood,
    All,
}

impl Attack {
    const ALL: [Self; 5] = [Self::Spin, Self::Fill, Self::Silence, Self::Flood, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Spin => "64 requests that never end",
            Self::Fill => "32 requests that take all memory they can",
            Self::Silence => "10,000 connections that say nothing",
            Self::Flood => "16 requests that write to the log for ever",
            Self::All => "all of it together",
        }
    }

    fn start(self, address: SocketAddr) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let mut insist_on = |count: usize, tenant: &str, path: &'static str| {
            for _ in 0..count {
                tasks.spawn(insist(address, format!("evil.{tenant}.localhost"), path));
            }
        };
        if matches!(self, Self::Spin | Self::All) {
            insist_on(SPINNING, "a", "/loop");
        }
        if matches!(self, Self::Fill | Self::All) {
            insist_on(FILLING, "b", "/memory");
        }
        if matches!(self, Self::Flood | Self::All) {
            insist_on(FLOODING, "b", "/flood");
        }
        if matches!(self, Self::Silence | Self::All) {
            for _ in 0..SILENT {
                tasks.spawn(be_silent(address));
            }
        }
        tasks
    }
}

pub async fn measure(program: &Program) -> Result<Findings> {
    let mut findings = Findings::default();
    for (quota, config) in QUOTAS {
        let folder = tempfile::tempdir()?;
        let server = program.start(folder.path(), config, &[])?;
        deploy(&server).await?;
        for attack in Attack::ALL {
            let mut pairs = Vec::new();
            for _ in 0..ROUNDS {
                let idle = look(&server).await?;
                let attacked = under(attack, &server).await?;
                eprintln!("  {quota}, {}:\n   {idle:?}\n   {attacked:?}", attack.name());
                pairs.push((idle, attacked));
            }
            report(&mut findings, &format!("{quota}, {}", attack.name()), &pairs);
        }
    }
    Ok(findings)
}

async fn deploy(server: &Server) -> Result<()> {
    let mut api = server.api().await?;
    let apps = [
        ("a", "evil", guest("trap")?),
        ("b", "evil", guest("trap")?),
        ("c", "good", Hello::read()?.build(1)?),
    ];
    for (tenant, app, component) in apps {
        api.act_for(tenant);
        let components = [("main".to_owned(), api.upload(component).await?)].into();
        let manifest = Some(manifest(app, "memory = \"256MiB\", time = \"5s\""));
        api.deploy(app, &Deploy { manifest, components, ..Deploy::default() }).await?;
    }
    Ok(())
}

async fn look(server: &Server) -> Result<Seen> {
    let address = server.address;
    spawn_blocking(move || look_on(address, "good.c.localhost", DURATION)).await?
}

async fn under(attack: Attack, server: &Server) -> Result<Seen> {
    let mut tasks = attack.start(server.address);
    sleep(BEGINNING).await;
    let seen = look(server).await;
    tasks.shutdown().await;
    sleep(END).await;
    seen
}

fn report(findings: &mut Findings, name: &str, pairs: &[(Seen, Seen)]) {
    let of = |value: fn(&(Seen, Seen)) -> f64| pairs.iter().map(value).collect::<Vec<_>>();
    let idle = of(|(idle, _)| idle.p99);
    let ratio = of(|(idle, attacked)| attacked.p99 / idle.p99);
    findings.add(format!("{name}: p50 before"), median(&of(|(idle, _)| idle.p50)), "ms");
    findings.add("p50 meanwhile", median(&of(|(_, attacked)| attacked.p50)), "ms");
    findings.add("p99 before", median(&idle), "ms");
    findings.add("p99 meanwhile", median(&of(|(_, attacked)| attacked.p99)), "ms");
    findings.goal("ratio within a round, median", median(&ratio), "x", 2.0);
    findings.add("the largest ratio", percentile(&ratio, 100.0), "x");
    let failed = of(|(_, attacked)| attacked.failed as f64).iter().sum();
    findings.goal("failed requests of the third tenant", failed, "", 0.0);
    findings.add("p99 on a new connection, before", median(&of(|(idle, _)| idle.new_p99)), "ms");
    findings.add("meanwhile", median(&of(|(_, attacked)| attacked.new_p99)), "ms");
    let failed = of(|(_, attacked)| attacked.new_failed as f64).iter().sum();
    findings.goal("of these failed", failed, "", 0.0);
}
