//! Takes its time. `/before/N` waits N milliseconds and then answers; `/ticks/N` answers at once
//! and then writes a line every N milliseconds, ten times; `/after/N` answers and then waits;
//! `/clock/N` answers with what the time was before it has waited and after, in seconds since 1970. The
//! end of each is printed.

use wasip3::{
    clocks::{monotonic_clock, system_clock},
    http::types::{ErrorCode, Fields, Request, Response},
    wit_bindgen, wit_future, wit_stream,
};

const TICKS: u32 = 10;

struct Slow;

wasip3::http::service::export!(Slow);

impl wasip3::exports::http::handler::Guest for Slow {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (what, milliseconds) = path.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
        let milliseconds: u64 = milliseconds.parse().unwrap_or(0);
        println!("begin {path}");
        let start = system_clock::now().seconds;
        if matches!(what, "before" | "clock") {
            wait(milliseconds).await;
        }
        let clock = format!("{start} {}\n", system_clock::now().seconds);
        let is_clock = what == "clock";
        let (ticks, pause) = if what == "ticks" { (TICKS, milliseconds) } else { (1, 0) };
        let after = if what == "after" { milliseconds } else { 0 };
        let (mut body, stream) = wit_stream::new();
        let (trailers, trailers_future) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            for tick in 0..ticks {
                wait(pause).await;
                let line = if is_clock { clock.clone() } else { format!("tick {tick}\n") };
                if !body.write_all(line.into_bytes()).await.is_empty() {
                    break;
                }
            }
            drop(body);
            let _ = trailers.write(Ok(None)).await;
            wait(after).await;
            println!("end {path}");
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers_future).0)
    }
}

async fn wait(milliseconds: u64) {
    monotonic_clock::wait_for(milliseconds * 1_000_000).await;
}
