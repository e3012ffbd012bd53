//! Where routes lead, once all components are known; and whether everything is led to.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    Entry, Fault, MAX_PARTS, Name, PathPattern, Route,
    app::{COMPONENT_EXAMPLE, FoundComponent},
    raw::{self, Table, Value},
    wiring::{self, Reference, reached},
};

type Components = BTreeMap<Name, FoundComponent>;

/// Finds the components that others use and call by name.
pub(crate) fn resolve(components: &mut Components, faults: &mut Vec<Fault>) {
    let mut resolved = Vec::new();
    for (name, found) in components.iter() {
        let find = |reference: &Reference, faults: &mut Vec<Fault>| {
            read_component_name(&reference.name, reference.span.clone(), components, faults)
        };
        let mut uses = BTreeMap::new();
        for (interface, reference) in &found.uses {
            if let Some(used) = find(reference, faults) {
                uses.insert(interface.clone(), used);
            }
        }
        let mut calls = Vec::new();
        for reference in &found.calls {
            match components.get_key_value(reference.name.as_str()) {
                Some((called, _)) => calls.push(called.clone()),
                None => faults.push(no_neighbour(reference)),
            }
        }
        resolved.push((name.clone(), uses, calls));
    }
    for (name, uses, calls) in resolved {
        let found = components.get_mut(&name).and_then(|found| found.component.as_mut());
        if let Some(component) = found {
            component.uses = uses;
            component.grants.calls.extend(calls);
        }
    }
}

fn no_neighbour(Reference { name, span }: &Reference) -> Fault {
    Fault::new(
        span.clone(),
        format!("`http://{name}.internal` is a call within the app, which has no `{name}`"),
    )
    .help(format!(
        "where it is a server in your network, say its port: \"http://{name}.internal:80\""
    ))
}

/// The routes of `http`, or the one of an app that names none.
pub(crate) fn read(
    http: Option<Value<'_>>,
    components: &Components,
    faults: &mut Vec<Fault>,
) -> Vec<Route> {
    let is_empty = |value: Value<'_>| value.get_ref().as_array().is_some_and(|all| all.is_empty());
    let routes = match http.filter(|value| !is_empty(value)) {
        Some(value) => {
            check_every_component_is_reached(value, components, faults);
            read_routes(value, components, faults)
        }
        None => default_route(components, faults).map(|route| (route, 0..0)).into_iter().collect(),
    };
    check_wiring(&routes, components, faults);
    routes.into_iter().map(|(route, _)| route).collect()
}

/// No circles, and no entry of too many parts.
fn check_wiring(
    routes: &[(Route, Range<usize>)],
    components: &Components,
    faults: &mut Vec<Fault>,
) {
    let uses: BTreeMap<&Name, Vec<&Name>> = components
        .iter()
        .map(|(name, found)| {
            let used = found.component.iter().flat_map(|component| component.uses.values());
            (name, used.collect())
        })
        .collect();
    let entries: Vec<(&Entry, Range<usize>)> =
        routes.iter().map(|(route, span)| (&route.entry, span.clone())).collect();
    let spans = components.iter().map(|(name, found)| (name, found.span.clone())).collect();
    wiring::check_cycles(&uses, &entries, &spans, faults);
    let called: Vec<(Entry, Range<usize>)> = components
        .values()
        .flat_map(|found| &found.calls)
        .filter_map(|Reference { name, span }| {
            let (name, _) = components.get_key_value(name.as_str())?;
            Some((Entry::plain(name.clone()), span.clone()))
        })
        .collect();
    let called = called.iter().map(|(entry, span)| (entry, span.clone()));
    for (entry, span) in entries.into_iter().chain(called) {
        let parts = reached(entry.chain(), |name| uses.get(name).into_iter().flatten().copied());
        if parts.len() > MAX_PARTS {
            let count = parts.len();
            faults.push(
                Fault::new(
                    span.clone(),
                    format!(
                        "`{entry}` is made of {count} components, and {MAX_PARTS} can be joined"
                    ),
                )
                .help("have some called by name: grants.http = [\"http://NAME.internal\"]"),
            );
        }
    }
}

const ROUTE_EXAMPLE: &str = "[[http]]\npath = \"/...\"\ncomponent = \"cart\"";

fn read_routes(
    value: Value<'_>,
    components: &Components,
    faults: &mut Vec<Fault>,
) -> Vec<(Route, Range<usize>)> {
    let Some(array) = value.get_ref().as_array() else {
        faults.push(raw::wrong_type(value, "an array of tables", ROUTE_EXAMPLE));
        return Vec::new();
    };
    let mut routes: Vec<(Route, Range<usize>)> = Vec::new();
    for value in array {
        let Some((route, span)) = raw::table(value, "an HTTP route", ROUTE_EXAMPLE, faults)
            .and_then(|table| read_route(table, components, faults))
        else {
            continue;
        };
        if let Some((other, _)) =
            routes.iter().find(|(other, _)| other.path.is_same_as(&route.path))
        {
            faults.push(
                Fault::new(
                    span,
                    format!(
                        "`{}` matches the same paths as `{}`, which goes to `{}`",
                        route.path, other.path, other.entry
                    ),
                )
                .help("remove one of the two"),
            );
            continue;
        }
        routes.push((route, span));
    }
    routes
}

fn read_route(
    mut table: Table<'_>,
    components: &Components,
    faults: &mut Vec<Fault>,
) -> Option<(Route, Range<usize>)> {
    let span = table.span.clone();
    let mut required = |key: &'static str, example: &str, faults: &mut Vec<Fault>| {
        let Some(value) = table.get(key) else {
            faults.push(
                Fault::new(span.clone(), format!("the route has no {key}"))
                    .help(format!("write: {example}")),
            );
            return None;
        };
        Some((raw::string(value, example, faults)?, value.span()))
    };
    let path = required("path", r#"path = "/...""#, faults);
    let component = required("component", r#"component = "cart""#, faults);
    let middleware = table
        .get("middleware")
        .map(|value| raw::strings(value, r#"middleware = ["auth"]"#, faults))
        .unwrap_or_default();
    table.finish(faults);

    let middleware = read_middleware(middleware, components, faults);
    let component =
        component.and_then(|(text, span)| read_component_name(text, span, components, faults));
    let (path, path_span) = path?;
    let path = crate::PathPattern::parse(path)
        .map_err(|error| {
            faults.push(
                Fault::new(path_span.clone(), format!("`{path}`: {error}"))
                    .help(r#"write: path = "/cart", "/cart/:id" or "/cart/...""#),
            );
        })
        .ok()?;
    Some((Route { path, entry: Entry { middleware, component: component? } }, path_span))
}

fn read_middleware(
    names: Vec<(&str, Range<usize>)>,
    components: &Components,
    faults: &mut Vec<Fault>,
) -> Vec<Name> {
    let mut middleware = Vec::new();
    for (text, span) in names {
        let Some(name) = read_component_name(text, span.clone(), components, faults) else {
            continue;
        };
        if middleware.contains(&name) {
            faults.push(
                Fault::new(span, format!("`{name}` stands twice in front of the same route"))
                    .help("remove one of the two"),
            );
            continue;
        }
        middleware.push(name);
    }
    middleware
}

fn read_component_name(
    text: &str,
    span: Range<usize>,
    components: &Components,
    faults: &mut Vec<Fault>,
) -> Option<Name> {
    if let Some((name, _)) = components.get_key_value(text) {
        return Some(name.clone());
    }
    let nearest =
        components.keys().min_by_key(|name| strsim::damerau_levenshtein(text, name.as_str()));
    let help = match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("write: {COMPONENT_EXAMPLE}"),
    };
    faults.push(Fault::new(span, format!("no component is called `{text}`")).help(help));
    None
}

/// An app of one component that names no route answers every path.
fn default_route(components: &Components, faults: &mut Vec<Fault>) -> Option<Route> {
    let mut names = components.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => {
            Some(Route { path: PathPattern::everything(), entry: Entry::plain(only.clone()) })
        }
        (Some(_), Some(_)) => {
            faults.push(
                Fault::new(0..0, "the app has several components and no route")
                    .help(format!("write: {ROUTE_EXAMPLE}")),
            );
            None
        }
        (None, _) => None,
    }
}

fn check_every_component_is_reached(
    routes: Value<'_>,
    components: &Components,
    faults: &mut Vec<Fault>,
) {
    // By what is written: a route that has a fault of its own leads there all the same.
    let in_routes = routes.get_ref().as_array().into_iter().flatten().flat_map(|route| {
        let component = route.get_ref().get("component").into_iter();
        let middleware = route.get_ref().get("middleware");
        let middleware = middleware.and_then(|value| value.get_ref().as_array());
        component.chain(middleware.into_iter().flatten())
    });
    let in_routes = in_routes.filter_map(|value| value.get_ref().as_str());
    let named = reached(in_routes, |name| {
        components.get(name).into_iter().flat_map(|found| {
            let used = found.uses.iter().map(|(_, reference)| reference);
            used.chain(&found.calls).map(|reference| reference.name.as_str())
        })
    });
    for (name, found) in components {
        if !named.contains(&name.as_str()) {
            let route = format!("[[http]]\npath = \"/{name}/...\"\ncomponent = \"{name}\"");
            faults.push(
                Fault::new(found.span.clone(), format!("nothing leads to component `{name}`"))
                    .help(format!("write a route, or have another use it: {route}")),
            );
        }
    }
}
