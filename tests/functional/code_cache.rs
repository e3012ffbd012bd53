//! The cache of compiled code: what is not as it was written is never loaded.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dhow_tests::{Dhow, Up, client::get, dhow, guests::guest};
use tempfile::TempDir;

/// `dhow up` for a guest, with the cache in `folder`.
fn up(folder: &Path) -> Dhow {
    let mut dhow = dhow(["up".into(), guest("hello-p2")]);
    dhow.0.env("XDG_CACHE_HOME", folder);
    dhow
}

/// A cache that was filled, and its one file of code.
fn filled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    drop(up(folder.path()).up());
    let code = code(folder.path());
    (folder, code)
}

fn code(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("dhow/code")).unwrap().map(|entry| entry.unwrap().path());
    let mut code = files.filter(|path| path.extension().is_some_and(|kind| kind == "cwasm"));
    code.next().expect("compiled code is kept")
}

async fn answers(up: &Up) {
    assert_eq!(get(up.address, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_compiled_once() {
    let (folder, file) = filled();
    let before = fs::metadata(&file).unwrap();
    answers(&up(folder.path()).up()).await;
    let after = fs::metadata(&file).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(after.mode() & 0o077, 0, "the owner's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_foreign_is_compiled_anew_and_said_once() {
    let (folder, file) = filled();
    let (_other_folder, foreign) = filled();
    let genuine = fs::read(&file).unwrap();
    let mut damaged = genuine.clone();
    damaged[genuine.len() / 2] ^= 1;
    let truncated = &genuine[..genuine.len() / 2];
    for bytes in [&damaged, truncated, &[], &fs::read(&foreign).unwrap()] {
        fs::write(&file, bytes).unwrap();
        let up = up(folder.path()).up();
        answers(&up).await;
        let log = up.log();
        assert_eq!(log.matches("cached code is damaged or not ours").count(), 1, "{log}");
        assert_eq!(fs::read(&file).unwrap(), genuine, "it is there again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_may_write_is_not_loaded() {
    let (folder, file) = filled();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let up = up(folder.path()).up();
    answers(&up).await;
    assert!(up.log().contains("is damaged or not ours"), "{}", up.log());
}

/// A user who is not root, for whom a folder can be read-only.
const NOBODY: u32 = 65_534;

#[tokio::test(flavor = "multi_thread")]
async fn from_a_folder_that_cannot_be_written_an_app_is_served_from_memory() {
    let (folder, file) = filled();
    let cache = file.parent().unwrap();
    // Without code, and with a key that its owner may read.
    fs::remove_file(&file).unwrap();
    let mut dhow = up(folder.path());
    if rustix::process::geteuid().is_root() {
        for path in [folder.path(), &folder.path().join("dhow"), cache, &cache.join("key")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let inner = dhow.0;
        dhow.0 = Command::new("setpriv");
        dhow.0.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        dhow.0.arg(inner.get_program()).args(inner.get_args());
        dhow.0.env("XDG_CACHE_HOME", folder.path()).env("NO_COLOR", "1").stdin(Stdio::null());
    }
    fs::set_permissions(cache, fs::Permissions::from_mode(0o500)).unwrap();
    let up = dhow.up();
    answers(&up).await;
    assert!(up.log().contains("compiled code is not kept, and served from memory"), "{}", up.log());
    fs::set_permissions(cache, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_folder_an_app_is_served_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    // No file may grow beyond 64 KiB, as if the disk were full then.
    let up = up(folder.path()).limited("trap '' XFSZ; ulimit -f 64").up();
    answers(&up).await;
    assert!(up.log().contains("compiled code is not kept, and served from memory"), "{}", up.log());
}

#[test]
fn an_app_with_more_code_than_its_budget_is_refused_with_both_figures() {
    let component = guest("hello-p2");
    let refused =
        dhow(["up".as_ref(), component.as_os_str(), "--max-code=100KiB".as_ref()]).finish();
    assert_eq!(refused.code, Some(1));
    let error = refused.stderr;
    assert!(error.contains("the app's compiled code takes "), "{error}");
    assert!(error.contains(" bytes, and 102400 are allowed"), "{error}");
    assert!(error.contains("--max-code 1MiB"), "{error}");
}

#[test]
fn a_compiler_with_too_little_memory_or_time_compiles_nothing() {
    let wasm = guest("hello-p2");
    let compile = |memory: &str, time: &str| {
        let mut dhow = dhow(["compile", memory, time]);
        dhow.0.stdin(fs::File::open(&wasm).unwrap());
        dhow.finish()
    };
    assert_eq!(compile("8000000000", "60").code, Some(0));
    let starved = compile("60000000", "60");
    assert_ne!(starved.code, Some(0), "{starved:?}");
    assert_eq!(starved.stdout, "");
}
