//! Starting, stopping, and what goes on after a response.

use dhow_tests::{
    Up,
    client::{Connection, answer, empty, get},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_start_shows_the_routes_and_what_each_component_may_do() {
    let up = Up::app(
        r#"
        name = "shop"
        version = "1.2.0"
        [component.cart]
        source = "{client-p2}"
        grants.http = ["https://api.example.com", "http://127.0.0.1:8080"]
        grants.env = { LOG = "debug" }
        limits = { memory = "64MiB", time = "500ms", concurrency = 7 }
        "#,
    );
    let url = format!("http://{}", up.address);
    for line in [
        format!("Serving shop 1.2.0 on {url}"),
        format!("  {url}/...  cart"),
        "    may      send requests to https://api.example.com".to_owned(),
        "    may      send requests to http://127.0.0.1:8080".to_owned(),
        "    may      read the variables LOG".to_owned(),
        "    limits   memory 64MiB, time 500ms, 7 requests at once".to_owned(),
    ] {
        up.wait_for_log(&line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_the_response_comes_to_its_end() {
    let up = Up::guest("slow", "");
    let answer = get(up.address, "/after/300").await;
    assert_eq!(answer.text, "tick 0\n");
    up.wait_for_log("slow | end /after/300");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_requests_under_way_end_and_exits_with_0() {
    let up = Up::guest("slow", "");
    let mut responses = Vec::new();
    for mut connection in Connection::both(up.address).await {
        let request = connection.request("GET", "/ticks/100", empty());
        responses.push((connection.send(request).await.unwrap(), connection));
    }
    // Work after the response counts as well.
    get(up.address, "/after/1000").await;
    up.terminate();
    up.wait_for_log("Stopping");
    for (response, _connection) in responses {
        assert!(answer(response).await.text.ends_with("tick 9\n"));
    }
    up.wait_for_log("end /after/1000");
    assert_eq!(up.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let up = Up::guest("slow", "");
    let mut connections = Connection::both(up.address).await;
    for connection in &mut connections {
        connection.get("/").await;
    }
    let _silent = tokio::net::TcpStream::connect(up.address).await.unwrap();
    up.terminate();
    assert_eq!(up.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let up = Up::guest("slow", "limits.time = \"1h\"");
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("GET", "/ticks/3600000", empty());
    let _response = connection.send(request).await.unwrap();
    up.terminate();
    up.wait_for_log("Stopping");
    up.terminate();
    assert_eq!(up.wait(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_in_time_is_stopped_and_said() {
    let manifest =
        "name = \"slow\"\ncomponent.slow = { source = \"{slow}\", limits.time = \"1h\" }";
    let up = Up::app_with(manifest, |command| {
        command.args(["--grace", "100ms"]);
    });
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("GET", "/ticks/3600000", empty());
    let _response = connection.send(request).await.unwrap();
    up.terminate();
    up.wait_for_log("1 requests were still under way after 100ms");
    assert_eq!(up.wait(), Some(1));
}
