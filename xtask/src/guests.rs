//! Building the guests of the tests, and the examples.

use std::process::Command;

use anyhow::Result;

use crate::steps::run;

const TARGET: [&str; 4] = ["build", "--release", "--target", "wasm32-wasip2"];

/// Builds all of them.
pub fn build() -> Result<()> {
    let target = crate::steps::root().join("target/guests");
    run(Command::new("cargo")
        .args(TARGET)
        .arg("--locked")
        .arg("--target-dir")
        .arg(target)
        .current_dir("guests"))?;
    run(Command::new("cargo").args(TARGET).arg("--locked").current_dir("examples/hello"))
}
