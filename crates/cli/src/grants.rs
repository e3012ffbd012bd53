//! What the components of an app may do, for people: by `dhow up`, and by `dhow inspect --grants`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use dhow_manifest::{Grants, Name, Sockets, without_password};
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
    let may: BTreeMap<_, _> =
        components.map(|(name, component)| (name.to_string(), lines(&component.grants))).collect();
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

/// What a component may do, each as the end of "it may".
pub(crate) fn lines(grants: &Grants) -> Vec<String> {
    let mut lines: Vec<_> =
        grants.http.iter().map(|origin| format!("send requests to {origin}")).collect();
    lines.extend(grants.calls.iter().map(|name| format!("call {name} by name")));
    let Sockets { tcp, udp, tcp_listen, udp_listen } = &grants.sockets;
    lines.extend(tcp.iter().map(|endpoint| format!("connect to {endpoint}")));
    lines.extend(udp.iter().map(|endpoint| format!("exchange datagrams with {endpoint}")));
    lines.extend(tcp_listen.iter().map(|address| format!("listen on {address}")));
    lines.extend(udp_listen.iter().map(|address| format!("receive datagrams on {address}")));
    lines.extend(
        grants.keyvalue.iter().map(|(label, name)| format!("open the store {label}: {name}")),
    );
    lines.extend(
        grants
            .sql
            .iter()
            .map(|(label, name)| format!("open the database {}: {name}", without_password(label))),
    );
    lines.extend(grants.files.iter().map(|(guest, folder)| {
        let (verb, quota) = match folder.quota {
            Some(quota) => ("write to", format!(", up to {quota}")),
            None => ("read", String::new()),
        };
        format!("{verb} {guest}: {}{quota}", folder.host.display())
    }));
    lines.extend(grants.ca.iter().map(|ca| format!("trust the authorities in {}", ca.display())));
    lines.extend(
        grants.blobstore.iter().map(|(label, name)| format!("open the container {label}: {name}")),
    );
    lines.extend(
        grants.redis.iter().map(|(label, name)| {
            format!("open the Redis server {}: {name}", without_password(label))
        }),
    );
    let keys: Vec<_> = grants.config.keys().map(String::as_str).collect();
    if !keys.is_empty() {
        lines.push(format!("read the configuration {}", keys.join(", ")));
    }
    let secrets: Vec<_> = grants.secrets.iter().map(Name::as_str).collect();
    if !secrets.is_empty() {
        lines.push(format!("read the secrets {}", secrets.join(", ")));
    }
    let variables: Vec<_> =
        grants.env.fixed.keys().chain(&grants.env.inherited).map(String::as_str).collect();
    if !variables.is_empty() {
        lines.push(format!("read the variables {}", variables.join(", ")));
    }
    if lines.is_empty() {
        lines.push("answer, and nothing else".to_owned());
    }
    lines
}
