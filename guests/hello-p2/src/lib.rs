//! Answers with the request's own words, in WASI 0.2: world `wasi:http/proxy`. Prints them too, but
//! for `/`, which is measured.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let authority = request.authority().unwrap_or_default();
        if path != "/" {
            println!("asked for {path}");
            eprintln!("by {authority}");
        }
        let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        let stream = body.write().unwrap();
        stream
            .blocking_write_and_flush(format!("{greeting} of 0.2: {authority} {path}\n").as_bytes())
            .unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}
