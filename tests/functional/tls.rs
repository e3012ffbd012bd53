//! TLS by guests themselves, over their own sockets: `wasi:tls`, in both of its drafts.

use std::{fs, path::PathBuf};

use dhow_tests::{
    Up,
    client::get,
    dhow,
    servers::{PASSWORD, Redis},
    upstream::Upstream,
    write_manifest,
};
use tempfile::TempDir;

const GUESTS: [&str; 2] = ["tls", "tls-p2"];

/// A Redis with TLS, and the certificate of its authority.
fn server() -> Option<(Redis, PathBuf, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    Some((Redis::start_tls(&authority)?, authority, folder))
}

fn granted(guest: &str, port: u16, more: &str) -> Up {
    Up::guest(guest, &format!("grants.sockets = {{ tcp = [\"localhost:{port}\"] }}\n{more}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_talks_to_a_server_whose_authority_it_is_granted() {
    let Some((server, authority, _folder)) = server() else { return };
    let port = server.address.port();
    for guest in GUESTS {
        let up = granted(guest, port, &format!("grants.ca = {authority:?}"));
        let answer = get(up.address, &format!("/localhost:{port}/{PASSWORD}")).await;
        assert_eq!(answer.text, "hello", "{guest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_vouches_for_is_not_trusted() {
    let Some((server, authority, _folder)) = server() else { return };
    let port = server.address.port();
    for guest in GUESTS {
        // An authority that it does not know.
        let up = granted(guest, port, "");
        let answer = get(up.address, &format!("/localhost:{port}/{PASSWORD}")).await.text;
        assert!(answer.contains("UnknownIssuer"), "{guest}: {answer}");
        // A name that the certificate is not for.
        let up = Up::guest(
            guest,
            &format!(
                "grants.sockets = {{ tcp = [\"127.0.0.1:{port}\"] }}\ngrants.ca = {authority:?}"
            ),
        );
        let answer = get(up.address, &format!("/127.0.0.1:{port}/{PASSWORD}")).await.text;
        assert!(answer.contains("not valid for name"), "{guest}: {answer}");
        // Somebody who does not speak TLS.
        let plain = Upstream::start().await.address.port();
        let up = granted(guest, plain, "");
        let answer = get(up.address, &format!("/localhost:{plain}/{PASSWORD}")).await.text;
        assert!(answer.starts_with("error: "), "{guest}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_authority_counts_for_requests_too() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    let upstream = Upstream::start_tls(&authority).await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    let up =
        Up::guest("client", &format!("grants.http = [\"{origin}\"]\ngrants.ca = {authority:?}"));
    assert_eq!(get(up.address, &format!("/?{origin}/x")).await.text, "GET HTTP/2.0 /x \n");
}

#[test]
fn what_is_no_authority_is_said_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.pem"), "no certificate").unwrap();
    for (ca, message) in [("missing.pem", "No such file"), ("empty.pem", "it holds no certificate")]
    {
        let manifest = format!(
            "name = \"tls\"\n[component.tls]\nsource = \"{{tls}}\"\ngrants.ca = \"{ca}\"\n"
        );
        write_manifest(folder.path(), &manifest);
        let finished = dhow(["up".as_ref(), folder.path().as_os_str()]).finish();
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
        assert!(finished.stderr.contains("grants.ca = "), "{}", finished.stderr);
    }
}
