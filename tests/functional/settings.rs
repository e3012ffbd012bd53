//! Configuration, secrets and logging.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use dhow_tests::{Dhow, Finished, Up, client::get, dhow, write_manifest};
use tempfile::TempDir;

const MANIFEST: &str = "name = \"settings\"\n\
    [component.settings]\nsource = \"{settings}\"\n\
    grants.config = { greeting = \"hello\" }\n\
    grants.secrets = [\"from-file\", \"from-variable\"]\n\
    [component.other]\nsource = \"{settings}\"\n\
    [[http]]\npath = \"/...\"\ncomponent = \"settings\"\n\
    [[http]]\npath = \"/all\"\ncomponent = \"other\"\n";

fn serve(folder: &Path) -> Up {
    write_manifest(folder, MANIFEST);
    let (secret, config) = (folder.join("secret"), folder.join("dhow-server.toml"));
    fs::write(&secret, "first-word\n").unwrap();
    let text = format!(
        "[secrets]\nfrom-variable = \"x${{SECRET}}y\"\nfrom-file = {{ file = \"{}\" }}\n",
        secret.display()
    );
    fs::write(&config, text).unwrap();
    let mut dhow =
        dhow(["up".as_ref(), folder.as_os_str(), "--config".as_ref(), config.as_os_str()]);
    dhow.0.env("SECRET", "open");
    dhow.up()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_reads_what_it_is_granted_and_secrets_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let up = serve(folder.path());
    for (path, expected) in [
        ("/get/greeting", "Ok(Some(\"hello\"))"),
        ("/get/from-variable", "Ok(Some(\"xopeny\"))"),
        ("/get/from-file", "Ok(Some(\"first-word\"))"),
        ("/get/nothing", "Ok(None)"),
        // The other component of the app has no grant.
        ("/all", "Ok([])"),
    ] {
        assert_eq!(get(up.address, path).await.text, expected, "{path}");
    }
    fs::write(folder.path().join("secret"), "two").unwrap();
    assert_eq!(get(up.address, "/get/from-file").await.text, "Ok(Some(\"two\"))");
    fs::remove_file(folder.path().join("secret")).unwrap();
    let answer = get(up.address, "/get/from-file").await.text;
    assert_eq!(answer, "Err(Error::Io(\"the secret `from-file` can't be read\"))");
    let log = up.log();
    assert!(!log.contains("xopeny") && !log.contains("first-word"), "{log}");
}

#[test]
fn a_secret_that_the_operator_does_not_have_is_refused_with_the_line_to_write() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), MANIFEST);
    let finished = dhow(["up".as_ref(), folder.path().as_os_str()]).finish();
    assert_eq!(finished.code, Some(1));
    for text in [
        "component `settings`: no secret is called `from-file`",
        "component `settings`: no secret is called `from-variable`",
        "dhow secret set from-file",
        "secrets.from-file = \"${VARIABLE}\"",
    ] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
}

/// An app whose component reads the secrets `token` and `other`, and the folder of its user's data.
struct App {
    folder: TempDir,
    data: TempDir,
}

const WITH_SECRETS: &str = "name = \"settings\"\n\
    [component.settings]\nsource = \"{settings}\"\n\
    grants.secrets = [\"token\", \"other\"]\n";

impl App {
    fn new() -> Self {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_manifest(folder.path(), WITH_SECRETS);
        Self { folder, data }
    }

    /// `dhow` with these arguments and the app.
    fn dhow(&self, arguments: &[&str]) -> Dhow {
        let mut dhow = dhow(arguments);
        dhow.0.arg(self.folder.path()).env("XDG_DATA_HOME", self.data.path());
        dhow.0.env_remove("DHOW_SECRET_KEY_FILE");
        dhow
    }

    fn set(&self, name: &str, value: &str) -> Finished {
        let input = self.data.path().join("input");
        fs::write(&input, value).unwrap();
        let mut dhow = self.dhow(&["secret", "set", name]);
        dhow.0.stdin(File::open(input).unwrap());
        dhow.finish()
    }

    fn set_both(&self) {
        for (name, value) in [("token", "first-word"), ("other", "second-word\n")] {
            assert_eq!(self.set(name, value).code, Some(0), "{name}");
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(".dhow/secrets").join(name)
    }

    fn key(&self) -> PathBuf {
        self.data.path().join("dhow/secret.key")
    }
}

const UNREADABLE: &str = "Err(Error::Io(\"the secret `token` can't be read\"))";

async fn token(up: &Up) -> String {
    get(up.address, "/get/token").await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_set_and_removed_while_the_app_runs() {
    let app = App::new();
    let refused = app.dhow(&["up"]).finish();
    assert_eq!(refused.code, Some(1));
    for text in ["no secret is called `token`", "dhow secret set token", "dhow secret set other"] {
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    app.set_both();
    let listed = app.dhow(&["secret", "list"]).finish();
    assert_eq!(listed.stdout, "other\ntoken\n", "{listed:?}");
    let up = app.dhow(&["up"]).up();
    assert_eq!(token(&up).await, "Ok(Some(\"first-word\"))");
    assert_eq!(get(up.address, "/get/other").await.text, "Ok(Some(\"second-word\"))");
    assert_eq!(app.set("token", "third-word").code, Some(0));
    assert_eq!(token(&up).await, "Ok(Some(\"third-word\"))");
    let removed = app.dhow(&["secret", "remove", "token"]).finish();
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(token(&up).await, UNREADABLE);
    up.wait_for_log("the secret `token` can't be read: ");
    assert_eq!(app.set("token", "fourth-word").code, Some(0));
    assert_eq!(token(&up).await, "Ok(Some(\"fourth-word\"))");
    assert!(!up.log().contains("-word"), "{}", up.log());
}

#[test]
fn a_secret_on_disk_is_encrypted_and_only_its_owners() {
    let app = App::new();
    app.set_both();
    for file in [app.file("token"), app.file("other"), app.key()] {
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "{}", file.display());
        let content = fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains("word"), "{}", file.display());
    }
    // A key may be elsewhere: the files that were written with another are not read with it.
    let elsewhere = app.data.path().join("keys/own");
    let mut dhow = app.dhow(&["secret", "set", "token"]);
    let input = File::open(app.data.path().join("input")).unwrap();
    dhow.0.env("DHOW_SECRET_KEY_FILE", &elsewhere).stdin(input);
    assert_eq!(dhow.finish().code, Some(0));
    assert_eq!(fs::metadata(elsewhere).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_secret_is_refused() {
    let app = App::new();
    for (name, value, code, message) in [
        ("token", "\n", 1, "a secret has from 1 byte to 64 KiB"),
        ("TOKEN", "a", 2, "a name is 1 to 63 lower-case letters"),
        ("../token", "a", 2, "a name is 1 to 63 lower-case letters"),
    ] {
        let finished = app.set(name, value);
        assert_eq!(finished.code, Some(code), "{name}: {}", finished.stderr);
        assert!(finished.stderr.contains(message), "{name}: {}", finished.stderr);
    }
    let large = app.set("token", &"word".repeat(20 << 10));
    assert_eq!(large.code, Some(1));
    assert!(!large.stderr.contains("word"), "{}", large.stderr);
    let removed = app.dhow(&["secret", "remove", "token"]).finish();
    assert_eq!(removed.code, Some(1));
    assert!(removed.stderr.contains("no secret is called `token`"), "{}", removed.stderr);
    assert_eq!(app.dhow(&["secret", "list"]).finish().stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_as_it_was_written_is_an_error() {
    let app = App::new();
    app.set_both();
    let up = app.dhow(&["up"]).up();
    let whole = fs::read(app.file("token")).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for content in [damaged, fs::read(app.file("other")).unwrap(), Vec::new()] {
        fs::write(app.file("token"), content).unwrap();
        assert_eq!(token(&up).await, UNREADABLE);
    }
    up.wait_for_log("was damaged, or written for another name or with another key");
    fs::write(app.file("token"), whole).unwrap();
    assert_eq!(token(&up).await, "Ok(Some(\"first-word\"))");
    // With a key that others can read nothing is done.
    fs::set_permissions(app.key(), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(token(&up).await, UNREADABLE);
    up.wait_for_log("that secrets are encrypted with is open to others");
    let refused = app.set("token", "third-word");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("chmod 600 "), "{}", refused.stderr);
    // It is said when the app starts, too.
    let other = app.dhow(&["up"]).up();
    other.wait_for_log("the secret `token` can't be read");
    fs::set_permissions(app.key(), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(token(&other).await, "Ok(Some(\"first-word\"))");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_secrets_of_one_name_the_operators_is_read() {
    let app = App::new();
    app.set_both();
    let config = app.data.path().join("dhow-server.toml");
    fs::write(&config, "[secrets]\ntoken = \"operators\"\n").unwrap();
    let mut dhow = app.dhow(&["up"]);
    dhow.0.arg("--config").arg(config);
    let up = dhow.up();
    assert_eq!(token(&up).await, "Ok(Some(\"operators\"))");
    assert_eq!(get(up.address, "/get/other").await.text, "Ok(Some(\"second-word\"))");
    up.wait_for_log("the secret `token` is the operator's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_has_its_component_its_level_and_an_end() {
    let up = Up::guest("settings", "");
    get(up.address, "/log/warn/careful").await;
    up.wait_for_log("settings | WARN  somewhere: careful");
    // Two bytes each: cut where a character ends.
    get(up.address, "/log/long/5000").await;
    let line = up.wait_for_log("settings | INFO  é");
    assert_eq!(line.chars().filter(|character| *character == 'é').count(), 4_096);
}
