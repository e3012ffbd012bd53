//! Does with the container of a label what the path says; in names `+` stands for `/`, `*` for `#`
//! and `!` for the end of a line. `/LABEL/put/NAME` (the request's body), `put/NAME/LENGTH`,
//! `get/NAME`, `get/NAME/START/LENGTH`, `get/NAME/START`, `send/NAME` (the stream as it is), `head`,
//! `delete/NAME`, `list/PREFIX`, `copy/FROM/TO`, `absent/NAME` and `stale/NAME` (puts the body on a
//! condition), `over/NAME` (in place of what is there), `fill/NAME/BYTES`, `fill/NAME/BYTES/absent`,
//! `drain/NAME` (reads and checks that), `cut/NAME/BYTES` (traps after so many), `cancel/NAME/BYTES`
//! (gives up after so many).

use std::{future::poll_fn, task::Poll};

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};
use wit_bindgen::{StreamReader, StreamResult};

mod imports {
    wit_bindgen::generate!({ path: "../../wit/blobstore", world: "imports" });
}

use imports::dhow::blobstore::{
    store::Container,
    types::{Condition, Error, PutOptions, Range},
};

struct Blobstore;

wasip3::http::service::export!(Blobstore);

impl wasip3::exports::http::handler::Guest for Blobstore {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (_received, received) = wit_future::new(|| Ok(()));
        let (body, _) = Request::consume_body(request, received);
        let meant = |word: &str| word.replace('+', "/").replace('*', "#").replace('!', "\n");
        let words: Vec<String> = path.trim_start_matches('/').split('/').map(meant).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let content = match words[..] {
            [label, "send", name] => send(label, name).await,
            _ => run(&words, body).await.map(text),
        };
        let content = content.unwrap_or_else(|error| text(format!("{error:?}")));
        let (_, trailers) = wit_future::new(|| Ok(None));
        Ok(Response::new(Fields::new(), Some(content), trailers).0)
    }
}

fn text(text: String) -> StreamReader<u8> {
    let (mut body, stream) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    stream
}

async fn send(label: &str, name: &str) -> Result<StreamReader<u8>, Error> {
    let container = Container::open(label.to_owned()).await?;
    let (_, content, _) = container.get(name.to_owned(), None).await?;
    Ok(content)
}

async fn run(words: &[&str], body: StreamReader<u8>) -> Result<String, Error> {
    let container = Container::open(words[0].to_owned()).await?;
    Ok(match words[1..] {
        ["put", name] => put(&container, name, body, None, None).await?,
        ["put", name, length] => {
            put(&container, name, body, Some(length.parse().unwrap()), None).await?
        }
        ["absent", name] => put(&container, name, body, None, Some(Condition::Absent)).await?,
        ["stale", name] => {
            let condition = Condition::Matches("\"stale\"".to_owned());
            put(&container, name, body, None, Some(condition)).await?
        }
        ["over", name] => {
            let etag = container.head(name.to_owned()).await?.etag.unwrap();
            put(&container, name, body, None, Some(Condition::Matches(etag))).await?
        }
        ["get", name] => get(&container, name, None).await?,
        ["get", name, start] => {
            let range = Range { start: start.parse().unwrap(), length: None };
            get(&container, name, Some(range)).await?
        }
        ["get", name, start, length] => {
            let length = Some(length.parse().unwrap());
            get(&container, name, Some(Range { start: start.parse().unwrap(), length })).await?
        }
        ["head", name] => {
            let metadata = container.head(name.to_owned()).await?;
            let is_recent = metadata.modified.seconds > 1_600_000_000;
            format!("{} bytes, {is_recent}, {}", metadata.size, metadata.etag.is_some())
        }
        ["delete", name] => format!("{:?}", container.delete(name.to_owned()).await?),
        ["list", prefix] => list(&container, prefix).await?,
        ["copy", from, to] => {
            format!("{:?}", container.copy(from.to_owned(), to.to_owned()).await?)
        }
        ["fill", name, bytes] => fill(&container, name, bytes, None, false).await?,
        ["fill", name, bytes, "absent"] => {
            fill(&container, name, bytes, Some(Condition::Absent), false).await?
        }
        ["cut", name, bytes] => fill(&container, name, bytes, None, true).await?,
        ["cancel", name, bytes] => cancel(&container, name, bytes).await,
        ["drain", name] => drain(&container, name).await?,
        _ => "what?".to_owned(),
    })
}

async fn put(
    container: &Container,
    name: &str,
    content: StreamReader<u8>,
    length: Option<u64>,
    condition: Option<Condition>,
) -> Result<String, Error> {
    let options = PutOptions { length, condition };
    let etag = container.put(name.to_owned(), content, options).await?;
    Ok(format!("etag {}", etag.is_some()))
}

async fn get(container: &Container, name: &str, range: Option<Range>) -> Result<String, Error> {
    let (metadata, content, ended) = container.get(name.to_owned(), range).await?;
    let bytes = content.collect().await;
    ended.await?;
    Ok(format!("{} of {}", String::from_utf8_lossy(&bytes), metadata.size))
}

async fn list(container: &Container, prefix: &str) -> Result<String, Error> {
    let (entries, ended) = container.entries(prefix.to_owned()).await?;
    let entries = entries.collect().await;
    ended.await?;
    let mut names: Vec<_> = entries
        .into_iter()
        .map(|entry| format!("{}={}", entry.name, entry.metadata.size))
        .collect();
    names.sort();
    Ok(names.join(","))
}

/// What is filled with: no two places of a part have the same bytes behind them.
fn pattern() -> Vec<u8> {
    (0..=250).cycle().take(251 * 256).collect()
}

async fn fill(
    container: &Container,
    name: &str,
    bytes: &str,
    condition: Option<Condition>,
    is_cut: bool,
) -> Result<String, Error> {
    let mut left: usize = bytes.parse().unwrap();
    let (mut writer, reader) = imports::wit_stream::new::<u8>();
    wit_bindgen::spawn_local(async move {
        while left > 0 {
            let mut piece = pattern();
            piece.truncate(left);
            left -= piece.len();
            if !writer.write_all(piece).await.is_empty() {
                return;
            }
        }
        if is_cut {
            panic!("as asked");
        }
    });
    put(container, name, reader, None, condition).await
}

async fn cancel(container: &Container, name: &str, bytes: &str) -> String {
    let (mut writer, reader) = imports::wit_stream::new::<u8>();
    let options = PutOptions { length: None, condition: None };
    let mut put = Box::pin(container.put(name.to_owned(), reader, options));
    let is_over = poll_fn(|context| Poll::Ready(put.as_mut().poll(context).is_ready())).await;
    writer.write_all(vec![7; bytes.parse().unwrap()]).await;
    drop(put);
    format!("over {is_over}")
}

async fn drain(container: &Container, name: &str) -> Result<String, Error> {
    let (_, mut content, ended) = container.get(name.to_owned(), None).await?;
    let mut expected = (0..=250u8).cycle();
    let (mut count, mut is_whole) = (0, true);
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let (result, mut read) = content.read(buffer).await;
        count += read.len();
        is_whole &= read.iter().all(|byte| expected.next() == Some(*byte));
        read.clear();
        buffer = read;
        if let StreamResult::Dropped = result {
            break;
        }
    }
    ended.await?;
    Ok(format!("{count} bytes, {is_whole}"))
}
