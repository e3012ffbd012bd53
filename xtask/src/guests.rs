//! Building the guests of the tests, and the examples.

use anyhow::Result;

use crate::steps::{cargo, run};

const TARGET: [&str; 4] = ["build", "--release", "--target", "wasm32-wasip2"];

/// Builds all of them.
pub fn build() -> Result<()> {
    let target = crate::steps::root().join("target/guests");
    run(cargo()
        .args(TARGET)
        .arg("--locked")
        .arg("--target-dir")
        .arg(target)
        .current_dir("guests"))?;
    run(cargo().args(TARGET).arg("--locked").current_dir("examples/hello"))
}
