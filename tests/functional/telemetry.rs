//! Traces and metrics, as a collector gets them.

use std::{fs, path::PathBuf, process::Command};

use dhow_tests::{
    Server, Up,
    client::{Connection, answer, empty, get},
    collector::{Collector, Received, attribute, hex},
    guests::guest,
    upstream::Upstream,
};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn configure(command: &mut Command, collector: &Collector, more: &str) {
    let folder = command.get_args().last().map(PathBuf::from).unwrap();
    let config = folder.join("dhow-server.toml");
    let text = format!("[telemetry]\notlp = \"http://{}\"\n{more}", collector.address);
    fs::write(&config, text).unwrap();
    // Spans are sent so many milliseconds after the first.
    command.arg("--config").arg(config).env("OTEL_BSP_SCHEDULE_DELAY", "50");
}

fn span(received: &Received, find: impl Fn(&Span) -> bool) -> Option<Span> {
    received.spans.iter().find(|span| find(span)).cloned()
}

fn is_for(span: &Span, component: &str) -> bool {
    span.kind() == SpanKind::Server
        && attribute(span, "dhow.component").as_deref() == Some(component)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_through_the_guest_and_to_whom_it_calls() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let origin = format!("http://{}", upstream.address);
    let manifest = format!(
        "name = \"traced\"\n[component.client]\nsource = \"{{client}}\"\n\
         grants.http = [\"{origin}\"]\n"
    );
    let up = Up::app_with(&manifest, |command| {
        configure(command, &collector, "headers = { x-token = \"${TOKEN}\" }");
        command.env("TOKEN", "hush");
    });
    let mut connection = Connection::http1(up.address).await;
    let mut request = connection.request("GET", &format!("/?{origin}/traceparent"), empty());
    let parent = format!("00-{TRACE}-{PARENT}-01").parse().unwrap();
    request.headers_mut().insert("traceparent", parent);
    let answer = answer(connection.send(request).await.unwrap()).await;

    let server = collector.wait_for("request", |all| span(all, |it| is_for(it, "client"))).await;
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), PARENT.into()));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/"),
        ("http.response.status_code", "200"),
        ("dhow.tenant", "default"),
        ("dhow.app", "traced"),
        ("dhow.revision", "1"),
    ] {
        assert_eq!(attribute(&server, key).as_deref(), Some(value), "{key}: {server:?}");
    }
    let is_call = |it: &Span| it.kind() == SpanKind::Client;
    let call = collector.wait_for("call", |all| span(all, is_call)).await;
    assert_eq!(call.trace_id, server.trace_id);
    assert_eq!(call.parent_span_id, server.span_id);
    assert_eq!(attribute(&call, "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(attribute(&call, "http.response.status_code").as_deref(), Some("200"));
    assert!(call.start_time_unix_nano >= server.start_time_unix_nano);
    // Whoever was called knows the call.
    let header = format!("00-{TRACE}-{}-01", hex(&call.span_id));
    assert!(answer.text.contains(&header), "{}", answer.text);
    let token = collector.wait_for("token", |all| all.headers.get("x-token").cloned()).await;
    assert_eq!(token, "hush");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_by_name_and_of_stores_are_in_the_trace_of_their_request() {
    let collector = Collector::start().await;
    let stores = "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }";
    let manifest = format!(
        "name = \"traced\"\n[component.web]\nsource = \"{{probe}}\"\n{stores}\n\
         grants.http = [\"http://cart.internal\"]\n\
         [component.cart]\nsource = \"{{probe}}\"\n{stores}\n\
         [[http]]\npath = \"/...\"\ncomponent = \"web\"\n"
    );
    let up = Up::app_with(&manifest, |command| configure(command, &collector, ""));
    for path in ["/http/cart.internal/keyvalue/a", "/http/cart.internal/sql/a"] {
        let text = get(up.address, path).await.text;
        assert!(text.starts_with("Ok((200, \"Ok("), "{text}");
    }
    for name in ["keyvalue exists", "sql execute"] {
        let call = collector.wait_for(name, |all| span(all, |it| it.name == name)).await;
        let of = |id: &[u8]| {
            let id = id.to_vec();
            move |all: &Received| span(all, |it| it.span_id == id)
        };
        let cart = collector.wait_for("cart", of(&call.parent_span_id)).await;
        assert!(is_for(&cart, "cart"), "{cart:?}");
        let calling = collector.wait_for("the call", of(&cart.parent_span_id)).await;
        assert_eq!(calling.kind(), SpanKind::Client);
        let web = collector.wait_for("web", of(&calling.parent_span_id)).await;
        assert!(is_for(&web, "web") && web.parent_span_id.is_empty(), "{web:?}");
        assert_eq!(web.trace_id, call.trace_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_an_error_and_what_is_not_sampled_is_not_sent() {
    let collector = Collector::start().await;
    let manifest = "name = \"traced\"\n[component.trap]\nsource = \"{trap}\"\n";
    let up = Up::app_with(manifest, |command| configure(command, &collector, "sample = 0"));
    let ask = async |sampled: &str| {
        let mut connection = Connection::http1(up.address).await;
        let mut request = connection.request("GET", "/trap", empty());
        let parent = format!("00-{TRACE}-{PARENT}-{sampled}").parse().unwrap();
        request.headers_mut().insert("traceparent", parent);
        answer(connection.send(request).await.unwrap()).await.status
    };
    // Nobody has begun a trace, or somebody has and does not collect it; and at last who does.
    assert_eq!(get(up.address, "/trap").await.status, 500);
    assert_eq!(ask("00").await, 500);
    assert_eq!(ask("01").await, 500);
    let only = collector.wait_for("request", |all| span(all, |it| is_for(it, "trap"))).await;
    assert_eq!(hex(&only.trace_id), TRACE);
    assert_eq!(only.status.unwrap().code(), StatusCode::Error);
    let count = collector.wait_for("spans", |all| Some(all.spans.len())).await;
    assert_eq!(count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_metrics_reach_the_collector() {
    let collector = Collector::start().await;
    let server = Server::with(&format!(
        "[telemetry]\notlp = \"http://{}\"\ninterval = \"1s\"",
        collector.address
    ));
    server.deploy_guest("shop", "hello-p2");
    for _ in 0..3 {
        assert_eq!(server.get("shop.localhost", "/").await.status, 200);
    }
    let shop = [("dhow.app", "shop"), ("dhow.tenant", "default")];
    let shop = shop.map(|(key, value)| (key.to_owned(), value.to_owned()));
    collector
        .wait_for("dhow.app.requests", |all| {
            all.numbers.iter().rev().find(|number| {
                number.name == "dhow.app.requests"
                    && number.attributes == shop
                    && number.value == 3.0
            })?;
            let names = ["dhow.app.cpu.time", "dhow.app.memory", "dhow.tenant.stored"];
            let is_there = |name: &&str| all.numbers.iter().any(|it| it.name == *name);
            names.iter().all(is_there).then_some(())
        })
        .await;
}

#[test]
fn a_collector_that_is_none_is_refused() {
    let hello = guest("hello-p2");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dhow-server.toml");
    let up = |text: &str| {
        fs::write(&config, text).unwrap();
        let words = ["up".as_ref(), hello.as_os_str(), "--config".as_ref(), config.as_os_str()];
        dhow_tests::dhow(words).finish()
    };
    let finished = up("[telemetry]\notlp = \"localhost:4317\"");
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("dhow-server.toml:2:8"), "{finished:?}");
    let finished = up("[telemetry]\notlp = \"http://${NO_SUCH_VARIABLE}\"");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("`NO_SUCH_VARIABLE` is not set"), "{finished:?}");
}
