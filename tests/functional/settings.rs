//! Configuration, secrets and logging.

use std::{fs, path::Path};

use dhow_tests::{Up, client::get, dhow, write_manifest};

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
        "secrets.from-file = \"${VARIABLE}\"",
    ] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
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
