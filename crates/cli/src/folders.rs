//! Where Dhow keeps things of its own on this machine.

use std::path::PathBuf;

/// The folder for compiled code (XDG Base Directory Specification: `$XDG_CACHE_HOME`, or
/// `~/.cache`); none where neither is known.
#[expect(clippy::disallowed_methods, reason = "the host's own folders")]
pub(crate) fn code_cache() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("dhow").join("code"))
}

/// A variable of the environment that Dhow itself runs in, for manifests that pass it on.
#[expect(clippy::disallowed_methods, reason = "what a manifest's grants.env names")]
pub(crate) fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
