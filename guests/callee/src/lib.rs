//! What `calls` uses.

wit_bindgen::generate!({ path: "../calls/wit", world: "callee" });

use std::str::Utf8Error;

use exports::dhow::calls::calls::{Entry, Guest, NoText};
use sleeper::beside_a_sleeper;
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

struct Callee;

export!(Callee);

/// What is written or read at a time.
const PIECE: usize = 64 << 10;
/// As many entries at a time.
const ENTRIES: u64 = 64;

impl Guest for Callee {
    fn add(a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn add_later(a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn length(bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }

    fn append(mut first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
        first.extend(second);
        first
    }

    fn after(mut bytes: Vec<u8>, count: u64) -> Option<Vec<u8>> {
        let count = usize::try_from(count).ok().filter(|count| *count <= bytes.len())?;
        bytes.drain(..count);
        Some(bytes)
    }

    fn capitals(prefix: String, text: Vec<u8>) -> Result<Vec<u8>, NoText> {
        let until = |error: Utf8Error| NoText::Until(error.valid_up_to() as u64);
        let text = String::from_utf8(text).map_err(|error| until(error.utf8_error()))?;
        if text.is_empty() {
            return Err(NoText::Nothing);
        }
        Ok(text.strip_prefix(&prefix).unwrap_or(&text).to_uppercase().into_bytes())
    }

    async fn count(mut bytes: StreamReader<u8>) -> u64 {
        let (mut total, mut buffer) = (0, Vec::with_capacity(PIECE));
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

    async fn produce(count: u64, piece: u32) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(beside_a_sleeper(async move {
            let mut piece = vec![7; piece as usize];
            let mut left = count;
            while left > 0 {
                piece.truncate(left.min(piece.len() as u64) as usize);
                left -= piece.len() as u64;
                let length = piece.len();
                let (result, rest) = writer.write(piece).await;
                if !matches!(result, StreamResult::Complete(_)) {
                    return;
                }
                assert_eq!(rest.remaining(), 0);
                piece = rest.into_vec();
                // SAFETY: it had this length, and what was in it is there still. Filling it again
                // would be measured with the stream.
                unsafe { piece.set_len(length) };
            }
        }));
        reader
    }

    async fn entries(count: u64) -> (StreamReader<Entry>, FutureReader<u64>) {
        let (mut writer, reader) = wit_stream::new();
        let (told, taken) = wit_future::new(|| 0);
        wit_bindgen::spawn_local(async move {
            let mut sent = 0;
            while sent < count {
                let piece: Vec<_> = (sent..count.min(sent + ENTRIES)).map(entry).collect();
                let offered = piece.len() as u64;
                let left = writer.write_all(piece).await.len() as u64;
                sent += offered - left;
                if left > 0 {
                    break;
                }
            }
            drop(writer);
            let _ = told.write(sent).await;
        });
        (reader, taken)
    }

    async fn some(mut entries: StreamReader<Entry>, count: u64) -> u64 {
        let mut taken = 0;
        while taken < count {
            let Some(entry) = entries.next().await else { break };
            assert_eq!(entry.id, taken);
            taken += 1;
        }
        taken
    }
}

fn entry(id: u64) -> Entry {
    Entry { id, payload: id.to_le_bytes().repeat(8), timestamp: id * 1000 }
}
