//! What keeps parts from being joined.

use thiserror::Error;

use crate::Difference;

/// Something that keeps parts from being joined.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum WiringFault {
    #[error("component `{part}` is {reason}")]
    Damaged { part: String, reason: String },
    #[error("there are two components `{part}`")]
    SameName { part: String },
    #[error("no component uses `{part}`")]
    Unused { part: String },
    #[error(
        "component `{importer}` uses `{interface}` of component number {number}, which is none"
    )]
    NoPart { importer: String, interface: String, number: usize },
    #[error("the components use each other in a circle: {}", path.join(" -> "))]
    Cycle { path: Vec<String> },
    #[error(
        "component `{importer}` uses `{interface}` of `{exporter}`, and does not import it: it \
         imports {}",
        of_the_app(imports)
    )]
    NotImported { importer: String, interface: String, exporter: String, imports: Vec<String> },
    #[error(
        "component `{exporter}` does not export `{interface}`, which `{importer}` imports: it \
         exports {}",
        list(exports)
    )]
    NotExported { importer: String, exporter: String, interface: String, exports: Vec<String> },
    #[error(
        "component `{importer}` imports `{imported}`, and `{exporter}` exports `{exported}`, which \
         is another version"
    )]
    Version { importer: String, imported: String, exporter: String, exported: String },
    #[error("component `{importer}` has `{interface}` served by two components")]
    ServedTwice { importer: String, interface: String },
    #[error("{}", mismatch(importer, exporter, interface, reason, difference.as_deref()))]
    Mismatch {
        importer: String,
        exporter: String,
        interface: String,
        /// The first item that differs, where it was found.
        difference: Option<Box<Difference>>,
        /// What wac says.
        reason: String,
    },
    #[error(
        "`{interface}` passes `{resource}` of `{own}` from one component to another (`{importer}` \
         imports it from `{exporter}`), and each has a `{own}` of its own"
    )]
    OwnResource {
        importer: String,
        exporter: String,
        interface: String,
        own: String,
        resource: String,
    },
    #[error(
        "component `{importer}` imports `{interface}` of the host, which passes `{resource}` of \
         `{served}`, which another component serves"
    )]
    Split { importer: String, interface: String, resource: String, served: String },
    #[error("component `{part}` imports `{import}`, which can get no name of its own")]
    Nameless { part: String, import: String },
    #[error("component `{part}` imports `{import}` with {what}, which would be lost")]
    Annotated { part: String, import: String, what: &'static str },
    #[error("components `{first}` and `{second}` import `{interface}` differently: {reason}")]
    Unmergeable { first: String, second: String, interface: String, reason: String },
    #[error("component `{part}` imports `{import}` with a definition that another import shares")]
    Lost { part: String, import: String },
    #[error("the components can't be joined: {reason}")]
    Failed { reason: String },
}

impl WiringFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { .. } => "build it again".to_owned(),
            Self::Unused { part } => {
                format!("name in `uses` of another component what it takes from `{part}`")
            }
            Self::NotImported { interface, imports, .. } => match nearest(interface, imports) {
                Some(near) => format!("did you mean `{near}`?"),
                None => return None,
            },
            Self::NotExported { interface, exports, .. } => match nearest(interface, exports) {
                Some(near) => format!("`{near}` is similar: import that, or export the other"),
                None => "use the component that exports it".to_owned(),
            },
            Self::Version { .. } => {
                "versions fit that are equal, or have the same major version (below 1.0: the same \
                 minor version) and are no pre-releases: build both against one"
                    .to_owned()
            }
            Self::Mismatch { .. } | Self::Unmergeable { .. } => {
                "build both against the same WIT".to_owned()
            }
            Self::OwnResource { own, .. } => format!(
                "pass what the resource is about (a path, a key), or a stream: what a component \
                 gets of `{own}` is under its own grants and can't be handed on"
            ),
            Self::Split { interface, served, .. } => {
                format!("have the same component serve `{interface}` and `{served}`")
            }
            Self::Lost { .. } => "build it with other tools: wac takes the two for one".to_owned(),
            Self::Cycle { .. } => {
                "move what two components need of each other into a third".to_owned()
            }
            Self::ServedTwice { .. } => "name one component for it".to_owned(),
            Self::SameName { .. }
            | Self::NoPart { .. }
            | Self::Nameless { .. }
            | Self::Annotated { .. }
            | Self::Failed { .. } => return None,
        })
    }
}

/// Both sides of what differs, one below the other.
fn mismatch(
    importer: &str,
    exporter: &str,
    interface: &str,
    reason: &str,
    difference: Option<&Difference>,
) -> String {
    let what = format!(
        "component `{importer}` imports `{interface}` otherwise than `{exporter}` exports it"
    );
    let Some(Difference { imported, exported }) = difference else {
        return format!("{what}: {reason}");
    };
    let width = importer.len().max(exporter.len());
    let exported = exported.as_deref().unwrap_or("nothing of this name");
    format!(
        "{what}\n  {importer:width$} imports  {interface}:  {imported};\n  \
         {exporter:width$} exports  {interface}:  {exported};"
    )
}

/// What a component imports that is the app's own affair.
fn of_the_app(imports: &[String]) -> String {
    let of_the_app = imports.iter().filter(|import| !import.starts_with("wasi:"));
    match of_the_app.map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => "nothing outside of wasi:".to_owned(),
        names => names.join(", "),
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

/// The name that is most similar to `name`, where one is; versions do not count.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let path = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let wanted = path(name);
    names
        .iter()
        .map(|other| (strsim::levenshtein(&wanted, &path(other)), other.as_str()))
        .min()
        .filter(|(distance, _)| *distance * 5 <= wanted.len())
        .map(|(_, other)| other)
}
