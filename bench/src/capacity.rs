//! What one process holds, and how fast what it does not hold comes back.
//!
//! Each measurement runs in a process of its own, `bench capacity --one WHAT COMPONENT`, so that
//! none sees the memory of another.

use std::{
    fmt::Write as _,
    fs,
    num::NonZeroU32,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dhow_host::Callee;
use dhow_package::Artifact;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use wasmparser::{Operator, Parser, Payload};

use crate::live::{FRESH, Rig, host, link, send};

const IDLE_APPS: usize = 100_000;
const FIRST_REQUESTS: usize = 300;
/// What a called instance takes of the mappings that Linux allows a process: two for its stack,
/// four for its memory.
const MAPPINGS_FOR_EACH: u32 = 6;
/// For all else, the pool's own among it.
const OTHER_MAPPINGS: u32 = 1_500;
/// At 4 GiB of addresses for each memory, of the 128 TiB that x86-64 has.
const MAX_LIVE: u32 = 20_000;
/// What is smaller needs no more room in a pool than this.
const FEW: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

#[derive(Serialize, Deserialize)]
struct Finding {
    component: String,
    measure: String,
    value: f64,
    unit: String,
}

/// Writes RESULTS.json and RESULTS.md of `components`, each NAME=PATH. The first is Rust's.
pub fn run(results: &str, components: &[&str]) -> Result<()> {
    let mut findings = Vec::new();
    for (index, component) in components.iter().enumerate() {
        let (name, path) = component.split_once('=').context("a component is NAME=PATH")?;
        let mut measure = |what: &str| -> Result<()> {
            eprintln!("{name}: {what}");
            for mut finding in in_child(what, path)? {
                finding.component = name.to_owned();
                findings.push(finding);
            }
            Ok(())
        };
        measure("from-disk")?;
        measure("incremental")?;
        measure("live-instances")?;
        if index == 0 {
            measure("idle-apps")?;
        }
    }
    let mut text = "| component | measure | |\n|---|---|---:|\n".to_owned();
    for Finding { component, measure, value, unit } in &findings {
        let _ = writeln!(text, "| {component} | {measure} | {value:.1} {unit} |");
    }
    println!("{text}");
    fs::write(format!("{results}.json"), serde_json::to_string_pretty(&findings)?)?;
    fs::write(format!("{results}.md"), text)?;
    Ok(())
}

fn in_child(what: &str, component: &str) -> Result<Vec<Finding>> {
    let child = Command::new(std::env::current_exe()?)
        .args(["capacity", "--one", what, component])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(child.status.success(), "{what} of {component}: {}", child.status);
    Ok(serde_json::from_slice(&child.stdout)?)
}

/// One measurement of one component.
pub fn one(what: &str, component: &Path) -> Result<()> {
    let artifact = Artifact::read(component)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        match what {
            "from-disk" => from_disk(&artifact).await,
            "incremental" => incremental(&artifact),
            "idle-apps" => idle_apps(&artifact).await,
            "live-instances" => live_instances(&artifact).await,
            _ => bail!("no such measurement"),
        }
    })?;
    let findings: Vec<_> = found
        .into_iter()
        .map(|(measure, value, unit)| Finding {
            component: String::new(),
            measure,
            value,
            unit: unit.to_owned(),
        })
        .collect();
    println!("{}", serde_json::to_string(&findings)?);
    Ok(())
}

type Found = Vec<(String, f64, &'static str)>;

/// An app whose code is in no cache of the process, from the file to the end of its answer.
async fn from_disk(artifact: &Artifact) -> Result<Found> {
    let cache = tempfile::tempdir()?;
    let host = host(FEW, Some(cache.path()))?;
    let app = host.start(link(&host, artifact, FRESH)?);
    let component = app.route("/").context("every path")?;
    // A file that was written a moment ago is read in full each time; older ones once.
    let unsealed = first_requests(&host, || component.clone(), 20).await?;
    std::thread::sleep(Duration::from_secs(4));
    first_requests(&host, || component.clone(), 1).await?;
    let sealed = first_requests(&host, || component.clone(), 200).await?;
    Ok(vec![
        ("from disk to answered, p50".to_owned(), millis(percentile(&sealed, 50)), "ms"),
        ("from disk to answered, p99".to_owned(), millis(percentile(&sealed, 99)), "ms"),
        ("the same, checked in full, p50".to_owned(), millis(percentile(&unsealed, 50)), "ms"),
    ])
}

/// The times of requests that find nothing loaded, in order.
async fn first_requests(
    host: &Rig,
    mut component: impl FnMut() -> Callee,
    count: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        // The second lets go of what was called before the first.
        host.sweep(Duration::ZERO);
        host.sweep(Duration::ZERO);
        let component = component();
        ensure!(!component.is_loaded(), "it is loaded");
        let start = Instant::now();
        send(host, &component, "/").await?.into_body().collect().await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Compiling all of it, and compiling it again after one function has changed.
fn incremental(artifact: &Artifact) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let host = host(FEW, Some(&folder.path().join("cache")))?;
    let compile = |artifact: &Artifact| -> Result<Duration> {
        let start = Instant::now();
        link(&host, artifact, FRESH)?;
        Ok(start.elapsed())
    };
    let full = compile(artifact)?;
    let changed_path = folder.path().join("changed.wasm");
    fs::write(&changed_path, change_one_function(artifact.bytes())?)?;
    let again = compile(&Artifact::read(&changed_path)?)?;
    Ok(vec![
        ("compiled in full".to_owned(), millis(full), "ms"),
        ("after a change of one function".to_owned(), millis(again), "ms"),
        ("part of it".to_owned(), 100.0 * again.as_secs_f64() / full.as_secs_f64(), "%"),
    ])
}

/// The component with another number in one of its functions.
fn change_one_function(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut constants = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            // One byte of LEB128: from 1 to 60, and still one when it is one more.
            if let (Operator::I32Const { value: 1..=60 }, offset) = operator? {
                constants.push(offset + 1);
            }
        }
    }
    let middle = *constants.get(constants.len() / 2).context("no number in any function")?;
    let mut changed = wasm.to_vec();
    *changed.get_mut(middle).context("inside")? += 1;
    Ok(changed)
}

/// Many apps of which none is called, then the first request to some of them.
async fn idle_apps(artifact: &Artifact) -> Result<Found> {
    let cache = tempfile::tempdir()?;
    let host = host(FEW, Some(cache.path()))?;
    let warm = host.start(link(&host, artifact, FRESH)?);
    let component = warm.route("/").context("every path")?;
    std::thread::sleep(Duration::from_secs(4)); // The file is old enough to be sealed.
    first_requests(&host, || component.clone(), 5).await?;
    let before = resident()?;
    let mut apps = Vec::with_capacity(IDLE_APPS);
    for index in 0..IDLE_APPS {
        apps.push(host.start(link(&host, artifact, FRESH)?));
        if index % 100 == 0 {
            host.sweep(Duration::ZERO);
        }
    }
    host.sweep(Duration::ZERO);
    host.sweep(Duration::ZERO);
    ensure!(host.loaded() == 0, "{} are loaded", host.loaded());
    let each = (resident()? - before) / IDLE_APPS as f64;
    let mut index = 0;
    let next = || {
        index = (index + 7_919) % IDLE_APPS; // A prime: all over the place.
        apps[index].route("/").expect("every path")
    };
    let times = first_requests(&host, next, FIRST_REQUESTS).await?;
    Ok(vec![
        (format!("memory of each of {IDLE_APPS} idle apps"), each / 1024.0, "KiB"),
        ("first request to one of them, p50".to_owned(), millis(percentile(&times, 50)), "ms"),
        ("the longest".to_owned(), millis(percentile(&times, 100)), "ms"),
    ])
}

/// Instances that have answered and whose response nobody reads.
async fn live_instances(artifact: &Artifact) -> Result<Found> {
    let mappings: u32 = fs::read_to_string("/proc/sys/vm/max_map_count")?.trim().parse()?;
    let size = (mappings.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_FOR_EACH).clamp(1, MAX_LIVE);
    let host = host(NonZeroU32::new(size).context("one at least")?, None)?;
    let app = host.start(link(&host, artifact, FRESH)?);
    let component = app.route("/").context("every path")?;
    let mut held = vec![send(&host, &component, "/").await?];
    let before = resident()?;
    for _ in 1..size {
        match send(&host, &component, "/").await {
            Ok(response) => held.push(response),
            Err(error) => {
                eprintln!("after {}: {error}", held.len());
                break;
            }
        }
        if is_memory_nearly_used_up()? {
            eprintln!("after {}: the memory is nearly used up", held.len());
            break;
        }
    }
    let each = (resident()? - before) / (held.len() - 1).max(1) as f64;
    Ok(vec![
        ("live instances at a time".to_owned(), held.len() as f64, ""),
        ("memory of each".to_owned(), each / 1024.0, "KiB"),
    ])
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<f64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split_whitespace().nth(1).context("resident")?.parse()?;
    Ok(pages * 4096.0)
}

/// Whether the system has less than a tenth of its memory left.
fn is_memory_nearly_used_up() -> Result<bool> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(name)).context("meminfo")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    };
    Ok(kib("MemAvailable:")? < kib("MemTotal:")? / 10.0)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() - 1) * percent / 100).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
