//! Ten thousand apps of a hundred tenants.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dhow_api::Deploy;
use http::StatusCode;
use tokio::time::sleep;

use super::{
    clients::get,
    program::{Hello, build_of, manifest},
    report::{Findings, median, millis, percentile},
    server::{Program, Server, data},
};

const TENANTS: u32 = 100;
const APPS: u32 = 100;
const CONFIG: &str = "[quota]\napps = 200\n";
const CLIENTS: u32 = 4;

/// The components of each tenant, of each of which a third of the apps is made.
const COMPONENTS: u32 = 3;

/// First requests. Before each of the batches the system forgets the files of the data folder. Every tenant
/// has one request for each of its components, so that every request finds a component not loaded.
const BATCHES: u32 = 10;
const BATCH: u32 = TENANTS * COMPONENTS / BATCHES;

/// Longer than code stays loaded that nobody calls.
const IDLE: Duration = Duration::from_secs(5);

pub async fn measure(program: &Program) -> Result<Findings> {
    let mut findings = Findings::default();
    let empty = {
        let folder = tempfile::tempdir()?;
        let server = program.start(folder.path(), CONFIG, &[])?;
        sleep(IDLE).await;
        server.memory()?
    };
    let folder = tempfile::tempdir()?;
    let server = program.start(folder.path(), CONFIG, &[])?;
    let start = Instant::now();
    let deploys = deploy_all(&server).await?;
    let all = f64::from(TENANTS * APPS);
    findings.add("apps, of 100 tenants", all, "");
    findings.add("deploys a second, by 4 clients", all / start.elapsed().as_secs_f64(), "");
    findings.add("one of these, p50", median(&deploys), "ms");
    findings.add("p99", percentile(&deploys, 99.0), "ms");
    server.stop()?;
    drop_pages(folder.path())?;
    let server = program.start(folder.path(), CONFIG, &[])?;
    findings.add("from start to listening", millis(server.startup), "ms");
    sleep(IDLE).await;
    let memory = server.memory()?;
    let each = (memory.resident - empty.resident) / all / 1024.0;
    findings.add("memory of an empty server", empty.resident / f64::from(1 << 20), "MiB");
    findings.add("memory with all apps", memory.resident / f64::from(1 << 20), "MiB");
    findings.goal("for each app", each, "KiB", 20.0);
    report_first(&mut findings, &server, folder.path()).await?;
    let after = server.memory()?.resident / f64::from(1 << 20);
    findings.add("memory when 400 of them were called", after, "MiB");
    report_status(&mut findings, &server).await?;
    Ok(findings)
}

fn app(number: u32) -> String {
    format!("app-{number}")
}

/// Says who made a component, and which of his.
fn build(tenant: u32, app: u32) -> u32 {
    tenant * COMPONENTS + app % COMPONENTS
}

fn tenant(number: u32) -> String {
    format!("tenant-{number}")
}

/// The times of all deploys, in milliseconds.
async fn deploy_all(server: &Server) -> Result<Vec<f64>> {
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let mut api = server.api().await?;
        let hello = Hello::read()?;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (client..TENANTS).step_by(CLIENTS as usize) {
                api.act_for(&tenant(number));
                let mut digests = Vec::new();
                for component in 0..COMPONENTS {
                    digests.push(api.upload(hello.build(build(number, component))?).await?);
                }
                for (number, digest) in (0..APPS).zip(digests.iter().cycle()) {
                    let app = app(number);
                    let manifest = Some(manifest(&app, "memory = \"16MiB\", time = \"5s\""));
                    let components = [("main".to_owned(), digest.clone())].into();
                    let deploy = Deploy { manifest, components, ..Deploy::default() };
                    let start = Instant::now();
                    api.deploy(&app, &deploy).await?;
                    times.push(millis(start.elapsed()));
                }
            }
            Ok::<_, anyhow::Error>(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(times)
}

async fn report_first(findings: &mut Findings, server: &Server, folder: &Path) -> Result<()> {
    let (mut from_disk, mut shared) = (Vec::new(), Vec::new());
    for batch in 0..BATCHES {
        drop_pages(folder)?;
        for index in 0..BATCH {
            let request = batch * BATCH + index;
            let (visit, owner) = (request / TENANTS, request * 31 % TENANTS); // All over the place.
            let third = APPS / COMPONENTS;
            let number = COMPONENTS * (request * 7 % third) + visit;
            from_disk.push(first_request(server, owner, number).await?);
        }
    }
    findings.add("first request, from disk, p50", median(&from_disk), "ms");
    findings.goal("p99", percentile(&from_disk, 99.0), "ms", 5.0);
    findings.add("the longest", percentile(&from_disk, 100.0), "ms");
    for owner in 0..TENANTS {
        // Its last app has the component of its first, of which one was called above.
        shared.push(first_request(server, owner, APPS - 1).await?);
    }
    findings.add("of an app whose component another's is, p50", median(&shared), "ms");
    findings.add("p99", percentile(&shared, 99.0), "ms");
    Ok(())
}

/// How long the first request of an app takes, in milliseconds.
async fn first_request(server: &Server, owner: u32, number: u32) -> Result<f64> {
    let host = format!("{}.{}.localhost", app(number), tenant(owner));
    let start = Instant::now();
    let (status, text) = get(server.address, &host, "/").await?;
    let time = millis(start.elapsed());
    let is_right = status == StatusCode::OK && build_of(&text) == Some(build(owner, number));
    ensure!(is_right, "{host}: {status} {text}");
    Ok(time)
}

/// Lets the system forget the files in `folder`.
fn drop_pages(folder: &Path) -> Result<()> {
    let status = Command::new("sh")
        .arg("-c")
        .arg("sync -f \"$0\"; find \"$0\" -type f -exec dd if={} iflag=nocache count=0 status=none \\;")
        .arg(data(folder))
        .status()?;
    ensure!(status.success(), "dd: {status}");
    Ok(())
}

async fn report_status(findings: &mut Findings, server: &Server) -> Result<()> {
    let mut api = server.api().await?;
    for path in ["/v1/status", "/metrics"] {
        let mut times = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            api.get(path).await?;
            times.push(millis(start.elapsed()));
        }
        findings.goal(format!("GET {path}, p50"), median(&times), "ms", 100.0);
        findings.add("the longest of 20", percentile(&times, 100.0), "ms");
    }
    Ok(())
}
