//! What one app may use of what is its tenant's, and what is told of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dhow_tests::{
    Server,
    server::{get_at, one},
};
use serde_json::Value;

/// A server on which the app `shop` of tenant `default`, an app of the guest `guest`, has `quota`; the same
/// guest is there as `blog`, which has none.
fn server(quota: &str, guest: &str, settings: &str) -> Server {
    let server = Server::with(&format!("[tenant.default.app.shop]\n{quota}\n"));
    for app in ["shop", "blog"] {
        server.deploy(&one(app, guest, settings), &["--allow-new-grants"]);
    }
    server
}

const SHOP: &str = "shop.localhost";
const BLOG: &str = "blog.localhost";

/// What the status says of `app`.
fn app(server: &Server, app: &str) -> Value {
    let status = server.json(&["status"]);
    let found = status["apps"].as_array().unwrap().iter().find(|it| it["app"] == app).cloned();
    found.unwrap_or_else(|| panic!("no {app}: {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_of_an_app_are_counted() {
    let server = server("concurrency = 1", "slow", "");
    let address = server.address;
    let first = tokio::spawn(async move { get_at(address, SHOP, "/before/3001").await });
    server.wait_for_log("begin /before/3001");
    let shop = app(&server, "shop");
    assert_eq!((&shop["in_flight"], &shop["instances"]), (&1.into(), &1.into()), "{shop}");
    assert!(shop["memory_bytes"].as_u64().unwrap() > 1 << 20, "{shop}");
    assert_eq!(app(&server, "blog")["in_flight"], 0);
    let second = server.get(SHOP, "/").await;
    assert_eq!(second.status, 503);
    assert_eq!(second.headers["retry-after"], "1");
    server.wait_for_log("app `shop` has 1 requests under way, and may not have more");
    assert_eq!(server.get(BLOG, "/").await.status, 200);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(server.get(SHOP, "/").await.status, 200);
    // What counts is what the file says now, for what runs, too.
    server.configure("[tenant.default.app.shop]\nrequests = 1");
    server.wait_for_log("The configuration was read again");
    let mut statuses = BTreeMap::<u16, u32>::new();
    for _ in 0..20 {
        *statuses.entry(server.get(SHOP, "/").await.status.as_u16()).or_default() += 1;
        assert_eq!(server.get(BLOG, "/").await.status, 200);
    }
    assert!(statuses[&200] >= 1 && statuses[&429] >= 1 && statuses.len() == 2, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_an_app_is_counted() {
    let server = server("memory = \"32MiB\"", "trap", "limits.memory = \"64MiB\"");
    assert_eq!(server.get(SHOP, "/memory").await.status, 503);
    assert!(app(&server, "shop")["memory_bytes"].as_u64().unwrap() <= 32 << 20);
    // Its own limit is what stops the other.
    assert_eq!(server.get(BLOG, "/memory").await.status, 500);
    assert_eq!(server.get(SHOP, "/").await.text, "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processor_time_of_an_app_is_shared_out() {
    let server = server("cpu = 0.2", "trap", "limits.time = \"3s\"");
    let used = || app(&server, "shop")["cpu_seconds"].as_f64().unwrap();
    let (before, start) = (used(), Instant::now());
    let address = server.address;
    let request = move || async move { get_at(address, SHOP, "/loop").await };
    let loops: Vec<_> = (0..4).map(|_| tokio::spawn(request())).collect();
    let mut served = 0;
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(server.get(BLOG, "/").await.status, 200);
        served += 1;
    }
    let (used, seconds) = (used() - before, start.elapsed().as_secs_f64());
    assert!(used > 0.1 && used / seconds < 0.35, "{used} s in {seconds}");
    assert!(served > 20, "{served}");
    for request in loops {
        assert_eq!(request.await.unwrap().status, 504);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_counted_where_operators_look() {
    let server = Server::start();
    server.deploy(&one("shop", "client", ""), &[]);
    let answer = server.get(SHOP, "/?http://example.com/").await;
    assert_eq!(answer.text, "ErrorCode::HttpRequestDenied\n");
    let line = server.wait_for_log("denied: a request to http://example.com");
    assert!(line.contains("tenant=default") && line.contains("app=shop"), "{line}");
    assert_eq!(app(&server, "shop")["denied"], 1);
    let metrics = get_at(server.admin, "localhost", "/metrics").await.text;
    let labels = "tenant=\"default\",app=\"shop\",component=\"client\",capability=\"http\"";
    assert!(metrics.contains(&format!("dhow_denials_total{{{labels}}} 1")), "{metrics}");
    let times =
        "dhow_request_duration_seconds_bucket{le=\"+Inf\",tenant=\"default\",app=\"shop\"} 1";
    assert!(metrics.contains(times), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_and_its_neighbours_are_reached_only_where_the_operator_says_so() {
    let grants = |admin: &str| format!("grants.http = [\"http://{admin}\"]");
    let server = Server::start();
    let own = server.admin.to_string();
    for origin in [&own, "169.254.169.254", "10.0.0.1", "localhost:80", "[::1]:80"] {
        let manifest = one("shop", "client", &grants(origin));
        let finished = server.try_deploy(&manifest, &["--allow-new-grants"]);
        assert_eq!(finished.code, Some(4), "{origin}: {finished:?}");
        let said = "is not on the internet, and which the operator has not named";
        assert!(finished.stderr.contains(said), "{origin}: {finished:?}");
    }
    for network in ["0.0.0.0/0:*", "[::/0]:*", "192.168.0.0/16:80"] {
        let sockets = format!("grants.sockets = {{ tcp = [\"{network}\"] }}");
        let manifest = one("shop", "sockets", &sockets);
        let finished = server.try_deploy(&manifest, &["--allow-new-grants"]);
        assert_eq!(finished.code, Some(4), "{network}: {finished:?}");
    }
    // Names that lead there are found out when they are looked up.
    let manifest = one("shop", "client", &grants("*.example"));
    server.deploy(&manifest, &["--allow-new-grants"]);
    // Where the operator names it it is.
    let named = Server::with(&format!("egress.allow = [\"*:*\", \"{own}\"]"));
    named.deploy(&one("shop", "client", &grants(&own)), &["--allow-new-grants"]);
    let answer = named.get(SHOP, &format!("/?http://{own}/healthz")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-status"]),
        (200, &"200".parse().unwrap())
    );
}
