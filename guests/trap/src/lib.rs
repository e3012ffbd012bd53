//! Fails in the way that the path names.

use std::{hint::black_box, io::Write as _};

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_bindgen, wit_future, wit_stream,
};

struct Trap;

wasip3::http::service::export!(Trap);

impl wasip3::exports::http::handler::Guest for Trap {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match request.get_path_with_query().as_deref() {
            Some("/trap") => panic!("as asked"),
            Some("/loop") => spin(),
            Some("/memory") => fill_memory(),
            Some("/error") => Err(ErrorCode::ConfigurationError),
            Some("/late-trap") => Ok(response(|| panic!("as asked, late"))),
            Some("/late-loop") => Ok(response(|| spin())),
            Some("/flood") => flood(),
            Some("/exit") => std::process::exit(7),
            _ => Ok(response(|| ())),
        }
    }
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn flood() -> ! {
    let lines = [b'\n'; 64 << 10];
    loop {
        let _ = std::io::stdout().write_all(&lines);
    }
}

fn fill_memory() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1u8; 1 << 20]));
    }
}

/// A response that begins with a line, and then does `then`.
fn response(then: impl FnOnce() + 'static) -> Response {
    let (mut body, stream) = wit_stream::new();
    let (trailers, trailers_future) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        body.write_all(b"begun\n".to_vec()).await;
        then();
        drop(body);
        let _ = trailers.write(Ok(None)).await;
    });
    Response::new(Fields::new(), Some(stream), trailers_future).0
}
