//! What criterion has measured, as a table: `bench-report TARGET/criterion RESULTS` writes
//! RESULTS.json and RESULTS.md.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: bench-report FOLDER RESULTS")?;
    let results = arguments.next().context("usage: bench-report FOLDER RESULTS")?;
    let mut found = BTreeMap::new();
    for group in fs::read_dir(folder)?.flatten() {
        let Ok(functions) = fs::read_dir(group.path()) else { continue };
        for function in functions.flatten() {
            if let Some((name, value)) = read(&function.path().join("new")) {
                found.insert(name, value);
            }
        }
    }
    let mut text = "| measure | median | |\n|---|---:|---:|\n".to_owned();
    for ((group, function), Measured { median, throughput }) in &found {
        let rate = match throughput {
            Some(("Bytes", amount)) => format!("{:.1} GB/s", amount / median),
            Some((_, amount)) => format!("{:.1} ns each", median / amount),
            None => String::new(),
        };
        let floor = found.get(&(group.clone(), "instantiate".to_owned()));
        let of_floor = floor.map(|floor| format!("{:.2}x instantiate", median / floor.median));
        let rate = of_floor.unwrap_or(rate);
        let _ = writeln!(text, "| {group}: {function} | {:.1} us | {rate} |", median / 1e3);
    }
    let values: Vec<Value> = found
        .iter()
        .map(|((group, function), measured)| {
            json!({ "group": group, "function": function, "median_ns": measured.median })
        })
        .collect();
    println!("{text}");
    fs::write(format!("{results}.json"), serde_json::to_string_pretty(&values)?)?;
    fs::write(format!("{results}.md"), text)?;
    Ok(())
}

struct Measured {
    /// In nanoseconds.
    median: f64,
    throughput: Option<(&'static str, f64)>,
}

fn read(folder: &Path) -> Option<((String, String), Measured)> {
    let json = |name: &str| -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(folder.join(name)).ok()?).ok()
    };
    let (benchmark, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let text = |key: &str| Some(benchmark.get(key)?.as_str()?.to_owned());
    let amount = |kind| Some((kind, benchmark.get("throughput")?.get(kind)?.as_f64()?));
    let measured = Measured {
        median: estimates.get("median")?.get("point_estimate")?.as_f64()?,
        throughput: amount("Bytes").or_else(|| amount("Elements")),
    };
    Some(((text("group_id")?, text("function_id")?), measured))
}
