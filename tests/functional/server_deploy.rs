//! New revisions: what is deployed answers, what was there before is there still.

use std::fs;

use dhow_tests::{
    Server, app_folder,
    client::{Connection, answer},
    guests::{example, guest},
    server::{TOKEN, api_request, get_with, one},
};
use serde_json::{Value, json};

const HOST: &str = "shop.localhost";

/// The app `shop` of the guest that says `Hello of 0.2`.
fn hello() -> String {
    one("shop", "hello-p2", "")
}

/// The same app with a component of the same name that says something else.
fn other() -> String {
    hello().replace("{hello-p2}", example("hello").to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_answers_and_the_revision_before_stays_at_its_own_host() {
    let server = Server::start();
    assert_eq!(server.get(HOST, "/x").await.status, 404);
    let first = server.deploy(&hello(), &[]);
    assert_eq!((&first["revision"], &first["percent"]), (&json!(1), &json!(100)));
    let port = server.address.port();
    assert_eq!(first["url"], format!("http://shop.localhost:{port}"));
    assert_eq!(first["preview_url"], format!("http://r1--shop.localhost:{port}"));
    assert_eq!(server.get(HOST, "/x").await.text, "Hello of 0.2: shop.localhost /x\n");
    let preview = server.get("r1--shop.localhost", "/x").await;
    assert_eq!(preview.text, "Hello of 0.2: r1--shop.localhost /x\n");

    let second = server.deploy(&other(), &[]);
    assert_eq!(second["revision"], 2);
    assert_eq!(second["components"][0]["is_changed"], true);
    for host in [HOST, "r2--shop.localhost", &format!("SHOP.localhost:{port}")] {
        let text = server.get(host, "/x").await.text;
        assert!(text.starts_with("Hello from a component!"), "{host}: {text}");
    }
    let text = server.get("r1--shop.localhost", "/x").await.text;
    assert!(text.starts_with("Hello of 0.2"), "{text}");
    for host in ["r3--shop.localhost", "r01--shop.localhost", "cart.localhost", "localhost"] {
        assert_eq!(server.get(host, "/x").await.status, 404, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_without_traffic_answers_at_its_own_host_only() {
    let server = Server::start();
    server.deploy(&hello(), &[]);
    let second = server.deploy(&other(), &["--no-traffic", "--tag", "the-other"]);
    assert_eq!((&second["revision"], &second["percent"]), (&json!(2), &json!(0)));
    assert!(server.get(HOST, "/").await.text.starts_with("Hello of 0.2"));
    assert!(server.get("r2--shop.localhost", "/").await.text.starts_with("Hello from"));
    let revisions = server.json(&["revisions", "shop"]);
    let newest = &revisions["revisions"][0];
    assert_eq!((&newest["tag"], &newest["percent"]), (&json!("the-other"), &json!(0)));
    // The first may have none as well.
    server.deploy(&one("cart", "hello-p2", ""), &["--no-traffic"]);
    assert_eq!(server.get("cart.localhost", "/").await.status, 404);
    assert_eq!(server.get("r1--cart.localhost", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let server = Server::start();
    let checked = server.deploy(&hello(), &["--dry-run"]);
    assert_eq!(checked["revision"], Value::Null);
    assert_eq!(server.dhow(["revisions", "shop"]).code, Some(5));
    assert_eq!(server.json(&["status"])["apps_total"], 0);
    server.deploy(&hello(), &[]);
    let checked = server.deploy(&other(), &["--dry-run"]);
    assert_eq!(checked["components"][0]["is_changed"], true);
    assert_eq!(server.json(&["revisions", "shop"])["revisions"].as_array().unwrap().len(), 1);
    assert!(server.get(HOST, "/").await.text.starts_with("Hello of 0.2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_server_lacks_is_sent() {
    let server = Server::start();
    server.deploy(&hello(), &[]);
    let [file] = &server.blobs()[..] else { panic!("{:?}", server.blobs()) };
    let written = || fs::metadata(server.data.join("blobs").join(file)).unwrap().modified();
    let first = written().unwrap();
    let second = server.deploy(&hello(), &[]);
    assert_eq!(second["components"][0]["is_changed"], false);
    server.deploy(&one("cart", "hello-p2", ""), &[]);
    assert_eq!(written().unwrap(), first);
    // Another tenant does not learn by that who has what.
    let token = server.token("acme", "deploy");
    let path = format!("/v1/blobs/{}", file.replace('-', ":"));
    let mut status = Vec::new();
    for token in [TOKEN, &token] {
        let mut connection = Connection::http1(server.admin).await;
        let request = api_request(token, "HEAD", &path, dhow_tests::client::empty());
        status.push(answer(connection.send(request).await.unwrap()).await.status.as_u16());
    }
    assert_eq!(status, [200, 404]);
}

/// An app whose one component uses an interface of the other.
const CALLS: &str = r#"
    name = "calls"
    [component.calls]
    source = "{calls}"
    uses = { "dhow:calls/calls" = "callee" }
    [component.callee]
    source = "{callee}"
    [[http]]
    path = "/..."
    component = "calls"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn one_component_is_replaced_and_the_other_stays() {
    let server = Server::start();
    let first = server.deploy(CALLS, &[]);
    assert_eq!(server.get("calls.localhost", "/add/4").await.text, "6");
    // The same code with another digest: a custom section at its end.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callee.wasm");
    let changed = [&fs::read(guest("callee")).unwrap()[..], b"\0\x05\x04note"].concat();
    fs::write(&file, changed).unwrap();
    let replacement = format!("callee={}", file.display());
    let deploy = ["deploy", "--component", &replacement, "calls"];
    let second = server.json(&deploy);
    let component = |deployed: &Value, name: &str| {
        let all = deployed["components"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(second["revision"], 2);
    assert_eq!(component(&second, "callee")["is_changed"], true);
    assert_eq!(component(&second, "calls")["is_changed"], false);
    assert_eq!(component(&second, "calls")["digest"], component(&first, "calls")["digest"]);
    assert_ne!(component(&second, "callee")["digest"], component(&first, "callee")["digest"]);
    for host in ["calls.localhost", "r1--calls.localhost"] {
        assert_eq!(server.get(host, "/add/4").await.text, "6", "{host}");
    }
    let unknown = format!("cart={}", file.display());
    let finished = server.dhow(["deploy", "--component", &unknown, "calls"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("the manifest has no component `cart`"), "{finished:?}");
    let finished = server.dhow(["deploy", "--component", &replacement, "nobody"]);
    assert_eq!(finished.code, Some(5), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_there_again_when_the_server_is() {
    let mut server = Server::start();
    server.deploy(&hello(), &[]);
    server.deploy(&other(), &[]);
    let old = server.address;
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    assert!(tokio::net::TcpStream::connect(old).await.is_err());
    server.start_again();
    server.wait_for_log("1 apps are there");
    assert!(server.get(HOST, "/").await.text.starts_with("Hello from"));
    assert!(server.get("r1--shop.localhost", "/").await.text.starts_with("Hello of 0.2"));
    // And those who come all at once wait for one link.
    server.kill();
    server.start_again();
    let address = server.address;
    let ask = || tokio::spawn(async move { get_with(address, HOST, "/", &[]).await.status });
    let all: Vec<_> = (0..20).map(|_| ask()).collect();
    for status in all {
        assert_eq!(status.await.unwrap(), 200);
    }
    assert_eq!(server.deploy(&hello(), &[])["revision"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone() {
    let mut server = Server::start();
    server.deploy(&hello(), &[]);
    server.deploy(&one("cart", "hello-p2", ""), &[]);
    let finished = server.dhow(["delete", "shop"]);
    assert_eq!(finished.code, Some(2), "nobody was asked: {finished:?}");
    assert_eq!(server.get(HOST, "/").await.status, 200);
    assert_eq!(server.dhow(["delete", "shop", "--yes"]).code, Some(0));
    assert_eq!(server.dhow(["delete", "shop", "--yes"]).code, Some(5));
    for again in [false, true] {
        if again {
            server.kill();
            server.start_again();
        }
        for host in [HOST, "r1--shop.localhost"] {
            assert_eq!(server.get(host, "/").await.status, 404, "{host}");
        }
        assert_eq!(server.get("cart.localhost", "/").await.status, 200);
    }
    // It can be made anew, and begins from the beginning.
    assert_eq!(server.deploy(&other(), &[])["revision"], 1);
    assert!(server.get(HOST, "/").await.text.starts_with("Hello from"));
}

#[test]
fn an_app_in_a_folder_is_built_and_deployed() {
    let server = Server::start();
    let folder = app_folder(
        "name = \"built\"\n[component.hello]\nsource = \"hello.wasm\"\n\
         build.command = \"cp $GUEST hello.wasm\"\n",
    );
    let path = folder.path().to_str().unwrap();
    let mut deploy = server.dhow_as(TOKEN, ["deploy", path]);
    deploy.0.env("GUEST", guest("hello-p2"));
    let finished = deploy.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("Deployed built r1: http://built.localhost:"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_revisions_go_but_for_those_that_have_traffic() {
    let server = Server::start();
    server.deploy(&hello(), &[]);
    for revision in 2..=3 {
        server.deploy(&other(), &["--no-traffic"]);
        assert_eq!(server.get(&format!("r{revision}--shop.localhost"), "/").await.status, 200);
    }
    for revision in 4..=25 {
        let again = json!({ "no_traffic": true });
        let (status, deployed) = server.ask("POST", "/v1/apps/shop/revisions", &again).await;
        assert_eq!((status, &deployed["revision"]), (201, &json!(revision)), "{deployed}");
    }
    let revisions = server.json(&["revisions", "shop"]);
    let numbers = revisions["revisions"].as_array().unwrap().iter();
    let numbers: Vec<_> = numbers.map(|it| it["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (6..=25).rev().chain([1]).collect::<Vec<_>>());
    for (revision, status) in [(1, 200), (3, 404), (5, 404), (6, 200), (25, 200)] {
        let host = format!("r{revision}--shop.localhost");
        assert_eq!(server.get(&host, "/").await.status.as_u16(), status, "{host}");
    }
    assert_eq!(server.dhow(["traffic", "shop", "r3=100"]).code, Some(5));
    assert!(server.get(HOST, "/").await.text.starts_with("Hello of 0.2"));
}
