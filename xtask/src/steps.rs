//! Steps of a task, and how long each took.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The steps that were taken.
#[derive(Default)]
pub struct Steps(Vec<(String, Duration)>);

impl Steps {
    /// Takes a step.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let start = Instant::now();
        let result = work().with_context(|| format!("the step `{name}` failed"));
        self.0.push((name.to_owned(), start.elapsed()));
        result
    }

    /// Takes over the steps of another.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Prints how long each step took.
    pub fn print_times(&self) {
        for (name, time) in &self.0 {
            eprintln!("{:>8.1} s  {name}", time.as_secs_f64());
        }
    }
}

/// Cargo, as it would run from a shell. What `cargo xtask` tells this program of itself would make
/// build scripts that look at it (ring's) run again whenever the two take turns.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command`, which must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} does not start"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
