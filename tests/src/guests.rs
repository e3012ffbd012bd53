//! Where the built guests are. `cargo xtask guests` builds them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use dhow_manifest::{App, Component};
use tempfile::TempDir;

use crate::servers::skipped;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

/// The built component of `guests/NAME`.
pub fn guest(name: &str) -> PathBuf {
    built(&root().join("target/guests"), name)
}

/// The built component of `examples/NAME`.
pub fn example(name: &str) -> PathBuf {
    built(&root().join("examples").join(name).join("target"), name)
}

/// A folder with the app `examples/NAME`, as it was built, and without what it has kept; none, and a
/// line that says so, where it was not built.
pub fn example_app(name: &str) -> Option<TempDir> {
    let example = root().join("examples").join(name);
    let manifest = fs::read_to_string(example.join("dhow.toml")).expect("every example has one");
    let app = App::parse("dhow.toml", &manifest).expect("it is checked");
    let is_built = |component: &Component| example.join(&component.source).exists();
    if !app.components().values().all(is_built) {
        return skipped(
            &format!("examples/{name}"),
            "cargo xtask setup, and then: cargo xtask test",
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(&example).expect("a folder").flatten() {
        if entry.file_name() != ".dhow" {
            symlink(entry.path(), folder.path().join(entry.file_name())).expect("a link");
        }
    }
    Some(folder)
}

fn built(target: &Path, name: &str) -> PathBuf {
    let file = name.replace('-', "_");
    let path = target.join("wasm32-wasip2/release").join(file).with_extension("wasm");
    assert!(path.exists(), "{} is not built: cargo xtask guests", path.display());
    path
}

/// A component from its text, in a file of `folder`.
pub fn from_wat(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name).with_extension("wasm");
    std::fs::write(&path, wat::parse_str(text).expect("the test's own text")).expect("written");
    path
}
