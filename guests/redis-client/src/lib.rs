//! Talks to a Redis with the client that native programs use, over the standard library's sockets:
//! `/HOST:PORT/PASSWORD` sets a key, reads it back, and runs a pipeline.

use redis::Commands as _;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Client;

wasip2::http::proxy::export!(Client);

impl wasip2::exports::http::incoming_handler::Guest for Client {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (address, password) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let text = run(address, password).unwrap_or_else(|error| format!("error: {error}"));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn run(address: &str, password: &str) -> redis::RedisResult<String> {
    let client = redis::Client::open(format!("redis://:{password}@{address}/"))?;
    let mut connection = client.get_connection()?;
    let () = connection.set("greeting", "hello")?;
    let greeting: String = connection.get("greeting")?;
    let (first, second): (i64, i64) =
        redis::pipe().incr("count", 1).incr("count", 41).query(&mut connection)?;
    Ok(format!("{greeting} {first} {second}"))
}
