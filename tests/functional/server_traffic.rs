//! Who of an app's revisions answers: shares, clients that stay with one, rollouts and the way back.

use std::collections::BTreeMap;

use dhow_tests::{
    Server,
    guests::example,
    server::{get_with, one},
};
use serde_json::{Value, json};

const HOST: &str = "shop.localhost";

/// The app `shop` of the guest that says `Hello of 0.2`.
fn old() -> String {
    one("shop", "hello-p2", "")
}

/// The same with a component that says something else.
fn new() -> String {
    old().replace("{hello-p2}", example("hello").to_str().unwrap())
}

/// A server with two revisions, the second of which has the traffic.
fn two_revisions() -> Server {
    let server = Server::start();
    server.deploy(&old(), &[]);
    server.deploy(&new(), &[]);
    server
}

/// The revision that answers a request with these headers.
async fn revision(server: &Server, headers: &[(&str, &str)]) -> u32 {
    let answer = get_with(server.address, HOST, "/", headers).await;
    assert_eq!(answer.status, 200);
    if answer.text.starts_with("Hello of 0.2") { 1 } else { 2 }
}

/// How often each revision answers.
async fn spread(server: &Server, requests: usize) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(revision(server, &[]).await).or_default() += 1;
    }
    counts
}

/// Who has a part of the traffic, as `dhow revisions` says.
fn shares(server: &Server) -> BTreeMap<u64, u64> {
    let revisions = server.json(&["revisions", "shop"]);
    let all = revisions["revisions"].as_array().unwrap().iter();
    all.map(|it| (it["number"].as_u64().unwrap(), it["percent"].as_u64().unwrap()))
        .filter(|(_, percent)| *percent > 0)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_by_the_shares() {
    let mut server = two_revisions();
    assert_eq!(spread(&server, 20).await, [(2, 20)].into());
    assert_eq!(server.dhow(["traffic", "shop", "r1=50", "r2=50"]).code, Some(0));
    assert_eq!(shares(&server), [(1, 50), (2, 50)].into());
    let counts = spread(&server, 200).await;
    assert!(counts[&1] > 60 && counts[&2] > 60, "{counts:?}");
    // It stays so.
    server.kill();
    server.start_again();
    assert_eq!(shares(&server), [(1, 50), (2, 50)].into());
    assert_eq!(spread(&server, 100).await.len(), 2);
    assert_eq!(server.dhow(["traffic", "shop", "r1=100", "r2=0"]).code, Some(0));
    assert_eq!(spread(&server, 20).await, [(1, 20)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_the_revision_that_it_has_got() {
    let mut server = two_revisions();
    for (flag, name) in [("--sticky-header", "X-User"), ("--sticky-cookie", "session")] {
        let shared = server.dhow(["traffic", "shop", "r1=50", "r2=50", flag, name]);
        assert_eq!(shared.code, Some(0), "{shared:?}");
        let mut met = BTreeMap::<u32, u32>::new();
        for user in 0..20 {
            let (first, other) = (format!("user-{user}"), format!("a=b; session=user-{user}; c=d"));
            let header = match name {
                "session" => ("cookie", other.as_str()),
                _ => ("x-user", first.as_str()),
            };
            let revisions = [
                revision(&server, &[header]).await,
                revision(&server, &[header]).await,
                revision(&server, &[header, ("user-agent", "another")]).await,
            ];
            assert!(revisions.iter().all(|it| *it == revisions[0]), "{header:?}: {revisions:?}");
            *met.entry(revisions[0]).or_default() += 1;
        }
        assert_eq!(met.len(), 2, "{met:?}");
        // Who sends none is spread.
        assert_eq!(spread(&server, 60).await.len(), 2);
    }
    let session = [("cookie", "session=mine")];
    let before = revision(&server, &session).await;
    server.kill();
    server.start_again();
    for _ in 0..10 {
        assert_eq!(revision(&server, &session).await, before, "after a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_gives_the_traffic_back() {
    let server = two_revisions();
    let third = server.deploy(&new(), &[]);
    assert_eq!(third["revision"], 3);
    let rolled_back = server.json(&["rollback", "shop"]);
    assert_eq!(rolled_back["revisions"][1]["percent"], 100);
    assert_eq!(shares(&server), [(2, 100)].into());
    assert_eq!(server.dhow(["rollback", "shop"]).code, Some(0));
    assert_eq!(shares(&server), [(1, 100)].into());
    assert!(server.get(HOST, "/").await.text.starts_with("Hello of 0.2"));
    // There is nothing before the first.
    let finished = server.dhow(["rollback", "shop"]);
    assert_eq!(finished.code, Some(5), "{finished:?}");
    assert!(finished.stderr.contains("no earlier revision of `shop`"), "{finished:?}");
    assert_eq!(shares(&server), [(1, 100)].into());
    // From shares it goes back to the last that had all.
    assert_eq!(server.dhow(["traffic", "shop", "r1=90", "r3=10"]).code, Some(0));
    assert_eq!(server.dhow(["rollback", "shop"]).code, Some(0));
    assert_eq!(shares(&server), [(1, 100)].into());
    // The next revision gets the next number.
    assert_eq!(server.deploy(&new(), &[])["revision"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_can_not_be_are_refused() {
    let server = two_revisions();
    for (arguments, code, message) in [
        (&["r1=50", "r2=49"][..], 2, "the shares are 99% together, not 100%"),
        (&["r1=101"], 2, "r13=10"),
        (&["r1=-1"], 2, "r13=10"),
        (&["r1=50", "r1=50"], 2, "r1 has more than one share"),
        (&["r99=100"], 5, "`shop` has no revision r99"),
        (&["r1=99", "r99=1"], 5, "`shop` has no revision r99"),
    ] {
        let finished = server.dhow([&["traffic", "shop"], arguments].concat());
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(finished.stderr.contains(message), "{message}: {finished:?}");
    }
    // What the command would not send.
    for (body, code) in [
        (json!({ "shares": { "1": 50, "2": 49 } }), "invalid"),
        (json!({ "shares": {} }), "invalid"),
        (json!({ "shares": { "1": 100 }, "sticky": { "header": "no name" } }), "invalid"),
        (json!({ "shares": { "1": 100 }, "sticky": { "address": "x" } }), "invalid"),
        (json!({ "shares": { "1": 300 } }), "invalid"),
        (json!({ "shares": { "x": 100 } }), "invalid"),
        (json!({ "shares": { "1": 100 }, "other": 1 }), "invalid"),
    ] {
        let (status, problem) = server.ask("PUT", "/v1/apps/shop/traffic", &body).await;
        assert_eq!((status, &problem["code"]), (400, &json!(code)), "{body}: {problem}");
    }
    assert_eq!(shares(&server), [(2, 100)].into());
    assert_eq!(server.dhow(["traffic", "cart", "r1=100"]).code, Some(5));
}

/// The app `shop` of a guest that can trap, with a rollout.
fn rolled_out(time: &str, settings: &str) -> String {
    format!(
        "name = \"shop\"\n\
         rollout = {{ canary = 50, time = \"{time}\", errors = 5.0 }}\n\
         [component.trap]\nsource = \"{{trap}}\"\n{settings}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revision_that_fails_loses_its_traffic_by_itself() {
    let server = Server::start();
    server.deploy(&rolled_out("1h", ""), &[]);
    assert_eq!(shares(&server), [(1, 100)].into(), "the first has nobody to take from");
    let manifest = rolled_out("1h", "limits.memory = \"64KiB\""); // Too little to begin.
    let folder = dhow_tests::app_folder(&manifest);
    let deploy = ["deploy", folder.path().to_str().unwrap(), "--wait"];
    let deploy = server.dhow_as(dhow_tests::TOKEN, deploy);
    let waiting = tokio::task::spawn_blocking(|| deploy.finish());
    let mut statuses = BTreeMap::<u16, usize>::new();
    while !waiting.is_finished() {
        let status = server.get(HOST, "/").await.status.as_u16();
        *statuses.entry(status).or_default() += 1;
        assert!(statuses.values().sum::<usize>() < 100_000, "{statuses:?}");
    }
    let finished = waiting.await.unwrap();
    assert_eq!(finished.code, Some(7), "{finished:?}");
    for expected in ["r2 has 50% of the traffic", "r2 of shop was rolled back: ", "requests failed"]
    {
        assert!(finished.stderr.contains(expected), "{expected}: {finished:?}");
    }
    assert!(statuses[&200] > 0 && statuses[&500] > 0, "{statuses:?}");
    assert_eq!(shares(&server), [(1, 100)].into());
    let revisions = server.json(&["revisions", "shop"]);
    assert!(revisions["rolled_back"].as_str().unwrap().starts_with("r2: "), "{revisions}");
    assert_eq!(revisions["is_rolling_out"], false);
    for _ in 0..20 {
        assert_eq!(server.get(HOST, "/").await.status, 200);
    }
    // The reason is that of the last one only.
    server.deploy(&rolled_out("1h", ""), &[]);
    assert_eq!(server.json(&["revisions", "shop"])["rolled_back"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revision_that_is_slow_loses_its_traffic_by_itself() {
    let server = Server::start();
    let manifest = "name = \"shop\"\n\
        rollout = { canary = 50, time = \"1h\", latency = \"20ms\" }\n\
        [component.slow]\nsource = \"{slow}\"\n";
    server.deploy(manifest, &[]);
    let folder = dhow_tests::app_folder(manifest);
    let deploy = ["deploy", folder.path().to_str().unwrap(), "--wait"];
    let deploy = server.dhow_as(dhow_tests::TOKEN, deploy);
    let waiting = tokio::task::spawn_blocking(|| deploy.finish());
    while !waiting.is_finished() {
        assert_eq!(server.get(HOST, "/before/30").await.status, 200);
    }
    let finished = waiting.await.unwrap();
    assert_eq!(finished.code, Some(7), "{finished:?}");
    assert!(finished.stderr.contains("its 99th percentile was "), "{finished:?}");
    assert_eq!(shares(&server), [(1, 100)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_revision_that_does_well_gets_all_the_traffic() {
    let mut server = Server::start();
    server.deploy(&rolled_out("2s", ""), &[]);
    let finished = server.try_deploy(&rolled_out("2s", ""), &["--wait"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("r2 has 50% of the traffic"), "{finished:?}");
    assert!(finished.stderr.contains("r2 has 100% of the traffic"), "{finished:?}");
    assert_eq!(shares(&server), [(2, 100)].into());
    // Also if the server ends meanwhile.
    server.deploy(&rolled_out("4s", ""), &[]);
    assert_eq!(shares(&server), [(2, 50), (3, 50)].into());
    server.kill();
    server.start_again();
    server.wait_for_log("rolled out");
    assert_eq!(shares(&server), [(3, 100)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_ends_when_somebody_shares_the_traffic() {
    let server = Server::start();
    server.deploy(&rolled_out("1h", ""), &[]);
    server.deploy(&rolled_out("1h", ""), &[]);
    assert_eq!(shares(&server), [(1, 50), (2, 50)].into());
    assert_eq!(server.dhow(["rollback", "shop"]).code, Some(0));
    assert_eq!(shares(&server), [(1, 100)].into());
    let third = server.deploy(&rolled_out("1h", ""), &[]);
    assert_eq!(third["percent"], 50);
    // The next one takes the place of the one before.
    server.deploy(&rolled_out("1h", ""), &[]);
    assert_eq!(shares(&server), [(1, 50), (4, 50)].into());
    assert_eq!(server.dhow(["traffic", "shop", "r4=100"]).code, Some(0));
    assert_eq!(server.json(&["revisions", "shop"])["is_rolling_out"], false);
}
