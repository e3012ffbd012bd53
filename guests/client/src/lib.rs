//! Sends the request on to the URL in its query, and answers with what came back, or with the
//! error's name. `/connect-timeout/MILLISECONDS`, `/first-byte-timeout/MILLISECONDS` and
//! `/between-bytes-timeout/MILLISECONDS` set that option, and answer with the body and how it has
//! ended.

use wasip3::{
    http::{
        client,
        types::{ErrorCode, Fields, Request, RequestOptions, Response, Scheme},
    },
    wit_bindgen, wit_future, wit_stream,
};

struct Client;

wasip3::http::service::export!(Client);

impl wasip3::exports::http::handler::Guest for Client {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, url) = target.split_once('?').unwrap_or((&target, ""));
        let options = options(path);
        let has_options = options.is_some();
        let method = request.get_method();
        let (_received, received) = wit_future::new(|| Ok(()));
        let (body, trailers) = Request::consume_body(request, received);
        let (outbound, _sent) = Request::new(Fields::new(), Some(body), trailers, options);
        set_url(&outbound, url);
        let _ = outbound.set_method(&method);
        Ok(match client::send(outbound).await {
            Ok(answer) if has_options => text(&read(answer).await),
            Ok(answer) => {
                let headers = Fields::new();
                let _ = headers.append("x-status", answer.get_status_code().to_string().as_bytes());
                let (_received, received) = wit_future::new(|| Ok(()));
                let (body, trailers) = Response::consume_body(answer, received);
                Response::new(headers, Some(body), trailers).0
            }
            Err(error) => text(&format!("{error:?}\n")),
        })
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

/// The body, and how it has ended.
async fn read(answer: Response) -> String {
    let (_received, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answer, received);
    let bytes = body.collect().await;
    let ended = match trailers.await {
        Ok(_) => "whole".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    format!("{} {ended}\n", String::from_utf8_lossy(&bytes))
}

fn set_url(request: &Request, url: &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let _ = request.set_scheme(Some(&scheme));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(path));
}

fn text(text: &str) -> Response {
    let (mut body, stream) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let bytes = text.as_bytes().to_vec();
    wit_bindgen::spawn_local(async move {
        body.write_all(bytes).await;
    });
    Response::new(Fields::new(), Some(stream), trailers).0
}
