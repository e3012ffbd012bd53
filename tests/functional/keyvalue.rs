//! Key-value stores: the same guest, unchanged, on each kind of store.

use std::fs;

use dhow_tests::{
    Up,
    client::get,
    servers::{PASSWORD, Redis},
};

/// Serves the guests with the operator's `keyvalue`, which stands behind the label `db`.
fn up(keyvalue: &str) -> Up {
    Up::app_with(
        "name = \"kv\"\n\
         [component.keyvalue]\nsource = \"{keyvalue}\"\ngrants.keyvalue = { db = \"default\" }\n\
         [component.draft]\nsource = \"{keyvalue-draft}\"\n\
         grants.keyvalue = { old = \"default\" }\n\
         [[http]]\npath = \"/...\"\ncomponent = \"keyvalue\"\n\
         [[http]]\npath = \"/old/...\"\ncomponent = \"draft\"\n",
        |command| {
            let folder = command.get_args().last().map(std::path::PathBuf::from).unwrap();
            let config = folder.join("dhow-server.toml");
            fs::write(&config, format!("[backend.default]\nkeyvalue = \"{keyvalue}\"")).unwrap();
            command.arg("--config").arg(config).env("REDIS_PASSWORD", PASSWORD);
        },
    )
}

async fn ask(up: &Up, path: &str) -> String {
    get(up.address, path).await.text
}

/// What every store has to do.
async fn works(up: &Up) {
    for (path, expected) in [
        ("/db/get/a", "nothing"),
        ("/db/set/a/1", "()"),
        ("/db/get/a", "1"),
        ("/db/exists/a", "true"),
        ("/db/exists/b", "false"),
        ("/db/increment/a/41", "42"),
        ("/db/increment/new/-3", "-3"),
        ("/db/get/a", "42"),
        ("/db/keys", "a,new"),
        ("/db/delete/new", "()"),
        ("/db/delete/new", "()"),
        ("/db/keys", "a"),
        ("/db/swap/a/other", "swapped"),
        ("/db/swap/fresh/one", "swapped"),
        ("/db/get/fresh", "one"),
        ("/db/lose/a/mine", "it is changed"),
        ("/db/increment/a/1", "Error::Other(\"the value is not a number\")"),
        ("/db/set/max/9223372036854775807", "()"),
        ("/db/increment/max/1", "Error::Other(\"the number would not fit 64 bits\")"),
        ("/db/delete/max", "()"),
        ("/db/many/2500", "2502 keys, then 2; nothing,many-02499"),
        ("/db/large/8388608", "8388608"),
        ("/db/large/8388609", "Error::Other(\"a value is at most 8388608 bytes long\")"),
        (
            "/db/swap/large/x",
            "Error::Other(\"a value that is swapped is at most 65536 bytes long\")",
        ),
        ("/db/again/large/5", "Error::Other(\"the values are more than 33554432 bytes together\")"),
        ("/db/delete/large", "()"),
        // The first draft sees what the second has written.
        ("/old/get/fresh", "one"),
        ("/old/set/count/5", "()"),
        ("/old/increment/count/2", "7"),
        ("/old/both/count", "7,nothing"),
        ("/old/keys", "a,count,fresh"),
        ("/db/get/count", "7"),
    ] {
        assert_eq!(ask(up, path).await, expected, "{path}");
    }
    let long = "k".repeat(1_025);
    let expected = "Error::Other(\"a key is at most 1024 bytes long\")";
    assert_eq!(ask(up, &format!("/db/set/{long}/v")).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store() {
    works(&up("redb")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory() {
    works(&up("memory")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let Some(redis) = Redis::start() else { return };
    works(&up(&redis.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_an_error_and_works_again_when_it_is_back() {
    let Some(redis) = Redis::start() else { return };
    let (address, url) = (redis.address, redis.url());
    let up = up(&url);
    assert_eq!(ask(&up, "/db/set/a/1").await, "()");
    drop(redis);
    let gone = "Error::Other(\"the store can't be reached\")";
    assert_eq!(ask(&up, "/db/get/a").await, gone);
    let log = up.wait_for_log("the key-value store can't be reached");
    assert!(log.contains("default") && !log.contains(PASSWORD), "{log}");
    let _back = Redis::start_at(address);
    assert_eq!(ask(&up, "/db/get/a").await, "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_refused_is_said_and_not_shown() {
    let Some(redis) = Redis::start() else { return };
    let up = up(&format!("redis://:bad-word@{}", redis.address));
    let answer = ask(&up, "/db/get/a").await;
    assert!(answer.starts_with("Error::Other("), "{answer}");
    let line = up.wait_for_log("the key-value store refuses");
    assert!(line.contains("authentication failed"), "{line}");
    assert!(line.contains("backend=\"default\""), "{line}");
    let log = up.log();
    assert!(!log.contains("bad-word") && !answer.contains("bad-word"), "{log} {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let up = up("memory");
    assert_eq!(ask(&up, "/other/get/a").await, "Error::AccessDenied");
    up.wait_for_log("grants.keyvalue = { other = \"default\" }");
    assert_eq!(ask(&up, "/old/get/a").await, "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_backends_are_refused_together() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "name = \"kv\"\n[component.keyvalue]\nsource = \"{keyvalue}\"\n\
                    grants.keyvalue = { db = \"default\" }\n";
    dhow_tests::write_manifest(folder.path(), manifest);
    let config = folder.path().join("dhow-server.toml");
    let up = |text: &str| {
        fs::write(&config, text).unwrap();
        let arguments =
            ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
        dhow_tests::dhow(arguments).finish()
    };
    let finished = up("[backend.default]\nkeyvalue = \"redis://:${NOT_SET}@localhost\"\n\
                       [backend.other]\nkeyvalue = \"redis://:hush@local host\"\n");
    assert_eq!(finished.code, Some(1));
    for text in [
        "the backend `default`: the environment variable `NOT_SET` is not set",
        "the backend `other`: write redis://",
    ] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
    let finished = up("[backend.default]\nkeyvalue = \"mysql\"\n");
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("no key-value store is called that"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_and_imports_are_held_against_each_other() {
    let up = |name: &str, grants: &str| {
        let folder = tempfile::tempdir().unwrap();
        let manifest = format!("name = \"kv\"\n[component.a]\nsource = \"{{{name}}}\"\n{grants}\n");
        dhow_tests::write_manifest(folder.path(), &manifest);
        dhow_tests::dhow(["up".as_ref(), folder.path().as_os_str()]).finish()
    };
    for (name, grants, message, help) in [
        (
            "keyvalue",
            "",
            "it imports `wasi:keyvalue/",
            "write: grants.keyvalue = { default = \"default\" }",
        ),
        (
            "hello-p2",
            "grants.keyvalue = { a = \"b\" }",
            "it has grants.keyvalue, and imports nothing of wasi:keyvalue",
            "remove grants.keyvalue",
        ),
        (
            "hello-p2",
            "grants.sockets = { tcp = [\"127.0.0.1:1\"] }",
            "it has grants.sockets, and imports nothing of wasi:sockets",
            "remove grants.sockets",
        ),
    ] {
        let finished = up(name, grants);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
        assert!(finished.stderr.contains(help), "{}", finished.stderr);
    }
}
