//! Building the guests of the tests, and the examples.

use std::path::Path;

use anyhow::Result;

use crate::steps::{cargo, root, run};

/// Those that are measured beside what is native.
const MEASURED: [&str; 4] = ["calls", "callee", "capabilities", "capabilities-p2"];

/// Builds all of them.
pub fn build() -> Result<()> {
    build_in("guests".as_ref(), &["--release"])?;
    build_in("examples/hello".as_ref(), &["--release"])
}

/// The same, and again those that are measured, for speed.
pub fn build_measured() -> Result<()> {
    build()?;
    let packages = MEASURED.iter().flat_map(|name| ["--package", name]);
    let arguments: Vec<&str> = ["--profile", "measured"].into_iter().chain(packages).collect();
    build_in("guests".as_ref(), &arguments)
}

fn build_in(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--locked", "--target", "wasm32-wasip2"]).args(arguments);
    if folder == Path::new("guests") {
        build.arg("--target-dir").arg(root().join("target/guests"));
    }
    run(build.current_dir(folder))
}
