//! The project's own tasks: `cargo xtask TASK`.

mod bench;
mod demo;
mod go;
mod guests;
mod instructions;
mod release;
mod setup;
mod steps;
mod tidy;

use std::env;

use anyhow::{Result, bail};

use steps::{Steps, cargo, run};

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [NAME] [--once]
                   set up, build, and serve examples/hello, shop or pipeline; with --once try it
                   and exit
  test [FILTER]    set up, build, and run every test, or those whose name contains FILTER
  check            formatting, tidy and clippy
  tidy             the rules of STYLE.md that a program can check
  bench [NAME]     measure, in the release profile: all, or startup, in-process, capacity,
                   capabilities, recompile, instructions, serve or http
  bench serve NAME measure the production server: swaps, kills, hostile, apps or instances
  release          build target/dist/dhow, its code laid out by what runs; needs llvm-bolt and h2load
  instructions     count the instructions of requests and compare with those that are kept
  setup [LANGUAGE] install what building components needs, of all languages or of these: rust, python,
                   go, c, javascript
  wasmtime         build the other runtime that tests try composed components in
  guests           build the guests of the tests and the examples";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    env::set_current_dir(steps::root())?;
    let mut steps = Steps::default();
    let result = match words.as_slice() {
        ["demo"] => demo::demo(&mut steps, "hello", false),
        ["demo", "--once"] => demo::demo(&mut steps, "hello", true),
        ["demo", name] => demo::demo(&mut steps, name, false),
        ["demo", name, "--once"] => demo::demo(&mut steps, name, true),
        ["test", filter @ ..] => test(&mut steps, filter),
        ["check"] => check(&mut steps),
        ["tidy"] => steps.step("tidy", tidy::tidy),
        ["bench"] => bench::all(&mut steps),
        ["bench", "capabilities"] => bench::capabilities(&mut steps),
        ["bench", "recompile"] => bench::recompile(&mut steps),
        ["bench", "capacity"] => bench::capacity(&mut steps),
        ["bench", "serve", names @ ..] => bench::serve(&mut steps, names),
        ["bench", "instructions"] => instructions::count(&mut steps),
        ["release"] => release::release(&mut steps),
        ["instructions"] => instructions::check(&mut steps),
        ["bench", "startup"] => bench::startup(&mut steps),
        ["bench", "in-process"] => bench::in_process(&mut steps),
        ["bench", "http"] => bench::http(&mut steps),
        ["setup", languages @ ..] => setup::setup(&mut steps, languages),
        ["wasmtime"] => bench::wasmtime(&mut steps),
        ["guests"] => steps.step("guests", guests::build),
        _ => bail!("{USAGE}"),
    };
    steps.print_times();
    result
}

fn test(steps: &mut Steps, filter: &[&str]) -> Result<()> {
    steps.step("setup", setup::rust)?;
    steps.step("build the guests", guests::build)?;
    // All members at once, so that dependencies get the same features as under `cargo test`.
    steps.step("build dhow", build_dhow)?;
    steps.step("build the examples", demo::build_examples)?;
    steps.step("build the tests", || run(cargo().args(["test", "--workspace", "--no-run"])))?;
    steps.step("run the tests", || {
        let mut command = cargo();
        run(command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filter))
    })
}

fn check(steps: &mut Steps) -> Result<()> {
    steps.step("formatting", || run(cargo().args(["fmt", "--all", "--check"])))?;
    steps.step("tidy", tidy::tidy)?;
    steps.step("clippy", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        run(cargo().args(arguments))
    })
}

fn build_dhow() -> Result<()> {
    run(cargo().args(["build", "--workspace", "--bin", "dhow"]))
}
