//! Benchmarks in this process: `cargo xtask bench` calls them. One binary, since each is linked with
//! all of wasmtime, which takes minutes.

mod capabilities;
mod capacity;
mod counted;
mod live;
mod recompile;
mod serve;
mod timed;

use std::{path::Path, process::Command};

use anyhow::{Result, bail, ensure};

/// The same as that of `dhow`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: bench compile
       bench timed [FILTER]
       bench counted CASE COUNT
       bench capabilities RESULTS UPSTREAM [WORD]...
       bench recompile RESULTS APP COMPONENT=FILE
       bench capacity RESULTS NAME=COMPONENT...
       bench serve RESULTS DHOW [swaps|kills|hostile|apps|instances]...";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["timed" | "counted" | "capabilities", ..] = words.as_slice() {
        let status = Command::new(std::env::current_exe()?).arg("compile").status()?;
        ensure!(status.success(), "compiling before: {status}");
    }
    match words.as_slice() {
        ["compile"] => {
            live::compile()?;
            capabilities::compile()?;
        }
        ["timed"] => timed::run(None),
        ["timed", filter] => timed::run(Some(filter)),
        ["counted", case, count] => counted::run_case(case, count)?,
        ["capabilities", results, upstream, only @ ..] => {
            capabilities::run(results, upstream, only)?
        }
        ["recompile", results, app, changed] => recompile::run(results, app, changed)?,
        ["capacity", "--one", what, component] => capacity::one(what, Path::new(component))?,
        ["capacity", results, components @ ..] => capacity::run(results, components)?,
        ["serve", "--witness", address, host, seconds] => serve::witness(address, host, seconds)?,
        ["serve", results, dhow, names @ ..] => serve::run(results, dhow, names)?,
        _ => bail!("{USAGE}"),
    }
    Ok(())
}
