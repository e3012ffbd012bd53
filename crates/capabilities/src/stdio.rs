//! What guests write to standard output and standard error, line by line.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use dhow_manifest::Name;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    WasiCtxBuilder,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

/// Where the output of guests goes.
pub trait GuestOutput: Send + Sync + 'static {
    /// `author` wrote `line` to `stream`; it comes without its end.
    fn line(&self, author: &Author, stream: Stream, line: &[u8]);
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The app.
    pub app: Name,
    /// The component of it.
    pub component: Name,
}

/// An output stream of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Messages by `wasi:logging`, each of one or several lines.
    Log(LogLevel),
}

/// How much a message by `wasi:logging` matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the interface's own words")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

pub(crate) fn open(author: &Arc<Author>, output: &Arc<dyn GuestOutput>, wasi: &mut WasiCtxBuilder) {
    let lines = |stream| {
        Lines(Arc::new(Shared {
            author: author.clone(),
            stream,
            output: output.clone(),
            unfinished: Mutex::default(),
        }))
    };
    wasi.stdout(lines(Stream::Stdout)).stderr(lines(Stream::Stderr));
}

/// A longer line is cut into pieces of this many bytes.
const MAX_LINE: usize = 8 << 10;

/// What a guest may write in one call: a call can't be interrupted, and a byte may be a line.
const MAX_WRITE: usize = 16 << 10;

/// One output stream of one instance. All handles to it write to the same line.
#[derive(Clone)]
struct Lines(Arc<Shared>);

struct Shared {
    author: Arc<Author>,
    stream: Stream,
    output: Arc<dyn GuestOutput>,
    unfinished: Mutex<Vec<u8>>,
}

impl Shared {
    fn write(&self, mut bytes: &[u8]) {
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let room = MAX_LINE.saturating_sub(unfinished.len());
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            match piece.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let (line, _) = bytes.split_at(end);
                    unfinished.extend_from_slice(line);
                    self.put(&mut unfinished);
                    bytes = bytes.get(end + 1..).unwrap_or_default();
                }
                None => {
                    unfinished.extend_from_slice(piece);
                    if unfinished.len() == MAX_LINE {
                        self.put(&mut unfinished);
                    }
                    bytes = rest;
                }
            }
        }
    }

    fn put(&self, line: &mut Vec<u8>) {
        self.output.line(&self.author, self.stream, line);
        line.clear();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let unfinished = self.unfinished.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !unfinished.is_empty() {
            self.output.line(&self.author, self.stream, unfinished);
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // Not the default, whose background task loses what is still queued when a guest traps.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (bytes, _) = bytes.split_at(bytes.len().min(MAX_WRITE));
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_WRITE {
            return Err(StreamError::trap("a write beyond what check-write has permitted"));
        }
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl GuestOutput for Seen {
        fn line(&self, _: &Author, _: Stream, line: &[u8]) {
            self.0.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        }
    }

    fn lines_of(writes: &[&str]) -> Vec<String> {
        let seen = Arc::new(Seen::default());
        let shared = Shared {
            author: Arc::new(Author {
                app: Name::new("hello").unwrap(),
                component: Name::new("hello").unwrap(),
            }),
            stream: Stream::Stdout,
            output: seen.clone(),
            unfinished: Mutex::default(),
        };
        for write in writes {
            shared.write(write.as_bytes());
        }
        drop(shared);
        seen.0.lock().unwrap().clone()
    }

    #[test]
    fn output_comes_in_lines() {
        assert_eq!(lines_of(&["a\nb", "c\n", "\n", "d"]), ["a", "bc", "", "d"]);
        assert_eq!(lines_of(&[]), [] as [&str; 0]);
    }

    #[test]
    fn long_lines_are_cut() {
        let long = "x".repeat(2 * MAX_LINE + 5);
        let lengths: Vec<_> = lines_of(&[&long, "\ny\n"]).iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 5, 1]);
    }
}
