//! HTTP as users expect it.

use dhow_tests::{
    Up,
    client::{Connection, PATIENCE, empty, get},
    dhow,
    guests::{example, guest},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

#[tokio::test(flavor = "multi_thread")]
async fn hello_of_both_versions_answers_over_both_protocols() {
    let p3 = dhow([std::path::Path::new("up"), &example("hello")]).up();
    let p2 = Up::guest("hello-p2", "");
    for (up, text) in [
        (&p3, "Hello from a component! You asked for /a?b=c\n"),
        (&p2, "Hello of 0.2: test.example /a?b=c\n"),
    ] {
        for mut connection in Connection::both(up.address).await {
            let answer = connection.get("/a?b=c").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.text, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_many_requests() {
    let up = Up::guest("hello-p2", "");
    for mut connection in Connection::both(up.address).await {
        for number in 0..5 {
            let answer = connection.get(&format!("/{number}")).await;
            assert_eq!(answer.text, format!("Hello of 0.2: test.example /{number}\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_and_no_body() {
    let up = dhow([std::path::Path::new("up"), &example("hello")]).up();
    for mut connection in Connection::both(up.address).await {
        let request = connection.request("HEAD", "/", empty());
        let response = connection.send(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-length"], "40");
        let answer = dhow_tests::client::answer(response).await;
        assert_eq!(answer.text, "");
        assert_eq!(connection.get("/").await.text.len(), 40, "the connection goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_leads_to_its_component() {
    let up = Up::app(
        r#"
        name = "routes"
        component.hello.source = "{hello-p2}"
        component.trap.source = "{trap}"

        [[http]]
        path = "/exact"
        component = "hello"
        [[http]]
        path = "/below/..."
        component = "hello"
        [[http]]
        path = "/item/:id"
        component = "hello"
        [[http]]
        path = "/item/none"
        component = "trap"
        "#,
    );
    for path in ["/exact", "/below", "/below/", "/below/a/b?c", "/item/7"] {
        let answer = get(up.address, path).await;
        assert_eq!(answer.text, format!("Hello of 0.2: test.example {path}\n"));
    }
    assert_eq!(get(up.address, "/item/none").await.text, "begun\n");
    for path in ["/", "/exact/", "/item", "/item/7/8", "/belowx"] {
        let answer = get(up.address, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_overlap_go_by_the_more_exact_one() {
    let up = Up::app(
        r#"
        name = "routes"
        component.hello.source = "{hello-p2}"
        component.trap.source = "{trap}"
        http = [
            { path = "/...", component = "trap" },
            { path = "/:one", component = "hello" },
            { path = "/cart/...", component = "trap" },
            { path = "/cart/:id", component = "hello" },
        ]
        "#,
    );
    for (path, is_hello) in
        [("/", false), ("/x", true), ("/x/y", false), ("/cart/7", true), ("/cart/7/8", false)]
    {
        let answer = get(up.address, path).await;
        assert_eq!(answer.text.starts_with("Hello"), is_hello, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_guests_can_put_nothing_deceiving_into_the_log() {
    let up = Up::guest("hello-p2", "");
    let mut stream = TcpStream::connect(up.address).await.unwrap();
    let request = "GET /\u{9b}31m\u{202e}x HTTP/1.1\r\nhost: h\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "Hello of").await;
    up.wait_for_log(r"hello-p2 | asked for /\u{9b}31m\u{202e}x");
    up.wait_for_log(r"GET /\u{9b}31m\u{202e}x 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let up = Up::guest("echo", "");
    let mut stream = TcpStream::connect(up.address).await.unwrap();
    // A guest that reads all of the body before it answers.
    let head = "POST /collect HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n\
                content-length: 4\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let response = read_until(&mut stream, "the end").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("body"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doubtful_requests_are_refused_and_not_passed_on() {
    let up = Up::guest("hello-p2", "");
    for request in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a@b\r\n\r\n",
        "GET http://a/x HTTP/1.1\r\nhost: b\r\n\r\n",
        "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        "GET /x HTTP/1.1\r\nhost : a\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(up.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = read_until(&mut stream, "\r\n").await;
        assert_eq!(response, "HTTP/1.1 400 Bad Request\r\n", "{request:?}");
    }
    assert!(!up.log().contains("asked for"), "no guest has run");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_prints_comes_with_its_name() {
    let up = Up::guest("hello-p2", "");
    get(up.address, "/printed").await;
    up.wait_for_log("hello-p2 | asked for /printed");
    up.wait_for_log("hello-p2 | by test.example");
    let line = up.wait_for_log("GET /printed 200 36 bytes");
    assert!(!line.contains("cut off"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_seen_where_they_are_granted() {
    let without = Up::guest("hello-p2", "");
    assert!(get(without.address, "/").await.text.starts_with("Hello of"));
    let fixed = Up::guest("hello-p2", r#"grants.env = { GREETING = "Ahoy" }"#);
    assert!(get(fixed.address, "/").await.text.starts_with("Ahoy of"));
    let manifest = r#"
        name = "inherits"
        component.hello.source = "{hello-p2}"
        component.hello.grants.env = ["GREETING"]
    "#;
    let inherited = Up::app_with(manifest, |command| {
        command.env("GREETING", "Ship ahoy");
    });
    assert!(get(inherited.address, "/").await.text.starts_with("Ship ahoy of"));
}

/// Reads until what was read ends in `end`, or the other side closes.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        match timeout(PATIENCE, stream.read(&mut byte)).await.expect("in time") {
            Ok(1) => text.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_make_room_for_others() {
    // Half of these descriptors may be connections.
    let up = dhow(["up".into(), guest("hello-p2")]).limited("ulimit -n 200").up();
    let mut kept = Connection::http1(up.address).await;
    assert_eq!(kept.get("/").await.status, 200);
    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(TcpStream::connect(up.address).await.unwrap());
    }
    assert_eq!(get(up.address, "/").await.status, 200);
    up.wait_for_log("as many connections as there may be");
    // Who came first has gone, without a word, and who is busy has not.
    let mut first = silent.swap_remove(0);
    assert_eq!(first.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(kept.get("/").await.status, 200);
}
