//! Installing what is needed besides Rust and a C compiler.

use std::process::Command;

use anyhow::Result;

use crate::steps::run;

/// Installs the target that guests are built for. Does nothing where it is there already.
pub fn setup() -> Result<()> {
    run(Command::new("bash").args(["xtask/install-wasm-target.sh", "wasm32-wasip2"]))
}
