//! Sends the same request often, for measurements, in WASI 0.2: `/http/N?URL`. Answers with how often.

use wasip2::{
    http::{
        outgoing_handler,
        types::{
            Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
            ResponseOutparam, Scheme,
        },
    },
    io::streams::StreamError,
};

struct Capabilities;

wasip2::http::proxy::export!(Capabilities);

impl wasip2::exports::http::incoming_handler::Guest for Capabilities {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, url) = target.split_once('?').unwrap();
        let count = path.strip_prefix("/http/").unwrap();
        let (authority, path) = url.split_once('/').unwrap();
        for _ in 0..count.parse().unwrap() {
            assert!(!get(authority, &format!("/{path}")).is_empty());
        }
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(count.as_bytes()).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// What is read of a body at a time.
const PIECE: u64 = 4 << 10;

fn get(authority: &str, path: &str) -> Vec<u8> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let sent = outgoing_handler::handle(request, None).unwrap();
    sent.subscribe().block();
    let response = sent.get().unwrap().unwrap().unwrap();
    let body = response.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) if bytes.is_empty() => bytes = piece,
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return bytes,
            Err(error) => panic!("{error:?}"),
        }
    }
}
