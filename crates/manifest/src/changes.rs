//! What a revision of an app may do that the one before could not, and the other way round.

use std::{collections::BTreeSet, fmt};

use crate::{App, Grants, Name};

/// One thing that a component may do now and could not before, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The component.
    pub component: Name,
    /// Which of the two.
    pub kind: ChangeKind,
    /// What, as the end of "it may".
    pub what: String,
}

/// Which way something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It may now, and could not before.
    Gains,
    /// It could before, and may not now.
    Loses,
}

impl App {
    /// What the components may do now and could not in the revision `before`, and the other way
    /// round; where there was none, all that they may do. By component, and what each gains before
    /// what it loses.
    ///
    /// Who may reach `*.example.com` may reach `api.example.com`: something is gained or lost only
    /// where nothing else that is granted covers it. The values of configuration and variables are
    /// no part of this: they may be secrets, and another value gives no right.
    pub fn changes_since(&self, before: Option<&Self>) -> Vec<Change> {
        let grants = |app: Option<&Self>, name: &Name| {
            let component = app.and_then(|app| app.components().get(name));
            component.map(|component| component.grants.clone()).unwrap_or_default()
        };
        let before_names = before.into_iter().flat_map(|app| app.components().keys());
        let names: BTreeSet<_> = self.components().keys().chain(before_names).collect();
        let mut changes = Vec::new();
        for name in names {
            let (now, then) = (grants(Some(self), name), grants(before, name));
            for (kind, all, other) in
                [(ChangeKind::Gains, &now, &then), (ChangeKind::Loses, &then, &now)]
            {
                changes.extend(beyond(all, other).into_iter().map(|what| Change {
                    component: name.clone(),
                    kind,
                    what,
                }));
            }
        }
        changes
    }
}

/// What `grants` allow that `others` do not.
fn beyond(grants: &Grants, others: &Grants) -> Vec<String> {
    let covered = others.capabilities();
    let mut beyond = Vec::new();
    for capability in grants.capabilities() {
        let what = capability.to_string();
        if !covered.iter().any(|other| other.covers(&capability)) && !beyond.contains(&what) {
            beyond.push(what);
        }
    }
    beyond
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, kind, what } = self;
        match kind {
            ChangeKind::Gains => write!(f, "{component} may now {what}"),
            ChangeKind::Loses => write!(f, "{component} may no longer {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(components: &[(&str, &str)]) -> App {
        let mut text = "name = \"a\"\n".to_owned();
        for (name, _) in components {
            text += &format!("[[http]]\npath = \"/{name}\"\ncomponent = \"{name}\"\n");
        }
        for (name, grants) in components {
            text += &format!("[component.{name}]\nsource = \"a.wasm\"\n");
            if !grants.is_empty() {
                text += &format!("grants = {{ {grants} }}\n");
            }
        }
        App::parse("dhow.toml", &text).unwrap()
    }

    fn changes(now: &App, before: Option<&App>) -> Vec<String> {
        now.changes_since(before).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_granted_newly_is_gained_and_what_no_longer_is_lost() {
        for (before, now, expected) in [
            ("", "", &[][..]),
            (
                "http = ['https://a.example']",
                "http = ['https://a.example', 'https://b.example', 'https://b.example']",
                &["+ send requests to https://b.example"],
            ),
            ("http = ['https://a.example']", "", &["- send requests to https://a.example"]),
            (
                "http = ['https://a.example']",
                "http = ['http://a.example', 'https://a.example:444']",
                &[
                    "+ send requests to http://a.example",
                    "+ send requests to https://a.example:444",
                    "- send requests to https://a.example",
                ],
            ),
            (
                "http = ['https://api.a.example']",
                "http = ['https://*.a.example']",
                &["+ send requests to https://*.a.example"],
            ),
            (
                "http = ['https://*.a.example']",
                "http = ['https://api.a.example', 'https://a.example']",
                &["+ send requests to https://a.example", "- send requests to https://*.a.example"],
            ),
            (
                "sockets.tcp = ['10.0.0.0/8:*']",
                "sockets = { tcp = ['10.1.0.0/16:5432'], udp = ['10.1.0.0/16:53'] }",
                &["+ exchange datagrams with 10.1.0.0/16:53", "- connect to 10.0.0.0/8:*"],
            ),
            (
                "",
                "sockets = { tcp-listen = ['[::1]:80'], udp-listen = ['[::1]:53'] }",
                &["+ listen on [::1]:80", "+ receive datagrams on [::1]:53"],
            ),
            (
                "keyvalue.a = 'main'",
                "keyvalue.a = 'other', sql.b = 'main', blobstore.c = 'main', redis.d = 'main'",
                &[
                    "+ open the store a: other",
                    "+ open the database b: main",
                    "+ open the container c: main",
                    "+ open the Redis server d: main",
                    "- open the store a: main",
                ],
            ),
            ("", "ca = 'ca.pem'", &["+ trust the authorities in ca.pem"]),
            (
                "secrets = ['a', 'b'], config.x = '1', env.LOG = 'info'",
                "secrets = ['b', 'c'], config.y = '1', env.LEVEL = 'info'",
                &[
                    "+ read the configuration y",
                    "+ read the secret c",
                    "+ read the variable LEVEL",
                    "- read the configuration x",
                    "- read the secret a",
                    "- read the variable LOG",
                ],
            ),
        ] {
            compare(before, now, expected);
        }
    }

    #[test]
    fn another_value_is_no_change_and_is_not_shown() {
        for (before, now, expected) in [
            ("config.x = 'hush', env.LOG = 'hush'", "config.x = 'hash', env.LOG = 'hash'", &[][..]),
            (
                "sql = { \"postgres://u:hush@db\" = 'main' }",
                "sql = { \"postgres://u:hash@db\" = 'main' }",
                &[],
            ),
            // A variable of the host's is more than one whose value the manifest has.
            ("env.LOG = 'info'", "env = ['LOG']", &["+ read the variable LOG of the host"]),
            ("env = ['LOG']", "env.LOG = 'info'", &["- read the variable LOG of the host"]),
        ] {
            compare(before, now, expected);
        }
    }

    #[test]
    fn a_folder_that_can_be_written_to_can_be_read() {
        let folder = |quota: &str| {
            format!("files = {{ '/d' = {{ folder = 'd', write = true, quota = '{quota}' }} }}")
        };
        let (read, small, large) = ("files = { '/d' = 'd' }", folder("1MiB"), folder("2MiB"));
        for (before, now, expected) in [
            ("", read, &["+ read /d: d"][..]),
            (read, &*small, &["+ write to /d: d, up to 1MiB"]),
            (&*small, read, &["- write to /d: d, up to 1MiB"]),
            (&*small, &*large, &["+ write to /d: d, up to 2MiB"]),
            (&*large, &*small, &["- write to /d: d, up to 2MiB"]),
            (read, "files = { '/d' = 'e' }", &["+ read /d: e", "- read /d: d"]),
        ] {
            compare(before, now, expected);
        }
    }

    fn compare(before: &str, now: &str, expected: &[&str]) {
        let (then, current) = (app(&[("a", before)]), app(&[("a", now)]));
        let found: Vec<_> = current
            .changes_since(Some(&then))
            .iter()
            .map(|change| match change.kind {
                ChangeKind::Gains => format!("+ {}", change.what),
                ChangeKind::Loses => format!("- {}", change.what),
            })
            .collect();
        assert_eq!(found, expected, "from {before:?} to {now:?}");
    }

    #[test]
    fn components_come_and_go_with_all_that_they_may_do() {
        let before = app(&[("cart", "secrets = ['a']"), ("old", "http = ['https://a.example']")]);
        let now = app(&[
            ("cart", "secrets = ['a'], http = ['http://new.internal']"),
            ("new", "secrets = ['b']"),
            ("plain", ""),
        ]);
        assert_eq!(
            changes(&now, Some(&before)),
            [
                "cart may now call new by name",
                "new may now read the secret b",
                "old may no longer send requests to https://a.example",
            ]
        );
        assert_eq!(
            changes(&now, None),
            [
                "cart may now call new by name",
                "cart may now read the secret a",
                "new may now read the secret b",
            ]
        );
        assert!(changes(&now, Some(&now)).is_empty());
    }
}
