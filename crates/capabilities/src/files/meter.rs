//! Writing to a file within a quota.

use std::{
    fs::File,
    future::Future,
    io,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};
use wasmtime::{
    StoreContextMut,
    component::{Source, StreamConsumer, StreamResult},
};
use wasmtime_wasi::{
    p2::{OutputStream, Pollable, StreamError},
    p3::bindings::filesystem::types::ErrorCode,
};

use super::quota::{Full, Quota};

/// As much is written at a time.
const CHUNK: usize = 64 << 10;

/// A file that can be written to, and the quota of its folder.
#[derive(Clone)]
pub(super) struct MeteredFile {
    file: Arc<File>,
    quota: Quota,
}

/// Where in a file bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    At(u64),
    End,
}

impl Place {
    fn after(self, bytes: usize) -> Self {
        match self {
            Self::At(offset) => Self::At(offset.saturating_add(bytes as u64)),
            Self::End => Self::End,
        }
    }
}

/// What keeps a file from being changed.
enum Fault {
    Full(Full),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl MeteredFile {
    pub(super) fn new(file: Arc<File>, quota: Quota) -> Self {
        Self { file, quota }
    }

    /// Writes all of `bytes`, or nothing where there is no room for them.
    pub(super) async fn write(self, place: Place, bytes: Bytes) -> io::Result<()> {
        self.change(move |file| file.try_write(place, &bytes)).await
    }

    /// Makes the file longer, if there is room, or shorter.
    pub(super) async fn set_len(self, len: u64) -> io::Result<()> {
        self.change(move |file| {
            let _reserved = file.grow_to(len)?;
            Ok(file.file.set_len(len)?)
        })
        .await
    }

    /// Tries `change`, and once more where only a count can tell whether there is room.
    async fn change(
        self,
        change: impl Fn(&Self) -> Result<(), Fault> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let quota = self.quota.clone();
        let change = Arc::new(move || change(&self));
        let attempt = || {
            let change = change.clone();
            async move { spawn_blocking(move || change()).await.map_err(io::Error::other) }
        };
        let result = match attempt().await? {
            Err(Fault::Full(full)) => {
                quota.count_again(full).await;
                attempt().await?
            }
            result => result,
        };
        result.map_err(|fault| match fault {
            Fault::Full(full) => full.into(),
            Fault::Io(error) => error,
        })
    }

    fn grow_to(&self, len: u64) -> Result<super::quota::Reserved, Fault> {
        let grown = len.saturating_sub(self.file.metadata()?.len());
        self.quota.try_reserve(grown).map_err(Fault::Full)
    }

    fn try_write(&self, place: Place, bytes: &[u8]) -> Result<(), Fault> {
        let size = bytes.len() as u64;
        match place {
            Place::At(offset) => {
                let _reserved = self.grow_to(offset.saturating_add(size))?;
                self.file.write_all_at(bytes, offset)?;
            }
            Place::End => {
                let _reserved = self.quota.try_reserve(size).map_err(Fault::Full)?;
                append(&self.file, bytes)?;
            }
        }
        Ok(())
    }
}

/// Appends all of `bytes`, wherever the end of the file is by then.
fn append(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bytes on their way to a file, one chunk at a time.
struct Writing {
    file: MeteredFile,
    place: Place,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl Writing {
    fn new(file: MeteredFile, place: Place) -> Self {
        Self { file, place, under_way: None }
    }

    fn begin(&mut self, bytes: Bytes) {
        let next = self.place.after(bytes.len());
        // What was accepted is written, whatever becomes of its request.
        let written = self.file.clone().write(self.place, bytes);
        self.under_way = Some(self.file.quota.tasks().spawn(written));
        self.place = next;
    }

    /// Ready once nothing is under way.
    fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(task) = &mut self.under_way else { return Poll::Ready(Ok(())) };
        let written = ready!(Pin::new(task).poll(context));
        self.under_way = None;
        Poll::Ready(written.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

/// What a guest of 0.2 writes to.
pub(super) struct FileOutput(State);

enum State {
    Open(Writing),
    Failed(io::Error),
    Closed,
}

impl FileOutput {
    pub(super) fn new(file: MeteredFile, place: Place) -> Self {
        Self(State::Open(Writing::new(file, place)))
    }

    /// What is being written to, unless it has failed: that is said once.
    fn open(&mut self) -> Result<&mut Writing, StreamError> {
        if let State::Failed(_) = self.0
            && let State::Failed(error) = std::mem::replace(&mut self.0, State::Closed)
        {
            return Err(StreamError::LastOperationFailed(error.into()));
        }
        match &mut self.0 {
            State::Open(writing) => Ok(writing),
            State::Failed(_) | State::Closed => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        let State::Open(writing) = &mut self.0 else { return };
        if let Err(error) = std::future::poll_fn(|context| writing.poll_done(context)).await {
            self.0 = State::Failed(error);
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let writing = self.open()?;
        if writing.under_way.is_some() || bytes.len() > CHUNK {
            return Err(StreamError::Trap(wasmtime::format_err!(
                "more was written than check-write permits"
            )));
        }
        writing.begin(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        self.open().map(|_| ())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        let writing = self.open()?;
        Ok(if writing.under_way.is_some() { 0 } else { CHUNK })
    }

    async fn cancel(&mut self) {
        self.ready().await;
    }
}

/// What a guest of 0.3 writes to.
pub(super) struct FileConsumer {
    writing: Writing,
    /// How many bytes are under way.
    taken: usize,
    result: Option<oneshot::Sender<Result<(), ErrorCode>>>,
}

impl FileConsumer {
    pub(super) fn new(
        file: MeteredFile,
        place: Place,
        result: oneshot::Sender<Result<(), ErrorCode>>,
    ) -> Self {
        Self { writing: Writing::new(file, place), taken: 0, result: Some(result) }
    }

    fn end(&mut self, result: Result<(), ErrorCode>) {
        if let Some(sender) = self.result.take() {
            // Whoever does not want to know has dropped it.
            let _ = sender.send(result);
        }
    }
}

impl<D> StreamConsumer<D> for FileConsumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, Self::Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        if self.writing.under_way.is_none() {
            let chunk = source.remaining();
            let chunk = chunk.get(..CHUNK).unwrap_or(chunk);
            if finish {
                return Poll::Ready(Ok(StreamResult::Cancelled));
            }
            self.taken = chunk.len();
            let chunk = Bytes::copy_from_slice(chunk);
            self.writing.begin(chunk);
        }
        // What is under way is written, whether its guest waits or not: a cancelled write waits for
        // that too, and says how much it was.
        match ready!(self.writing.poll_done(context)) {
            Ok(()) => {
                source.mark_read(self.taken);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(error) => {
                self.end(Err(error_code(&error)));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

impl Drop for FileConsumer {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

/// `error` as the interface says it; wasmtime-wasi does not know quotas.
pub(super) fn error_code(error: &io::Error) -> ErrorCode {
    if is_quota(error) { ErrorCode::Quota } else { error.into() }
}

/// Whether a quota was reached.
pub(super) fn is_quota(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::DQUOT.raw_os_error())
}
