//! How a server starts and stops, and what it says of itself meanwhile.

use std::{net::SocketAddr, thread};

use dhow_tests::{
    Server, TOKEN,
    client::{empty, get},
    dhow,
    server::{get_at, one},
};
use serde_json::Value;

const HOST: &str = "shop.localhost";

#[test]
fn a_data_folder_has_one_server() {
    let mut server = Server::start();
    server.deploy_guest("shop", "hello-p2");
    let second = server.another().finish();
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("error: another server uses the data folder "), "{second:?}");
    assert!(!second.stderr.contains("Serving"), "{second:?}");
    // However the first has ended.
    server.kill();
    server.start_again();
    server.wait_for_log("1 apps are there");
}

#[test]
fn what_the_operator_got_wrong_is_said_before_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dhow-server.toml");
    std::fs::write(&config, "[server]\nadmin = \"here\"\n[tenant.acme.quota]\ncpus = 1\n").unwrap();
    let mut serve = dhow(["serve", "--config"]);
    serve.0.arg(&config).arg("--data").arg(folder.path().join("data"));
    let finished = serve.finish();
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for expected in ["`here` is no address", "dhow-server.toml:2:9", "unknown key `cpus`", ":4:1"] {
        assert!(finished.stderr.contains(expected), "{expected}: {finished:?}");
    }
    // Nor is there a folder that is none.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut serve = dhow(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]);
    serve.0.arg(&file);
    let finished = serve.finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("can't be used"), "{finished:?}");
}

#[test]
fn the_first_token_is_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let mut serve =
            dhow(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]);
        serve.0.arg(folder.path().join("data")).env_remove("DHOW_ADMIN_TOKEN");
        serve.start()
    };
    let first = serve();
    let token = first.wait_for_log("export DHOW_TOKEN=");
    let token = token.split_once('=').unwrap().1.to_owned();
    first.wait_for_log("dhow deploy --server http://");
    drop(first);
    let again = serve();
    let admin = again.wait_for_log("The admin API is on ");
    let admin = admin.split_once("on ").unwrap().1.split_once(',').unwrap().0.to_owned();
    let mut status = dhow(["status", "--server", &admin]);
    status.0.env("DHOW_TOKEN", token);
    assert_eq!(status.finish().code, Some(0));
    assert!(!again.log().contains("DHOW_TOKEN"), "{}", again.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_requests_under_way_end() {
    let mut server = Server::start();
    server.deploy_guest("shop", "slow");
    let address = server.address;
    let under_way = tokio::spawn(async move { get_at(address, HOST, "/before/500").await });
    server.wait_for_log("begin /before/500");
    server.terminate();
    server.wait_for_log("Stopping");
    let answer = under_way.await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.text), (200, "tick 0\n"));
    assert_eq!(server.wait(), Some(0));
    assert!(server.log().contains("end /before/500"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_requests_here_has_time_to_notice_the_end() {
    let mut server = Server::with("[server]\nlinger = \"2s\"\n");
    server.deploy_guest("shop", "slow");
    let readiness = async || get(server.admin, "/readyz").await.status.as_u16();
    assert_eq!(readiness().await, 200);
    server.terminate();
    server.wait_for_log("Stopping");
    while readiness().await == 200 {}
    assert_eq!(readiness().await, 503);
    assert_eq!(get(server.admin, "/healthz").await.status, 200);
    // On a new connection.
    assert_eq!(server.get(HOST, "/").await.status, 200);
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_grace_has_an_end() {
    let hour = one("shop", "slow", "limits.time = \"1h\"");
    for (config, signals, code) in [("", 2, 143), ("[server]\ngrace = \"100ms\"\n", 1, 1)] {
        let mut server = Server::with(config);
        server.deploy(&hour, &[]);
        let address = server.address;
        let request = async move { get_at(address, HOST, "/before/3600000").await };
        let under_way = tokio::spawn(request);
        server.wait_for_log("begin /before");
        for _ in 0..signals {
            server.terminate();
            server.wait_for_log("Stopping");
        }
        assert_eq!(server.wait(), Some(code));
        assert!(under_way.await.is_err(), "it was cut off");
        let is_said = server.log().contains("1 requests were still under way");
        assert_eq!(is_said, signals == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_answers_while_guests_spin_on_all_cores() {
    let server = Server::start();
    server.deploy(&one("shop", "trap", "limits.time = \"3s\""), &[]);
    let address = server.address;
    let cores = thread::available_parallelism().unwrap().get();
    let loops: Vec<_> = (0..2 * cores)
        .map(|_| tokio::spawn(async move { get_at(address, HOST, "/loop").await.status.as_u16() }))
        .collect();
    let in_flight = async || {
        let (status, answer) = server.ask("GET", "/v1/status", &Value::Null).await;
        assert_eq!(status, 200);
        answer["in_flight"].as_u64().unwrap()
    };
    let has_ended = || loops.iter().any(tokio::task::JoinHandle::is_finished);
    while in_flight().await < 2 * cores as u64 {
        assert!(!has_ended(), "not all at the same time");
    }
    let mut answers = 0;
    while !has_ended() {
        assert_eq!(server.ask("GET", "/v1/apps/shop/revisions", &Value::Null).await.0, 200);
        answers += 1;
    }
    assert!(answers > 10, "only {answers}");
    for status in loops {
        assert_eq!(status.await.unwrap(), 504);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_shown_and_followed() {
    let server = Server::start();
    server.deploy_guest("shop", "settings");
    server.deploy_guest("other", "hello-p2");
    server.get(HOST, "/log/warn/first").await;
    server.get("other.localhost", "/elsewhere").await;
    let follow = server.dhow_as(TOKEN, ["logs", "shop", "-f"]).start();
    follow.wait_for_log("first");
    server.get(HOST, "/log/warn/second").await;
    follow.wait_for_log("second");
    for number in 0..50 {
        server.get(HOST, &format!("/log/warn/many-{number}-")).await;
    }
    follow.wait_for_log("many-49-");
    follow.wait_for_lines("many-", 50);
    assert!(!follow.log().contains("elsewhere"), "{}", follow.log());
    let last = server.dhow(["logs", "shop", "--lines", "2", "--output", "json"]);
    let last: Vec<Value> =
        last.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = last.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["somewhere: many-48-", "somewhere: many-49-"]);
    assert_eq!((&last[0]["component"], &last[0]["stream"]), (&"settings".into(), &"warn".into()));
    let none = server.dhow(["logs", "shop", "--component", "cart"]);
    assert_eq!((none.code, &*none.stdout), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_status_count_requests() {
    let server = Server::start();
    server.deploy_guest("shop", "trap");
    for path in ["/", "/", "/trap"] {
        server.get(HOST, path).await;
    }
    let counted = |text: &str| {
        text.contains("dhow_requests_total{tenant=\"default\",app=\"shop\"} 3")
            && text.contains("dhow_request_errors_total{tenant=\"default\",app=\"shop\"} 1")
    };
    // A request is counted when its response has ended.
    let metrics = async || get(server.admin, "/metrics").await.text;
    let mut text = metrics().await;
    for _ in 0..1_000 {
        if counted(&text) {
            break;
        }
        text = metrics().await;
    }
    assert!(counted(&text), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let status = server.json(&["status", "shop"]);
    let app = &status["apps"][0];
    assert_eq!((&app["requests"], &app["traffic"]["1"]), (&3.into(), &100.into()), "{status}");
    let (status, text) = server.api(TOKEN, "GET", "/openapi.json", empty()).await;
    assert_eq!((status, &text["info"]["title"]), (200, &"Dhow's admin API".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_components_have_written_is_there_after_a_restart() {
    let mut server = Server::start();
    server.deploy_guest("shop", "settings");
    let logs = |server: &Server| server.dhow(["logs", "shop"]).stdout;
    let line = async |server: &Server, text: &str| {
        let answer = server.get("shop.localhost", &format!("/log/warn/{text}")).await;
        assert_eq!(answer.status, 200);
    };
    line(&server, "before").await;
    assert!(logs(&server).contains("before"));
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    server.start_again();
    line(&server, "after").await;
    let logs = logs(&server);
    let place = |text: &str| logs.find(text).unwrap_or_else(|| panic!("no {text}: {logs}"));
    assert!(place("before") < place("after"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_that_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut serve = dhow(["serve", "--log", "json", "--listen", "127.0.0.1:0", "--admin"]);
    serve.0.args(["127.0.0.1:0", "--data"]).arg(&data).env("DHOW_ADMIN_TOKEN", TOKEN);
    let process = serve.start();
    let line = process.wait_for_log("Serving on http://");
    let address: SocketAddr = {
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    let answer = get_at(address, "nobody.localhost", "/a?b").await;
    assert_eq!(answer.status, 404);
    let line = process.wait_for_log("dhow_access");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (key, value) in [("method", "GET"), ("path", "/a"), ("level", "INFO")] {
        assert_eq!(json[key], value, "{json}");
    }
    assert_eq!((&json["status"], &json["complete"]), (&404.into(), &true.into()), "{json}");
    assert!(json["micros"].is_u64() && json["id"].as_str().unwrap().len() == 16, "{json}");
    assert!(json["timestamp"].is_string(), "{json}");
}
