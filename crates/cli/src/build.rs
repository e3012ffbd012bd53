//! Building components from their sources, where something changed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use dhow_manifest::{Build, Component, Name};

use crate::{app::LocalApp, error::CliError, output};

/// Builds every component of `app` that has a build.
pub(crate) fn build(LocalApp { app, folder }: &LocalApp) -> Result<(), CliError> {
    for (name, component) in app.components() {
        if let Some(build) = &component.build {
            let stamp = Stamp { folder, name, component, build };
            if !stamp.is_fresh() {
                run(folder, name, build)?;
                stamp.write();
            }
        }
    }
    Ok(())
}

fn run(folder: &Path, name: &Name, build: &Build) -> Result<(), CliError> {
    let command = &build.command;
    output::heading(format_args!("Building {name}: {command}"));
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(non_empty(&folder.join(&build.folder)))
        .stdin(Stdio::null())
        // What a build prints is progress.
        .stdout(io::stderr())
        .status()
        .map_err(|error| {
            CliError::build(format!("the build of `{name}` does not start: {error}"), None)
        })?;
    if status.success() {
        return Ok(());
    }
    let help = command
        .contains("wasm32-wasip2")
        .then(|| "where the target is missing: rustup target add wasm32-wasip2".to_owned());
    Err(CliError::build(format!("the build of `{name}` failed: {command}: {status}"), help))
}

fn non_empty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What a build was made of: the command, and the size and time of every file that it watches and
/// of what it made.
struct Stamp<'a> {
    folder: &'a Path,
    name: &'a Name,
    component: &'a Component,
    build: &'a Build,
}

impl Stamp<'_> {
    /// Whether nothing has changed since the last build. Never, where the build watches nothing.
    fn is_fresh(&self) -> bool {
        self.text().is_some_and(|text| fs::read_to_string(self.path()).is_ok_and(|old| old == text))
    }

    /// A stamp that can't be written means that the next build is not skipped.
    fn write(&self) {
        if let Some(text) = self.text() {
            let path = self.path();
            let folder = path.parent().unwrap_or(&path);
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(".dhow").join("build").join(self.name.as_str())
    }

    fn text(&self) -> Option<String> {
        if self.build.watch.is_empty() {
            return None;
        }
        let mut text = format!("{}\n{}\n", self.build.command, self.build.folder.display());
        let watched = self.build.watch.iter().flat_map(|pattern| {
            let pattern = self.folder.join(pattern);
            glob::glob(&pattern.to_string_lossy()).into_iter().flatten().filter_map(Result::ok)
        });
        let files: BTreeMap<PathBuf, String> = watched
            .chain([self.folder.join(&self.component.source)])
            .map(|path| {
                let state = state(&path).unwrap_or_default();
                (path, state)
            })
            .collect();
        for (path, state) in files {
            let _ = writeln!(text, "{} {state}", path.display());
        }
        Some(text)
    }
}

/// The size and the time of a file. Folders have none: what they hold is listed.
fn state(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), modified.as_nanos()))
}
