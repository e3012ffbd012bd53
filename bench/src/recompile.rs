//! What compiling an app takes, and compiling it again after one of its components has changed.

use std::{collections::BTreeMap, fmt::Write as _, fs, num::NonZeroU32, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};
use dhow_capabilities::Backends;
use dhow_manifest::{App, Name, Operator};
use dhow_package::Artifact;
use serde::Serialize;

use crate::live::host_with;

const ROUNDS: usize = 3;
const INSTANCES: NonZeroU32 = NonZeroU32::MIN;

/// Seconds, medians of the rounds.
#[derive(Serialize)]
struct Measured {
    whole: f64,
    changed: f64,
    /// The median of the rounds' ratios.
    part: f64,
}

/// Measures the app in the folder `app`, of which `changed` is `COMPONENT=FILE`.
pub fn run(results: &str, app: &str, changed: &str) -> Result<()> {
    let folder = Path::new(app);
    let text = fs::read_to_string(folder.join("dhow.toml"))?;
    let read = || {
        // What is granted is no matter: nothing is called.
        let text: Vec<_> =
            text.lines().filter(|line| !line.starts_with("grants.secrets")).collect();
        App::parse("dhow.toml", &text.join("\n")).map_err(|_| anyhow::anyhow!("the manifest"))
    };
    let (name, file) = changed.split_once('=').context("COMPONENT=FILE")?;
    let name = Name::new(name)?;
    let mut before = BTreeMap::new();
    for (name, component) in read()?.components() {
        before.insert(name.clone(), Artifact::read(&folder.join(&component.source))?);
    }
    let mut after = before.clone();
    let artifact = Artifact::read(Path::new(file))?;
    let old = after.insert(name, artifact.clone()).context("a component of that name")?;
    ensure!(old.digest() != artifact.digest(), "nothing has changed");

    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let cache = tempfile::tempdir()?;
        let time = |artifacts: &BTreeMap<Name, Artifact>| -> Result<f64> {
            // As a process of its own would: with nothing but what is in the cache.
            let (operator, data) = (Operator::default(), Some(cache.path().join("data")));
            let folder = cache.path().to_owned();
            let backends = Backends::new(&operator, data, folder, None, &|_| None)
                .map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
            let host = host_with(INSTANCES, Some(cache.path()), backends)?;
            let app = read()?;
            let start = Instant::now();
            host.link(&host.tenant, app, artifacts)
                .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
            Ok(start.elapsed().as_secs_f64())
        };
        let (whole, changed) = (time(&before)?, time(&after)?);
        eprintln!("round {round}: {whole:.2} s, {changed:.2} s");
        rounds.push((whole, changed));
    }
    let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let measured = Measured {
        whole: median(&|(whole, _)| *whole),
        changed: median(&|(_, changed)| *changed),
        part: median(&|(whole, changed)| changed / whole),
    };
    let Measured { whole, changed, part } = &measured;
    let mut text = String::from("| the whole app | after a change in one component | part |\n");
    text.push_str("|---:|---:|---:|\n");
    writeln!(text, "| {whole:.2} s | {changed:.2} s | {part:.2} |")?;
    println!("{text}");
    fs::write(format!("{results}.json"), serde_json::to_string_pretty(&measured)?)?;
    fs::write(format!("{results}.md"), text)?;
    Ok(())
}
