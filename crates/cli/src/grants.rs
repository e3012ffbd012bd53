//! What the components of an app may do, for people: `dhow inspect --grants`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde::Serialize;

use crate::{app::LocalApp, args::InspectFormat, error::CliError, output};

/// The shape of `--output json`. Fields are added in time; a change of meaning changes `schema`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    /// By component.
    may: BTreeMap<String, Vec<String>>,
}

/// Prints what each component of the app at `path` may do, without building or running it.
pub(crate) fn inspect(path: &Path, format: InspectFormat) -> Result<ExitCode, CliError> {
    let LocalApp { app, .. } = LocalApp::read(path)?;
    let components = app.components().iter();
    let may: BTreeMap<_, _> = components
        .map(|(name, component)| (name.to_string(), component.grants.describe()))
        .collect();
    match format {
        InspectFormat::Text | InspectFormat::Mermaid => {
            for (name, lines) in &may {
                output::data(name);
                lines.iter().for_each(|line| output::data(format_args!("  may {line}")));
            }
        }
        InspectFormat::Json => {
            let report = Report { schema: "dhow.grants/1", may };
            output::json(&report)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
