//! Values of the draft, on their way in and out: the streams of WASI 0.2 for them.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt as _;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError,
        StreamResult,
    },
    runtime::AbortOnDropJoinHandle,
};

use super::{
    pipe::{CAPACITY, Pipe, Stuck},
    store::{Content, Error, Object, PutOptions, Store},
};

/// The largest value that is given as a list: the host keeps it until the guest has it.
const MAX_LIST: u64 = 32 << 20;
/// The most that is read of a stream at a time.
const MAX_READ: usize = 64 << 10;

/// A value that is written to an object: before or after it is known to which.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
#[derive(Default)]
pub struct OutgoingValue {
    pipe: Arc<Pipe>,
    has_body: bool,
    /// What is being written. Where this is dropped, nothing is.
    writing: Option<AbortOnDropJoinHandle<Result<(), Error>>>,
}

impl OutgoingValue {
    /// Where its bytes go; once.
    pub(super) fn body(&mut self) -> Option<DynOutputStream> {
        if std::mem::replace(&mut self.has_body, true) {
            return None;
        }
        Some(Box::new(Body(self.pipe.clone())))
    }

    /// Has it written to an object while its bytes come.
    pub(super) fn write(&mut self, store: Arc<Store>, name: String) -> Result<(), Error> {
        if self.writing.is_some() {
            return Err(Error::Other("the value is written to an object already".to_owned()));
        }
        store.path(&name)?;
        let content = self.pipe.read().boxed();
        let options = PutOptions { length: None, condition: None };
        self.writing = Some(wasmtime_wasi::runtime::spawn(async move {
            store.put(&name, content, options).await.map(drop)
        }));
        Ok(())
    }

    /// Waits until the object is there: all that came was meant.
    pub(super) async fn finish(self) -> Result<(), Error> {
        let Some(writing) = self.writing else {
            return Err(Error::Other("the value was not written to an object".to_owned()));
        };
        self.pipe.end();
        writing.await
    }
}

/// The body of a value, for its guest.
struct Body(Arc<Pipe>);

impl OutputStream for Body {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.check_write()? {
            return Err(StreamError::trap("more was written than there was room for"));
        }
        // Fewer are taken where the reader has gone meanwhile, as the next call will say.
        self.0.write(&bytes);
        Ok(())
    }

    /// There is nothing to wait for: that all has arrived is known when the value is finished.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.room().map_err(|stuck| match stuck {
            Stuck::Closed => StreamError::Closed,
            Stuck::Unread => StreamError::LastOperationFailed(wasmtime::format_err!(
                "{CAPACITY} bytes wait for write-data to say where they go"
            )),
        })
    }
}

#[async_trait]
impl Pollable for Body {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.poll_ready(context)).await;
    }
}

/// A value that is read from an object.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct IncomingValue(Object);

impl IncomingValue {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    pub(super) fn size(&self) -> u64 {
        self.0.length
    }

    /// All of it.
    pub(super) async fn read(self) -> Result<Vec<u8>, Error> {
        let Object { length, mut content, .. } = self.0;
        if length > MAX_LIST {
            let why = format!("a value that is read at once has at most {MAX_LIST} bytes");
            return Err(Error::Other(why));
        }
        let mut read = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        while let Some(bytes) = content.next().await.transpose()? {
            read.extend_from_slice(&bytes);
        }
        Ok(read)
    }

    /// One piece after the other.
    pub(super) fn stream(self) -> DynInputStream {
        Box::new(Pieces { content: self.0.content, next: Some(Ok(Bytes::new())) })
    }
}

/// What is left of a value.
struct Pieces {
    content: Content,
    /// What was received and not yet read; none at the end.
    next: Option<Result<Bytes, Error>>,
}

#[async_trait]
impl InputStream for Pieces {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match &mut self.next {
            Some(Ok(bytes)) => Ok(bytes.split_to(size.min(bytes.len()).min(MAX_READ))),
            Some(Err(error)) => {
                let error = wasmtime::format_err!("{error:?}");
                self.next = None;
                Err(StreamError::LastOperationFailed(error))
            }
            None => Err(StreamError::Closed),
        }
    }
}

#[async_trait]
impl Pollable for Pieces {
    async fn ready(&mut self) {
        while let Some(Ok(bytes)) = &self.next
            && bytes.is_empty()
        {
            self.next = self.content.next().await;
        }
    }
}
