//! Measurements. Times differ from machine to machine: compare medians of one run.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    demo::Server,
    guests, setup,
    steps::{Steps, cargo, run},
};

const DHOW: &str = "target/release/dhow";
const RUNS: usize = 30;
/// The code cache of the measurements.
const CACHE: &str = "target/bench-cache";

/// The peer, in the version of wasmtime that Dhow itself is built with, and without what `serve`
/// does not need.
const WASMTIME: [&str; 8] = [
    "wasmtime-cli",
    "--version=48.0.8",
    "--locked",
    "--root=target/peers",
    "--no-default-features",
    "--features=run,serve,component-model-async,cranelift,memory-protection-keys",
    "--features=parallel-compilation,pooling-allocator",
    "--quiet",
];

/// End to end, beside hyper and `wasmtime serve`. Needs wrk.
pub fn http(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    steps.step("build wasmtime, the peer", || {
        run(cargo().arg("install").args(WASMTIME).env("CARGO_TARGET_DIR", "target/peers"))
    })?;
    let p3 = "examples/hello/target/wasm32-wasip2/release/hello.wasm";
    let p2 = "target/guests/wasm32-wasip2/release/hello_p2.wasm";
    let serve = "target/peers/bin/wasmtime serve -Scli --addr {address}";
    let fresh = "--max-instance-reuse-count 1";
    let up = format!("{DHOW} up --quiet --listen {{address}}");
    let servers = [
        "native hyper=target/release/native-hello {address}".to_owned(),
        format!("dhow 0.3, fresh={up} {p3}"),
        format!("wasmtime serve 0.3, fresh={serve} {fresh} {p3}"),
        format!("wasmtime serve 0.3={serve} {p3}"),
        format!("dhow 0.2, fresh={up} {p2}"),
        format!("wasmtime serve 0.2={serve} {p2}"),
    ];
    std::fs::create_dir_all("bench/results")?;
    let results = "bench/results/http.json";
    steps.step("measure", || {
        run(Command::new("target/release/bench-http").arg(results).args(servers))
    })
}

/// Without sockets.
pub fn in_process(steps: &mut Steps) -> Result<()> {
    steps.step("setup", setup::setup)?;
    steps.step("build the guests", guests::build)?;
    steps.step("measure", || {
        // A backtrace for each store that is dropped would be measured with it.
        run(cargo().args(["bench", "-p", "dhow-bench"]).env_remove("RUST_BACKTRACE"))
    })
}

/// From the start of the process to its first response, with warm caches of code and of builds.
pub fn startup(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    let _ = std::fs::remove_dir_all(CACHE);
    let first = first_response()?; // Fills the cache.
    let mut times = (0..RUNS).map(|_| first_response()).collect::<Result<Vec<_>>>()?;
    times.sort();
    let at = |percent: usize| times.get((RUNS - 1) * percent / 100).copied().unwrap_or_default();
    println!("process start to first response of `dhow up examples/hello`, {RUNS} runs");
    println!("  cold code cache, once             {first:>10.1?}");
    println!("  warm: minimum                     {:>10.1?}", at(0));
    println!("  warm: median                      {:>10.1?}", at(50));
    println!("  warm: 90th percentile             {:>10.1?}", at(90));
    println!("  warm: maximum                     {:>10.1?}", at(100));
    Ok(())
}

fn prepare(steps: &mut Steps) -> Result<()> {
    steps.step("setup", setup::setup)?;
    steps.step("build the guests", guests::build)?;
    steps.step("build for measuring", || {
        run(cargo().args(["build", "--release", "--workspace", "--bins"]))
    })
}

fn first_response() -> Result<Duration> {
    let start = Instant::now();
    let mut server = Server::spawn(
        Command::new(DHOW)
            .args(["up", "--quiet", "examples/hello", "--listen", "127.0.0.1:0"])
            .env("XDG_CACHE_HOME", crate::steps::root().join(CACHE))
            .stdin(Stdio::null()),
    )?;
    let response = server.get("/")?;
    let time = start.elapsed();
    ensure!(response.starts_with("HTTP/1.1 200 OK\r\n"), "no answer: {response}");
    server.stop()?;
    Ok(time)
}
