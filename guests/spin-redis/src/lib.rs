//! A guest as Spin's users write it, with Spin's own SDK. The words of the body, between tabs, are what
//! the path says: `/redis/get`, `/redis/set` and so on for the server that the query of the URL names,
//! `/redis/execute` with a command and its arguments (`i5`, `ttext`); `/kv/get`, `/kv/set` and so on for
//! the store of that label, `/kv/keys`; `/variable`.

use spin_sdk::{
    http::{IntoResponse, Request, body::IncomingBodyExt as _},
    http_service,
    key_value::{self, Store},
    redis::{self, Connection, RedisParameter},
    variables,
};

#[http_service]
async fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let (head, body) = request.into_parts();
    let label = head.uri.query().unwrap_or_default().to_owned();
    let text = String::from_utf8(body.bytes().await?.to_vec())?;
    let words: Vec<&str> = text.split('\t').collect();
    let path = head.uri.path().trim_start_matches('/');
    Ok(match path.split_once('/') {
        Some(("redis", what)) => {
            run_redis(&label, what, &words).await.unwrap_or_else(|error| format!("{error:?}"))
        }
        Some(("kv", what)) => {
            run_store(&label, what, &words).await.unwrap_or_else(|error| format!("{error:?}"))
        }
        _ => format!("{:?}", variables::get(words[0]).await),
    })
}

async fn run_redis(label: &str, what: &str, words: &[&str]) -> Result<String, redis::Error> {
    let connection = Connection::open(label).await?;
    Ok(match (what, words) {
        ("publish", [channel, payload]) => {
            format!("{:?}", connection.publish(channel, payload).await?)
        }
        ("get", [key]) => match connection.get(key).await? {
            Some(value) => String::from_utf8(value).unwrap(),
            None => "nothing".to_owned(),
        },
        ("set", [key, value]) => format!("{:?}", connection.set(key, value).await?),
        ("incr", [key]) => connection.incr(key).await?.to_string(),
        ("del", keys) => connection.del(keys.iter()).await?.to_string(),
        ("sadd", [key, values @ ..]) => connection.sadd(key, values.iter()).await?.to_string(),
        ("smembers", [key]) => {
            let mut members = connection.smembers(key).await?;
            members.sort();
            members.join(",")
        }
        ("srem", [key, values @ ..]) => connection.srem(key, values.iter()).await?.to_string(),
        ("execute", [command, arguments @ ..]) => {
            let arguments = arguments.iter().map(|word| match word.split_at(1) {
                ("i", number) => RedisParameter::Int64(number.parse().unwrap()),
                (_, text) => RedisParameter::Binary(text.as_bytes().to_vec()),
            });
            format!("{:?}", connection.execute(command, arguments).await?)
        }
        _ => "what?".to_owned(),
    })
}

async fn run_store(label: &str, what: &str, words: &[&str]) -> Result<String, key_value::Error> {
    let store = Store::open(label).await?;
    Ok(match (what, words) {
        ("get", [key]) => match store.get(key).await? {
            Some(value) => String::from_utf8(value).unwrap(),
            None => "nothing".to_owned(),
        },
        ("set", [key, value]) => format!("{:?}", store.set(key, value).await?),
        ("delete", [key]) => format!("{:?}", store.delete(key).await?),
        ("exists", [key]) => store.exists(key).await?.to_string(),
        ("keys", _) => {
            let mut keys = store.get_keys().await.collect().await?;
            keys.sort();
            keys.join(",")
        }
        // So many keys, the last of which is not read.
        ("many", [count]) => {
            let count: usize = count.parse().unwrap();
            for number in 0..count {
                store.set(format!("many-{number:05}"), "").await?;
            }
            let mut keys = store.get_keys().await;
            let first = keys.next().await.is_some();
            let rest = keys.collect().await?.len();
            format!("{first}, {rest}")
        }
        _ => "what?".to_owned(),
    })
}
