//! Requests and responses.

use serde_json::{Value, json};
use wit_bindgen::StreamResult;

use crate::{
    wasi::http::types::{Fields, Request, Response},
    wit_future, wit_stream,
};

/// The longest body that is read here.
const MAX_BODY: usize = 4096;

/// The first value of a header.
pub fn header(request: &Request, name: &str) -> Option<String> {
    String::from_utf8(request.get_headers().get(name).into_iter().next()?).ok()
}

/// The request with that value of a header, or none, whatever the client has sent. Its body is passed
/// on, and not read.
pub fn with_header(request: Request, name: &str, value: Option<&str>) -> Request {
    let headers = request.get_headers().clone();
    // What can't be changed here was refused by the host before: nothing below fails.
    let _ = headers.delete(name);
    if let Some(value) = value {
        let _ = headers.append(name, value.as_bytes());
    }
    let (method, path) = (request.get_method(), request.get_path_with_query());
    let (scheme, authority) = (request.get_scheme(), request.get_authority());
    let (_received, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, received);
    let (request, _sent) = Request::new(headers, Some(body), trailers, None);
    let _ = request.set_method(&method);
    let _ = request.set_path_with_query(path.as_deref());
    let _ = request.set_scheme(scheme.as_ref());
    let _ = request.set_authority(authority.as_deref());
    request
}

/// The whole body. `None` where it is too long.
pub async fn body(request: Request) -> Option<Vec<u8>> {
    let (_received, received) = wit_future::new(|| Ok(()));
    let (mut stream, _) = Request::consume_body(request, received);
    let mut body = Vec::new();
    loop {
        let (status, piece) = stream.read(Vec::with_capacity(MAX_BODY)).await;
        body.extend(piece);
        if body.len() > MAX_BODY {
            return None;
        }
        if !matches!(status, StreamResult::Complete(_)) {
            return Some(body);
        }
    }
}

pub fn error(status: u16, message: &str) -> Response {
    json(status, &json!({ "error": message }), &[])
}

pub fn json(status: u16, value: &Value, more: &[(&str, &str)]) -> Response {
    let text = value.to_string();
    let headers = Fields::new();
    let _ = headers.append("content-type", b"application/json");
    let _ = headers.append("content-length", text.len().to_string().as_bytes());
    for (name, value) in more {
        let _ = headers.append(name, value.as_bytes());
    }
    let (mut body, stream) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(stream), trailers);
    let _ = response.set_status_code(status);
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    response
}
