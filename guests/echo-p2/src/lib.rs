//! Sends back what it gets, piece by piece, with the number of bytes in a trailer; in WASI 0.2.

use wasip2::{
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::streams::StreamError,
};

const PIECE: u64 = 64 << 10;

struct Echo;

wasip2::http::proxy::export!(Echo);

impl wasip2::exports::http::incoming_handler::Guest for Echo {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let headers = Fields::new();
        headers.append("trailer", b"x-bytes").unwrap();
        let response = OutgoingResponse::new(headers);
        let output = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));

        let input = request.consume().unwrap();
        let (reader, writer) = (input.stream().unwrap(), output.write().unwrap());
        let mut bytes = 0;
        loop {
            match reader.blocking_read(PIECE) {
                Ok(piece) => {
                    bytes += piece.len();
                    // 4,096 bytes is what blocking-write-and-flush takes at the most.
                    for part in piece.chunks(4096) {
                        if writer.blocking_write_and_flush(part).is_err() {
                            return; // Nobody reads any more.
                        }
                    }
                }
                Err(StreamError::Closed) => break,
                Err(error) => panic!("the request's body: {error:?}"),
            }
        }
        drop(writer);
        let trailers = Fields::new();
        trailers.append("x-bytes", bytes.to_string().as_bytes()).unwrap();
        OutgoingBody::finish(output, Some(trailers)).unwrap();
    }
}
