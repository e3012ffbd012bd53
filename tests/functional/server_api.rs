//! The admin API does what its description says, and its configuration can be changed while it runs.

use std::{fs, path::Path, process::Command};

use dhow_tests::{
    Server,
    guests::root,
    server::{TOKEN, one},
    servers::skipped,
    upstream::Upstream,
};

/// Requests are made up from the description; what is answered has to be described there, and no request
/// may come to a 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_answer_is_one_that_is_described() {
    let ours = root().join("target/schemathesis/bin/schemathesis");
    let program = if ours.exists() { ours.as_path() } else { Path::new("schemathesis") };
    if Command::new(program).arg("--version").output().is_err() {
        skipped::<()>("schemathesis", "pip install schemathesis");
        return;
    }
    let server = Server::start();
    server.deploy_guest("hello", "hello-p2");
    let folder = tempfile::tempdir().unwrap();
    let description = format!("http://{}/openapi.json", server.admin);
    let found = Command::new(program)
        .current_dir(folder.path())
        .args(["run", &description, "--max-examples", "15", "--seed", "1"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        // What follows the log has no end.
        .args(["--exclude-path-regex", "logs"])
        // It would revoke its own.
        .args(["--exclude-operation-id", "revoke_token"])
        // A manifest, and shares that are 100 together, are more than a schema says.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success(), "{text}");
    let (status, json) = server.ask("GET", "/v1/status", &serde_json::Value::Null).await;
    assert_eq!(status, 200, "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_counts_at_once_and_a_bad_one_not_at_all() {
    let server = Server::with("[tenant.default.quota]\nrequests = 100000\n");
    server.deploy_guest("shop", "hello-p2");
    assert_eq!(server.get("shop.example.com", "/").await.status, 404);
    let config = server.folder.path().join("dhow-server.toml");
    fs::write(&config, "[tenant.default]\nhosts = { 'shop.example.com' = 'shop' }\n").unwrap();
    server.hang_up();
    server.wait_for_log("The configuration was read again.");
    assert_eq!(server.get("shop.example.com", "/").await.status, 200);
    assert_eq!(server.get("shop.localhost", "/").await.status, 200);

    fs::write(&config, "[tenant.default]\nhosts = { 'shop.example.com' = 1 }\n").unwrap();
    server.hang_up();
    server.wait_for_log("The configuration stays as it was.");
    assert_eq!(server.get("shop.example.com", "/").await.status, 200);

    // Without a signal, and with what has to wait.
    fs::write(&config, "[server]\ndomain = 'apps.example.com'\n[quota]\nrequests = 1\n").unwrap();
    server.wait_for_log("server.domain has changed: restart the server for that.");
    assert_eq!(server.get("shop.example.com", "/").await.status, 404);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(server.get("shop.localhost", "/").await.status.as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_components_open_are_counted_for_the_tenant() {
    let upstream = Upstream::start().await;
    let origin = format!("http://{}", upstream.address);
    let server = Server::with(&format!(
        "egress.allow = [\"{}\"]\n[tenant.default.quota]\nconnections = 0\n",
        upstream.address
    ));
    let settings = format!("grants.http = [\"{origin}\"]");
    assert_eq!(server.try_deploy(&one("shop", "client", &settings), &[]).code, Some(0));
    let answer = server.get("shop.localhost", &format!("/?{origin}/x")).await;
    assert!(answer.text.contains("ConnectionLimitReached"), "{answer:?}");
    assert_eq!(upstream.connections(), 0);
}
