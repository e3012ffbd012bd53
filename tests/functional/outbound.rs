//! Requests that guests send: only to what is granted, through one pool.

use dhow_tests::{
    Up,
    client::{Connection, answer, full, get},
    servers::silent,
    upstream::{Upstream, stalled},
};

const CLIENTS: [&str; 2] = ["client", "client-p2"];

fn granted(origin: &str) -> String {
    format!("grants.http = [\"{origin}\"]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_origin_is_reached_over_one_connection() {
    for client in CLIENTS {
        let upstream = Upstream::start().await;
        let origin = format!("http://{}", upstream.address);
        let up = Up::guest(client, &granted(&origin));
        for number in 0..5 {
            let answer = get(up.address, &format!("/?{origin}/{number}")).await;
            assert_eq!(answer.text, format!("GET HTTP/1.1 /{number} \n"), "{client}");
        }
        assert_eq!(upstream.connections(), 1, "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_streamed_on() {
    let upstream = Upstream::start().await;
    let origin = format!("http://{}", upstream.address);
    let up = Up::guest("client", &granted(&origin));
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("POST", &format!("/?{origin}/x"), full("the body"));
    let answer = answer(connection.send(request).await.unwrap()).await;
    assert_eq!(answer.headers["x-status"], "200");
    assert_eq!(answer.text, "POST HTTP/1.1 /x the body\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_roots_of_the_system_and_speaks_http2() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    let upstream = Upstream::start_tls(&authority).await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    for client in CLIENTS {
        let manifest = format!(
            "name = \"tls\"\n[component.client]\nsource = \"{{{client}}}\"\n{}",
            granted(&origin)
        );
        let trusting = Up::app_with(&manifest, |command| {
            command.env("SSL_CERT_FILE", &authority).env_remove("SSL_CERT_DIR");
        });
        let answer = get(trusting.address, &format!("/?{origin}/x")).await;
        assert_eq!(answer.text, "GET HTTP/2.0 /x \n", "{client}");
        let distrusting = Up::app(&manifest);
        let answer = get(distrusting.address, &format!("/?{origin}/x")).await;
        assert_eq!(answer.text, "ErrorCode::TlsCertificateError\n", "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let upstream = Upstream::start().await;
    let origin = format!("http://{}", upstream.address);
    for client in CLIENTS {
        for settings in [String::new(), granted("https://api.example.com")] {
            let up = Up::guest(client, &settings);
            let answer = get(up.address, &format!("/?{origin}/")).await;
            assert_eq!(answer.text, "ErrorCode::HttpRequestDenied\n", "{client}");
            up.wait_for_log(&format!(
                "add \"{origin}\" to grants.http of [component.{client}] in dhow.toml"
            ));
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_prohibited_even_when_granted() {
    // Each is 127.0.0.1 to the system's resolver, and none is how an address is written.
    for host in ["127.1", "2130706433"] {
        for client in CLIENTS {
            let upstream = Upstream::start().await;
            let port = upstream.address.port();
            let up = Up::guest(client, &granted(&format!("http://localhost:{port}")));
            let answer = get(up.address, &format!("/?http://localhost:{port}/")).await;
            assert_eq!(answer.text, "GET HTTP/1.1 / \n");
            let answer = get(up.address, &format!("/?http://{host}:{port}/")).await;
            assert_eq!(answer.text, "ErrorCode::HttpRequestDenied\n");
            assert_eq!(upstream.connections(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_names() {
    // A port that was free a moment ago, on which nobody listens.
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let unknown = "http://does-not-exist.invalid";
    for client in CLIENTS {
        let settings = format!("grants.http = [\"{refused}\", \"{unknown}\"]");
        let up = Up::guest(client, &settings);
        let answer = get(up.address, &format!("/?{refused}/")).await;
        assert_eq!(answer.text, "ErrorCode::ConnectionRefused\n", "{client}");
        let answer = get(up.address, &format!("/?{unknown}/")).await;
        assert!(answer.text.starts_with("ErrorCode::DnsError"), "{client}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_says_how_long_it_waits_and_for_what() {
    let silent = silent();
    let stalled = stalled("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst");
    let upstream = Upstream::start().await;
    let origin = format!("http://{}", upstream.address);
    let settings = format!(
        "grants.http = [\"https://{silent}\", \"http://{silent}\", \"http://{stalled}\", \
         \"{origin}\"]"
    );
    // In 0.2 what went wrong with a body has no code, and words.
    for (client, cut_off) in [
        ("client", "first ErrorCode::ConnectionReadTimeout"),
        ("client-p2", "first connection read timeout"),
    ] {
        let up = Up::guest(client, &settings);
        for (option, url, expected) in [
            // There is a connection once there is TLS.
            ("connect-timeout", format!("https://{silent}/"), "ErrorCode::ConnectionTimeout\n"),
            ("first-byte-timeout", format!("http://{silent}/"), "ErrorCode::HttpResponseTimeout\n"),
            ("between-bytes-timeout", format!("http://{stalled}/"), cut_off),
        ] {
            let answer = get(up.address, &format!("/{option}/200?{url}")).await.text;
            assert!(answer.starts_with(expected), "{client} {option}: {answer}");
        }
        // Whoever answers in time is heard.
        for option in ["connect-timeout", "first-byte-timeout", "between-bytes-timeout"] {
            let answer = get(up.address, &format!("/{option}/20000?{origin}/x")).await.text;
            assert!(answer.starts_with("GET HTTP/1.1 /x \n"), "{client} {option}: {answer}");
        }
    }
}
