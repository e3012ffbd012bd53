//! Building components from their sources, where something changed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::UNIX_EPOCH,
};

use dhow_manifest::{Build, Component, Name};

use crate::{app::LocalApp, args::AppArgs, error::CliError, output, toolchains};

/// `dhow build`: builds what has changed, and says what was made.
pub(crate) fn command(args: &AppArgs) -> Result<ExitCode, CliError> {
    let local = LocalApp::read(&args.path)?;
    build(&local)?;
    for (name, artifact) in local.artifacts()? {
        let (path, size) = (artifact.path().display(), artifact.bytes().len());
        output::data(format_args!("{name} {path} {size} bytes {}", artifact.digest()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds every component of `app` that has a build.
pub(crate) fn build(LocalApp { app, folder, .. }: &LocalApp) -> Result<(), CliError> {
    for (name, component) in app.components() {
        if let Some(build) = &component.build {
            let stamp = Stamp { folder, name, component, build };
            let before = stamp.watched();
            if !stamp.is_fresh(before.as_deref()) {
                run(folder, name, build)?;
                stamp.write(before);
            }
        }
    }
    Ok(())
}

fn run(folder: &Path, name: &Name, build: &Build) -> Result<(), CliError> {
    let command = &build.command;
    output::heading(format_args!("Building {name}: {command}"));
    let folder = folder.join(&build.folder);
    let folder = non_empty(&folder);
    let mut shell = Command::new("sh");
    if let Some(path) = toolchains::path(folder) {
        shell.env("PATH", path);
    }
    let status = shell
        .arg("-c")
        .arg(command)
        .current_dir(folder)
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
    let missing_target = || {
        command
            .contains("wasm32-wasip2")
            .then(|| "where the target is missing: rustup target add wasm32-wasip2".to_owned())
    };
    let help = match status.code() {
        Some(toolchains::NOT_FOUND) => toolchains::what_to_install(command, folder),
        _ => missing_target(),
    };
    Err(CliError::build(format!("the build of `{name}` failed: {command}: {status}"), help))
}

fn non_empty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What a build was made of: the command, and the size and time of every file that it watches; and
/// the same of the component that it made.
struct Stamp<'a> {
    folder: &'a Path,
    name: &'a Name,
    component: &'a Component,
    build: &'a Build,
}

impl Stamp<'_> {
    /// Whether nothing has changed since the last build. Never, where the build watches nothing.
    fn is_fresh(&self, watched: Option<&str>) -> bool {
        let Some(watched) = watched else { return false };
        fs::read_to_string(self.path()).is_ok_and(|old| old == format!("{watched}{}", self.made()))
    }

    /// Notes what was watched before the build: what changed while it ran is not in it. A stamp
    /// that can't be written means that the next build is not skipped.
    fn write(&self, watched: Option<String>) {
        if let Some(watched) = watched {
            let path = self.path();
            let folder = path.parent().unwrap_or(&path);
            let text = format!("{watched}{}", self.made());
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(".dhow").join("build").join(self.name.as_str())
    }

    fn watched(&self) -> Option<String> {
        if self.build.watch.is_empty() {
            return None;
        }
        let folder = glob::Pattern::escape(&self.folder.to_string_lossy());
        let mut files = BTreeSet::new();
        for pattern in &self.build.watch {
            let found = matches(&Path::new(&folder).join(pattern));
            if found.is_empty() {
                output::progress(format_args!(
                    "{}: nothing matches watch = {pattern:?}",
                    self.name
                ));
            }
            files.extend(found);
        }
        let mut text = format!("{}\n{}\n", self.build.command, self.build.folder.display());
        for path in files {
            let _ = writeln!(text, "{} {}", path.display(), state(&path).unwrap_or_default());
        }
        Some(text)
    }

    fn made(&self) -> String {
        state(&self.folder.join(&self.component.source)).unwrap_or_default()
    }
}

/// The files that match; of a folder that does, all that it holds.
fn matches(pattern: &Path) -> Vec<PathBuf> {
    let paths = |pattern: &Path| {
        let paths = glob::glob(&pattern.to_string_lossy());
        paths.into_iter().flatten().filter_map(Result::ok).collect::<Vec<_>>()
    };
    let mut found = paths(pattern);
    if found.iter().any(|path| path.is_dir()) {
        found.extend(paths(&pattern.join("**").join("*")));
    }
    found
}

/// The size and the time of a file. Folders have none: what they hold is listed.
fn state(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), modified.as_nanos()))
}
