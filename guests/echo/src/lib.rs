//! Sends back what it gets. `/pass` hands the request's stream on as it is; `/collect` reads all of
//! it before it answers; every other path copies it piece by piece and ends with trailers: the
//! request's own, and the number of bytes.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_bindgen::{self, StreamResult},
    wit_future, wit_stream,
};

const PIECE: usize = 64 << 10;

struct Echo;

wasip3::http::service::export!(Echo);

impl wasip3::exports::http::handler::Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (_received, received) = wit_future::new(|| Ok(()));
        let (mut input, input_trailers) = Request::consume_body(request, received);
        let headers = Fields::new();
        if path == "/pass" {
            return Ok(Response::new(headers, Some(input), input_trailers).0);
        }
        let mut collected = Vec::new();
        if path == "/collect" {
            collected = std::mem::replace(&mut input, wit_stream::new().1).collect().await;
        }
        // HTTP/1.1 sends only trailers that were announced.
        let _ = headers.append("trailer", b"x-bytes, x-request-trailer");
        let (mut output, stream) = wit_stream::new();
        let (trailers, trailers_future) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(stream), trailers_future);
        wit_bindgen::spawn_local(async move {
            let mut bytes = collected.len();
            output.write_all(collected).await;
            loop {
                let (status, piece) = input.read(Vec::with_capacity(PIECE)).await;
                if let StreamResult::Complete(_) = status {
                    bytes += piece.len();
                    if !output.write_all(piece).await.is_empty() {
                        return; // Nobody reads any more.
                    }
                } else {
                    break;
                }
            }
            drop(output);
            let fields = Fields::new();
            let _ = fields.append("x-bytes", bytes.to_string().as_bytes());
            if let Ok(Some(got)) = input_trailers.await {
                for value in got.get("x-request-trailer") {
                    let _ = fields.append("x-request-trailer", &value);
                }
            }
            let _ = trailers.write(Ok(Some(fields))).await;
        });
        Ok(response)
    }
}
