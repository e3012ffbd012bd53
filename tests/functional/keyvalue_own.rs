//! `dhow:keyvalue`: the same guest, unchanged, on each kind of store, beside those of the drafts.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use dhow_tests::{
    Up,
    client::{PATIENCE, get},
    dhow,
    servers::{PASSWORD, Redis},
    write_manifest,
};
use tokio::time::{sleep, timeout};

const MANIFEST: &str = "name = \"kv\"\n\
    [component.own]\nsource = \"{keyvalue-own}\"\ngrants.keyvalue = { db = \"default\" }\n\
    [component.second]\nsource = \"{keyvalue}\"\ngrants.keyvalue = { draft = \"default\" }\n\
    [component.first]\nsource = \"{keyvalue-draft}\"\ngrants.keyvalue = { old = \"default\" }\n\
    [[http]]\npath = \"/...\"\ncomponent = \"own\"\n\
    [[http]]\npath = \"/draft/...\"\ncomponent = \"second\"\n\
    [[http]]\npath = \"/old/...\"\ncomponent = \"first\"\n";

/// Serves the guests with the operator's `keyvalue`, the same store for all of them.
fn up(keyvalue: &str) -> Up {
    Up::app_with(MANIFEST, |command| {
        let folder = command.get_args().last().map(std::path::PathBuf::from).unwrap();
        let config = folder.join("dhow-server.toml");
        fs::write(&config, format!("[backend.default]\nkeyvalue = \"{keyvalue}\"")).unwrap();
        command.arg("--config").arg(config).env("REDIS_PASSWORD", PASSWORD);
    })
}

async fn ask(up: &Up, path: &str) -> String {
    get(up.address, path).await.text
}

async fn becomes(up: &Up, path: &str, expected: &str) {
    let wait = async {
        while ask(up, path).await != expected {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{path} never is {expected}"));
}

/// What every store has to do.
async fn works(up: &Up) {
    for (path, expected) in [
        ("/db/get/a", "nothing"),
        ("/db/set/a/1", "set"),
        ("/db/get/a", "1"),
        ("/db/exists/a", "true"),
        ("/db/exists/b", "false"),
        ("/db/increment/a/41", "42"),
        ("/db/increment/new/-3", "-3"),
        // Only where there is none.
        ("/db/absent/a/x", "Error::Conflict"),
        ("/db/get/a", "42"),
        ("/db/absent/b/x", "set"),
        // Only in place of the value that was read.
        ("/db/over/b/y", "set"),
        ("/db/get/b", "y"),
        ("/db/lose/b/mine", "Error::Conflict"),
        ("/db/get/b", "changed"),
        ("/db/over/nothing/y", "Error::Conflict"),
        ("/db/exists/nothing", "false"),
        // A version is that of the value, not of who has set it.
        ("/db/set/b/x", "set"),
        ("/db/again/b/mine", "set"),
        ("/db/get/b", "mine"),
        ("/db/delete-lose/b", "Error::Conflict"),
        ("/db/get/b", "changed"),
        ("/db/delete-over/b", "()"),
        ("/db/delete-over/b", "Error::Conflict"),
        ("/db/delete/b", "()"),
        ("/db/exists/b", "false"),
        ("/db/set/text/words", "set"),
        ("/db/increment/text/1", "Error::NotANumber"),
        ("/db/set/max/9223372036854775807", "set"),
        ("/db/increment/max/1", "Error::NotANumber"),
        ("/db/bytes/raw", "true, Err(Error::NotANumber)"),
        ("/db/set/t/1/0", "Error::InvalidTtl"),
        ("/db/set/t/1/3153600000001", "Error::InvalidTtl"),
        ("/db/set/t/1/3153600000000", "set"),
        ("/db/get/t", "1"),
        ("/db/large/8388608", "8388608"),
        ("/db/large/8388609", "Error::TooLarge"),
        ("/db/keys/", "a,large,max,new,raw,t,text"),
        ("/db/keys/t", "t,text"),
        ("/db/keys/none", ""),
        // Nothing of a prefix is a pattern.
        ("/db/set/g*[b-c]1/1", "set"),
        ("/db/set/g\\1/1", "set"),
        ("/db/set/gab1/1", "set"),
        ("/db/keys/g*[b-c]", "g*[b-c]1"),
        ("/db/keys/g\\", "g\\1"),
        // The drafts see the same values.
        ("/draft/get/a", "42"),
        ("/old/increment/a/1", "43"),
        ("/db/get/a", "43"),
        ("/draft/lose/a/mine", "it is changed"),
        ("/draft/swap/a/7", "swapped"),
        ("/db/over/a/8", "set"),
    ] {
        assert_eq!(ask(up, path).await, expected, "{path}");
    }
    let long = "k".repeat(1_025);
    for path in ["get", "exists", "delete", "delete-over", "keys"] {
        assert_eq!(ask(up, &format!("/db/{path}/{long}")).await, "Error::InvalidKey", "{path}");
    }
    assert_eq!(ask(up, &format!("/db/set/{long}/1")).await, "Error::InvalidKey");
    assert_eq!(ask(up, &format!("/db/increment/{long}/1")).await, "Error::InvalidKey");
    assert_eq!(ask(up, &format!("/db/set/{}/1", "k".repeat(1_024))).await, "set");
    expires(up).await;
    at_once(up).await;
    lists(up).await;
}

/// What has expired is seen by none of the interfaces.
async fn expires(up: &Up) {
    for (path, expected) in [
        ("/db/set/short/1/200", "set"),
        ("/db/keep/counter/1000", "2"),
        ("/db/set/kept/1/200", "set"),
        ("/draft/set/kept/2", "()"),
        ("/db/set/kept-too/1/200", "set"),
        ("/db/set/kept-too/2", "set"),
    ] {
        assert_eq!(ask(up, path).await, expected, "{path}");
    }
    becomes(up, "/db/get/short", "nothing").await;
    // An increment has not made it last.
    becomes(up, "/db/get/counter", "nothing").await;
    for (path, expected) in [
        ("/db/exists/short", "false"),
        ("/db/keys/short", ""),
        ("/db/over/short/1", "Error::Conflict"),
        ("/db/delete-over/short", "Error::Conflict"),
        ("/draft/get/short", "nothing"),
        ("/draft/exists/short", "false"),
        ("/old/get/short", "nothing"),
        ("/old/both/short", "nothing,nothing"),
        // What is set anew without a time stays.
        ("/db/get/kept", "2"),
        ("/db/get/kept-too", "2"),
        // What was there is not: neither for a condition, nor for a sum.
        ("/draft/swap/short/x", "swapped"),
        ("/db/get/short", "x"),
        ("/db/increment/counter/5", "5"),
    ] {
        assert_eq!(ask(up, path).await, expected, "{path}");
    }
    for listing in ["/draft/keys", "/old/keys"] {
        ask(up, "/db/set/gone/1/1").await;
        becomes(up, "/db/exists/gone", "false").await;
        let keys = ask(up, listing).await;
        assert!(!keys.split(',').any(|key| key == "gone"), "{keys}");
    }
    assert_eq!(ask(up, "/db/absent/gone/1").await, "set");
}

/// No increment is lost, of one instance or of several.
async fn at_once(up: &Up) {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let address = up.address;
        callers.spawn(async move { get(address, "/db/at-once/sum/50").await.text });
    }
    while let Some(sums) = callers.join_next().await {
        assert_eq!(sums.unwrap(), "50 sums");
    }
    assert_eq!(ask(up, "/db/get/sum").await, "400");
}

async fn lists(up: &Up) {
    for (path, expected) in [
        ("/db/fill/many-/10000", "filled"),
        ("/db/count/many-", "10000 keys, true"),
        ("/db/count/many-1", "1111 keys, true"),
        ("/db/first/many-", "true, Err(Error::Other(\"the keys were not read to their end\"))"),
    ] {
        assert_eq!(ask(up, path).await, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store() {
    let up = up("redb");
    works(&up).await;
    // What waits for the disk is bounded.
    let refused = ask(&up, "/db/crowd/8388608/6").await;
    assert!(refused.ends_with(" of 6") && refused != "0 of 6", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory() {
    works(&up("memory")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let Some(redis) = Redis::start() else { return };
    let up = up(&redis.url());
    works(&up).await;
    // Values and times are the server's own, and what others write there harms nobody.
    let answers = commands(&redis, "GET t\r\nPTTL t\r\nSET \"\\xff\\xfe\" v\r\nLPUSH list 1\r\n");
    let lines: Vec<_> = answers.lines().collect();
    let [.., "$1", "1", ttl, "+OK", ":1", "+OK"] = lines[..] else { panic!("{answers}") };
    let ttl: u64 = ttl.trim_start_matches(':').parse().unwrap();
    assert!(ttl > 3_153_500_000_000, "{ttl}");
    assert_eq!(ask(&up, "/db/keys/li").await, "list");
    assert!(!ask(&up, "/db/keys/").await.contains('\u{fffd}'));
    // To `MGET`, what is no text is not there.
    assert_eq!(ask(&up, "/db/get/list").await, "nothing");
    drop(redis);
    assert_eq!(ask(&up, "/db/get/a").await, "Error::Unreachable");
}

/// What the server answers to `commands`, after the one to the password.
fn commands(redis: &Redis, commands: &str) -> String {
    let mut stream = TcpStream::connect(redis.address).unwrap();
    write!(stream, "AUTH {PASSWORD}\r\n{commands}QUIT\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), MANIFEST);
    let serve = || dhow(["up".as_ref(), folder.path().as_os_str()]).up();
    let up = serve();
    for path in ["/db/set/long/1/3600000", "/db/set/short/1/500", "/db/set/good/1"] {
        assert_eq!(ask(&up, path).await, "set", "{path}");
    }
    drop(up); // SIGKILL.
    let up = serve();
    becomes(&up, "/db/keys/", "good,long").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let up = up("memory");
    assert_eq!(ask(&up, "/other/get/a").await, "Error::AccessDenied");
    up.wait_for_log("grants.keyvalue = { other = \"default\" }");
}
