//! The rules of STYLE.md that a program can check, and that clippy does not.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Which crate may depend on which other of ours. Each arrow of ARCHITECTURE.md.
const EDGES: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("manifest", &[]),
    ("package", &[]),
    ("compose", &[]),
    ("engine", &[]),
    ("telemetry", &[]),
    ("capabilities", &["manifest", "engine", "telemetry"]),
    ("host", &["manifest", "package", "compose", "engine", "capabilities", "telemetry"]),
    ("triggers", &["manifest", "host", "telemetry"]),
    (
        "server",
        &["api", "manifest", "package", "capabilities", "engine", "host", "telemetry", "triggers"],
    ),
    ("cli", &["api", "manifest", "package", "capabilities", "host", "server", "telemetry"]),
];

/// Dangers, and the files that may hold them. Clippy refuses them everywhere else; what is checked
/// here is that nobody allows them to himself.
const DOORS: [(&str, &[&str]); 4] = [
    ("unsafe {", &["crates/engine/src/cache.rs"]),
    (
        "clippy::disallowed_methods",
        &[
            "crates/capabilities/src/egress/mod.rs",
            "crates/capabilities/src/sql/postgres.rs",
            "crates/cli/build.rs",
            "crates/cli/src/args.rs",
            "crates/cli/src/folders.rs",
            "crates/engine/src/body.rs",
            "crates/engine/src/cache.rs",
            "crates/engine/src/compile.rs",
            "crates/engine/src/epoch.rs",
            "crates/engine/src/lib.rs",
            "crates/engine/src/shared.rs",
            "crates/telemetry/src/export.rs",
        ],
    ),
    ("anstream::", &["crates/cli/src/output.rs"]),
    // What a build script prints is what it says to Cargo.
    ("println!", &["crates/cli/build.rs", "crates/cli/src/output.rs"]),
];

/// A longer file holds more than one thing.
const MAX_FILE_LINES: usize = 600;
/// A longer function does more than one thing.
const MAX_FUNCTION_LINES: usize = 60;
/// `main` reads as the story.
const MAX_MAIN_LINES: usize = 120;

/// Checks every rule and reports every breach.
pub fn tidy() -> Result<()> {
    let mut breaches = Vec::new();
    check_edges(&mut breaches)?;
    for path in rust_files(Path::new("crates"))? {
        let text = fs::read_to_string(&path)?;
        check_doors(&path, &text, &mut breaches);
        check_lengths(&path, &text, &mut breaches);
    }
    check_guests(&mut breaches)?;
    if !breaches.is_empty() {
        bail!("{} breaches of STYLE.md:\n{}", breaches.len(), breaches.join("\n"));
    }
    Ok(())
}

fn check_edges(breaches: &mut Vec<String>) -> Result<()> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for entry in fs::read_dir("crates")? {
        found.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    for (name, allowed) in EDGES {
        if !found.remove(name) {
            breaches.push(format!("crates/{name} is gone: take it out of xtask/src/tidy.rs"));
            continue;
        }
        let path = format!("crates/{name}/Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(&path)?.parse()?;
        let dependencies = ["dependencies", "dev-dependencies"]
            .into_iter()
            .filter_map(|key| manifest.get(key)?.as_table())
            .flat_map(toml::Table::keys);
        for dependency in dependencies.filter_map(|name| name.strip_prefix("dhow-")) {
            if !allowed.contains(&dependency) {
                breaches.push(format!("{path}: {name} must not know {dependency}"));
            }
        }
    }
    breaches.extend(found.iter().map(|name| format!("crates/{name}: in no edge of tidy.rs")));
    Ok(())
}

fn check_doors(path: &Path, text: &str, breaches: &mut Vec<String>) {
    for (danger, doors) in DOORS {
        if text.contains(danger) && !doors.iter().any(|door| Path::new(door) == path) {
            breaches.push(format!("{}: `{danger}` has its door elsewhere", path.display()));
        }
    }
}

fn check_lengths(path: &Path, text: &str, breaches: &mut Vec<String>) {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code.lines().count();
    let limit = if path.ends_with("main.rs") { MAX_MAIN_LINES } else { MAX_FILE_LINES };
    if lines > limit {
        breaches.push(format!("{}: {lines} lines, {limit} at most", path.display()));
    }
    // rustfmt closes a function at the indentation where it began.
    let mut open: Option<(usize, usize, &str)> = None;
    for (number, line) in code.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let starts = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn "];
        let starts = starts.iter().any(|start| line.trim_start().starts_with(start))
            || line.contains(" async fn ");
        match open {
            None if starts && !line.ends_with(';') => open = Some((number, indent, line.trim())),
            Some((start, at, name)) if line.trim() == "}" && indent == at => {
                let length = number - start + 1;
                if length > MAX_FUNCTION_LINES {
                    breaches.push(format!(
                        "{}:{}: {length} lines, {MAX_FUNCTION_LINES} at most: {name}",
                        path.display(),
                        start + 1
                    ));
                }
                open = None;
            }
            _ => {}
        }
    }
}

/// A guest that no test and no benchmark uses proves nothing, unless others are made with it.
fn check_guests(breaches: &mut Vec<String>) -> Result<()> {
    let users = [rust_files(Path::new("tests"))?, rust_files(Path::new("bench"))?].concat();
    let texts = users
        .into_iter()
        .map(fs::read_to_string)
        .collect::<Result<Vec<_>, _>>()
        .context("reading who uses guests")?;
    let folders = fs::read_dir("guests")?
        .map(|entry| Ok(entry?.path()))
        .filter(|folder| folder.as_ref().map_or(true, |folder| folder.join("Cargo.toml").exists()))
        .collect::<Result<Vec<_>>>()?;
    let manifests = folders.iter().map(|folder| fs::read_to_string(folder.join("Cargo.toml")));
    let manifests = manifests.collect::<Result<String, _>>()?;
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = format!("/{}.wasm\"", name.replace('-', "_"));
        let names = [format!("\"{name}\""), format!("{{{name}}}"), file];
        let is_used = texts.iter().any(|text| names.iter().any(|name| text.contains(name)))
            || manifests.contains(&format!("\"../{name}\""));
        if !is_used {
            breaches.push(format!("guests/{name}: nothing uses it"));
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
