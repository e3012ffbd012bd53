//! Tries what it may do, as the path says: `/env/NAME`, `/http/AUTHORITY/PATH`, `/tcp/ADDRESS`,
//! `/file/PATH` (in which `:` stands for `/`), `/keyvalue/LABEL`, `/sql/LABEL`, by WASI 0.3 or an
//! interface of our own, and by WASI 0.2 with a `2` behind the word, as `/random/BYTES`, which asks for
//! so many at once; `/config/KEY`; `/log/TEXT`.
//! Answers with `Ok(…)` or `Err(…)`.
//!
//! As middleware it passes on what begins with `/next`, and adds a header to the response.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};

mod three;
mod two;

mod config {
    wit_bindgen::generate!({ path: "../../wit/config", world: "imports" });
}

#[cfg(feature = "middleware")]
mod next {
    wit_bindgen::generate!({
        path: "../../wit/middleware",
        world: "next",
        with: {
            "wasi:http/types@0.3.2": wasip3::http::types,
            "wasi:clocks/types@0.3.2": wasip3::clocks::types,
            "wasi:http/handler@0.3.2": generate,
        },
    });
    pub use self::wasi::http::handler::handle;
}

struct Probe;

wasip3::http::service::export!(Probe);

impl wasip3::exports::http::handler::Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        #[cfg(feature = "middleware")]
        if let Some(rest) = path.strip_prefix("/next") {
            request.set_path_with_query(Some(rest)).unwrap();
            let response = next::handle(request).await?;
            let headers = response.get_headers().clone();
            let status = response.get_status_code();
            headers.append("passed-by", b"middleware").unwrap();
            let (_, done) = wit_future::new(|| Ok(()));
            let (body, trailers) = Response::consume_body(response, done);
            let (response, _) = Response::new(headers, Some(body), trailers);
            response.set_status_code(status).unwrap();
            return Ok(response);
        }
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).await;
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

async fn run(words: &[&str]) -> String {
    match *words {
        ["env", name] => format!("{:?}", three::env(name)),
        ["env2", name] => format!("{:?}", two::env(name)),
        ["http", authority, ref path @ ..] => {
            format!("{:?}", three::http(authority, &format!("/{}", path.join("/"))).await)
        }
        ["http2", authority] => format!("{:?}", two::http(authority)),
        ["tcp", address] => format!("{:?}", three::tcp(address).await),
        ["tcp2", address] => format!("{:?}", two::tcp(address)),
        ["file", path] => format!("{:?}", three::file(&path.replace(':', "/")).await),
        ["file2", path] => format!("{:?}", two::file(&path.replace(':', "/"))),
        ["keyvalue", label] => format!("{:?}", three::keyvalue(label).await),
        ["keyvalue2", label] => format!("{:?}", two::keyvalue(label)),
        ["sql", label] => format!("{:?}", three::sql(label).await),
        ["sql2", label] => format!("{:?}", two::sql(label)),
        ["random", count] => format!("Ok({})", three::random(count.parse().unwrap())),
        ["random2", count] => format!("Ok({})", two::random(count.parse().unwrap())),
        ["config", key] => format!("{:?}", config::wasi::config::store::get(key)),
        ["log", text] => {
            eprintln!("{text}");
            "Ok(())".to_owned()
        }
        _ => format!("Err({words:?})"),
    }
}
