//! Bytes become entries: each line is `ID TIMESTAMP PAYLOAD`.

wit_bindgen::generate!({ path: "../wit", world: "parser" });

use exports::pipeline::data::parse::{Entry, Guest};
use wit_bindgen::{StreamReader, StreamResult};

struct Parser;

export!(Parser);

impl Guest for Parser {
    async fn process(mut input: StreamReader<u8>) -> StreamReader<Entry> {
        let (mut output, entries) = wit_stream::new();
        // Goes on after this function has returned. A write ends when the entries were read: no more
        // is read from the input than somebody takes from the output.
        wit_bindgen::spawn_local(async move {
            let mut lines = Lines::default();
            let mut status = StreamResult::Complete(0);
            while let StreamResult::Complete(_) = status {
                let piece;
                (status, piece) = input.read(Vec::with_capacity(PIECE)).await;
                let batch = lines.push(&piece);
                if !output.write_all(batch).await.is_empty() {
                    return; // Nobody reads on.
                }
            }
            output.write_all(lines.finish()).await;
        });
        entries
    }
}

/// How much is read at a time. All lines of a piece are handed on at once: what a call from component
/// to component costs is shared by them.
const PIECE: usize = 64 * 1024;

/// Longer lines are left out, as is what is no entry: a file may be anything.
const MAX_LINE: usize = 16 * 1024;

/// Splits into lines what comes in pieces.
#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Lines {
    /// The entries that end in this piece.
    fn push(&mut self, piece: &[u8]) -> Vec<Entry> {
        let mut lines = piece.split(|byte| *byte == b'\n');
        let rest = lines.next_back().unwrap_or_default();
        let mut entries = Vec::new();
        for line in lines {
            if self.begun.is_empty() {
                entries.extend(entry(line));
            } else {
                self.extend(line);
                entries.extend(entry(&self.begun));
                self.begun.clear();
            }
        }
        self.extend(rest);
        entries
    }

    /// The entry of a last line without an end.
    fn finish(self) -> Vec<Entry> {
        entry(&self.begun).into_iter().collect()
    }

    /// Keeps no more than what shows that the line is too long.
    fn extend(&mut self, bytes: &[u8]) {
        let room = (MAX_LINE + 1).saturating_sub(self.begun.len());
        self.begun.extend(bytes.iter().take(room));
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    if line.len() > MAX_LINE {
        return None;
    }
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let (id, timestamp) = (number(fields.next()?)?, number(fields.next()?)?);
    Some(Entry { id, payload: fields.next()?.to_vec(), timestamp })
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}
