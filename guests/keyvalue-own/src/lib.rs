//! Does with the store of a label what the path says, by `dhow:keyvalue`: `/LABEL/get/KEY`,
//! `set/KEY/VALUE`, `set/KEY/VALUE/MILLISECONDS`, `absent/KEY/VALUE` (sets it if it is not there),
//! `over/KEY/VALUE` (in place of the value that it reads), `lose/KEY/VALUE` (the same after somebody
//! else's set), `again/KEY/VALUE` (the same after somebody else's sets of another value and of the
//! first), `delete/KEY`, `delete-over/KEY`, `delete-lose/KEY`, `exists/KEY`, `increment/KEY/DELTA`,
//! `at-once/KEY/N` (increments it so often at once), `keep/KEY/MILLISECONDS` (sets a number that
//! expires, and increments it), `fill/PREFIX/N` (sets so many keys), `keys/PREFIX`, `count/PREFIX`
//! (reads the keys in small parts), `first/PREFIX` (reads one and drops the rest), `bytes/KEY` (a
//! value that is no text), `large/BYTES`, `crowd/BYTES/N` (sets so many of that size at once).

use std::{collections::BTreeSet, future::poll_fn, pin::Pin, task::Poll};

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};
use wit_bindgen::StreamResult;

mod imports {
    wit_bindgen::generate!({ path: "../../wit/keyvalue", world: "imports" });
}

use imports::dhow::keyvalue::{
    store::Store,
    types::{Condition, Error, SetOptions},
};

struct KeyValue;

wasip3::http::service::export!(KeyValue);

impl wasip3::exports::http::handler::Guest for KeyValue {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).await.unwrap_or_else(|error| format!("{error:?}"));
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

async fn run(words: &[&str]) -> Result<String, Error> {
    let store = Store::open(words[0].to_owned()).await?;
    let store = &store;
    Ok(match words[1..] {
        ["get", key] => shown(store.get(key.to_owned()).await?),
        ["set", key, value] => set(store, key, value, None, None).await?,
        ["set", key, value, ttl] => set(store, key, value, Some(number(ttl)), None).await?,
        ["absent", key, value] => set(store, key, value, None, Some(Condition::Absent)).await?,
        ["over", key, value] => {
            let condition = Condition::Matches(version(store, key).await?);
            set(store, key, value, None, Some(condition)).await?
        }
        ["lose", key, value] => {
            let condition = Condition::Matches(version(store, key).await?);
            set(store, key, "changed", None, None).await?;
            set(store, key, value, None, Some(condition)).await?
        }
        ["again", key, value] => {
            let first = shown(store.get(key.to_owned()).await?);
            let condition = Condition::Matches(version(store, key).await?);
            set(store, key, "changed", None, None).await?;
            set(store, key, &first, None, None).await?;
            set(store, key, value, None, Some(condition)).await?
        }
        ["delete", key] => format!("{:?}", store.delete(key.to_owned(), None).await?),
        ["delete-over", key] => {
            let version = version(store, key).await?;
            format!("{:?}", store.delete(key.to_owned(), Some(version)).await?)
        }
        ["delete-lose", key] => {
            let version = version(store, key).await?;
            set(store, key, "changed", None, None).await?;
            format!("{:?}", store.delete(key.to_owned(), Some(version)).await?)
        }
        ["exists", key] => store.exists(key.to_owned()).await?.to_string(),
        ["increment", key, delta] => {
            store.increment(key.to_owned(), delta.parse().unwrap()).await?.to_string()
        }
        ["at-once", key, times] => {
            let calls = (0..number(times)).map(|_| store.increment(key.to_owned(), 1));
            let sums: Result<BTreeSet<i64>, Error> = together(calls).await.into_iter().collect();
            format!("{} sums", sums?.len())
        }
        ["keep", key, ttl] => {
            set(store, key, "1", Some(number(ttl)), None).await?;
            store.increment(key.to_owned(), 1).await?.to_string()
        }
        ["fill", prefix, count] => fill(store, prefix, number(count)).await?,
        ["keys", prefix] => {
            let (keys, ended) = store.keys(prefix.to_owned()).await?;
            let keys: BTreeSet<String> = keys.collect().await.into_iter().collect();
            ended.await?;
            keys.into_iter().collect::<Vec<_>>().join(",")
        }
        ["count", prefix] => count(store, prefix).await?,
        ["first", prefix] => {
            let (mut keys, ended) = store.keys(prefix.to_owned()).await?;
            let first = keys.next().await.is_some();
            drop(keys);
            format!("{first}, {:?}", ended.await)
        }
        ["bytes", key] => {
            let value = vec![0, 255, 254, 10, 128];
            store.set(key.to_owned(), value.clone(), options(None, None)).await?;
            let found = store.get(key.to_owned()).await?;
            let number = store.increment(key.to_owned(), 1).await;
            format!("{}, {number:?}", found == Some(value))
        }
        ["large", bytes] => {
            let value = vec![7; bytes.parse().unwrap()];
            store.set("large".to_owned(), value, options(None, None)).await?;
            store.get("large".to_owned()).await?.map_or(0, |value| value.len()).to_string()
        }
        ["crowd", bytes, times] => {
            let value = vec![7; bytes.parse().unwrap()];
            let calls = (0..number(times)).map(|number| {
                store.set(format!("crowd-{number}"), value.clone(), options(None, None))
            });
            let refused = |result: &Result<String, Error>| matches!(result, Err(Error::TooLarge));
            let results = together(calls).await;
            let refused = results.iter().filter(|result| refused(result)).count();
            format!("{refused} of {}", results.len())
        }
        _ => "what?".to_owned(),
    })
}

fn number(word: &str) -> u64 {
    word.parse().unwrap()
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
}

fn options(ttl_ms: Option<u64>, condition: Option<Condition>) -> SetOptions {
    SetOptions { ttl_ms, condition }
}

async fn set(
    store: &Store,
    key: &str,
    value: &str,
    ttl_ms: Option<u64>,
    condition: Option<Condition>,
) -> Result<String, Error> {
    let value = value.as_bytes().to_vec();
    store.set(key.to_owned(), value, options(ttl_ms, condition)).await?;
    Ok("set".to_owned())
}

/// The version of a value; of none, one that no value has.
async fn version(store: &Store, key: &str) -> Result<String, Error> {
    let found = store.get_versioned(key.to_owned()).await?;
    Ok(found.map_or("none".to_owned(), |found| found.version))
}

/// Makes the calls, all at once.
async fn together<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = calls.map(Box::pin).collect();
    let mut results = Vec::new();
    poll_fn(|context| {
        waiting.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results
}

async fn fill(store: &Store, prefix: &str, count: u64) -> Result<String, Error> {
    let keys: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    for part in keys.chunks(500) {
        let calls = part.iter().map(|key| store.set(key.clone(), vec![1], options(None, None)));
        for result in together(calls).await {
            result?;
        }
    }
    Ok("filled".to_owned())
}

async fn count(store: &Store, prefix: &str) -> Result<String, Error> {
    let (mut keys, ended) = store.keys(prefix.to_owned()).await?;
    let mut found = BTreeSet::new();
    let mut buffer = Vec::with_capacity(64);
    loop {
        let (result, mut read) = keys.read(buffer).await;
        found.extend(read.drain(..));
        buffer = read;
        if let StreamResult::Dropped = result {
            break;
        }
    }
    ended.await?;
    let are_ours = found.iter().all(|key: &String| key.starts_with(prefix));
    Ok(format!("{} keys, {are_ours}", found.len()))
}
