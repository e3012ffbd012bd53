//! The programs that build components: where they are found, and what to do about one that is not.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::folders;

/// The folder of a project's own toolchains, in which `bin` is first on the path of its builds.
const FOLDER: &str = ".toolchains";

/// What a shell ends with when it does not find a program (POSIX.1-2024, section 2.8.2).
pub(crate) const NOT_FOUND: i32 = 127;

/// Programs that build components, and how they come to be there.
const KNOWN: [(&str, &str); 8] = [
    (
        "componentize-py",
        "pip install componentize-py, or in a clone of Dhow: cargo xtask setup python",
    ),
    (
        "jco",
        "npm install -g @bytecodealliance/jco, or in a clone of Dhow: cargo xtask setup javascript",
    ),
    (
        "go",
        "in a clone of Dhow: cargo xtask setup go (one from elsewhere lacks what waits for others)",
    ),
    ("zig", "pip install ziglang, or in a clone of Dhow: cargo xtask setup c"),
    ("wit-bindgen", "cargo install wit-bindgen-cli, or in a clone of Dhow: cargo xtask setup c go"),
    ("componentize", "in a clone of Dhow: cargo xtask setup c go"),
    ("wasm-tools", "cargo install wasm-tools"),
    ("cargo", "https://rustup.rs"),
];

/// The path by which a build in `folder` finds its programs: the project's own first.
pub(crate) fn path(folder: &Path) -> Option<std::ffi::OsString> {
    let inherited = folders::environment_variable("PATH").unwrap_or_default();
    let own = own_bin(folder)?;
    env::join_paths(std::iter::once(own).chain(env::split_paths(&inherited))).ok()
}

/// The `bin` of the nearest folder of toolchains, from `folder` upwards; but not one that others could
/// have put there, in a folder that is everybody's (CVE-2022-24765).
fn own_bin(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let owner = fs::metadata(&folder).ok()?.uid();
    let is_ours = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let is_owned = metadata.uid() == owner || metadata.uid() == 0;
            metadata.is_dir() && is_owned && metadata.mode() & 0o022 == 0
        })
    };
    let toolchains = folder.ancestors().map(|above| above.join(FOLDER));
    let mut found = toolchains.filter(|folder| is_ours(folder) && is_ours(&folder.join("bin")));
    found.next().map(|folder| folder.join("bin"))
}

/// What to install for `command`, which did not find a program of its own: those that it names,
/// or the script that it runs in `folder`, and that are not on the path.
pub(crate) fn what_to_install(command: &str, folder: &Path) -> Option<String> {
    let mut text = command.to_owned();
    for word in command.split_whitespace() {
        let script = folder.join(word);
        if script.is_file() {
            text.push('\n');
            text.push_str(&fs::read_to_string(script).unwrap_or_default());
        }
    }
    let words: Vec<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).collect();
    let path = path(folder)
        .or_else(|| folders::environment_variable("PATH").map(Into::into))
        .unwrap_or_default();
    let is_there = |program: &str| env::split_paths(&path).any(|bin| bin.join(program).is_file());
    let missing: Vec<_> = KNOWN
        .iter()
        .filter(|(program, _)| words.contains(program) && !is_there(program))
        .map(|(program, install)| format!("install {program}: {install}"))
        .collect();
    (!missing.is_empty()).then(|| missing.join("\n"))
}
