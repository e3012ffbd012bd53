//! Folders of the host that a component sees.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    Fault, MemorySize,
    raw::{self, Value},
};

/// A folder of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is; relative to the folder of the app.
    pub host: PathBuf,
    /// The most that may be in it where it can be written to; otherwise it can't.
    pub quota: Option<MemorySize>,
}

impl Folder {
    /// What may be in a folder for which no quota is written.
    pub const DEFAULT_QUOTA: MemorySize = MemorySize::from_bytes(1 << 30);
    /// One file, with what is counted for its entry.
    pub const MIN_QUOTA: MemorySize = MemorySize::from_bytes(64 << 10);
}

const EXAMPLE: &str = r#"grants.files = { "/site" = "public", "/data" = { folder = "data", write = true, quota = "1GiB" } }"#;

/// The folders of a component, by what it calls them.
pub(super) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, Folder> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", EXAMPLE));
        return BTreeMap::new();
    };
    let mut folders = BTreeMap::new();
    for (guest, value) in entries {
        let path = guest.get_ref();
        if !is_guest_path(path) {
            faults.push(
                Fault::new(
                    guest.span(),
                    format!("`{}` is no path for a guest", path.escape_debug()),
                )
                .help("it begins with `/`, and has no `.`, `..` or empty part: \"/data\""),
            );
        }
        folders.extend(read_folder(value, faults).map(|folder| (path.to_string(), folder)));
    }
    folders
}

fn is_guest_path(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let parts = path.strip_prefix('/');
    parts.is_some_and(|parts| parts.is_empty() || parts.split('/').all(is_part))
        && !path.contains(char::is_control)
}

fn read_folder(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Folder> {
    if let Some(host) = value.get_ref().as_str() {
        return Some(Folder { host: PathBuf::from(host), quota: None });
    }
    let mut table = raw::table(value, "a folder", EXAMPLE, faults)?;
    let host = table.get("folder").and_then(|value| raw::string(value, EXAMPLE, faults));
    let write = table.get("write").and_then(|value| {
        let write = value.get_ref().as_bool();
        if write.is_none() {
            faults.push(raw::wrong_type(value, "true or false", EXAMPLE));
        }
        write
    });
    let quota = table.get("quota").and_then(|value| {
        let quota = read_quota(value, faults)?;
        if write != Some(true) {
            faults.push(
                Fault::new(value.span(), "the folder has a quota, and can't be written to")
                    .help("write: write = true, or remove the quota"),
            );
        }
        Some(quota)
    });
    table.finish(faults);
    if host.is_none() {
        faults
            .push(Fault::new(value.span(), "no folder is named").help(format!("write: {EXAMPLE}")));
    }
    let quota = write.unwrap_or_default().then(|| quota.unwrap_or(Folder::DEFAULT_QUOTA));
    host.map(|host| Folder { host: PathBuf::from(host), quota })
}

fn read_quota(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<MemorySize> {
    let text = raw::string(value, EXAMPLE, faults)?;
    let message = match text.parse::<MemorySize>() {
        Ok(quota) if quota >= Folder::MIN_QUOTA => return Some(quota),
        Ok(_) => format!("a quota is at least {}", Folder::MIN_QUOTA),
        Err(error) => error.to_string(),
    };
    faults.push(
        Fault::new(value.span(), format!("`{text}`: {message}")).help(r#"write: quota = "1GiB""#),
    );
    None
}
