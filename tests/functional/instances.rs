//! How long an instance lives, and what one request leaves for the next.

use std::time::Duration;

use dhow_tests::{
    Up,
    client::{Connection, PATIENCE, empty, get},
    dhow,
};
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_fresh_unless_the_manifest_says_otherwise() {
    for settings in ["", "instances = \"fresh\""] {
        let up = Up::guest("state", settings);
        for _ in 0..5 {
            assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_used_again_for_as_many_requests_as_it_may() {
    let up = Up::guest("state", "instances = { requests = 3, idle = \"1h\" }");
    let mut connection = Connection::http1(up.address).await;
    for expected in [1, 2, 3, 1, 2] {
        let text = connection.get("/").await.text;
        assert_eq!(text, format!("request {expected}, 1 under way"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_idle_is_not_used_again() {
    for calls in [1, 2] {
        let up = Up::guest("state", &format!("instances = {{ idle = \"50ms\", calls = {calls} }}"));
        for _ in 0..2 {
            assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
            // Longer than it may be idle: there is nothing to see from outside.
            sleep(Duration::from_millis(300)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_have_instances_of_their_own() {
    let up = Up::guest("state", "instances = \"reused\"");
    let slow = tokio::spawn(get(up.address, "/wait/300"));
    up.wait_for_log("begin /wait");
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
    assert_eq!(slow.await.unwrap().text, "request 1, 1 under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_answers_as_many_at_the_same_time_as_it_may() {
    let up = Up::guest("state", "instances = { calls = 2 }");
    let slow = tokio::spawn(get(up.address, "/wait/500"));
    up.wait_for_log("begin /wait/500");
    let other = tokio::spawn(get(up.address, "/wait/501"));
    up.wait_for_log("begin /wait/501");
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way", "no third in the first");
    assert_eq!(slow.await.unwrap().text, "request 1, 2 under way");
    assert!(other.await.unwrap().text.starts_with("request 2, "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_the_instance_and_what_it_had_under_way() {
    let up = Up::guest("state", "instances = \"reused\"");
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
    assert_eq!(get(up.address, "/trap").await.status, 500);
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");

    let up = Up::guest("state", "instances = { calls = 2 }");
    let neighbour = tokio::spawn(get(up.address, "/wait/3600000"));
    up.wait_for_log("begin /wait");
    assert_eq!(get(up.address, "/trap").await.status, 500);
    assert_eq!(neighbour.await.unwrap().status, 500);
    up.wait_for_log("the instance ended");
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_request_was_given_up_is_not_used_again() {
    for calls in [1, 2] {
        let settings = format!("instances = {{ calls = {calls} }}\nlimits.time = \"1s\"");
        let up = Up::guest("state", &settings);
        let mut connection = Connection::http2(up.address).await;
        let request = connection.request("GET", "/wait/3600000", empty());
        let sending = tokio::spawn(async move { connection.send(request).await });
        up.wait_for_log("begin /wait");
        sending.abort();
        let fresh = async { while get(up.address, "/").await.text != "request 1, 1 under way" {} };
        timeout(PATIENCE, fresh).await.expect("the instance takes requests");
        // And one that keeps its caller waiting is told from the others.
        assert_eq!(get(up.address, "/wait/3600000").await.status, 504);
        assert_eq!(get(up.address, "/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_a_shared_instance_ends_by_the_time_limit() {
    let up = Up::guest("trap", "instances = { calls = 4 }\nlimits.time = \"1s\"");
    assert_eq!(get(up.address, "/loop").await.status, 504);
    assert_eq!(get(up.address, "/").await.text, "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_the_response_is_done_before_the_next_request() {
    let up = Up::guest("state", "instances = \"reused\"");
    let late = get(up.address, "/late/300").await;
    assert_eq!(late.text, "request 1, 1 under way");
    // The first is still at work, and its instance is not to be had.
    assert_eq!(get(up.address, "/").await.text, "request 1, 1 under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_make_room_for_others() {
    let manifest = "
        name = \"test\"
        [component.one]
        source = \"{state}\"
        instances = \"reused\"
        [component.two]
        source = \"{state}\"
        [[http]]
        path = \"/one\"
        component = \"one\"
        [[http]]
        path = \"/two\"
        component = \"two\"
    ";
    let up = Up::app_with(manifest, |command| {
        command.args(["--instances", "1"]);
    });
    for _ in 0..3 {
        assert_eq!(get(up.address, "/one").await.status, 200);
        assert_eq!(get(up.address, "/two").await.status, 200, "the idle one gives up its place");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_wasi_0_2_is_used_again_one_request_at_a_time() {
    let up = Up::guest("hello-p2", "instances = \"reused\"");
    for _ in 0..20 {
        assert_eq!(get(up.address, "/").await.status, 200);
    }

    let folder = tempfile::tempdir().unwrap();
    let source = dhow_tests::guests::guest("hello-p2");
    let manifest =
        format!("name = \"a\"\n[component.a]\nsource = {source:?}\ninstances = {{ calls = 2 }}\n");
    std::fs::write(folder.path().join("dhow.toml"), manifest).unwrap();
    let refused = dhow(["up".as_ref(), folder.path().as_os_str()]).finish();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("takes one at a time"), "{}", refused.stderr);
}
