//! `dhow compose`: the components of an app as one file.

use std::{fs, process::ExitCode};

use dhow_manifest::{App, Entry};

use crate::{app::LocalApp, args::ComposeArgs, build, error::CliError, output};

pub(crate) fn compose(args: ComposeArgs) -> Result<ExitCode, CliError> {
    let local = LocalApp::read(&args.app.path)?;
    let entry = entry(&local.app, args.route.as_deref())?;
    if !args.no_build {
        build::build(&local)?;
    }
    let artifacts = local.artifacts()?;
    let wasm = dhow_host::compose(&local.app, &entry, &artifacts, args.keep_names)?;
    let out = args.out.display();
    fs::write(&args.out, &wasm)
        .map_err(|error| CliError::failure(format!("{out} can't be written: {error}")))?;
    let parts: Vec<_> = local.app.parts(&entry).iter().map(|part| part.name.as_str()).collect();
    output::progress(format_args!("{out}: {} bytes, of {}", wasm.len(), parts.join(", ")));
    Ok(ExitCode::SUCCESS)
}

/// What the route `path` leads to, or the only thing that any does.
fn entry(app: &App, path: Option<&str>) -> Result<Entry, CliError> {
    let routes = app.routes().iter();
    let mut found: Vec<_> = routes
        .filter(|route| path.is_none_or(|path| route.path.as_str() == path))
        .map(|route| &route.entry)
        .collect();
    found.sort();
    found.dedup();
    if let [entry] = found[..] {
        return Ok(entry.clone());
    }
    let routes: Vec<_> = app
        .routes()
        .iter()
        .map(|route| format!("--route {}  ({})", route.path, route.entry))
        .collect();
    let what = match path {
        Some(path) => format!("the app has no route `{path}`"),
        None => "the app's routes lead to different components".to_owned(),
    };
    Err(CliError::usage(what, format!("say which: {}", routes.join("\n"))))
}
