//! How the components of an app lead to each other: interfaces that one uses of another, middleware
//! in front of a component, calls by name through the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    str::FromStr,
};

use semver::Version;
use thiserror::Error;

use crate::{
    App, Component, Fault, Name, Origin, Scheme,
    raw::{self, Value},
};

/// The most components of which one entry is made: each takes its part of an instance's time to
/// start.
pub const MAX_PARTS: usize = 16;

/// What a component imports that hands requests on (world `wasi:http/middleware`).
pub const HANDLER: &str = "wasi:http/handler";

/// An interface as a manifest names it: `shop:data/orders`, or with the version that is meant,
/// `shop:data/orders@1.0.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `import`, a component's import by its whole name, is meant: with no version any, else one
    /// that is compatible.
    pub fn is_for(&self, import: &str) -> bool {
        let split = |name: &str| match name.split_once('@') {
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
            None => (name.to_owned(), None),
        };
        let ((name, version), (imported, other)) = (split(&self.0), split(import));
        let parsed = |version: &Option<String>| Version::parse(version.as_deref()?).ok();
        let is_compatible = version.is_none()
            || version == other
            || matches!(
                (parsed(&version), parsed(&other)),
                (Some(one), Some(other)) if are_compatible(&one, &other)
            );
        name == imported && is_compatible
    }
}

/// Whether an interface of one version can stand for that of the other: the rule by which wasmtime's linker
/// resolves imports (same major version, or same minor version below 1.0; a pre-release stands alone).
pub fn are_compatible(one: &Version, other: &Version) -> bool {
    let track = |version: &Version| match version {
        Version { pre, .. } if !pre.is_empty() => None,
        Version { major: 0, minor: 0, .. } => None,
        Version { major: 0, minor, .. } => Some((0, *minor)),
        Version { major, .. } => Some((*major, 0)),
    };
    one == other || (track(one).is_some() && track(one) == track(other))
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Component model, "Import and Export Definitions": `namespace:package/interface@version`.
impl FromStr for InterfaceName {
    type Err = NoInterface;

    fn from_str(text: &str) -> Result<Self, NoInterface> {
        let is_label = |label: &str| {
            label.starts_with(|c: char| c.is_ascii_lowercase())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_version = |version: &str| {
            version.starts_with(|c: char| c.is_ascii_digit())
                && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b))
        };
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let is_name = name
            .split_once(':')
            .and_then(|(namespace, rest)| Some((namespace, rest.split_once('/')?)))
            .is_some_and(|(namespace, (package, interface))| {
                is_label(namespace) && is_label(package) && is_label(interface)
            });
        let ok = is_name && version.is_none_or(is_version);
        if ok { Ok(Self(text.to_owned())) } else { Err(NoInterface) }
    }
}

/// A text that names no interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an interface is `namespace:package/interface`, and `@version` where it matters")]
pub struct NoInterface;

/// What is called from outside: a component, with the middleware in front of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Each hands requests on to the next, and the last to the component.
    pub middleware: Vec<Name>,
    /// Who answers.
    pub component: Name,
}

impl Entry {
    /// `component` with nothing in front of it.
    pub fn plain(component: Name) -> Self {
        Self { middleware: Vec::new(), component }
    }

    /// Those that a request goes through, the component last.
    pub fn chain(&self) -> impl Iterator<Item = &Name> {
        self.middleware.iter().chain([&self.component])
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for middleware in &self.middleware {
            write!(f, "{middleware} > ")?;
        }
        write!(f, "{}", self.component)
    }
}

/// One component of those that an [`Entry`] is made of.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a Name,
    /// What the manifest says of it.
    pub component: &'a Component,
    /// Which of its imports others serve.
    pub wires: Vec<Wire>,
}

/// An import of one part that another serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// What is imported.
    pub interface: InterfaceName,
    /// The place of the part that serves it.
    pub part: usize,
}

impl App {
    /// What can be called from outside: where routes lead, and whoever is called by name. Each once.
    pub fn entries(&self) -> BTreeSet<Entry> {
        let routes = self.routes().iter().map(|route| route.entry.clone());
        let called = self.components().values().flat_map(|component| &component.grants.calls);
        routes.chain(called.cloned().map(Entry::plain)).collect()
    }

    /// Whether calls by name lead from `entry` back to a component of it.
    pub fn calls_itself(&self, entry: &Entry) -> bool {
        let parts = |entry: &Entry| -> Vec<&Name> {
            self.parts(entry).into_iter().map(|part| part.name).collect()
        };
        let parts_of = |name: &Name| parts(&Entry::plain(name.clone()));
        let calls = |name: &Name| {
            let component = self.components().get(name);
            component.map(|component| &component.grants.calls[..]).unwrap_or_default()
        };
        let own = parts(entry);
        let called = reached(own.iter().flat_map(|name| calls(name)), |name| {
            parts_of(name).into_iter().flat_map(calls)
        });
        called.into_iter().flat_map(parts_of).any(|name| own.contains(&name))
    }

    /// The components of which `entry` is made: the first of its middleware, or its component; then
    /// whomever that leads to.
    pub fn parts(&self, entry: &Entry) -> Vec<Part<'_>> {
        let known = |name: &Name| self.components().get_key_value(name);
        let chain: Vec<&Name> = entry.chain().filter_map(|name| Some(known(name)?.0)).collect();
        let names = reached(chain.iter().copied(), |name| {
            known(name).into_iter().flat_map(|(_, component)| component.uses.values())
        });
        let part = |(index, name): (usize, &Name)| {
            let (name, component) = known(name)?;
            let mut wires = Vec::new();
            if index + 1 < chain.len() {
                let interface = InterfaceName(HANDLER.to_owned());
                wires.push(Wire { interface, part: index + 1 });
            }
            wires.extend(component.uses.iter().filter_map(|(interface, used)| {
                let part = names.iter().position(|name| *name == used)?;
                Some(Wire { interface: interface.clone(), part })
            }));
            Some(Part { name, component, wires })
        };
        names.iter().copied().enumerate().filter_map(part).collect()
    }
}

/// `start`, and all that `next` leads to from there; in the order in which it is found, each once.
pub(crate) fn reached<T: Copy + PartialEq, I: IntoIterator<Item = T>>(
    start: impl IntoIterator<Item = T>,
    next: impl Fn(T) -> I,
) -> Vec<T> {
    let mut found = Vec::new();
    let add = |found: &mut Vec<T>, one| {
        if !found.contains(&one) {
            found.push(one);
        }
    };
    start.into_iter().for_each(|one| add(&mut found, one));
    let mut index = 0;
    while let Some(one) = found.get(index).copied() {
        next(one).into_iter().for_each(|one| add(&mut found, one));
        index += 1;
    }
    found
}

/// A component that another names, and where.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

const USES_EXAMPLE: &str = r#"uses = { "shop:data/orders" = "data" }"#;

/// Which interfaces a component uses of which others, as they are written.
pub(crate) fn read_uses(
    value: Value<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<(InterfaceName, Reference)> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", USES_EXAMPLE));
        return Vec::new();
    };
    let mut uses = Vec::new();
    for (key, value) in entries {
        let interface = key.get_ref().parse::<InterfaceName>().map_err(|error| {
            faults.push(
                Fault::new(key.span(), format!("`{}` is no interface: {error}", key.get_ref()))
                    .help(format!("write: {USES_EXAMPLE}")),
            );
        });
        let name = raw::string(value, USES_EXAMPLE, faults);
        if let (Ok(interface), Some(name)) = (interface, name) {
            let reference = Reference { name: name.to_owned(), span: value.span() };
            uses.push((interface, reference));
        }
    }
    uses
}

/// The component that `origin` means: `http://cart.internal` is a call within the app. A server of
/// that name in the network is granted with its port.
pub(crate) fn internal<'a>(text: &'a str, origin: &Origin) -> Option<&'a str> {
    let name = text.strip_prefix("http://")?.strip_suffix(".internal")?;
    (origin.scheme == Scheme::Http && !name.contains(['.', '*'])).then_some(name)
}

/// Finds who, in the end, uses himself, by `uses` or as middleware; says it as a path.
pub(crate) fn check_cycles(
    uses: &BTreeMap<&Name, Vec<&Name>>,
    entries: &[(&Entry, Range<usize>)],
    spans: &BTreeMap<&Name, Range<usize>>,
    faults: &mut Vec<Fault>,
) {
    let mut told = BTreeSet::new();
    let mut tell = |cycle: Option<Vec<&Name>>, span: &Range<usize>, help: &str| {
        let Some(mut cycle) = cycle else { return };
        let path: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
        let text = format!("these components use each other in a circle: {}", path.join(" -> "));
        cycle.pop();
        cycle.sort();
        let members: Vec<Name> = cycle.into_iter().cloned().collect();
        if told.insert(members) {
            faults.push(Fault::new(span.clone(), text).help(help));
        }
    };
    for (name, span) in spans {
        tell(cycle_from(name, uses), span, "take one of them out of `uses`");
    }
    for (entry, span) in entries {
        let mut edges = uses.clone();
        let chain: Vec<&Name> = entry.chain().collect();
        for pair in chain.windows(2) {
            if let [one, next] = pair {
                edges.entry(one).or_default().push(next);
            }
        }
        for name in chain {
            tell(cycle_from(name, &edges), span, "what is behind middleware can't use it");
        }
    }
}

/// The way from `start` back to it, along `edges`; the shortest.
fn cycle_from<'a>(
    start: &'a Name,
    edges: &BTreeMap<&'a Name, Vec<&'a Name>>,
) -> Option<Vec<&'a Name>> {
    let mut came_from: BTreeMap<&Name, &Name> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(name) = queue.pop_front() {
        for next in edges.get(name).into_iter().flatten().copied() {
            if next == start {
                let mut path = vec![start, name];
                let mut at = name;
                while at != start {
                    at = came_from.get(at)?;
                    path.push(at);
                }
                path.reverse();
                return Some(match name == start {
                    true => vec![start, start],
                    false => path,
                });
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, name);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(text: &str) -> App {
        App::parse("dhow.toml", text).unwrap()
    }

    #[test]
    fn interfaces() {
        for good in ["a:b/c", "wasi:http/handler@0.3.0", "shop-a:b2/c-d@1.0.0-rc.1+x"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().as_str(), good);
        }
        for bad in
            ["", "a", "a:b", "a/b", "a:b/c@", "A:b/c", "a:b/c@x", "a:b/c/d", ":b/c", "a: b/c"]
        {
            assert_eq!(bad.parse::<InterfaceName>(), Err(NoInterface), "{bad}");
        }
        let name: InterfaceName = "a:b/c".parse().unwrap();
        assert!(name.is_for("a:b/c@1.0.0") && name.is_for("a:b/c") && !name.is_for("a:b/cd"));
        let name: InterfaceName = "a:b/c@1.0.0".parse().unwrap();
        assert!(name.is_for("a:b/c@1.0.0") && name.is_for("a:b/c@1.2.0"));
        assert!(!name.is_for("a:b/c@2.0.0") && !name.is_for("a:b/c@1.0.0-rc.1"));
        assert!(!name.is_for("a:b/c"));
    }

    #[test]
    fn an_entry_is_made_of_its_middleware_its_component_and_whom_they_use() {
        let app = app("name = 'shop'\n\
             [component.auth]\nsource = 'a'\nuses = { 'shop:data/users' = 'data' }\n\
             [component.cart]\nsource = 'c'\n\
             uses = { 'shop:data/orders' = 'data', 'shop:mail/send' = 'mail' }\n\
             [component.data]\nsource = 'd'\n\
             [component.mail]\nsource = 'm'\ngrants.http = ['http://cart.internal']\n\
             [[http]]\npath = '/...'\nmiddleware = ['auth']\ncomponent = 'cart'\n");
        let entries: Vec<_> = app.entries().iter().map(ToString::to_string).collect();
        assert_eq!(entries, ["cart", "auth > cart"]);
        let entry = &app.routes().first().unwrap().entry;
        let parts: Vec<_> = app
            .parts(entry)
            .into_iter()
            .map(|part| {
                let wires =
                    part.wires.iter().map(|wire| format!("{}={}", wire.interface, wire.part));
                format!("{} {}", part.name, wires.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            parts,
            [
                "auth wasi:http/handler=1 shop:data/users=2",
                "cart shop:data/orders=2 shop:mail/send=3",
                "data ",
                "mail "
            ]
        );
    }
}
