//! Every capability, called with no grant and called beyond its scope: the guest gets the interface's
//! own error, the log the line that would allow it, and it is counted.

use dhow_tests::{Up, client, dhow, write_manifest};

/// Asks the guest that has `grants`, and expects `error` and a line with `log`; then the count of
/// what `capability` was denied.
async fn denied(guest: &str, grants: &str, path: &str, error: &str, log: &str, capability: &str) {
    let up = Up::guest(guest, grants);
    let answer = client::get(up.address, path).await.text;
    assert!(answer.contains(error), "{guest} {grants} {path}: {answer}");
    let line = up.wait_for_log(log);
    assert!(line.contains("denied: ") && line.contains("allow"), "{line}");
    assert!(line.contains(&format!("app=test capability={capability:?}")), "{line}");
    up.terminate();
    let log = up.wait_for_end();
    assert!(log.contains(&format!("was denied {capability}: ")), "{guest}: {log}");
}

/// What imports a store and has none is refused before the first request.
fn refused(guest: &str, line: &str) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!("name = \"a\"\n[component.a]\nsource = \"{{{guest}}}\"\n");
    write_manifest(folder.path(), &manifest);
    let finished = dhow(["up".as_ref(), folder.path().as_os_str()]).finish();
    assert_eq!(finished.code, Some(1), "{guest}");
    let said = finished.stderr;
    assert!(said.contains("nothing is granted for that") && said.contains(line), "{guest}: {said}");
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
    for guest in ["keyvalue", "keyvalue-draft"] {
        refused(guest, "write: grants.keyvalue = { default = \"default\" }");
        let grants = "grants.keyvalue = { mine = \"default\" }";
        let (error, log) = ("AccessDenied", "grants.keyvalue = { other = ");
        denied(guest, grants, "/other/get/a", error, log, "keyvalue").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases() {
    refused("sql", "write: grants.sql = { default = \"default\" }");
    let grants = "grants.sql = { mine = \"default\" }";
    let (error, log) = ("AccessDenied", "grants.sql = { other = ");
    denied("sql", grants, "/other/query", error, log, "sql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers() {
    for (guest, error) in [("blobstore", "AccessDenied"), ("blobstore-draft", "access denied")] {
        refused(guest, "write: grants.blobstore = { default = \"default\" }");
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
