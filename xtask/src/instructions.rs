//! Instructions of the hot path, as callgrind counts them: noise can't disturb them, so that a
//! change that makes a request dearer is seen where times would hide it.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bench::{RESULTS, document},
    guests, setup,
    steps::{Steps, cargo, run},
};

/// What is counted, by the names that `bench counted` has for them.
pub const CASES: [&str; 7] = [
    "instantiate-p3",
    "cold-p3",
    "warm-p3",
    "instantiate-p2",
    "cold-p2",
    "warm-p2",
    "call-by-name",
];
const COUNT: u64 = 200;

/// What one more may cost before somebody has to say that it is worth it.
const MAX_GROWTH: f64 = 1.05;

/// Counts, and keeps the counts.
pub fn count(steps: &mut Steps) -> Result<()> {
    let counts = measure(steps)?;
    fs::create_dir_all(RESULTS)?;
    let mut json = Vec::new();
    let mut table = "| case | instructions |\n|---|---:|\n".to_owned();
    for (case, count) in &counts {
        json.push(format!("  \"{case}\": {count}"));
        table.push_str(&format!("| {case} | {count} |\n"));
    }
    fs::write(path(), format!("{{\n{}\n}}\n", json.join(",\n")))?;
    fs::write(format!("{RESULTS}/instructions.md"), &table)?;
    println!("{table}");
    document("instructions")
}

/// Counts, and compares with what was kept.
pub fn check(steps: &mut Steps) -> Result<()> {
    let counts = measure(steps)?;
    let kept = kept()?;
    let mut grown = Vec::new();
    for (case, count) in &counts {
        let before = kept.get(case).with_context(|| format!("no count is kept for {case}"))?;
        let growth = *count as f64 / *before as f64;
        println!("{case:<16} {count:>9} instructions, {:+.1} %", (growth - 1.0) * 100.0);
        if growth > MAX_GROWTH {
            grown.push(case.as_str());
        }
    }
    ensure!(
        grown.is_empty(),
        "dearer by more than 5 %: {}; where it is worth it: cargo xtask bench instructions",
        grown.join(", ")
    );
    Ok(())
}

fn path() -> String {
    format!("{RESULTS}/instructions.json")
}

/// The counts by case. The file is written by [`count`], one case in a line.
fn kept() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(path()).context(path())?;
    let entries =
        text.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    entries.map(|(case, count)| Ok((case.trim_matches('"').to_owned(), count.parse()?))).collect()
}

fn measure(steps: &mut Steps) -> Result<BTreeMap<String, u64>> {
    steps.step("setup", setup::rust)?;
    steps.step("build the guests", guests::build_measured)?;
    steps.step("build for counting", || {
        run(cargo().args(["build", "--profile", "counted", "--workspace", "--bin", "bench"]))
    })?;
    steps.step("count", || CASES.iter().map(|case| Ok((case.to_string(), one(case)?))).collect())
}

fn one(case: &str) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured*", "--callgrind-out-file=/dev/null"])
        .args(["target/counted/bench", "counted", case, &COUNT.to_string()])
        .env_remove("RUST_BACKTRACE")
        .output()
        .context("valgrind does not start: apt install valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "callgrind: {text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, total) = collected.with_context(|| format!("callgrind said: {text}"))?;
    Ok(total.trim().parse::<u64>()? / COUNT)
}
