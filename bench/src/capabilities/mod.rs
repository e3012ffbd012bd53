//! What guests get of stores, databases and servers, beside the same client written natively: the
//! same work, as much at a time, in the same process, in turn.

mod native;

use std::{
    fmt::Write as _,
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use dhow_capabilities::Backends;
use dhow_manifest::Operator;
use dhow_tests::servers::{PASSWORD, Postgres, Redis, free_address};
use futures_util::future::join_all;
use serde::Serialize;
use tempfile::TempDir;

use crate::live::{FRESH, Live, SHARED, in_repository};
use native::Native;

const GUEST: &str = "target/guests/wasm32-wasip2/measured/capabilities.wasm";
/// The same in WASI 0.2, of which it sends requests only.
const GUEST_P2: &str = "target/guests/wasm32-wasip2/measured/capabilities_p2.wasm";
/// Done at the same time, each one thing after the other.
const CALLERS: usize = 32;
/// A round is one measurement of each side.
const ROUNDS: usize = 5;

/// What is measured: what the guest is told, and how often each caller does it: a round takes some tenths of
/// a second.
struct Case {
    name: &'static str,
    path: &'static str,
    count: usize,
    live: Arc<Live>,
    native: Native,
    query: String,
}

/// Operations per second, medians of the rounds.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    dhow: f64,
    native: f64,
    /// The median of the rounds' ratios.
    ratio: f64,
}

/// Measures everything, or cases whose names contain one of `only`; `upstream` is a program that answers
/// HTTP.
pub fn run(results: &str, upstream: &str, only: &[&str]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(upstream, only))?;
    let mut text = String::from(
        "| 32 callers | by a guest of Dhow | natively | part |\n|---|---:|---:|---:|\n",
    );
    for Measured { name, dhow, native, ratio } in &measured {
        writeln!(text, "| {name} | {dhow:.0}/s | {native:.0}/s | {ratio:.2} |")?;
    }
    println!("{text}");
    std::fs::write(format!("{results}.json"), serde_json::to_string_pretty(&measured)?)?;
    std::fs::write(format!("{results}.md"), text)?;
    Ok(())
}

async fn measure(upstream: &str, only: &[&str]) -> Result<Vec<Measured>> {
    let folder = tempfile::tempdir()?;
    let (redis, server) =
        (Redis::start().context("redis-server")?, Postgres::start().context("postgres")?);
    let upstream = Upstream::start(upstream)?;
    let redis_url = format!("redis://:{PASSWORD}@{}", redis.address);
    let postgres_url = format!("postgres://postgres:{PASSWORD}@{}/postgres", server.address);
    let origin = format!("grants.http = ['http://{}']", upstream.address);
    let grants = format!(
        "{origin}\ngrants.keyvalue = {{ db = 'default' }}\ngrants.sql = {{ db = 'default' }}"
    );
    let embedded = live(&folder, "embedded", "", GUEST, &grants, FRESH)?;
    let networked =
        format!("[backend.default]\nkeyvalue = \"{redis_url}\"\nsql = \"{postgres_url}\"");
    let shared = live(&folder, "shared", "", GUEST, &grants, SHARED)?;
    let networked = live(&folder, "networked", &networked, GUEST, &grants, FRESH)?;
    let requests_p2 = live(&folder, "requests", "", GUEST_P2, &origin, FRESH)?;
    let sqlite = folder.path().join("embedded/sql/default.sqlite");
    let http = || format!("?{}/x", upstream.address);
    let case = |name, path, count, live: &Arc<Live>, native, query| Case {
        name,
        path,
        count,
        live: live.clone(),
        native,
        query,
    };
    let none = String::new;
    let [redb_get, redb_set] = native::redb(&folder.path().join("native.redb"))?;
    let sqlite = native::sqlite(&sqlite)?;
    let postgres = native::postgres(&postgres_url).await?;
    let [redis_get, redis_set] = native::redis(&redis_url).await?;
    let requests = native::http(upstream.address);
    let cases = [
        case("key-value get, redb", "kv-get", 2000, &embedded, redb_get, none()),
        case("key-value set, redb", "kv-set", 20, &embedded, redb_set, none()),
        case("key-value get, Redis", "kv-get", 3000, &networked, redis_get, none()),
        case("key-value set, Redis", "kv-set", 3000, &networked, redis_set, none()),
        case("query, SQLite", "sql", 300, &embedded, sqlite, none()),
        case("query, Postgres", "sql", 1000, &networked, postgres.clone(), none()),
        case("the same, rows as a stream", "rows", 1000, &networked, postgres, none()),
        case("request, HTTP/1.1", "http", 2000, &networked, requests.clone(), http()),
        case("request, HTTP/1.1, shared", "http", 2000, &shared, requests.clone(), http()),
        case("request, HTTP/1.1, WASI 0.2", "http", 2000, &requests_p2, requests, http()),
    ];
    let mut measured = Vec::new();
    for case in &cases {
        if !only.is_empty() && !only.iter().any(|word| case.name.contains(word)) {
            continue;
        }
        measured.push(case.measure().await?);
    }
    Ok(measured)
}

/// Compiles the guests, unless their code is there.
///
/// # Errors
/// When one was not built, or does not link.
pub fn compile() -> Result<()> {
    for version in ["p2", "p3"] {
        requests(version, "localhost")?;
    }
    Ok(())
}

/// What sends requests to `address` by WASI `version`, for counting.
pub fn requests(version: &str, address: &str) -> Result<Live> {
    let stores = "grants.keyvalue = { db = 'default' }\ngrants.sql = { db = 'default' }";
    let (guest, stores) = match version {
        "p2" => (GUEST_P2, ""),
        "p3" => (GUEST, stores),
        _ => bail!("{version} is neither p2 nor p3"),
    };
    // Granted since the guest imports them, and never opened.
    let folder = tempfile::tempdir()?;
    let lines = format!("grants.http = ['http://{address}']\n{stores}");
    Live::counted(&in_repository(guest), backends(&folder, "counted", "")?, &lines)
}

/// Those that `operator` names, with data of their own.
fn backends(folder: &TempDir, name: &str, operator: &str) -> Result<Backends> {
    let operator = Operator::parse("dhow-server.toml", operator)
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let data = Some(folder.path().join(name));
    Backends::new(&operator, data, folder.path().to_owned(), None, &|_| None)
        .map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// The guest at `path`, with `grants`, what `operator` says, data of its own, and `instances` as in a manifest.
fn live(
    folder: &TempDir,
    name: &str,
    operator: &str,
    path: &str,
    grants: &str,
    instances: &str,
) -> Result<Arc<Live>> {
    let backends = backends(folder, name, operator)?;
    let room = NonZeroU32::new(CALLERS as u32 * 2).context("some")?;
    let lines = format!("instances = {instances}\n{grants}");
    Ok(Arc::new(Live::with(&in_repository(path), room, backends, &lines)?))
}

impl Case {
    /// Alternates both sides.
    async fn measure(&self) -> Result<Measured> {
        self.native.prepare(&self.live).await?;
        let (mut dhow, mut native, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let by_guest = self.rate(self.by_guest().await);
            let natively = self.rate(self.natively().await?);
            // The first connects, and fills caches.
            if round > 0 {
                eprintln!("{:<22} round {round}: {by_guest:>9.0}/s {natively:>9.0}/s", self.name);
                dhow.push(by_guest);
                native.push(natively);
                ratios.push(by_guest / natively);
            }
        }
        Ok(Measured {
            name: self.name,
            dhow: median(dhow),
            native: median(native),
            ratio: median(ratios),
        })
    }

    fn rate(&self, seconds: f64) -> f64 {
        (CALLERS * self.count) as f64 / seconds
    }

    async fn by_guest(&self) -> f64 {
        let path: Arc<str> = format!("/{}/{}{}", self.path, self.count, self.query).into();
        let start = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (live, path) = (self.live.clone(), path.clone());
            tokio::spawn(async move { live.request(&path).await })
        });
        for result in join_all(callers).await {
            result.expect("an answer");
        }
        start.elapsed().as_secs_f64()
    }

    async fn natively(&self) -> Result<f64> {
        let start = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (native, count) = (self.native.clone(), self.count);
            tokio::spawn(async move { native.run(count).await })
        });
        for result in join_all(callers).await {
            result??;
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A process that answers HTTP.
struct Upstream {
    process: Child,
    address: std::net::SocketAddr,
}

impl Upstream {
    fn start(program: &str) -> Result<Self> {
        ensure!(Path::new(program).exists(), "{program} was not built");
        let address = free_address();
        let process =
            Command::new(program).arg(address.to_string()).stderr(Stdio::null()).spawn()?;
        for _ in 0..100 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Ok(Self { process, address });
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("{program} does not answer")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
