//! Calls by name: `http://cart.internal/` is the component `cart` of the same app.

use dhow_tests::{Up, client::get};

/// What any component that imports stores needs, whatever it does.
const STORES: &str = "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }";

/// `web`, which calls `cart`, which calls itself and `web`.
fn app(web: &str, cart: &str) -> String {
    format!(
        "name = \"test\"\n\
         [component.web]\nsource = \"{{probe}}\"\n{STORES}\n{web}\n\
         [component.cart]\nsource = \"{{probe}}\"\n{STORES}\n{cart}\n\
         [[http]]\npath = \"/...\"\ncomponent = \"web\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_calls_another_by_name() {
    let up = Up::app(&app(
        "grants.http = [\"http://cart.internal\"]",
        "grants.env = { WHO = \"cart\" }\nlimits.concurrency = 2",
    ));
    // Again and again, in instances of its own: no place is lost.
    for _ in 0..50 {
        let answer = get(up.address, "/http/cart.internal/env/WHO").await.text;
        assert_eq!(answer, "Ok((200, \"Ok(\\\"cart\\\")\"))");
    }
    assert_eq!(get(up.address, "/http2/cart.internal").await.text, "Ok(200)");
    let log = up.log();
    assert!(!log.contains("denied"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_granted_is_not_called() {
    let up = Up::app(&app(
        "grants.http = [\"http://cart.internal\"]",
        "grants.env = { WHO = \"cart\" }",
    ));
    // Nobody is called `other`, and `cart` may not call `web`.
    let answer = get(up.address, "/http/other.internal/env/WHO").await.text;
    assert_eq!(answer, "Err(\"ErrorCode::HttpRequestDenied\")");
    let answer = get(up.address, "/http/cart.internal/http/web.internal/env/WHO").await.text;
    assert!(answer.contains("HttpRequestDenied"), "{answer}");
    let line = up.wait_for_log("cart denied: a request to http://web.internal");
    assert!(line.contains("grants.http"), "{line}");
    // A port makes it a server in the network.
    let answer = get(up.address, "/http/cart.internal:80/env/WHO").await.text;
    assert_eq!(answer, "Err(\"ErrorCode::HttpRequestDenied\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_calls_is_cut() {
    let up = Up::app(&app(
        "grants.http = [\"http://cart.internal\"]",
        "grants.http = [\"http://cart.internal\"]",
    ));
    let path = |depth| format!("{}/env/X", "/http/cart.internal".repeat(depth));
    let answer = get(up.address, &path(16)).await.text;
    // Each level escapes what the next has said: it is long.
    assert!(answer.contains("Err(())") && !answer.contains("LoopDetected"));
    let answer = get(up.address, &path(17)).await.text;
    assert!(answer.contains("LoopDetected"));
    up.wait_for_log("calls by name that go on too deep");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_called_has_its_own_limits_and_fails_by_itself() {
    let up = Up::app(
        "name = \"test\"\n\
         [component.web]\nsource = \"{probe}\"\n\
         grants.http = [\"http://trap.internal\", \"http://slow.internal\"]\n\
         grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }\n\
         [component.trap]\nsource = \"{trap}\"\n\
         [component.slow]\nsource = \"{slow}\"\nlimits.concurrency = 1\n\
         [[http]]\npath = \"/...\"\ncomponent = \"web\"\n",
    );
    let answer = get(up.address, "/http/trap.internal/trap").await.text;
    assert!(answer.starts_with("Err("), "{answer}");
    up.wait_for_log("ERROR trap");
    // One at a time, and no more.
    let slow = tokio::spawn(get(up.address, "/http/slow.internal/before/1000"));
    up.wait_for_log("begin /before/1000");
    let answer = get(up.address, "/http/slow.internal/").await.text;
    assert_eq!(answer, "Err(\"ErrorCode::ConnectionLimitReached\")");
    assert!(slow.await.unwrap().text.starts_with("Ok((200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_have_all_places_do_not_wait_for_each_other() {
    let manifest = app("grants.http = [\"http://cart.internal\"]", "");
    let up = Up::app_with(&manifest, |dhow| {
        dhow.args(["--instances", "2"]);
    });
    let callers = (0..8).map(|_| async {
        for _ in 0..10 {
            let answer = get(up.address, "/http/cart.internal/env/X").await;
            assert_eq!((answer.status.as_u16(), &answer.text[..9]), (200, "Ok((200, "));
        }
    });
    futures_util::future::join_all(callers).await;
}
