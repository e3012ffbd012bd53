//! Where Dhow keeps things of its own on this machine, and what else the environment tells it.

use std::path::PathBuf;

/// The folder for compiled code (XDG Base Directory Specification: `$XDG_CACHE_HOME`, or
/// `~/.cache`); none where neither is known.
pub(crate) fn code_cache() -> Option<PathBuf> {
    Some(folder("XDG_CACHE_HOME", ".cache")?.join("dhow").join("code"))
}

/// The file of the key that secrets are encrypted with: the one that `DHOW_SECRET_KEY_FILE` names, or
/// one in `$XDG_DATA_HOME`, or in `~/.local/share`; none where none of them is known.
pub(crate) fn secret_key() -> Option<PathBuf> {
    match path("DHOW_SECRET_KEY_FILE") {
        Some(file) => Some(file),
        None => Some(folder("XDG_DATA_HOME", ".local/share")?.join("dhow").join("secret.key")),
    }
}

/// A token that may do everything on a server that is started here.
pub(crate) fn admin_token() -> Option<String> {
    environment_variable("DHOW_ADMIN_TOKEN").filter(|token| !token.is_empty())
}

/// The folder that a variable names, or else that one of the user's home.
fn folder(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name| path(name).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(in_home)))
}

#[expect(clippy::disallowed_methods, reason = "the host's own folders")]
fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The admin API that `DHOW_SERVER` names.
pub(crate) fn server() -> Option<String> {
    environment_variable("DHOW_SERVER").filter(|url| !url.is_empty())
}

/// The token in `DHOW_TOKEN`.
pub(crate) fn token() -> Option<String> {
    environment_variable("DHOW_TOKEN").filter(|token| !token.is_empty())
}

/// The collector of traces and metrics that `OTEL_EXPORTER_OTLP_ENDPOINT` names (OpenTelemetry, "OTLP
/// Exporter Configuration").
pub(crate) fn otlp_endpoint() -> Option<String> {
    environment_variable("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|url| !url.is_empty())
}

/// Whether the terminal can do more than print one line after the other.
pub(crate) fn has_screen() -> bool {
    environment_variable("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// A variable of the environment that Dhow itself runs in, for manifests that pass it on.
#[expect(clippy::disallowed_methods, reason = "what a manifest's grants.env names, and Dhow's own")]
pub(crate) fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
