//! Calls another component of its app as often as the path says: `/call/N`, `/own/N` (a function of
//! its own), `/later/N` (an async one), `/count/N/BYTES` (with a list); `/stream/BYTES/PIECE` reads
//! a stream of the other's, `/body/BYTES/PIECE` answers with as many bytes.

use std::hint::black_box;

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};
use wit_bindgen::StreamResult;

mod imports {
    wit_bindgen::generate!({ path: "wit", world: "sink" });
}

use imports::bench::pipe::pipe;

struct Sink;

wasip3::http::service::export!(Sink);

impl wasip3::exports::http::handler::Guest for Sink {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let mut words = path.trim_start_matches('/').split('/');
        let what = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let (first, second): (u64, u64) = (number(), number());
        let mut sum = 0;
        match what {
            "call" => (0..first).for_each(|n| sum = pipe::add(sum, n as u32)),
            "own" => (0..first).for_each(|n| sum = own(sum, n as u32)),
            "later" => {
                for n in 0..first {
                    sum = pipe::add_later(sum, n as u32).await;
                }
            }
            "count" => {
                let list = vec![7; second as usize];
                (0..first).for_each(|_| sum = pipe::count(&list));
            }
            "stream" => {
                let text = read(pipe::open(first, second as u32).await, second as usize).await;
                return Ok(response(text.into_bytes(), 1));
            }
            "body" => return Ok(response(vec![7; second as usize], first / second.max(1))),
            _ => {}
        }
        Ok(response(sum.to_string().into_bytes(), 1))
    }
}

#[inline(never)]
fn own(a: u32, b: u32) -> u32 {
    black_box(a.wrapping_add(b))
}

async fn read(mut stream: wit_bindgen::StreamReader<u8>, piece: usize) -> String {
    let mut bytes = 0;
    let mut buffer = Vec::with_capacity(piece);
    loop {
        let (result, mut read) = stream.read(buffer).await;
        bytes += read.len();
        read.clear();
        buffer = read;
        if let StreamResult::Dropped = result {
            return bytes.to_string();
        }
    }
}

/// A response with `piece`, so many times.
fn response(piece: Vec<u8>, times: u64) -> Response {
    let (mut body, stream) = wit_stream::new();
    let (trailers, trailers_future) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        for _ in 0..times {
            if !body.write_all(piece.clone()).await.is_empty() {
                break;
            }
        }
        drop(body);
        let _ = trailers.write(Ok(None)).await;
    });
    Response::new(Fields::new(), Some(stream), trailers_future).0
}
