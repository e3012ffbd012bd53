//! Every capability, called with no grant and called beyond its scope: the guest gets the interface's
//! own error, the log the line that would allow it, and it is counted.

use std::path::Path;

use dhow_tests::{Up, client, dhow, guests::from_wat, write_manifest};

/// Asks the guest that has `grants`, and expects `error` and a line with `log`; then the count of
/// what `capability` was denied. Gives the whole log.
async fn denied(
    guest: &str,
    grants: &str,
    path: &str,
    error: &str,
    log: &str,
    capability: &str,
) -> String {
    let up = Up::guest(guest, grants);
    let answer = client::get(up.address, path).await.text;
    assert!(answer.contains(error), "{guest} {grants} {path}: {answer}");
    recorded(&up, log, capability)
}

/// Expects a line with `log`; then the count of what `capability` was denied. Gives the whole log.
fn recorded(up: &Up, log: &str, capability: &str) -> String {
    let line = up.wait_for_log(log);
    assert!(line.contains("denied: ") && line.contains("allow"), "{line}");
    assert!(line.contains(&format!("app=test capability={capability:?}")), "{line}");
    up.terminate();
    let log = up.wait_for_end();
    assert!(log.contains(&format!("was denied {capability}: ")), "{log}");
    log
}

/// What was denied once is written once, and counted once.
fn is_single(log: &str) {
    assert_eq!(log.matches(" denied: ").count(), 1, "{log}");
    assert!(log.contains(": 1 calls"), "{log}");
}

/// What imports a store and has none is refused before the first request: the guest imports what
/// begins with `import`, for which `line` is to be written.
fn refused(guest: &str, import: &str, line: &str) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!("name = \"a\"\n[component.a]\nsource = \"{{{guest}}}\"\n");
    write_manifest(folder.path(), &manifest);
    is_refused(folder.path(), import, line);
}

/// What is at `path` is not served.
fn is_refused(path: &Path, import: &str, line: &str) {
    let finished = dhow(["up".as_ref(), path.as_os_str()]).finish();
    assert_eq!(finished.code, Some(1), "{import}: {finished:?}");
    let said = finished.stderr;
    assert!(said.contains(&format!("error: component `a`: it imports `{import}")), "{said}");
    assert!(said.contains("`, and nothing is granted for that\n"), "{import}: {said}");
    assert!(said.contains(&format!("help: write: {line}\n")), "{import}: {said}");
    assert!(!said.contains("Serving"), "{import}: {said}");
}

const KEYVALUE: &str = "grants.keyvalue = { default = \"default\" }";
const SQL: &str = "grants.sql = { default = \"default\" }";
const BLOBSTORE: &str = "grants.blobstore = { default = \"default\" }";
const REDIS: &str = "grants.redis = { \"redis://localhost\" = \"cache\" }";

#[test]
fn each_interface_of_stores_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (import, line) in [
        ("dhow:keyvalue/store@0.1.0", KEYVALUE),
        ("wasi:keyvalue/store@0.2.0-draft", KEYVALUE),
        ("wasi:keyvalue/store@0.2.0-draft2", KEYVALUE),
        ("spin:key-value/key-value@3.0.0", KEYVALUE),
        ("dhow:sql/database@0.1.0", SQL),
        ("wasi:sql/readwrite@0.2.0-draft", SQL),
        ("spin:sqlite/sqlite@3.1.0", SQL),
        ("spin:postgres/postgres@4.2.0", SQL),
        ("spin:mysql/mysql@3.0.0", SQL),
        ("dhow:blobstore/store@0.1.0", BLOBSTORE),
        ("wasi:blobstore/container@0.2.0-draft", BLOBSTORE),
        ("spin:redis/redis@3.0.0", REDIS),
    ] {
        let component = from_wat(
            folder.path(),
            "a",
            &format!(
                r#"(component
                    (import "{import}" (instance))
                    (instance $handler)
                    (export "wasi:http/handler@0.3.0" (instance $handler)))"#
            ),
        );
        is_refused(&component, &format!("{import}`, and nothing"), line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    for guest in ["client", "client-p2"] {
        for grants in ["", "grants.http = [\"http://192.0.2.1:81\", \"https://192.0.2.1\"]"] {
            let log = "denied: a request to http://192.0.2.1,";
            denied(guest, grants, "/?http://192.0.2.1/x", "HttpRequestDenied", log, "http").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets() {
    for (guest, error) in [("sockets", "AccessDenied"), ("sockets-p2", "ermission denied")] {
        for (path, none, other, log) in [
            ("/tcp/127.0.0.1:9/x", "a tcp socket", "tcp = [\"127.0.0.1:10\"]", "tcp 127.0.0.1:9"),
            ("/udp/127.0.0.1:9/x", "a udp socket", "udp = [\"127.0.0.2:9\"]", "udp 127.0.0.1:9"),
            (
                "/listen/127.0.0.1:9",
                "a tcp socket",
                "tcp-listen = [\"127.0.0.1:10\"]",
                "tcp-listen 127.0.0.1:9",
            ),
        ] {
            denied(guest, "", path, error, none, "sockets").await;
            let grants = format!("grants.sockets = {{ {other} }}");
            denied(guest, &grants, path, error, log, "sockets").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_for_datagrams() {
    for (guest, error) in [("sockets", "AccessDenied"), ("sockets-p2", "ermission denied")] {
        for (granted, address, log) in [
            ("", "127.0.0.1:9", "denied: a udp socket"),
            ("tcp-listen = [\"127.0.0.1:9\"]", "127.0.0.1:9", "denied: a udp socket"),
            ("udp-listen = [\"127.0.0.1:10\"]", "127.0.0.1:9", "denied: udp-listen 127.0.0.1:9;"),
            // Sending there is something else.
            ("udp = [\"127.0.0.1:9\"]", "127.0.0.1:9", "denied: udp-listen 127.0.0.1:9;"),
            // Whoever listens somewhere would listen everywhere.
            ("udp-listen = [\"127.0.0.1:10\"]", "0.0.0.0:0", "denied: udp-listen 0.0.0.0:0;"),
        ] {
            let grants = match granted {
                "" => String::new(),
                granted => format!("grants.sockets = {{ {granted} }}"),
            };
            let path = format!("/udp-listen/{address}");
            let all = denied(guest, &grants, &path, error, log, "sockets").await;
            is_single(&all);
            let line = format!("to allow it: grants.sockets.udp-listen = [\"{address}\"]");
            assert_eq!(all.contains(&line), log.contains("udp-listen"), "{guest} {grants}: {all}");
        }
    }
}

/// Of WASI 0.2; those of 0.3 are with the rest of calls by name.
#[tokio::test(flavor = "multi_thread")]
async fn calls_by_name() {
    for grants in ["", "grants.http = [\"http://other.internal\"]"] {
        let up = Up::app(&format!(
            "name = \"test\"\n\
             [component.web]\nsource = \"{{client-p2}}\"\n{grants}\n\
             [component.cart]\nsource = \"{{hello-p2}}\"\n\
             [component.other]\nsource = \"{{hello-p2}}\"\n\
             [[http]]\npath = \"/...\"\ncomponent = \"web\"\n\
             [[http]]\npath = \"/cart\"\ncomponent = \"cart\"\n\
             [[http]]\npath = \"/other\"\ncomponent = \"other\"\n"
        ));
        if !grants.is_empty() {
            let answer = client::get(up.address, "/?http://other.internal/").await.text;
            assert!(answer.starts_with("Hello of 0.2: "), "{answer}");
        }
        let answer = client::get(up.address, "/?http://cart.internal/x").await.text;
        assert_eq!(answer, "ErrorCode::HttpRequestDenied\n", "{grants}");
        let log = "web denied: a request to http://cart.internal, which is not granted; to allow it, \
                   add \"http://cart.internal\" to grants.http of [component.web]";
        let all = recorded(&up, log, "http");
        is_single(&all);
        // What guests say of a request.
        assert!(!all.contains("asked for /x"), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names() {
    for guest in ["sockets", "sockets-p2"] {
        for grants in ["", "grants.sockets = { tcp = [\"other.test:443\"] }"] {
            let log = "denied: looking up name.test";
            denied(guest, grants, "/lookup/name.test", "error: ", log, "sockets").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_leads_nowhere_by_itself() {
    for guest in ["tls", "tls-p2"] {
        for grants in ["", "grants.sockets = { tcp = [\"other.test:443\"] }"] {
            let log = "denied: looking up name.test";
            denied(guest, grants, "/name.test:443/x", "error: ", log, "sockets").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores() {
    for (guest, import) in [
        ("keyvalue", "wasi:keyvalue/"),
        ("keyvalue-draft", "wasi:keyvalue/"),
        ("keyvalue-own", "dhow:keyvalue/"),
    ] {
        refused(guest, import, KEYVALUE);
        let grants = "grants.keyvalue = { mine = \"default\" }";
        let (error, log) = ("AccessDenied", "grants.keyvalue = { other = ");
        denied(guest, grants, "/other/get/a", error, log, "keyvalue").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases() {
    for (guest, import, path, error) in [
        ("sql", "dhow:sql/", "/other/query", "AccessDenied"),
        ("sql-draft", "wasi:sql/", "/query/other", "no database of that name is granted"),
        ("spin-sql", "spin:", "/sqlite/run?other", "Error::AccessDenied"),
        ("spin-sql", "spin:", "/pg/run?other", "Error::ConnectionFailed"),
        ("spin-sql", "spin:", "/mysql/run?other", "Error::ConnectionFailed"),
    ] {
        refused(guest, import, SQL);
        let grants = "grants.sql = { mine = \"default\" }";
        denied(guest, grants, path, error, "grants.sql = { other = ", "sql").await;
    }
}

#[test]
fn servers_of_redis() {
    // It imports stores as well: all that is missing is said at once.
    refused("spin-redis", "spin:redis/", REDIS);
    refused("spin-redis", "spin:key-value/", KEYVALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers() {
    for (guest, import, error) in [
        ("blobstore", "dhow:blobstore/", "AccessDenied"),
        ("blobstore-draft", "wasi:blobstore/", "access denied"),
    ] {
        refused(guest, import, BLOBSTORE);
        let grants = "grants.blobstore = { mine = \"default\" }";
        let log = "grants.blobstore = { other = ";
        denied(guest, grants, "/other/get/a", error, log, "blobstore").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "here").unwrap();
    for (guest, error) in [("files", "NotPermitted"), ("files-p2", "Permission")] {
        // Nothing to begin with: there is no descriptor to call.
        let none = Up::guest(guest, "");
        assert!(client::get(none.address, "/read/:data:a").await.text.starts_with("error: "));
        let grants = format!("grants.files = {{ \"/data\" = {:?} }}", folder.path());
        for path in ["/create/:data:b/1", "/append/:data:a/1", "/read/:data:..:b"] {
            denied(guest, &grants, path, error, "denied: files ", "files").await;
        }
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration() {
    // What is not granted is not there, which is all that the interface can say.
    for grants in ["", "grants.config = { other = \"value\" }"] {
        let up = Up::guest("settings", grants);
        assert_eq!(client::get(up.address, "/get/key").await.text, "Ok(None)", "{grants}");
    }
}
