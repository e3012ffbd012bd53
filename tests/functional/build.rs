//! Building before serving.

use std::fs;

use dhow_tests::{dhow, guests::guest};

const MANIFEST: &str = r#"
name = "built"
[component.hello]
source = "hello.wasm"
build = { command = "cp original.wasm hello.wasm && echo built >> log", watch = ["original.wasm", "src/**/*"] }
"#;

struct App(tempfile::TempDir);

impl App {
    fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("dhow.toml"), manifest).unwrap();
        fs::copy(guest("hello-p2"), folder.path().join("original.wasm")).unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        Self(folder)
    }

    fn up(&self, options: &[&str]) {
        let mut words = vec!["up", self.0.path().to_str().unwrap()];
        words.extend(options);
        dhow(words).up();
    }

    fn builds(&self) -> usize {
        fs::read_to_string(self.0.path().join("log")).unwrap_or_default().lines().count()
    }
}

#[test]
fn a_component_is_built_when_something_it_watches_has_changed() {
    let app = App::new(MANIFEST);
    app.up(&[]);
    assert_eq!(app.builds(), 1);
    app.up(&[]);
    assert_eq!(app.builds(), 1, "nothing has changed");
    fs::write(app.0.path().join("src/new"), "").unwrap();
    app.up(&["--no-build"]);
    assert_eq!(app.builds(), 1);
    app.up(&[]);
    assert_eq!(app.builds(), 2, "a new file");
    fs::write(app.0.path().join("src/new"), "longer").unwrap();
    app.up(&[]);
    assert_eq!(app.builds(), 3, "a changed file");
    fs::remove_file(app.0.path().join("hello.wasm")).unwrap();
    app.up(&[]);
    assert_eq!(app.builds(), 4, "the component is gone");
}

#[test]
fn without_a_watch_it_is_always_built() {
    let app = App::new(&MANIFEST.replace(r#", watch = ["original.wasm", "src/**/*"]"#, ""));
    app.up(&[]);
    app.up(&[]);
    assert_eq!(app.builds(), 2);
}

#[test]
fn a_build_that_fails_ends_with_3() {
    let app = App::new(&MANIFEST.replace("cp original.wasm", "echo the reason >&2; cp missing"));
    let finished = dhow(["up", app.0.path().to_str().unwrap()]).finish();
    assert_eq!(finished.code, Some(3));
    assert!(finished.stderr.contains("the reason\n"), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("error: the build of `hello` failed: "),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_build_that_makes_something_else_is_said() {
    let app = App::new(&MANIFEST.replace("hello.wasm &&", "other.wasm &&"));
    let finished = dhow(["up", app.0.path().to_str().unwrap()]).finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("hello.wasm: no such file"), "{}", finished.stderr);
}
