//! Where the built guests are. `cargo xtask guests` builds them.

use std::path::{Path, PathBuf};

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
