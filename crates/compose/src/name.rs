//! Names of interfaces: in their parts, and those that a part's own imports get.

use semver::Version;

/// `wasi:http/types@0.3.0` in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterfaceName<'a> {
    namespace: &'a str,
    package: &'a str,
    interface: &'a str,
    version: Option<&'a str>,
}

impl<'a> InterfaceName<'a> {
    /// `None` where `text` is something else: a label, a URL, a nested name.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let (namespace, rest) = path.split_once(':')?;
        let (package, interface) = rest.split_once('/')?;
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_name = [namespace, package, interface].into_iter().all(is_label);
        is_name.then_some(Self { namespace, package, interface, version })
    }

    /// Whether it is the same interface, of whatever version.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.namespace, self.package, self.interface)
            == (other.namespace, other.package, other.interface)
    }

    /// Whether one can stand for the other, as far as names tell: of the same version, or on the
    /// same track (same major version, or same minor version below 1.0; a pre-release and 0.0.x
    /// stand alone). It is the rule by which wasmtime's linker and wac match imports.
    pub(crate) fn is_compatible(&self, other: &Self) -> bool {
        self.is_same(other)
            && (self.version == other.version
                || matches!((self.track(), other.track()), (Some(one), Some(two)) if one == two))
    }

    fn track(&self) -> Option<(u64, u64)> {
        let version = self.semver()?;
        match version {
            Version { pre, .. } if !pre.is_empty() => None,
            Version { major: 0, minor: 0, .. } => None,
            Version { major: 0, minor, .. } => Some((0, minor)),
            Version { major, .. } => Some((major, 0)),
        }
    }

    /// Its version, where it has a complete one.
    pub(crate) fn semver(&self) -> Option<Version> {
        self.version.and_then(|version| Version::parse(version).ok())
    }

    pub(crate) fn has_version(&self) -> bool {
        self.version.is_some()
    }
}

/// The name that the import `name` of the component `component` gets for itself: the component is
/// the namespace, and all of the old name follows. No two imports get the same:
/// `cart`'s `wasi:keyvalue/store@0.2.0` becomes `cart:wasi-keyvalue/store@0.2.0`.
///
/// An import by label keeps what it implements as the interface, and the label is the package;
/// `cart`'s `primary: wasi:keyvalue/store@0.2.0` becomes `cart:primary/store@0.2.0`. A package of
/// the first kind has two words at least, one of the second kind has the dashes of its label doubled,
/// so they can't be confused.
///
/// `None` where `interface` can't be the name of an interface.
pub(crate) fn own_name(component: &str, label: Option<&str>, interface: &str) -> Option<String> {
    let InterfaceName { namespace, package, interface, version } = InterfaceName::parse(interface)?;
    let package = match label {
        Some(label) => doubled(&label.to_ascii_lowercase()),
        None => format!("{}-{package}", doubled(namespace)),
    };
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    Some(format!("{}:{}/{interface}{version}", kebab(component), kebab(&package)))
}

fn doubled(label: &str) -> String {
    label.replace('-', "--")
}

/// `label` with no empty words, which names of the component model can't have: `a--b` becomes
/// `a-z-b`, and what would be confused with it (`a-z-b`) gets another `z` (`a-zz-b`). All others stay
/// as they are. The first word is never empty.
fn kebab(label: &str) -> String {
    let mut words = label.split('-');
    let mut kebab = words.next().unwrap_or_default().to_owned();
    for word in words {
        kebab.push('-');
        kebab.push_str(word);
        if word.bytes().all(|b| b == b'z') {
            kebab.push('z');
        }
    }
    kebab
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wasmparser::names::{ComponentName, ComponentNameKind};

    use super::*;

    #[test]
    fn own_names_are_readable() {
        for (component, label, interface, name) in [
            (
                "cart",
                None,
                "wasi:keyvalue/store@0.2.0-draft2",
                "cart:wasi-keyvalue/store@0.2.0-draft2",
            ),
            ("cart-2", None, "spin:key-value/key-value", "cart-2:spin-key-value/key-value"),
            ("wasi", None, "wasi:cli/stdin@0.2.0", "wasi:wasi-cli/stdin@0.2.0"),
            ("a--b", None, "wasi:cli/stdin@0.2.0", "a-z-b:wasi-cli/stdin@0.2.0"),
            ("cart", None, "my-org:data/orders", "cart:my-z-org-data/orders"),
            ("cart", Some("primary"), "wasi:keyvalue/store@0.2.0", "cart:primary/store@0.2.0"),
            ("cart", Some("my-own"), "wasi:keyvalue/store", "cart:my-z-own/store"),
        ] {
            assert_eq!(own_name(component, label, interface).as_deref(), Some(name));
        }
        for nameless in ["print", "a:b", "a:b:c/d", "a:b/c/d", "url=<https://a/b>"] {
            assert_eq!(own_name("cart", None, nameless), None, "{nameless}");
        }
    }

    /// All labels of up to `length` letters out of few: those of components may have empty words,
    /// those of the component model not.
    fn labels(length: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..length {
            last = last
                .iter()
                .flat_map(|label| ["a", "z", "1", "-"].map(|letter| format!("{label}{letter}")))
                .collect();
            all.extend(last.iter().cloned());
        }
        all.retain(|label| label.starts_with(['a', 'z']) && !label.ends_with('-'));
        all
    }

    #[test]
    fn every_component_has_a_valid_name_and_no_two_the_same() {
        let mut names = BTreeMap::new();
        for component in labels(7) {
            let name = own_name(&component, None, "wasi:cli/stdin@0.2.0").unwrap();
            let parsed = ComponentName::new(&name, 0).unwrap();
            assert!(matches!(parsed.kind(), ComponentNameKind::Interface(_)), "{name}");
            if !component.contains("--") && !component.contains("-z") {
                assert_eq!(name, format!("{component}:wasi-cli/stdin@0.2.0"));
            }
            if let Some(other) = names.insert(name, component.clone()) {
                panic!("{other} and {component}");
            }
        }
    }

    #[test]
    fn no_two_imports_of_a_component_get_the_same_name() {
        let labels: Vec<_> = labels(4).into_iter().filter(|label| !label.contains("--")).collect();
        let mut names = BTreeMap::new();
        let mut add = |name: String, import: String| {
            ComponentName::new(&name, 0).unwrap();
            if let Some(other) = names.insert(name, import.clone()) {
                panic!("{other} and {import}");
            }
        };
        for namespace in &labels {
            add(
                own_name("cart", Some(namespace), "a:b/c").unwrap(),
                format!("{namespace} implements a:b/c"),
            );
            for package in &labels {
                let import = format!("{namespace}:{package}/c");
                add(own_name("cart", None, &import).unwrap(), import);
            }
        }
    }

    #[test]
    fn versions_on_one_track_are_compatible() {
        let name = |version: &str| format!("shop:data/orders{version}");
        for (one, two, compatible) in [
            ("", "", true),
            ("", "@0.1.0", false),
            ("@0.1.0", "@0.1.3", true),
            ("@0.1.0", "@0.2.0", false),
            ("@0.0.1", "@0.0.2", false),
            ("@1.0.0", "@1.9.0", true),
            ("@1.0.0", "@2.0.0", false),
            ("@0.2.0-draft", "@0.2.0-draft2", false),
            ("@0.2.0-draft", "@0.2.0-draft", true),
            ("@0.2.0-draft", "@0.2.0", false),
        ] {
            let (first, second) = (name(one), name(two));
            let first = InterfaceName::parse(&first).unwrap();
            let second = InterfaceName::parse(&second).unwrap();
            assert_eq!(first.is_compatible(&second), compatible, "{one} {two}");
        }
    }
}
