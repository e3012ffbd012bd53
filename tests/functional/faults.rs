//! Guests that fail: the request alone is lost, the reason is in the log alone.

use bytes::Bytes;
use dhow_tests::{
    Up,
    client::{Connection, PATIENCE, answer, by_hand, empty, get, next_data},
};
use http_body::Frame;

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_500_with_an_id_that_leads_to_the_backtrace() {
    let up = Up::guest("trap", "");
    let answer = get(up.address, "/trap").await;
    assert_eq!(answer.status, 500);
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(answer.text, format!("internal error (request {id})\n"));
    let line = up.wait_for_log(&format!("ERROR trap {id} "));
    assert!(line.ends_with("wasm trap: wasm `unreachable` instruction executed"), "{line}");
    up.wait_for_log("rust_panic"); // A frame of the backtrace.
    up.wait_for_log("trap | as asked"); // The guest's own last words.
    assert_eq!(get(up.address, "/").await.text, "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_504_and_others_are_served_meanwhile() {
    let up = Up::app(
        r#"
        name = "loop"
        component.trap = { source = "{trap}", limits.time = "1s" }
        component.hello.source = "{hello-p2}"
        [[http]]
        path = "/..."
        component = "trap"
        [[http]]
        path = "/hello"
        component = "hello"
        "#,
    );
    let loops: Vec<_> = (0..4).map(|_| tokio::spawn(get(up.address, "/loop"))).collect();
    let mut witness = Connection::http1(up.address).await;
    let mut served = 0;
    while !loops.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(witness.get("/hello").await.status, 200);
        served += 1;
    }
    assert!(served > 10, "only {served} requests while four guests were spinning");
    for answer in loops {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 504);
        assert!(answer.text.starts_with("timed out (request "), "{}", answer.text);
    }
    up.wait_for_log("time limit of 1s reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_500_and_the_log_says_so() {
    let up = Up::guest("trap", r#"limits.memory = "8MiB""#);
    assert_eq!(get(up.address, "/memory").await.status, 500);
    up.wait_for_log("memory limit of 8388608 bytes reached");
    assert_eq!(get(up.address, "/").await.text, "begun\n");
    let too_small = Up::guest("trap", r#"limits.memory = "64KiB""#);
    assert_eq!(get(too_small.address, "/").await.status, 500);
    too_small.wait_for_log("memory limit of 65536 bytes reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_random_bytes_than_there_are_at_once_are_not_made() {
    const MOST: &str = "1048576";
    let stores = "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }";
    let up = Up::guest("probe", stores);
    let all = format!("Ok({MOST})");
    for way in ["random", "random2"] {
        assert_eq!(get(up.address, &format!("/{way}/{MOST}")).await.text, all, "{way}");
    }
    for more in ["1048577", "18446744073709551615"] {
        // In 0.3 fewer may come than were asked for.
        assert_eq!(get(up.address, &format!("/random/{more}")).await.text, all, "{more}");
        // In 0.2 not: whoever asks is ended, and nobody else.
        let path = format!("/random2/{more}");
        let (ended, other) = tokio::join!(get(up.address, &path), get(up.address, "/random2/16"));
        assert_eq!((ended.status.as_u16(), &*other.text), (500, "Ok(16)"), "{more}");
        up.wait_for_log(&format!("requested len {more} exceeds limit {MOST}"));
    }
    assert_eq!(get(up.address, &format!("/random2/{MOST}")).await.text, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_exits_are_500() {
    let up = Up::guest("trap", "");
    assert_eq!(get(up.address, "/error").await.status, 500);
    up.wait_for_log("the handler returned the error ErrorCode::ConfigurationError");
    assert_eq!(get(up.address, "/exit").await.status, 500);
    assert_eq!(get(up.address, "/").await.text, "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_off_is_seen_to_be() {
    let up = Up::guest("trap", r#"limits.time = "500ms""#);
    for (path, reason) in [
        ("/late-trap", "wasm `unreachable` instruction executed"),
        ("/late-loop", "time limit of 500ms reached"),
    ] {
        for mut connection in Connection::both(up.address).await {
            let request = connection.request("GET", path, empty());
            // A guest that fails at once may be cut off before the head is on its way, or be
            // answered for.
            if let Ok(response) = connection.send(request).await
                && response.status() != 500
            {
                let mut body = response.into_body();
                let mut last = next_data(&mut body).await;
                if let Some(Ok(data)) = &last {
                    assert_eq!(data, "begun\n");
                    last = next_data(&mut body).await;
                }
                assert!(matches!(last, Some(Err(_))), "{path} looks whole: {last:?}");
            }
        }
        up.wait_for_log(reason);
    }
    assert_eq!(get(up.address, "/").await.text, "begun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_concurrency_limit_is_503_at_once() {
    let up = Up::guest("slow", "limits.concurrency = 2");
    a_third_request_is_refused(&up, "concurrency limit of 2 reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_pool_of_instances_is_503() {
    let manifest = "name = \"slow\"\ncomponent.slow.source = \"{slow}\"";
    let up = Up::app_with(manifest, |command| {
        command.args(["--instances", "2"]);
    });
    a_third_request_is_refused(&up, "all instances are in use").await;
}

/// While two requests are under way, and no longer.
async fn a_third_request_is_refused(up: &Up, reason: &str) {
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::http1(up.address).await;
        let request = connection.request("GET", "/ticks/200", empty());
        busy.push((connection.send(request).await.unwrap(), connection));
    }
    let refused = get(up.address, "/ticks/0").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    up.wait_for_log(reason);
    for (response, _connection) in busy {
        assert!(answer(response).await.text.ends_with("tick 9\n"));
    }
    assert_eq!(get(up.address, "/ticks/0").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_the_guest() {
    let up = Up::guest("slow", "limits = { concurrency = 1, time = \"1h\" }");
    let mut hour_in_milliseconds = 3_600_000;
    for what in ["before", "ticks"] {
        for mut connection in Connection::both(up.address).await {
            hour_in_milliseconds += 1; // A path of its own, for the log.
            let path = &format!("/{what}/{hour_in_milliseconds}");
            let request = connection.request("GET", path, empty());
            let sending = tokio::spawn(async move {
                let response = connection.send(request).await;
                (response, connection)
            });
            up.wait_for_log(&format!("begin {path}"));
            assert_eq!(get(up.address, "/").await.status, 503, "the guest is under way");
            if what == "ticks" {
                drop(sending.await.unwrap()); // After the head of the response.
            } else {
                sending.abort(); // Before.
            }
            // The only place becomes free within moments, not in an hour.
            let freed = async {
                while get(up.address, "/").await.status != 200 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, freed).await.expect("the guest still runs");
        }
    }
    assert!(!up.log().contains("end /before"), "{}", up.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_of_a_client_is_not_refused_for_the_sake_of_its_last() {
    for guest in ["hello-p2", "trap", "echo"] {
        let up = Up::guest(guest, "limits.concurrency = 1");
        for mut connection in Connection::both(up.address).await {
            for _ in 0..50 {
                assert_eq!(connection.get("/").await.status, 200, "{guest}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_no_fault_of_the_guests() {
    let up = Up::guest("echo", "limits.time = \"1s\"");
    let mut connection = Connection::http1(up.address).await;
    let (sender, body) = by_hand();
    let request = connection.request("POST", "/collect", body);
    let send = async {
        // Longer than the limit in all, never in one piece.
        for _ in 0..10 {
            sender.send(Frame::data(Bytes::from("piece "))).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        drop(sender);
    };
    let (response, ()) = tokio::join!(connection.send(request), send);
    assert_eq!(answer(response.unwrap()).await.text, "piece ".repeat(10));

    let mut connection = Connection::http2(up.address).await;
    let (_sender, body) = by_hand();
    let request = connection.request("POST", "/collect", body);
    assert_eq!(connection.send(request).await.unwrap().status(), 408, "nothing is sent");
    assert!(!up.log().contains("ERROR"), "{}", up.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_holds_up_nobody() {
    let up = Up::guest("trap", "limits = { time = \"1s\", concurrency = 4 }");
    let floods: Vec<_> = (0..4).map(|_| tokio::spawn(get(up.address, "/flood"))).collect();
    for flood in floods {
        assert_eq!(flood.await.unwrap().status, 504);
    }
    // One that was told to end does so at its next check, and has its place until then.
    let others = async { while get(up.address, "/").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, others).await.expect("there are places again");
    up.wait_for_log("lines of guests were dropped");
}
