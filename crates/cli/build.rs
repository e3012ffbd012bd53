//! A release keeps its relocations: llvm-bolt needs them to lay out the code by what runs
//! (`cargo xtask release`).

use std::env;

#[expect(clippy::disallowed_methods, reason = "what Cargo tells a build script")]
fn main() {
    // Instead of every file of the package, results of measurements among them.
    println!("cargo::rerun-if-changed=Cargo.toml");
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--emit-relocs");
    }
}
