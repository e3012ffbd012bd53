//! As `keyvalue`, for the first draft of the interface and WASI 0.2: `/LABEL/get/KEY`,
//! `set/KEY/VALUE`, `keys`, `increment/KEY/DELTA`, `both/KEY` (gets a key and one that is not there).

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

mod imports {
    wit_bindgen::generate!({ path: "../../wit/keyvalue-draft", world: "imports" });
}

use imports::wasi::keyvalue::{
    atomics, batch,
    store::{self, Error},
};

struct KeyValue;

wasip2::http::proxy::export!(KeyValue);

impl wasip2::exports::http::incoming_handler::Guest for KeyValue {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).unwrap_or_else(|error| format!("{error:?}"));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn run(words: &[&str]) -> Result<String, Error> {
    let bucket = store::open(words[0])?;
    Ok(match &words[1..] {
        ["get", key] => shown(bucket.get(key)?),
        ["set", key, value] => format!("{:?}", bucket.set(key, value.as_bytes())?),
        ["keys"] => {
            let mut keys = bucket.list_keys(None)?.keys;
            keys.sort();
            keys.join(",")
        }
        ["increment", key, delta] => {
            atomics::increment(&bucket, key, delta.parse().unwrap())?.to_string()
        }
        ["both", key] => {
            let found = batch::get_many(&bucket, &[key.to_string(), "not-there".to_owned()])?;
            found
                .into_iter()
                .map(|entry| shown(entry.map(|(_, value)| value)))
                .collect::<Vec<_>>()
                .join(",")
        }
        _ => "what?".to_owned(),
    })
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
}
