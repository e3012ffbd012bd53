//! The checked app, and how it is made from text.

use std::{collections::BTreeMap, ops::Range, path::PathBuf};

use toml::de::DeTable;

use crate::{
    Entry, Fault, Faults, Grants, Instances, InterfaceName, Limits, Name, PathPattern, Rollout,
    Route, grants, instances,
    raw::{self, Table, Value},
    rollout, route, routes,
    wiring::{self, Reference},
};

/// A checked app: every name resolves, every limit is within bounds, every route is distinct.
///
/// Made only by [`App::parse`] and [`App::of_component`]; no raw text is read after this point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    name: Name,
    version: Option<String>,
    components: BTreeMap<Name, Component>,
    routes: Vec<Route>,
    health: Option<String>,
    rollout: Option<Rollout>,
}

/// One component of an [`App`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The file, relative to the folder of the manifest.
    pub source: PathBuf,
    /// How the file is made.
    pub build: Option<Build>,
    /// What it may do.
    pub grants: Grants,
    /// What it may use.
    pub limits: Limits,
    /// How long an instance of it lives.
    pub instances: Instances,
    /// Which of its imports other components of the app serve.
    pub uses: BTreeMap<InterfaceName, Name>,
}

/// How a component is built from its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// A command line for the shell, run in `folder`.
    pub command: String,
    /// The folder, relative to that of the manifest.
    pub folder: PathBuf,
    /// Glob patterns, relative to the folder of the manifest. When there are any and no file that
    /// matches has changed since the last build, the build is skipped.
    pub watch: Vec<String>,
}

/// A longer manifest is no manifest: this is a thousand times what people write.
const MAX_TEXT: usize = 1 << 20;

impl App {
    /// Checks the manifest `text`, which came from `file`.
    ///
    /// # Errors
    /// With every fault that was found.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        if text.len() > MAX_TEXT {
            faults.push(Fault::new(0..0, format!("the manifest is longer than {MAX_TEXT} bytes")));
            return Err(Faults::new(file, "", faults));
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What follows a syntax error would be judged by text that the author did not mean.
            faults.extend(errors.iter().map(syntax_fault));
            return Err(Faults::new(file, text, faults));
        }
        let app = read_app(Table::new(document.get_ref(), 0..0, "the manifest"), &mut faults);
        match app {
            Some(app) if faults.is_empty() => Ok(app),
            _ => Err(Faults::new(file, text, faults)),
        }
    }

    /// The app of a single component without a manifest: no grants, default limits, every path.
    pub fn of_component(name: Name, source: PathBuf) -> Self {
        let component = Component {
            source,
            build: None,
            grants: Grants::default(),
            limits: Limits::default(),
            instances: Instances::default(),
            uses: BTreeMap::new(),
        };
        Self {
            routes: vec![Route {
                path: PathPattern::everything(),
                entry: Entry::plain(name.clone()),
            }],
            components: BTreeMap::from([(name.clone(), component)]),
            name,
            version: None,
            health: None,
            rollout: None,
        }
    }

    /// The app's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The version its author gave it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The components by name; at least one.
    pub fn components(&self) -> &BTreeMap<Name, Component> {
        &self.components
    }

    /// The HTTP routes in the order of the manifest. Their entries' components exist.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The path that is asked whether the app is well; a route leads there.
    pub fn health(&self) -> Option<&str> {
        self.health.as_deref()
    }

    /// How a new revision takes the place of the one before; at once where nothing is said.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }
}

pub(crate) fn syntax_fault(error: &toml::de::Error) -> Fault {
    Fault::new(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()))
}

fn read_app(mut table: Table<'_>, faults: &mut Vec<Fault>) -> Option<App> {
    let name = match table.get("name") {
        Some(value) => raw::string(value, r#"name = "shop""#, faults)
            .and_then(|text| read_name(text, value.span(), faults)),
        None => {
            faults.push(Fault::new(0..0, "the app has no name").help(r#"write: name = "shop""#));
            None
        }
    };
    let version = table
        .get("version")
        .and_then(|value| raw::string(value, r#"version = "1.2.0""#, faults))
        .map(str::to_owned);
    let mut components = read_components(table.get("component"), faults);
    routes::resolve(&mut components, faults);
    let routes = routes::read(table.get("http"), &components, faults);
    let health = table.get("health").and_then(|value| read_health(value, &routes, faults));
    let rollout = table.get("rollout").and_then(|value| rollout::read(value, faults));
    table.finish(faults);
    Some(App {
        name: name?,
        version,
        components: components
            .into_iter()
            .filter_map(|(name, found)| Some((name, found.component?)))
            .collect(),
        routes,
        health,
        rollout,
    })
}

fn read_health(value: Value<'_>, routes: &[Route], faults: &mut Vec<Fault>) -> Option<String> {
    const EXAMPLE: &str = r#"health = "/healthz""#;
    let path = raw::parsed(value, EXAMPLE, faults, |text| {
        let error = "a path begins with `/` and holds only what paths of requests do";
        route::is_path(text).then(|| text.to_owned()).ok_or(error)
    })?;
    // Where there is none, that is a fault by itself.
    if !routes.is_empty() && !routes.iter().any(|route| route.path.matches(&path)) {
        faults.push(Fault::new(value.span(), format!("no route leads to `{path}`")).help(format!(
            "write a route to a component that answers: [[http]]\npath = \"{path}\""
        )));
    }
    Some(path)
}

fn read_name(text: &str, span: Range<usize>, faults: &mut Vec<Fault>) -> Option<Name> {
    Name::new(text)
        .map_err(|error| {
            let nearest = Name::nearest(text, "app");
            faults.push(
                Fault::new(span, format!("`{text}` is no name: {error}"))
                    .help(format!("write: {nearest}")),
            );
        })
        .ok()
}

/// A component that stands in the manifest; `component` is there where it has no fault.
pub(crate) struct FoundComponent {
    pub(crate) span: Range<usize>,
    pub(crate) component: Option<Component>,
    /// Of which others it uses what.
    pub(crate) uses: Vec<(InterfaceName, Reference)>,
    /// Whom it calls by name.
    pub(crate) calls: Vec<Reference>,
}

pub(crate) const COMPONENT_EXAMPLE: &str = "[component.cart]\nsource = \"cart.wasm\"";

fn read_components(
    value: Option<Value<'_>>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<Name, FoundComponent> {
    let mut components = BTreeMap::new();
    let Some(value) = value else {
        faults.push(
            Fault::new(0..0, "the app has no component")
                .help(format!("write: {COMPONENT_EXAMPLE}")),
        );
        return components;
    };
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", COMPONENT_EXAMPLE));
        return components;
    };
    for (key, value) in entries {
        let (mut uses, mut calls) = (Vec::new(), Vec::new());
        let component = raw::table(value, "a component", COMPONENT_EXAMPLE, faults)
            .and_then(|table| read_component(key.get_ref(), table, &mut uses, &mut calls, faults));
        if let Some(name) = read_name(key.get_ref(), key.span(), faults) {
            components.insert(name, FoundComponent { span: key.span(), component, uses, calls });
        }
    }
    if entries.is_empty() {
        faults.push(
            Fault::new(value.span(), "the app has no component")
                .help(format!("write: {COMPONENT_EXAMPLE}")),
        );
    }
    components
}

fn read_component(
    name: &str,
    mut table: Table<'_>,
    uses: &mut Vec<(InterfaceName, Reference)>,
    calls: &mut Vec<Reference>,
    faults: &mut Vec<Fault>,
) -> Option<Component> {
    let source = match table.get("source") {
        Some(value) => read_source(value, faults),
        None => {
            faults.push(
                Fault::new(table.span.clone(), format!("component `{name}` has no source"))
                    .help(format!("write: source = \"{name}.wasm\"")),
            );
            None
        }
    };
    let build = table.get("build").and_then(|value| read_build(value, faults));
    let grants = table
        .get("grants")
        .and_then(|value| {
            raw::table(value, "grants", r#"grants.http = ["https://api.example.com"]"#, faults)
        })
        .map(|table| grants::read(table, calls, faults));
    let limits = table
        .get("limits")
        .and_then(|value| raw::table(value, "limits", r#"limits = { memory = "64MiB" }"#, faults))
        .map(|table| read_limits(table, faults));
    let instances = table.get("instances").and_then(|value| instances::read(value, faults));
    *uses = table.get("uses").map(|value| wiring::read_uses(value, faults)).unwrap_or_default();
    table.finish(faults);
    Some(Component {
        source: source?,
        build,
        grants: grants.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        instances: instances.unwrap_or_default(),
        // Whether they exist is known when all are read.
        uses: BTreeMap::new(),
    })
}

fn read_source(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let text = raw::string(value, r#"source = "cart.wasm""#, faults)?;
    if text.is_empty() {
        faults.push(Fault::new(value.span(), "the source is empty").help("write a path"));
        return None;
    }
    if text.contains("://") {
        faults.push(
            Fault::new(value.span(), "this version of Dhow reads components from local files only")
                .help("write the path of a file, relative to this one"),
        );
        return None;
    }
    Some(PathBuf::from(text))
}

const BUILD_EXAMPLE: &str = r#"build = { command = "cargo build", watch = ["src/**"] }"#;

fn read_build(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Build> {
    if let Some(command) = value.get_ref().as_str() {
        return Some(Build {
            command: command.to_owned(),
            folder: PathBuf::new(),
            watch: Vec::new(),
        });
    }
    let mut table = raw::table(value, "a build", BUILD_EXAMPLE, faults)?;
    let command = match table.get("command") {
        Some(value) => raw::string(value, BUILD_EXAMPLE, faults).map(str::to_owned),
        None => {
            faults.push(
                Fault::new(value.span(), "the build has no command")
                    .help(format!("write: {BUILD_EXAMPLE}")),
            );
            None
        }
    };
    let folder = table
        .get("folder")
        .and_then(|value| raw::string(value, r#"folder = "cart""#, faults))
        .map(PathBuf::from)
        .unwrap_or_default();
    let watch = table
        .get("watch")
        .map(|value| raw::strings(value, r#"watch = ["src/**"]"#, faults))
        .unwrap_or_default();
    table.finish(faults);
    for (pattern, span) in &watch {
        if let Err(error) = glob::Pattern::new(pattern) {
            faults.push(
                Fault::new(span.clone(), format!("`{pattern}` is no pattern: {}", error.msg))
                    .help(r#"write: watch = ["src/**/*.rs"]"#),
            );
        }
    }
    Some(Build {
        command: command?,
        folder,
        watch: watch.into_iter().map(|(pattern, _)| pattern.to_owned()).collect(),
    })
}

fn read_limits(mut table: Table<'_>, faults: &mut Vec<Fault>) -> Limits {
    let default = Limits::default();
    let memory = table
        .get("memory")
        .and_then(|value| read_limit(value, r#"memory = "64MiB""#, faults, Limits::parse_memory));
    let time = table
        .get("time")
        .and_then(|value| read_limit(value, r#"time = "500ms""#, faults, Limits::parse_time));
    let concurrency = table.get("concurrency").and_then(|value| {
        const EXAMPLE: &str = "concurrency = 100";
        let number = raw::integer(value, EXAMPLE, faults)?;
        limit_or_fault(Limits::check_concurrency(number), value, EXAMPLE, faults)
    });
    table.finish(faults);
    Limits {
        memory: memory.unwrap_or(default.memory),
        time: time.unwrap_or(default.time),
        concurrency: concurrency.unwrap_or(default.concurrency),
    }
}

fn read_limit<T>(
    value: Value<'_>,
    example: &str,
    faults: &mut Vec<Fault>,
    parse: impl Fn(&str) -> Result<T, crate::LimitsError>,
) -> Option<T> {
    let text = raw::string(value, example, faults)?;
    limit_or_fault(parse(text), value, example, faults)
}

fn limit_or_fault<T>(
    limit: Result<T, crate::LimitsError>,
    value: Value<'_>,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    limit
        .map_err(|error| {
            faults.push(
                Fault::new(value.span(), error.to_string()).help(format!("write: {example}")),
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(text: &str, path: &str) -> Result<Option<String>, String> {
        let text = format!(
            "name = \"a\"\nhealth = {text}\n[[http]]\npath = \"{path}\"\ncomponent = \"a\"\n\
             [component.a]\nsource = \"a.wasm\"\n"
        );
        match App::parse("dhow.toml", &text) {
            Ok(app) => Ok(app.health().map(str::to_owned)),
            Err(faults) => Err(faults.to_string()),
        }
    }

    #[test]
    fn health_is_a_path_that_a_route_leads_to() {
        for route in ["/healthz", "/...", "/:page", "/healthz/..."] {
            assert_eq!(health("\"/healthz\"", route), Ok(Some("/healthz".to_owned())), "{route}");
        }
        let no_path = "a path begins with `/` and holds only what paths of requests do";
        for (text, route, expected) in [
            ("\"/healthz\"", "/api/...", "no route leads to `/healthz`".to_owned()),
            ("\"/healthz\"", "/healthz/", "no route leads to `/healthz`".to_owned()),
            ("\"healthz\"", "/...", format!("`healthz`: {no_path}")),
            ("\"\"", "/...", format!("``: {no_path}")),
            ("\"/a b\"", "/...", format!("`/a b`: {no_path}")),
            ("\"/a?b\"", "/...", format!("`/a?b`: {no_path}")),
            ("1", "/...", "expected a string, found an integer".to_owned()),
        ] {
            let expected = format!("dhow.toml:2:10: {expected}");
            assert_eq!(health(text, route), Err(expected), "{text} {route}");
        }
    }

    #[test]
    fn what_says_nothing_of_health_and_rollouts_has_neither() {
        let app = App::of_component(Name::new("a").unwrap(), PathBuf::from("a.wasm"));
        assert_eq!((app.health(), app.rollout()), (None, None));
    }
}
