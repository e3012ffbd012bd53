//! The configuration as it is shown beside a fault: with no secret in it.

/// `text` with asterisks in place of what is or may be a secret, as long as before: places in the one are
/// places in the other. It need not be TOML: what is no TOML is shown as well.
pub(super) fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut holds_secrets = false;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            let table = line.split(']').next().unwrap_or_default();
            holds_secrets = table.contains("secrets");
        }
        hide(line, holds_secrets, &mut shown);
    }
    shown
}

/// What a key's name has in it whose value is a secret.
const SECRET_KEYS: [&str; 4] = ["secret", "key", "password", "token"];

fn hide(line: &str, all: bool, shown: &mut String) {
    let mut rest = line;
    // A string begins at the first quotation mark, and what is before it says whose it is.
    while let Some(start) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(start);
        let mark = quoted.get(..1).unwrap_or_default();
        let inside = quoted.get(1..).unwrap_or_default();
        let length = inside.find(mark).unwrap_or(inside.trim_end_matches(['\r', '\n']).len());
        let (value, after) = inside.split_at(length);
        let key = before.rsplit([',', '{', '[']).next().unwrap_or_default().to_ascii_lowercase();
        let is_secret = (all && !key.contains("file"))
            || value.contains('@')
            || SECRET_KEYS.iter().any(|word| key.contains(word));
        shown.push_str(before);
        shown.push_str(mark);
        match is_secret && !is_reference(value) && key.contains('=') {
            true => shown.extend(std::iter::repeat_n('*', value.len())),
            false => shown.push_str(value),
        }
        rest = after;
        if let Some(closed) = rest.strip_prefix(mark) {
            shown.push_str(mark);
            rest = closed;
        }
    }
    shown.push_str(rest);
}

/// Whether all that may be a secret is in the environment.
fn is_reference(value: &str) -> bool {
    value.starts_with("${") && value.find('}') == value.len().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_and_every_place_stays_where_it_is() {
        for (text, expected) in [
            ("sql = \"mysql:/shop:hush@h\"", "sql = \"******************\""),
            ("sql = 'sqlite' # a", "sql = 'sqlite' # a"),
            ("sql = \"postgres://a:hush@h", "sql = \"*******************"),
            ("keyvalues = 'redis://:hush@h'\n", "keyvalues = '***************'\n"),
            (
                "blobstore = { bucket = 'b', access-key = 'AK', secret-key = '${S3}' }",
                "blobstore = { bucket = 'b', access-key = '**', secret-key = '${S3}' }",
            ),
            ("[secrets]\nJWT = 'hush'", "[secrets]\nJWT = '****'"),
            (
                "[tenant.a.secrets]\njwt = 'h\u{fc}sh'\n[x]\ny = 'z'",
                "[tenant.a.secrets]\njwt = '*****'\n[x]\ny = 'z'",
            ),
            ("[secrets]\njwt = { file = 'jwt.pem' }", "[secrets]\njwt = { file = 'jwt.pem' }"),
            ("allow = [\"*:443\", \"10.0.0.0/8:*\"]", "allow = [\"*:443\", \"10.0.0.0/8:*\"]"),
        ] {
            assert_eq!(without_secrets(text), expected);
            assert_eq!(without_secrets(text).len(), text.len());
        }
    }
}
