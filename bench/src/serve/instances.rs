//! Many instances that are at work at a time, each for a request that came by the server's socket.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use dhow_api::Deploy;
use dhow_tests::client::{Connection, empty};
use http::Request;
use tokio::{task::JoinSet, time::sleep};

use super::{
    clients::get,
    program::{guest, manifest},
    report::{Findings, millis},
    server::{Program, Server},
};

const LIVE: u32 = 12_000;
const STREAMS: u32 = 200;
const MAPPINGS: &str = "/proc/sys/vm/max_map_count";
/// More than they need.
const ENOUGH: &str = "400000";

const CONFIG: &str = "[quota]\nmemory = \"64GiB\"\nconcurrency = 20000\n";

/// How long each request waits: longer than it takes to begin all of them.
const HELD: &str = "/before/90000";
const PATIENCE: Duration = Duration::from_secs(80);

pub async fn measure(program: &Program) -> Result<Findings> {
    let _mappings = Mappings::raise()?;
    let folder = tempfile::tempdir()?;
    let instances = (LIVE + 100).to_string();
    let server = program.start(folder.path(), CONFIG, &["--instances", &instances])?;
    deploy(&server).await?;
    let before = (server.memory()?, server.mappings()?);
    let start = Instant::now();
    let _held = hold(server.address).await;
    let live = wait(&server).await?;
    let took = start.elapsed();
    let after = (server.memory()?, server.mappings()?);
    let probe = Instant::now();
    get(server.address, "held.localhost", "/before/0").await?;
    let probe = probe.elapsed();
    let each = (after.0.resident - before.0.resident) / live as f64 / 1024.0;
    let mut findings = Findings::default();
    findings.add("from start to listening, with room for them", millis(server.startup), "ms");
    findings.add("instances at work at a time", live as f64, "");
    findings.add("until they were there", millis(took), "ms");
    findings.add("memory of each, its connection's part included", each, "KiB");
    let mappings = (after.1 as f64 - before.1 as f64) / live as f64;
    findings.add("mappings of each", mappings, "");
    findings.add("one request more, meanwhile", millis(probe), "ms");
    Ok(findings)
}

async fn deploy(server: &Server) -> Result<()> {
    let mut api = server.api().await?;
    let components = [("main".to_owned(), api.upload(guest("slow")?).await?)].into();
    let limits = "memory = \"16MiB\", time = \"5min\", concurrency = 20000";
    let manifest = Some(manifest("held", limits));
    api.deploy("held", &Deploy { manifest, components, ..Deploy::default() }).await?;
    get(server.address, "held.localhost", "/before/0").await?;
    Ok(())
}

/// Begins all requests, by HTTP/2.
async fn hold(address: SocketAddr) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..LIVE / STREAMS {
        let Connection::Http2(sender) = Connection::http2(address).await else { continue };
        for _ in 0..STREAMS {
            let mut sender = sender.clone();
            tasks.spawn(async move {
                let uri = format!("http://held.localhost{HELD}");
                let Ok(request) = Request::builder().uri(uri).body(empty()) else { return };
                match sender.send_request(request).await {
                    Ok(response) => eprintln!("  one was answered: {}", response.status()),
                    Err(error) => eprintln!("  one failed: {error}"),
                }
            });
        }
    }
    tasks
}

/// Waits until all are at work, or no more come.
async fn wait(server: &Server) -> Result<u64> {
    let (mut api, start) = (server.api().await?, Instant::now());
    let mut before = 0;
    loop {
        sleep(Duration::from_millis(100)).await;
        let status = api.status().await?;
        let live = status.tenants.iter().map(|tenant| tenant.instances).sum();
        ensure!(live >= before, "some have ended: {live} of {before}\n{}", server.log());
        if live >= u64::from(LIVE) {
            return Ok(live);
        }
        if start.elapsed() > PATIENCE {
            bail!("{live} are at work, and not {LIVE}:\n{}", server.log());
        }
        before = live;
    }
}

/// As many mappings of memory as they need; as many as before when it is dropped.
struct Mappings(String);

impl Mappings {
    fn raise() -> Result<Self> {
        let before = fs::read_to_string(MAPPINGS)?;
        let is_enough = before.trim().parse::<u64>()? >= ENOUGH.parse()?;
        if !is_enough && fs::write(MAPPINGS, ENOUGH).is_err() {
            bail!("as root: sysctl -w vm.max_map_count={ENOUGH}");
        }
        Ok(Self(before))
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        let _ = fs::write(MAPPINGS, &self.0);
    }
}
