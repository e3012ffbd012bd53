//! Does with the store of a label what the path says, and answers with what came of it:
//! `/LABEL/get/KEY`, `set/KEY/VALUE`, `delete/KEY`, `exists/KEY`, `keys`, `increment/KEY/DELTA`,
//! `swap/KEY/VALUE`, `lose/KEY/VALUE` (a swap after somebody else's set), `many/N` (sets, gets and
//! deletes so many), `large/BYTES` (a value of that size), `again/KEY/N` (gets it so often at once).

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};

mod imports {
    wit_bindgen::generate!({ path: "../../wit/keyvalue-draft2", world: "imports" });
}

use imports::wasi::keyvalue::{
    atomics::{self, Cas, CasError},
    batch,
    store::{self, Bucket, Error},
};

struct KeyValue;

wasip3::http::service::export!(KeyValue);

impl wasip3::exports::http::handler::Guest for KeyValue {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).unwrap_or_else(|error| format!("{error:?}"));
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

fn run(words: &[&str]) -> Result<String, Error> {
    let bucket = store::open(words[0])?;
    Ok(match &words[1..] {
        ["get", key] => shown(bucket.get(key)?),
        ["set", key, value] => format!("{:?}", bucket.set(key, value.as_bytes())?),
        ["delete", key] => format!("{:?}", bucket.delete(key)?),
        ["exists", key] => bucket.exists(key)?.to_string(),
        ["keys"] => all_keys(&bucket)?.join(","),
        ["increment", key, delta] => {
            atomics::increment(&bucket, key, delta.parse().unwrap())?.to_string()
        }
        ["swap", key, value] => swapped(atomics::swap(Cas::new(&bucket, key)?, value.as_bytes())),
        ["lose", key, value] => {
            let cas = Cas::new(&bucket, key)?;
            bucket.set(key, b"changed")?;
            swapped(atomics::swap(cas, value.as_bytes()))
        }
        ["many", count] => many(&bucket, count.parse().unwrap())?,
        ["large", bytes] => {
            bucket.set("large", &vec![7; bytes.parse().unwrap()])?;
            bucket.get("large")?.map_or(0, |value| value.len()).to_string()
        }
        ["again", key, times] => {
            let keys = vec![key.to_string(); times.parse().unwrap()];
            batch::get_many(&bucket, &keys)?.len().to_string()
        }
        _ => "what?".to_owned(),
    })
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
}

fn swapped(result: Result<(), CasError>) -> String {
    match result {
        Ok(()) => "swapped".to_owned(),
        Err(CasError::CasFailed(cas)) => format!("it is {}", shown(cas.current().unwrap())),
        Err(CasError::StoreError(error)) => format!("{error:?}"),
    }
}

fn all_keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let response = bucket.list_keys(cursor.as_deref())?;
        all.extend(response.keys);
        cursor = response.cursor;
        if cursor.is_none() {
            all.sort();
            all.dedup();
            return Ok(all);
        }
    }
}

/// Sets so many keys, gets one more than that, counts all, and deletes them.
fn many(bucket: &Bucket, count: usize) -> Result<String, Error> {
    let keys: Vec<String> = (0..=count).map(|number| format!("many-{number:05}")).collect();
    let entries: Vec<_> =
        keys.iter().take(count).map(|key| (key.clone(), key.as_bytes().to_vec())).collect();
    for part in entries.chunks(1_000) {
        batch::set_many(bucket, part)?;
    }
    let last: Vec<_> = keys.iter().rev().take(2).cloned().collect();
    let found = batch::get_many(bucket, &last)?;
    let found: Vec<_> =
        found.into_iter().map(|entry| entry.map_or("nothing".to_owned(), |(key, _)| key)).collect();
    let listed = all_keys(bucket)?.len();
    for part in keys.chunks(1_000) {
        batch::delete_many(bucket, part)?;
    }
    Ok(format!("{listed} keys, then {}; {}", all_keys(bucket)?.len(), found.join(",")))
}
