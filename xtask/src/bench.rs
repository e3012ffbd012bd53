//! Measurements. Times differ from machine to machine: compare medians of one run.

use std::{
    iter,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    demo::Server,
    guests, instructions,
    release::{self, Bolt},
    setup,
    steps::{Steps, cargo, run},
};

/// Where the results are kept, as JSON and as tables.
pub const RESULTS: &str = "bench/results";
const HELLO_P3: &str = "examples/hello/target/wasm32-wasip2/release/hello.wasm";
const HELLO_P2: &str = "target/guests/wasm32-wasip2/release/hello_p2.wasm";
const DHOW: &str = "target/dist/dhow";
const RUNS: usize = 30;
/// The code cache of the measurements.
const CACHE: &str = "target/bench-cache";

/// The peer, in the version of wasmtime that Dhow itself is built with, and without what `serve`
/// does not need.
const WASMTIME: [&str; 7] = [
    "wasmtime-cli",
    "--version=48.0.8",
    "--locked",
    "--no-default-features",
    "--features=run,serve,component-model-async,cranelift,memory-protection-keys",
    "--features=parallel-compilation,pooling-allocator",
    "--quiet",
];

const WASMTIME_FOR_BENCH: &str = "target/peers";
const WASMTIME_FOR_TESTS: &str = "target/wasmtime";

fn install(folder: &str) -> Command {
    let mut command = cargo();
    command.arg("install").args(WASMTIME).args(["--root", folder]);
    command.env("CARGO_TARGET_DIR", folder);
    command
}

/// Builds the peer for tests, which need not be fast: optimised little.
pub fn wasmtime(steps: &mut Steps) -> Result<()> {
    steps.step("build wasmtime, for tests", || {
        let mut command = install(WASMTIME_FOR_TESTS);
        for (setting, value) in [("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "256")] {
            command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        run(&mut command)
    })
}

/// All of it, and the tables into the documentation.
pub fn all(steps: &mut Steps) -> Result<()> {
    in_process(steps)?;
    capacity(steps)?;
    capabilities(steps)?;
    recompile(steps)?;
    serve(steps, &[])?;
    instructions::count(steps)?;
    http(steps)?;
    startup(steps)
}

/// The settings of Dhow's own pool, for the peer.
const TUNED: &str = "-O pooling-allocator=y -O pooling-pagemap-scan=y \
    -O pooling-memory-keep-resident=1048576 -O pooling-table-keep-resident=1048576";

/// End to end, beside hyper and `wasmtime serve`. Needs wrk and h2load.
pub fn http(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    steps.step("build wasmtime, the peer", || run(&mut install(WASMTIME_FOR_BENCH)))?;
    let serve = "target/peers/bin/wasmtime serve -Scli --addr {address}";
    let fresh = "--max-instance-reuse-count 1";
    let up = format!("{DHOW} up --quiet --no-build --listen {{address}}");
    let servers = [
        "native hyper=target/release/native-hello {address}".to_owned(),
        format!("dhow 0.3, fresh={up} {HELLO_P3}"),
        format!("dhow 0.3, reused={up} bench/apps/hello-reused"),
        format!("wasmtime serve 0.3, fresh={serve} {fresh} {HELLO_P3}"),
        format!("wasmtime serve 0.3, fresh, tuned={serve} {fresh} {TUNED} {HELLO_P3}"),
        format!("wasmtime serve 0.3 (reused)={serve} {HELLO_P3}"),
        format!("dhow 0.2, fresh={up} {HELLO_P2}"),
        format!("dhow 0.2, reused={up} bench/apps/hello-p2-reused"),
        format!("wasmtime serve 0.2 (fresh)={serve} {HELLO_P2}"),
    ];
    measure(steps, &["target/release/bench-http"], "http", &servers)
}

/// What one process holds, and how fast what it does not hold comes back.
pub fn capacity(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    let mut components = vec![format!("Rust={HELLO_P3}")];
    // Those of other languages, where somebody has built them.
    for (language, file) in [("Go", "go"), ("JavaScript", "js"), ("Python", "py")] {
        let path = format!("target/bench-guests/{file}.wasm");
        if Path::new(&path).exists() {
            components.push(format!("{language}={path}"));
        }
    }
    measure(steps, &[BENCH, "capacity"], "capacity", &components)
}

/// The production server: swaps, kills, tenants who mean ill, many apps, many instances. Needs h2load.
pub fn serve(steps: &mut Steps, names: &[&str]) -> Result<()> {
    prepare(steps)?;
    let arguments: Vec<_> = iter::once(&DHOW).chain(names).map(|&word| word.to_owned()).collect();
    measure(steps, &[BENCH, "serve"], "serve", &arguments)
}

/// What guests get of stores, databases and servers, beside native clients. Needs redis-server and
/// postgresql.
pub fn capabilities(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    measure(steps, &[BENCH, "capabilities"], "capabilities", &[UPSTREAM.to_owned()])
}

/// What compiling the shop takes, and compiling it again after a change in its Rust part.
pub fn recompile(steps: &mut Steps) -> Result<()> {
    const APP: &str = "examples/shop";
    const USERS: &str = "const USERS: [(&str, &str); 2] = [";
    setup::setup(steps, &["rust", "go", "python"])?;
    prepare(steps)?;
    steps.step("build the example", || run(Command::new(DHOW).args(["build", APP])))?;
    let changed = "target/bench-shop";
    steps.step("change it", || {
        run(Command::new("mkdir").args(["-p", changed]))?;
        run(Command::new("cp").args([
            "-r",
            &format!("{APP}/auth"),
            &format!("{APP}/wit"),
            changed,
        ]))?;
        let source = format!("{changed}/auth/src/lib.rs");
        let text = std::fs::read_to_string(&source)?;
        let more = text.replace(USERS, r#"const USERS: [(&str, &str); 3] = [("mary", "spicy"), "#);
        ensure!(more != text, "{source} is not as it was: change what is replaced here");
        std::fs::write(&source, more)?;
        let target = ["build", "--release", "--locked", "--target", "wasm32-wasip2"];
        run(cargo().args(target).current_dir(format!("{changed}/auth")))
    })?;
    let file = format!("auth={changed}/auth/target/wasm32-wasip2/release/auth.wasm");
    measure(steps, &[BENCH, "recompile"], "recompile", &[APP.to_owned(), file])
}

/// Runs `program`, which writes the results of `name`.
fn measure(steps: &mut Steps, program: &[&str], name: &str, arguments: &[String]) -> Result<()> {
    std::fs::create_dir_all(RESULTS)?;
    let results = format!("{RESULTS}/{name}");
    steps.step("measure", || run(built(program).arg(results).args(arguments)))?;
    document(name)
}

/// What answers requests of guests.
const UPSTREAM: &str = "target/release/native-hello";

/// What measures in its own process, its code laid out as that of `dhow` is.
const BENCH: &str = "target/dist/bench";

/// One of our own programs, as built for measuring.
fn built(program: &[&str]) -> Command {
    let (program, arguments) = program.split_first().unwrap_or((&BENCH, &[]));
    let mut command = Command::new(program);
    // A backtrace for each store that is dropped would be measured with it.
    command.args(arguments).env_remove("RUST_BACKTRACE");
    command
}

/// Without sockets.
pub fn in_process(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    let old = Path::new("target/criterion");
    if old.exists() {
        std::fs::remove_dir_all(old)?; // Names that are measured no more.
    }
    steps.step("measure", || run(&mut built(&[BENCH, "timed"])))?;
    measure(steps, &["target/release/bench-report", "target/criterion"], "in-process", &[])
}

/// Puts the table of `name` into the documentation, between the marks that stand there for it.
pub fn document(name: &str) -> Result<()> {
    const DOCUMENT: &str = "docs/PERFORMANCE.md";
    let text = std::fs::read_to_string(DOCUMENT)?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).context("no mark for the table")?;
    let (_, after) = rest.split_once(&end).context("no mark for the table's end")?;
    let table = std::fs::read_to_string(format!("{RESULTS}/{name}.md"))?;
    std::fs::write(DOCUMENT, format!("{before}{begin}\n{}\n\n{end}{after}", table.trim()))?;
    Ok(())
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
    steps.step("setup", setup::rust)?;
    steps.step("build the guests", guests::build_measured)?;
    steps.step("build for measuring", || {
        run(cargo().args(["build", "--release", "--workspace", "--bins"]))
    })?;
    let bolt = Bolt::find()?;
    release::dhow(steps, &bolt)?;
    bolt.lay_out(steps, "bench", |instrumented| {
        instructions::CASES.iter().try_for_each(|case| {
            run(Command::new(instrumented).args(["counted", case, TRAINING]))
        })?;
        BETWEEN_COMPONENTS
            .iter()
            .try_for_each(|path| run(Command::new(instrumented).args(["counted", path, FEWER])))?;
        let results = release::work("bench").join("capabilities");
        run(Command::new(instrumented).arg("capabilities").arg(results).arg(UPSTREAM))
    })
}

/// Requests of each kind.
const TRAINING: &str = "5000";
/// Of those that take long.
const FEWER: &str = "100";
/// What components of one app do with each other.
const BETWEEN_COMPONENTS: [&str; 3] = ["/add/1000", "/add-later/1000", "/produce/4194304/65536"];

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
