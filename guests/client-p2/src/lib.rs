//! Sends a GET to the URL in its query, and answers with what came back, or with the error's name;
//! in WASI 0.2. `/connect-timeout/MILLISECONDS`, `/first-byte-timeout/MILLISECONDS` and
//! `/between-bytes-timeout/MILLISECONDS` set that option.

use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest,
            OutgoingResponse, RequestOptions, ResponseOutparam, Scheme, http_error_code,
        },
    },
    io::streams::StreamError,
};

struct Client;

wasip2::http::proxy::export!(Client);

impl wasip2::exports::http::incoming_handler::Guest for Client {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, url) = target.split_once('?').unwrap_or((&target, ""));
        let text = match get(url, options(path)) {
            Ok(response) => body_of(&response),
            Err(error) => format!("{error:?}\n").into_bytes(),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().unwrap();
        for part in text.chunks(4096) {
            stream.blocking_write_and_flush(part).unwrap();
        }
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// The option that `path` sets.
fn options(path: &str) -> Option<RequestOptions> {
    let (name, milliseconds) = path.trim_start_matches('/').split_once('/')?;
    let limit = Some(milliseconds.parse::<u64>().unwrap() * 1_000_000);
    let options = RequestOptions::new();
    let set = match name {
        "connect-timeout" => options.set_connect_timeout(limit),
        "first-byte-timeout" => options.set_first_byte_timeout(limit),
        "between-bytes-timeout" => options.set_between_bytes_timeout(limit),
        _ => panic!("{name}"),
    };
    set.unwrap();
    Some(options)
}

fn get(url: &str, options: Option<RequestOptions>) -> Result<IncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let future = outgoing_handler::handle(request, options)?;
    future.subscribe().block();
    future.get().unwrap().unwrap()
}

/// The body; where it is cut off, why.
fn body_of(response: &IncomingResponse) -> Vec<u8> {
    let body = response.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return bytes,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error).map(|code| format!("{code:?}"));
                let why = code.unwrap_or_else(|| error.to_debug_string());
                bytes.extend(format!(" {why}\n").into_bytes());
                return bytes;
            }
        }
    }
}
