//! Measurements. Times differ from machine to machine: compare medians of one run.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    demo::Server,
    guests, setup,
    steps::{Steps, run},
};

const DHOW: &str = "target/release/dhow";
const RUNS: usize = 30;

/// From the start of the process to its first response, with warm caches of code and of builds.
pub fn startup(steps: &mut Steps) -> Result<()> {
    steps.step("setup", setup::setup)?;
    steps.step("build the guests", guests::build)?;
    steps.step("build dhow", || {
        run(Command::new("cargo").args(["build", "--release", "--workspace", "--bin", "dhow"]))
    })?;
    let first = first_response()?; // Fills the caches.
    let mut times = (0..RUNS).map(|_| first_response()).collect::<Result<Vec<_>>>()?;
    times.sort();
    let at = |percent: usize| times.get((RUNS - 1) * percent / 100).copied().unwrap_or_default();
    println!("process start to first response of `dhow up examples/hello`, {RUNS} runs");
    println!("  cold code cache and build, once   {first:>10.1?}");
    println!("  warm: minimum                     {:>10.1?}", at(0));
    println!("  warm: median                      {:>10.1?}", at(50));
    println!("  warm: 90th percentile             {:>10.1?}", at(90));
    println!("  warm: maximum                     {:>10.1?}", at(100));
    Ok(())
}

fn first_response() -> Result<Duration> {
    let start = Instant::now();
    let mut server = Server::spawn(
        Command::new(DHOW)
            .args(["up", "--quiet", "examples/hello", "--listen", "127.0.0.1:0"])
            .env("XDG_CACHE_HOME", crate::steps::root().join("target/bench-cache"))
            .stdin(Stdio::null()),
    )?;
    let response = server.get("/")?;
    let time = start.elapsed();
    ensure!(response.starts_with("HTTP/1.1 200 OK\r\n"), "no answer: {response}");
    server.stop()?;
    Ok(time)
}
