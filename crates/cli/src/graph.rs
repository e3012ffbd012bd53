//! An app for people: which components it has, who calls whom by what, and what each may do. Nothing
//! is built or run for it.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, process::ExitCode};

use dhow_manifest::{App, Component, HANDLER, Name};
use dhow_package::{Artifact, Description};
use serde::Serialize;

use crate::{app::LocalApp, args::InspectFormat, error::CliError, output};

pub(crate) fn inspect(path: &Path, format: InspectFormat) -> Result<ExitCode, CliError> {
    let graph = Graph::of(&LocalApp::read(path)?);
    match format {
        InspectFormat::Text => output::data(graph.text().trim_end()),
        InspectFormat::Mermaid => output::data(graph.mermaid().trim_end()),
        InspectFormat::Json => {
            output::json(&graph)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The shape of `--output json`. Fields are added in time; a change of meaning changes `schema`.
#[derive(Serialize)]
struct Graph {
    schema: &'static str,
    name: String,
    version: Option<String>,
    routes: Vec<Route>,
    components: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Serialize)]
struct Route {
    path: String,
    /// Each hands requests on to the next, and the last to the component.
    middleware: Vec<String>,
    component: String,
}

#[derive(Serialize)]
struct Node {
    name: String,
    source: String,
    /// Nothing where it is not built.
    size: Option<usize>,
    digest: Option<String>,
    /// As far as its tools tell.
    language: Option<&'static str>,
    /// Each as the end of "it may".
    may: Vec<String>,
}

/// One component calls another.
#[derive(Serialize)]
struct Edge {
    from: String,
    to: String,
    how: How,
    /// Of a use: the interface, with its version where the component is built; of a call by name:
    /// the origin.
    by: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    /// It hands requests on, as middleware.
    Middleware,
    /// In the same instance.
    Uses,
    /// By name, through the host.
    Calls,
}

impl Graph {
    fn of(local: &LocalApp) -> Self {
        let LocalApp { app, folder, .. } = local;
        let mut built = BTreeMap::new();
        for (name, component) in app.components() {
            if let Ok(artifact) = Artifact::read(&folder.join(&component.source))
                && let Ok(description) = Description::of(artifact.bytes())
            {
                built.insert(name, (artifact, description));
            }
        }
        let node = |(name, component): (&Name, &Component)| {
            let built = built.get(name);
            Node {
                name: name.to_string(),
                source: component.source.display().to_string(),
                size: built.map(|(artifact, _)| artifact.bytes().len()),
                digest: built.map(|(artifact, _)| artifact.digest().to_string()),
                language: built.and_then(|(_, description)| description.language()),
                may: component.grants.describe(),
            }
        };
        let imports = |name: &Name| {
            built.get(name).map(|(_, description)| &description.imports[..]).unwrap_or_default()
        };
        Self {
            schema: "dhow.app/1",
            name: app.name().to_string(),
            version: app.version().map(str::to_owned),
            routes: app
                .routes()
                .iter()
                .map(|route| Route {
                    path: route.path.to_string(),
                    middleware: route.entry.middleware.iter().map(Name::to_string).collect(),
                    component: route.entry.component.to_string(),
                })
                .collect(),
            components: app.components().iter().map(node).collect(),
            edges: edges(app, &imports),
        }
    }

    fn text(&self) -> String {
        let version = self.version.as_deref().unwrap_or_default();
        let mut text = format!("{}\n\nroutes\n", format!("{} {version}", self.name).trim_end());
        let width = self.routes.iter().map(|route| route.path.len()).max().unwrap_or(0);
        for Route { path, middleware, component } in &self.routes {
            let chain: Vec<_> = middleware.iter().chain([component]).map(String::as_str).collect();
            let _ = writeln!(text, "  {path:width$}  {}", chain.join(" > "));
        }
        let _ = writeln!(text, "\ncomponents");
        for node in &self.components {
            let size = node.size.map_or("not built".to_owned(), |size| format!("{size} bytes"));
            let about: Vec<_> =
                node.language.into_iter().chain([&node.source[..], &size]).collect();
            let _ = writeln!(text, "  {}: {}", node.name, about.join(", "));
            for edge in self.edges.iter().filter(|edge| edge.from == node.name) {
                let verb = match edge.how {
                    How::Middleware => "before",
                    How::Uses => "uses  ",
                    How::Calls => "calls ",
                };
                let _ = writeln!(text, "    {verb}  {}, by {}", edge.to, edge.by);
            }
            for line in &node.may {
                let _ = writeln!(text, "    may     {line}");
            }
        }
        text
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (index, Route { path, middleware, component }) in self.routes.iter().enumerate() {
            let first = middleware.first().unwrap_or(component);
            let _ = writeln!(text, "    route{index}([\"{path}\"]) --> {}", id(first));
        }
        for node in &self.components {
            let mut lines = vec![format!("<b>{}</b>", node.name)];
            lines.extend(node.language.map(str::to_owned));
            lines.extend(node.may.iter().map(|line| format!("may {}", escaped(line))));
            let _ = writeln!(text, "    {}[\"{}\"]", id(&node.name), lines.join("<br/>"));
        }
        for Edge { from, to, how, by } in &self.edges {
            let arrow = if *how == How::Calls { "-.->" } else { "-->" };
            let _ = writeln!(text, "    {} {arrow}|\"{by}\"| {}", id(from), id(to));
        }
        text
    }
}

/// `end` and its like are words of Mermaid's.
fn id(name: &str) -> String {
    format!("c-{name}")
}

/// Mermaid's own way to write a quote, and HTML's for the rest.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "#quot;")
}

fn edges<'a>(app: &App, imports: &dyn Fn(&Name) -> &'a [String]) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for route in app.routes() {
        let chain: Vec<&Name> = route.entry.chain().collect();
        for pair in chain.windows(2) {
            let [from, to] = pair else { continue };
            let (from, to) = (from.to_string(), to.to_string());
            let edge = Edge { from, to, how: How::Middleware, by: HANDLER.to_owned() };
            let is_known = |known: &Edge| {
                known.how == edge.how && known.from == edge.from && known.to == edge.to
            };
            if !edges.iter().any(is_known) {
                edges.push(edge);
            }
        }
    }
    for (name, component) in app.components() {
        for (interface, used) in &component.uses {
            let import = imports(name).iter().find(|import| interface.is_for(import));
            edges.push(Edge {
                from: name.to_string(),
                to: used.to_string(),
                how: How::Uses,
                by: import.cloned().unwrap_or_else(|| interface.to_string()),
            });
        }
        for called in &component.grants.calls {
            edges.push(Edge {
                from: name.to_string(),
                to: called.to_string(),
                how: How::Calls,
                by: format!("http://{called}.internal"),
            });
        }
    }
    edges
}
