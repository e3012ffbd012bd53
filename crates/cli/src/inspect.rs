//! `dhow inspect`: what a component is, imports and exports.

use std::{fmt::Write as _, process::ExitCode};

use dhow_capabilities::{is_served, nearest_served};
use dhow_package::{Artifact, Description, Producer};
use serde::Serialize;

use crate::{
    args::{InspectArgs, InspectFormat},
    error::CliError,
    grants, graph, output,
};

pub(crate) fn inspect(args: InspectArgs) -> Result<ExitCode, CliError> {
    let is_app = args.path.is_dir() || args.path.extension().is_some_and(|it| it == "toml");
    match args.output {
        InspectFormat::Mermaid if args.grants || !is_app => {
            return Err(CliError::usage(
                "Mermaid draws an app",
                "write: dhow inspect --output mermaid FOLDER",
            ));
        }
        output if args.grants => return grants::inspect(&args.path, output),
        output if is_app => return graph::inspect(&args.path, output),
        _ => {}
    }
    let artifact = Artifact::read(&args.path)?;
    let description = Description::of(artifact.bytes()).map_err(|error| {
        CliError::failure_with_help(format!("{}: {error}", args.path.display()), "build it again")
    })?;
    let report = Report::new(&artifact, description);
    match args.output {
        InspectFormat::Text | InspectFormat::Mermaid => output::data(report.text().trim_end()),
        InspectFormat::Json => {
            output::json(&report)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The shape of `--output json`. Fields are added in time; a change of meaning changes `schema`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    path: String,
    size: usize,
    digest: String,
    /// What Dhow can do with it: `http` for `dhow up`, `command` for `dhow run`.
    runs_as: Vec<&'static str>,
    languages: Vec<Tool>,
    tools: Vec<Tool>,
    imports: Vec<Import>,
    exports: Vec<String>,
    wit: String,
}

#[derive(Serialize)]
struct Tool {
    name: String,
    version: String,
}

#[derive(Serialize)]
struct Import {
    name: String,
    served: bool,
    /// The nearest interface that is served, where this one is not.
    nearest: Option<String>,
}

impl Report {
    fn new(artifact: &Artifact, description: Description) -> Self {
        let tools = |producers: Vec<Producer>| {
            producers.into_iter().map(|Producer { name, version }| Tool { name, version }).collect()
        };
        let imports = description.imports.into_iter().map(|name| {
            let served = is_served(&name);
            Import { nearest: if served { None } else { nearest_served(&name) }, served, name }
        });
        Self {
            schema: "dhow.inspect/1",
            path: artifact.path().display().to_string(),
            size: artifact.bytes().len(),
            digest: artifact.digest().to_string(),
            runs_as: runs_as(&description.exports),
            imports: imports.collect(),
            exports: description.exports,
            languages: tools(description.languages),
            tools: tools(description.tools),
            wit: description.wit,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<10} {value}");
        };
        field("path", &self.path);
        field("size", &format!("{} bytes", self.size));
        field("digest", &self.digest);
        field("language", &list(&self.languages));
        field("made by", &list(&self.tools));
        field(
            "runs as",
            &if self.runs_as.is_empty() {
                "nothing that Dhow knows".to_owned()
            } else {
                self.runs_as.join(", ")
            },
        );
        let _ = writeln!(text, "\nimports");
        for Import { name, served, nearest } in &self.imports {
            let note = match (served, nearest) {
                (true, _) => "served".to_owned(),
                (false, Some(nearest)) => format!("NOT SERVED; the nearest is {nearest}"),
                (false, None) => "NOT SERVED".to_owned(),
            };
            let _ = writeln!(text, "  {name:<45} {note}");
        }
        let _ = writeln!(text, "\nexports");
        for name in &self.exports {
            let _ = writeln!(text, "  {name}");
        }
        let _ = writeln!(text, "\n{}", self.wit);
        text
    }
}

fn runs_as(exports: &[String]) -> Vec<&'static str> {
    let exports_one_of = |prefixes: &[&str]| {
        exports.iter().any(|export| prefixes.iter().any(|prefix| export.starts_with(prefix)))
    };
    let http = ["wasi:http/handler@0.3.", "wasi:http/incoming-handler@0.2."];
    let command = ["wasi:cli/run@0.3.", "wasi:cli/run@0.2."];
    [("http", &http), ("command", &command)]
        .into_iter()
        .filter(|(_, prefixes)| exports_one_of(*prefixes))
        .map(|(name, _)| name)
        .collect()
}

fn list(tools: &[Tool]) -> String {
    if tools.is_empty() {
        return "not said".to_owned();
    }
    let names: Vec<_> = tools
        .iter()
        .map(|Tool { name, version }| format!("{name} {version}").trim_end().to_owned())
        .collect();
    names.join(", ")
}
