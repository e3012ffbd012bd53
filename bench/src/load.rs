//! The load: wrk, and what it saw.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::server::Server;

/// Which cores the server and the load get.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Layout {
    /// The server on one core, the load on another.
    OneCoreEach,
    /// Both on both.
    Shared,
}

impl Layout {
    fn cores(self) -> (&'static str, &'static str) {
        match self {
            Self::OneCoreEach => ("0", "1"),
            Self::Shared => ("0,1", "0,1"),
        }
    }

    fn load_threads(self) -> &'static str {
        match self {
            Self::OneCoreEach => "1",
            Self::Shared => "2",
        }
    }
}

/// What one run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Requests per second.
    pub rate: f64,
    /// Latencies in microseconds.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// The server's processor time for each request, in microseconds.
    pub cpu: f64,
    /// The server's memory at the end, in MiB.
    pub memory: f64,
}

const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("measured %d %d %f %f %f %d\n",
    summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// Starts the server, warms it up, and measures it under load.
pub fn measure(
    server: &Server,
    layout: Layout,
    connections: usize,
    duration: Duration,
) -> Result<Measured> {
    let (server_cores, load_cores) = layout.cores();
    let running = server.start(server_cores)?;
    let script = std::env::temp_dir().join(format!("dhow-bench-{}.lua", std::process::id()));
    std::fs::write(&script, SCRIPT)?;
    let load = |seconds: u64| -> Result<Vec<f64>> {
        let output = Command::new("taskset")
            .args(["-c", load_cores, "wrk", "-t", layout.load_threads()])
            .args(["-c", &connections.to_string(), "-d", &format!("{seconds}s"), "-s"])
            .arg(&script)
            .arg(format!("http://{}/", running.address))
            .output()
            .context("wrk does not start: apt install wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("measured "));
        let line = line.with_context(|| format!("wrk said: {text}"))?;
        line.split_whitespace().map(|word| Ok(word.parse()?)).collect()
    };
    load(1)?;
    let before = running.cpu_seconds()?;
    let found = load(duration.as_secs())?;
    let cpu = running.cpu_seconds()? - before;
    let [requests, microseconds, p50, p99, p999, errors] = found[..] else {
        anyhow::bail!("wrk printed {found:?}");
    };
    ensure!(errors == 0.0, "{}: {errors} requests failed", server.name);
    Ok(Measured {
        rate: requests / (microseconds / 1e6),
        p50,
        p99,
        p999,
        cpu: cpu * 1e6 / requests,
        memory: running.memory_mib()?,
    })
}

/// The latencies of one run at a fixed rate, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// Starts the server on a core of its own, warms it up, and sends it so many requests per second.
pub fn at_rate(
    server: &Server,
    connections: usize,
    rate: f64,
    duration: Duration,
) -> Result<Latencies> {
    let (server_cores, load_cores) = Layout::OneCoreEach.cores();
    let running = server.start(server_cores)?;
    let log = std::env::temp_dir().join(format!("dhow-bench-{}.log", std::process::id()));
    let _ = std::fs::remove_file(&log);
    let of_each = (rate / connections as f64).round().max(1.0);
    let output = Command::new("taskset")
        .args(["-c", load_cores, "h2load", "--h1", "-t", "1"])
        .args(["-c", &connections.to_string(), "--rps", &of_each.to_string()])
        .args(["--warm-up-time", "1", "-D", &duration.as_secs().to_string(), "--log-file"])
        .arg(&log)
        .arg(format!("http://{}/", running.address))
        .output()
        .context("h2load does not start: apt install nghttp2-client")?;
    ensure!(output.status.success(), "h2load: {}", String::from_utf8_lossy(&output.stderr));
    // A line for each request: when it began, its status, its time in microseconds.
    let text = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    let mut times = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        ensure!(words.next() == Some("200"), "{}: {line}", server.name);
        times.push(words.next().context("a time")?.parse::<f64>()?);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get(((times.len() - 1) as f64 * part) as usize).copied();
    let at = |part| at(part).context("h2load measured nothing");
    Ok(Latencies { p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)? })
}
