//! Calls the guest `callee`, as the path says, and answers with what came of it:
//! `/add/N`, `/add-later/N`, `/length/N/SIZE` and `/after/N/SIZE` do it N times; `/bytes/SIZE` passes it
//! so many bytes in all ways, and gets them back; `/count/SIZE` sends it a stream;
//! `/produce/SIZE/PIECE`, `/entries/N` and `/entries/N/TAKEN` read one of its streams, the last not to
//! its end, and `/produce/SIZE/PIECE/ROOM` with room for several pieces at a time; `/some/N/TAKEN` sends it
//! entries of which it takes some. `/inside/add/N` and `/inside/length/N/SIZE` do the same without calling
//! anybody, `/by-name/N/NAME` sends requests, and `/body/SIZE/PIECE` answers with so many bytes.

wit_bindgen::generate!({
    path: "wit",
    world: "caller",
    additional_derives: [PartialEq],
});

use std::hint::black_box;

use dhow::calls::calls::{self, Entry, NoText};
use sleeper::beside_a_sleeper;
use wasip3::{
    http::{
        client,
        types::{ErrorCode, Fields, Request, Response, Scheme},
    },
    wit_future as http_future, wit_stream as http_stream,
};
use wit_bindgen::{StreamReader, StreamResult};

struct Calls;

wasip3::http::service::export!(Calls);

impl wasip3::exports::http::handler::Guest for Calls {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (piece, times) = match words[..] {
            ["body", size, piece] => {
                (vec![7; number(piece) as usize], number(size) / number(piece))
            }
            _ => (beside_a_sleeper(run(&words)).await.into_bytes(), 1),
        };
        let (mut body, stream) = http_stream::new();
        let (_, trailers) = http_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            for _ in 0..times {
                if !body.write_all(piece.clone()).await.is_empty() {
                    break;
                }
            }
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

async fn run(words: &[&str]) -> String {
    match *words {
        ["add", count] => (0..number(count)).fold(0, calls::add).to_string(),
        ["inside", "add", count] => (0..number(count)).fold(0, inside_add).to_string(),
        ["add-later", count] => {
            let mut sum = 0;
            for term in 0..number(count) {
                sum = calls::add_later(sum, term).await;
            }
            sum.to_string()
        }
        ["length", count, size] => {
            let bytes = vec![7; number(size) as usize];
            (0..number(count)).map(|_| calls::length(&bytes)).sum::<u64>().to_string()
        }
        ["after", count, size] => {
            let bytes = vec![7; number(size) as usize];
            let lengths = (0..number(count)).map(|_| calls::after(&bytes, 0).unwrap().len() as u64);
            lengths.sum::<u64>().to_string()
        }
        ["bytes", size] => {
            // At addresses that are even, and odd.
            (0..2).for_each(|start| bytes(number(size) as usize, start));
            "as they are".to_owned()
        }
        ["inside", "length", count, size] => {
            let bytes = vec![7; number(size) as usize];
            let lengths = (0..number(count)).map(|_| inside_length(black_box(bytes.clone())));
            lengths.sum::<u64>().to_string()
        }
        ["count", size] => count(number(size)).await.to_string(),
        ["produce", size, piece] => produce(number(size), number(piece), number(piece)).await,
        ["produce", size, piece, room] => produce(number(size), number(piece), number(room)).await,
        ["entries", count] => {
            let (mut entries, taken) = calls::entries(number(count)).await;
            let mut ids = 0;
            while let Some(entry) = entries.next().await {
                assert_eq!((entry.payload.len(), entry.timestamp), (64, entry.id * 1000));
                ids += entry.id;
            }
            format!("{ids} {}", taken.await)
        }
        ["entries", count, some] => {
            let (mut entries, taken) = calls::entries(number(count)).await;
            for _ in 0..number(some) {
                entries.next().await.unwrap();
            }
            drop(entries);
            taken.await.to_string()
        }
        ["some", count, taken] => some(number(count), number(taken)).await,
        ["by-name", count, name] => {
            let mut bytes = 0;
            for _ in 0..number(count) {
                bytes += request(name).await;
            }
            bytes.to_string()
        }
        _ => panic!("{words:?}"),
    }
}

/// Asks the component `name` of the app, and says how long its answer is.
async fn request(name: &str) -> usize {
    // Dropped at the end: a writer that is dropped writes, and waits until that is read.
    let (_no_trailers, trailers) = http_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(&format!("{name}.internal"))).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let answer = client::send(request).await.unwrap();
    let (_done, done) = http_future::new(|| Ok(()));
    let (body, _trailers) = Response::consume_body(answer, done);
    drain(body, ANSWER).await as usize
}

#[inline(never)]
fn inside_add(a: u64, b: u64) -> u64 {
    black_box(a).wrapping_add(black_box(b))
}

#[inline(never)]
fn inside_length(bytes: Vec<u8>) -> u64 {
    black_box(bytes).len() as u64
}

/// Passes so many bytes, which begin at `start` of what is allocated, and checks what comes back.
fn bytes(size: usize, start: usize) {
    let all: Vec<u8> = (0..start + size).map(|number| (number % 251) as u8).collect();
    let bytes = &all[start..];
    assert_eq!(calls::length(bytes), size as u64);
    assert_eq!(calls::append(bytes, &all), [bytes, &all].concat());
    assert_eq!(calls::after(bytes, 1).as_deref(), bytes.get(1..));
    let text: Vec<u8> = bytes.iter().map(|byte| b'a' + byte % 26).collect();
    let expected = if size == 0 { Err(NoText::Nothing) } else { Ok(text.to_ascii_uppercase()) };
    assert_eq!(calls::capitals("no such", &text), expected);
    let error = calls::capitals("☃", &[&text[..], &[0xff]].concat());
    assert_eq!(error, Err(NoText::Until(size as u64)));
}

const PIECE: usize = 64 << 10;
/// What is read of an answer at a time.
const ANSWER: usize = 4 << 10;

async fn count(size: u64) -> u64 {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        let (mut left, mut piece) = (size, vec![7; PIECE]);
        while left > 0 {
            piece.truncate(left.min(PIECE as u64) as usize);
            left -= piece.len() as u64;
            let (result, rest) = writer.write(piece).await;
            assert!(matches!(result, StreamResult::Complete(_)), "{result:?}");
            assert_eq!(rest.remaining(), 0);
            piece = rest.into_vec();
            piece.resize(PIECE, 7);
        }
    });
    calls::count(reader).await
}

async fn drain(mut bytes: StreamReader<u8>, piece: usize) -> u64 {
    let (mut total, mut buffer) = (0, Vec::with_capacity(piece));
    loop {
        let (result, mut read) = bytes.read(buffer).await;
        total += read.len() as u64;
        read.clear();
        buffer = read;
        if !matches!(result, StreamResult::Complete(_)) {
            return total;
        }
    }
}

/// Reads what is written by `piece`, with room for `room` bytes at a time.
async fn produce(size: u64, piece: u64, room: u64) -> String {
    drain(calls::produce(size, piece as u32).await, room as usize).await.to_string()
}

/// How many were taken, and how many could be written.
async fn some(count: u64, taken: u64) -> String {
    let (mut writer, reader) = wit_stream::new();
    let (told, written) = wit_future::new(|| 0);
    wit_bindgen::spawn_local(async move {
        let mut sent = 0;
        for id in 0..count {
            let entry = Entry { id, payload: Vec::new(), timestamp: 0 };
            if writer.write_one(entry).await.is_some() {
                break;
            }
            sent += 1;
        }
        let _ = told.write(sent).await;
    });
    let taken = calls::some(reader, taken).await;
    format!("{taken} {}", written.await)
}
