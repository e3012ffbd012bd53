//! The binary for production: the release build, with its code laid out by what runs (llvm-bolt).
//!
//! A request runs some 300 KB of code that the linker has spread over 20 MB, and waits for it more
//! than for anything else. Laid out side by side, the same instructions take two thirds of the time.
//!
//! llvm-bolt takes a function whose name contains `.cold.` or `.warm.` for a piece of another and gives
//! up: no module of ours can be called so. What it writes a profile with gives up at names of some
//! thousands of bytes, which database drivers' futures have: those are replaced before.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    demo::Server,
    guests, setup,
    steps::{Steps, cargo, run},
};

/// Where the binaries are put.
pub const FOLDER: &str = "target/dist";
/// What is in between.
const WORK: &str = "target/dist/work";
/// The code cache of the training.
const CACHE: &str = "target/dist/work/cache";

/// What a server is trained with.
struct Load {
    app: &'static str,
    /// What is asked, one after the other.
    paths: &'static [&'static str],
    /// For h2load, besides its usual GET.
    options: &'static [&'static str],
}

const HELLO: Load = Load { app: "examples/hello", paths: &["/"], options: &[] };
const TRAINING: [Load; 8] = [
    HELLO,
    Load { app: "bench/apps/hello-reused", ..HELLO },
    Load { app: "target/guests/wasm32-wasip2/release/hello_p2.wasm", ..HELLO },
    Load { app: "bench/apps/hello-p2-reused", ..HELLO },
    Load {
        app: "target/guests/wasm32-wasip2/release/echo.wasm",
        options: &["--data=README.md"],
        ..HELLO
    },
    Load {
        app: "target/guests/wasm32-wasip2/release/echo_p2.wasm",
        options: &["--data=README.md"],
        ..HELLO
    },
    // Each request is for several calls.
    Load { app: "bench/apps/capabilities", paths: &CALLS, options: &["--requests=1000"] },
    Load { app: "bench/apps/calls", paths: &BETWEEN_COMPONENTS, options: &["--requests=1000"] },
];
const CALLS: [&str; 6] =
    ["/kv-set/2", "/kv-get/20", "/points/10", "/sql/10", "/rows/10", "/http/5?hello.internal/"];
const BETWEEN_COMPONENTS: [&str; 3] = ["/add/1000", "/add-later/100", "/produce/1048576/65536"];
const REQUESTS: &str = "10000";
const CONNECTIONS: &str = "64";

/// Builds `target/dist/dhow`.
pub fn release(steps: &mut Steps) -> Result<()> {
    let bolt = Bolt::find()?;
    steps.step("setup", setup::rust)?;
    steps.step("build the guests of the training", guests::build_measured)?;
    steps.step("build", || {
        run(cargo().args(["build", "--release", "--workspace", "--bin", "dhow"]))
    })?;
    dhow(steps, &bolt)
}

/// Lays out the code of `target/release/dhow`.
pub fn dhow(steps: &mut Steps, bolt: &Bolt) -> Result<()> {
    bolt.lay_out(steps, "dhow", |instrumented| {
        TRAINING.iter().try_for_each(|load| serve(instrumented, load))
    })
}

/// Serves an app, once with each version of HTTP that it is asked in.
fn serve(dhow: &Path, Load { app, paths, options }: &Load) -> Result<()> {
    let up = |dhow: &Path| -> Result<Server> {
        Server::spawn(
            Command::new(dhow)
                .args(["up", "--quiet", "--listen", "127.0.0.1:0", app])
                .env("XDG_CACHE_HOME", crate::steps::root().join(CACHE)),
        )
    };
    // Compiling is not what a server should be fast at: it is done by another process.
    up(Path::new("target/release/dhow"))?.stop()?;
    let mut server = up(dhow)?;
    for version in ["--h1", "--max-concurrent-streams=4"] {
        for path in *paths {
            run(Command::new("h2load")
                .args([version, "--requests", REQUESTS, "--clients", CONNECTIONS])
                .args(*options)
                .arg(format!("http://{}{path}", server.address))
                .stdout(std::process::Stdio::null()))
            .context("h2load (Debian: apt install nghttp2-client)")?;
        }
    }
    server.stop()
}

/// The tools of LLVM that lay out a program's code.
pub struct Bolt {
    folder: PathBuf,
}

impl Bolt {
    /// The newest that is installed, where Debian puts it.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self> {
        let folders = (15..40).rev().map(|version| format!("/usr/lib/llvm-{version}/bin"));
        let found = folders.map(PathBuf::from).find(|folder| folder.join("llvm-bolt").exists());
        match found {
            Some(folder) => Ok(Self { folder }),
            None => bail!(
                "llvm-bolt is not installed (Debian: apt install bolt-19); without it, \
                 cargo build --release --workspace"
            ),
        }
    }

    /// Lays out the code of the binary `name` in `target/release` by what it does while `train`
    /// uses an instrumented copy of it, into `target/dist`.
    pub fn lay_out(
        &self,
        steps: &mut Steps,
        name: &str,
        train: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let (built, target) = (format!("target/release/{name}"), format!("{FOLDER}/{name}"));
        if is_newer(&target, &built) {
            return Ok(());
        }
        let work = work(name);
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let (named, instrumented) = (work.join("named"), work.join("instrumented"));
        let profile = work.join("profile");
        steps.step(&format!("instrument {name}"), || {
            shorten_names(&built, &named, &work)?;
            run(self
                .tool("llvm-bolt", &work)?
                .arg(&named)
                .args(["--instrument", "--instrumentation-file-append-pid", "-o"])
                .arg(&instrumented)
                .arg(format!("--instrumentation-file={}", absolute(&profile)?.display())))
        })?;
        steps.step(&format!("train {name}"), || train(&instrumented))?;
        let profiles = fs::read_dir(&work)?
            .map(|entry| Ok(entry?.path()))
            .filter(|path| {
                path.as_ref().is_ok_and(|path| path.to_string_lossy().ends_with(".fdata"))
            })
            .collect::<Result<Vec<_>>>()?;
        steps.step(&format!("lay out {name}"), || {
            run(self.tool("merge-fdata", &work)?.args(profiles).arg("-o").arg(&profile))?;
            run(self
                .tool("llvm-bolt", &work)?
                .arg(&named)
                .args(["-o", &target, "--data"])
                .arg(&profile)
                .args(["--reorder-blocks=ext-tsp", "--reorder-functions=cdsort", "--icf=1"])
                .args(["--split-functions", "--split-all-cold", "--split-eh"]))
        })
    }

    /// A tool that writes what it has to say to a file: it warns of each function in assembly.
    fn tool(&self, name: &str, work: &Path) -> Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(work.join("log"))?;
        let mut command = Command::new(self.folder.join(name));
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// Where what is made on the way to `name` is put.
pub fn work(name: &str) -> PathBuf {
    Path::new(WORK).join(name)
}

/// The longest name that is kept, in bytes.
const LONGEST_NAME: usize = 2_000;

/// The program `built`, without names of functions that are too long, as `named`.
fn shorten_names(built: &str, named: &Path, work: &Path) -> Result<()> {
    let symbols = Command::new("nm").args(["--format=just-symbols", built]).output()?;
    ensure!(symbols.status.success(), "nm can't read {built}");
    let symbols = String::from_utf8(symbols.stdout)?;
    let long: BTreeSet<_> = symbols.lines().filter(|name| name.len() > LONGEST_NAME).collect();
    let others: String =
        (0..).zip(long).map(|(n, name)| format!("{name} long_name_{n}\n")).collect();
    let list = work.join("names");
    fs::write(&list, others)?;
    run(Command::new("objcopy").arg("--redefine-syms").args([&list, Path::new(built), named]))
}

/// Whether `target` was made after `source`.
fn is_newer(target: &str, source: &str) -> bool {
    let modified = |path: &str| fs::metadata(path).and_then(|file| file.modified()).ok();
    modified(target).zip(modified(source)).is_some_and(|(target, source)| target > source)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}
