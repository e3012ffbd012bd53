//! The configuration as it is shown beside a fault: with no secret in it.

/// `text` with asterisks in place of what is or may be a secret, as long as before: places in the one are
/// places in the other. It need not be TOML: what is no TOML is shown as well. So a value is shown only where
/// its key is one whose values never are secrets.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut holds_secrets = false;
    // The quotation marks of a string of several lines, while it lasts.
    let mut within: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        if let Some(marks) = within {
            within = within.filter(|_| !line.contains(marks));
            shown.push_str(&stars(line));
            continue;
        }
        within =
            ["\"\"\"", "\'\'\'"].into_iter().find(|marks| line.matches(marks).count() % 2 == 1);
        let is_header = line.trim_start().starts_with('[');
        if is_header {
            let table = line.split(']').next().unwrap_or_default();
            holds_secrets = ["secrets", "headers"].iter().any(|word| table.contains(word));
        }
        let Some((key, value)) = line.split_once('=') else {
            // A part of an array, or of nothing.
            let is_open = (is_header || !holds_secrets) && !line.contains('@');
            shown.push_str(&if is_open { line.to_owned() } else { stars(line) });
            continue;
        };
        shown.push_str(key);
        shown.push('=');
        let is_open = !holds_secrets && within.is_none() && is_open(key, value);
        shown.push_str(&if is_open { value.to_owned() } else { stars(value) });
    }
    shown
}

/// Keys whose values are never secrets, whatever stands there.
const OPEN: [&str; 29] = [
    "address",
    "admin",
    "allow",
    "apps",
    "ca",
    "certificates",
    "concurrency",
    "connections",
    "cpu",
    "deny",
    "dns",
    "domain",
    "grace",
    "hosts",
    "instances",
    "interval",
    "linger",
    "listen",
    "log",
    "memory",
    "prefix",
    "quota",
    "region",
    "requests",
    "reserve",
    "sample",
    "stored",
    "time",
    "bucket",
];
/// Keys whose values are URLs, mostly: with an `@` they may hold a password.
const URLS: [&str; 6] = ["blobstore", "endpoint", "keyvalue", "otlp", "redis", "sql"];

fn is_open(key: &str, value: &str) -> bool {
    let last = key.trim().rsplit('.').next().unwrap_or_default();
    let name = last.trim_matches(['"', '\'']);
    let is_harmless = || !value.contains('@') && !value.contains("key");
    OPEN.contains(&name) || (URLS.contains(&name) && is_harmless()) || is_reference(value)
}

/// Whether all that may be a secret is in the environment.
fn is_reference(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    value.starts_with("${") && value.find('}') == value.len().checked_sub(1)
}

/// Asterisks in place of all but white space at the ends.
fn stars(text: &str) -> String {
    let stars = |c: char| if c.is_whitespace() { c.to_string() } else { "*".repeat(c.len_utf8()) };
    text.chars().map(stars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_and_every_place_stays_where_it_is() {
        for (text, expected) in [
            ("sql = \"mysql:/shop:hush@h\"", "sql = ********************"),
            ("sql = 'sqlte'", "sql = 'sqlte'"),
            ("sql = \"postgres://a:hush@h", "sql = ********************"),
            ("keyvalues = 'redis://:hush@h'\n", "keyvalues = *****************\n"),
            (
                "blobstore = { bucket = 'b', secret-key = 'hush' }",
                "blobstore = * ****** * **** ********** * ****** *",
            ),
            ("[secrets]\nJWT = 'hush'", "[secrets]\nJWT = ******"),
            ("[secrets]\njwt = hush", "[secrets]\njwt = ****"),
            ("secrets = { jwt = 'hush' }", "secrets = * *** * ****** *"),
            (
                "[tenant.a.secrets]\nprofile = 'h\u{fc}sh'\n[x]\ncpu = 'z'",
                "[tenant.a.secrets]\nprofile = *******\n[x]\ncpu = 'z'",
            ),
            (
                "headers = { authorization = 'Bearer hush' }",
                "headers = * ************* * ******* ***** *",
            ),
            (
                "[secrets]\npem = \"\"\"\nhush\nhush\"\"\"\n[quota]",
                "[secrets]\npem = ***\n****\n*******\n[quota]",
            ),
            ("a = 'x\\\"hush'", "a = *********"),
            ("jwt = '${JWT}'", "jwt = '${JWT}'"),
            (
                "allow = [\"*:443\",\n  \"10.0.0.0/8:*\"]",
                "allow = [\"*:443\",\n  \"10.0.0.0/8:*\"]",
            ),
        ] {
            assert_eq!(without_secrets(text), expected);
            assert_eq!(without_secrets(text).len(), text.len());
        }
    }
}
