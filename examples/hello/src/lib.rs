//! The smallest service: world `wasi:http/service` of WASI 0.3, one async function.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_bindgen, wit_future, wit_stream,
};

struct Hello;

wasip3::http::service::export!(Hello);

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let text = format!("Hello from a component! You asked for {path}\n");

        let headers = Fields::new();
        let _ = headers.append("content-type", b"text/plain; charset=utf-8");
        let _ = headers.append("content-length", text.len().to_string().as_bytes());

        // A body is a stream, which is written while the host sends it.
        let (mut body, stream) = wit_stream::new();
        let (trailers, trailers_future) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(stream), trailers_future);
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
            drop(body);
            let _ = trailers.write(Ok(None)).await;
        });
        Ok(response)
    }
}
