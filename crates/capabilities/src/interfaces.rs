//! The interfaces that Dhow serves, by name: what messages are made of. Whether an import really
//! resolves, down to its functions' types, is up to the linker.

use dhow_manifest::are_compatible;
use semver::Version;

/// A package, the version of it that is linked, and which of its interfaces.
struct Package {
    name: &'static str,
    version: &'static str,
    interfaces: &'static [&'static str],
}

/// What [`link`](crate::link) adds.
static SERVED: [Package; 30] = [
    package("wasi:io", V0_2, &["error", "poll", "streams"]),
    package(
        "wasi:cli",
        V0_2,
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    package("wasi:clocks", V0_2, &["monotonic-clock", "wall-clock"]),
    package("wasi:filesystem", V0_2, &["preopens", "types"]),
    package("wasi:http", V0_2, &["outgoing-handler", "types"]),
    package("wasi:random", V0_2, &["insecure", "insecure-seed", "random"]),
    package(
        "wasi:sockets",
        V0_2,
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
    package(
        "wasi:cli",
        V0_3,
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
            "types",
        ],
    ),
    package("wasi:clocks", V0_3, &["monotonic-clock", "system-clock", "types"]),
    package("wasi:filesystem", V0_3, &["preopens", "types"]),
    package("wasi:http", V0_3, &["client", "types"]),
    package("wasi:random", V0_3, &["insecure", "insecure-seed", "random"]),
    package("wasi:sockets", V0_3, &["ip-name-lookup", "types"]),
    package("dhow:keyvalue", "0.1.0", &["store", "types"]),
    package("dhow:sql", "0.1.0", &["database", "types"]),
    package("dhow:blobstore", "0.1.0", &["store", "types"]),
    package("wasi:blobstore", "0.2.0-draft", &["blobstore", "container", "types"]),
    package("wasi:config", "0.2.0-rc.1", &["store"]),
    package("wasi:sql", "0.2.0-draft", &["readwrite", "types"]),
    package("spin:sqlite", "3.1.0", &["sqlite"]),
    package("spin:postgres", "4.2.0", &["postgres"]),
    package("spin:mysql", "3.0.0", &["mysql"]),
    package("spin:redis", "3.0.0", &["redis"]),
    package("spin:key-value", "3.0.0", &["key-value"]),
    package("spin:variables", "3.0.0", &["variables"]),
    package("wasi:logging", "0.1.0-draft", &["logging"]),
    package("wasi:tls", "0.2.0-draft", &["types"]),
    package("wasi:tls", "0.3.0-draft", &["client", "types"]),
    package("wasi:keyvalue", "0.2.0-draft", &["atomics", "batch", "store"]),
    package("wasi:keyvalue", "0.2.0-draft2", &["atomics", "batch", "store"]),
];

const V0_2: &str = "0.2.12";
const V0_3: &str = "0.3.0";

const fn package(
    name: &'static str,
    version: &'static str,
    interfaces: &'static [&'static str],
) -> Package {
    Package { name, version, interfaces }
}

fn served() -> impl Iterator<Item = (&'static Package, &'static str)> {
    SERVED
        .iter()
        .flat_map(|package| package.interfaces.iter().map(move |interface| (package, *interface)))
}

/// `wasi:http/types@0.3.0` in its parts.
struct Import<'a> {
    package: &'a str,
    interface: &'a str,
    version: Version,
}

fn parse(import: &str) -> Option<Import<'_>> {
    let (name, version) = import.split_once('@')?;
    let (package, interface) = name.split_once('/')?;
    Some(Import { package, interface, version: Version::parse(version).ok()? })
}

/// Whether an import of `import` is served, in this or a compatible version: the rule by which
/// wasmtime's linker resolves imports (same major version, or same minor version below 1.0).
pub fn is_served(import: &str) -> bool {
    parse(import).is_some_and(|import| {
        served().any(|(package, interface)| {
            package.name == import.package
                && interface == import.interface
                && Version::parse(package.version)
                    .is_ok_and(|version| are_compatible(&version, &import.version))
        })
    })
}

/// Whether an import of `import` is resolved by `served`, which is a name of an interface too.
pub(crate) fn is_served_by(served: &str, import: &str) -> bool {
    match (parse(served), parse(import)) {
        (Some(served), Some(import)) => {
            served.package == import.package
                && served.interface == import.interface
                && are_compatible(&served.version, &import.version)
        }
        _ => false,
    }
}

/// What the components of an app share when they are joined: what has no grant, and the types that
/// they hand each other.
const SHARED: [&str; 11] = [
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:http/types",
    "wasi:cli/types",
    "wasi:cli/exit",
    "wasi:cli/terminal-",
    // Whom it trusts is granted, but wasmtime's own bindings know one for each instance.
    "wasi:tls/",
    // Values only, no resource.
    "dhow:keyvalue/types",
    "dhow:sql/types",
    "dhow:blobstore/types",
];

/// What is served, and what of it is shared: code that was joined by other rules is not used.
pub fn sharing() -> String {
    let served = served()
        .map(|(package, interface)| format!("{}/{interface}@{}\n", package.name, package.version));
    served.collect::<String>() + &SHARED.join("\n")
}

/// Whether each component has `import` to itself, with its own grants, when it is joined with
/// others: all that opens, connects, reads or writes.
pub fn is_own(import: &str) -> bool {
    is_served(import) && !SHARED.iter().any(|shared| import.starts_with(shared))
}

/// The served interface that is nearest to `import`: another version of the same, or the most
/// similar name.
pub fn nearest_served(import: &str) -> Option<String> {
    let (name, _) = import.split_once('@').unwrap_or((import, ""));
    let text = |package: &Package, interface: &str| {
        format!("{}/{interface}@{}", package.name, package.version)
    };
    let mut candidates: Vec<_> = served()
        .map(|(package, interface)| {
            let distance = strsim::levenshtein(name, &format!("{}/{interface}", package.name));
            (distance, text(package, interface))
        })
        .collect();
    // Of several versions of one interface the newest comes last.
    candidates.sort_by(|one, two| one.0.cmp(&two.0).then_with(|| two.1.cmp(&one.1)));
    candidates
        .into_iter()
        .next()
        .filter(|(distance, _)| *distance * 3 <= name.len())
        .map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatible_versions_are_served() {
        for name in ["wasi:http/types@0.3.2", "wasi:http/types@0.2.0", "wasi:io/poll@0.2.99"] {
            assert!(is_served(name), "{name}");
        }
        for name in [
            "wasi:http/types@0.3.0-rc-2026-01-01",
            "wasi:http/types@0.4.0",
            "wasi:http/handler@0.3.0",
            "wasi:messaging/consumer@0.2.0-draft",
            "wasi:http/types",
            "print",
        ] {
            assert!(!is_served(name), "{name}");
        }
    }

    #[test]
    fn the_nearest_is_another_version_or_a_similar_name() {
        for (import, nearest) in [
            ("wasi:http/types@0.4.0", Some("wasi:http/types@0.3.0")),
            ("wasi:clocks/wall-clock@0.3.0", Some("wasi:clocks/wall-clock@0.2.12")),
            ("wasi:http/clients@0.3.0", Some("wasi:http/client@0.3.0")),
            ("acme:shop/orders@1.0.0", None),
        ] {
            assert_eq!(nearest_served(import).as_deref(), nearest, "{import}");
        }
    }
}
