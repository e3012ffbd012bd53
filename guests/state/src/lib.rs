//! Says what an earlier request has left: answers with the number of requests that this instance
//! has had, and of those that it has under way. `/wait/N` waits N milliseconds before it answers,
//! `/trap` traps, `/late/N` answers, and then waits.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wasip3::{
    clocks::monotonic_clock,
    http::types::{ErrorCode, Fields, Request, Response},
    wit_bindgen, wit_future, wit_stream,
};

static REQUESTS: AtomicU32 = AtomicU32::new(0);
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);

struct State;

wasip3::http::service::export!(State);

impl wasip3::exports::http::handler::Guest for State {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let requests = REQUESTS.fetch_add(1, Relaxed) + 1;
        UNDER_WAY.fetch_add(1, Relaxed);
        let (what, number) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
        let milliseconds: u64 = number.parse().unwrap_or(0);
        println!("begin {path}");
        match what {
            "/trap" => panic!("as asked"),
            "wait" => monotonic_clock::wait_for(milliseconds * 1_000_000).await,
            _ => {}
        }
        let text = format!("request {requests}, {} under way", UNDER_WAY.load(Relaxed));
        let after = if what == "late" { milliseconds } else { 0 };
        let (mut body, stream) = wit_stream::new();
        let (trailers, trailers_future) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
            drop(body);
            let _ = trailers.write(Ok(None)).await;
            monotonic_clock::wait_for(after * 1_000_000).await;
            UNDER_WAY.fetch_sub(1, Relaxed);
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers_future).0)
    }
}
