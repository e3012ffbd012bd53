//! Reads its configuration and logs, as the path says: `/get/KEY`, `/all`, `/log/LEVEL/TEXT`.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};

mod config {
    wit_bindgen::generate!({ path: "../../wit/config", world: "imports" });
}

mod logging {
    wit_bindgen::generate!({ path: "../../wit/logging", world: "imports" });
}

use config::wasi::config::store;
use logging::wasi::logging::logging::{Level, log};

struct Settings;

wasip3::http::service::export!(Settings);

impl wasip3::exports::http::handler::Guest for Settings {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words);
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

fn run(words: &[&str]) -> String {
    match words {
        ["get", key] => format!("{:?}", store::get(key)),
        ["all"] => format!("{:?}", store::get_all()),
        ["log", "warn", text] => {
            log(Level::Warn, "somewhere", text);
            "logged".to_owned()
        }
        ["log", "long", count] => {
            log(Level::Info, "", &"é".repeat(count.parse().unwrap()));
            "logged".to_owned()
        }
        _ => "what?".to_owned(),
    }
}
