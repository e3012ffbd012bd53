//! Objects on their way into a store: those that are small at once, others in parts, of which
//! nothing is left when the last does not come.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryFutureExt as _};
use object_store::{
    GetOptions, MultipartUpload, ObjectStore, PutMode, PutMultipartOptions, PutPayload,
    PutPayloadMut, UpdateVersion, WriteMultipart, path::Path,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::store::{Condition, Content, Error, Folder, PutOptions, Store};

/// The size of each part but the last, and the largest object that is written at once: the smallest
/// that S3 takes. All are equal, as other servers want it.
const PART: usize = 5 << 20;

/// The largest object: in S3 an upload has at most 10,000 parts.
const MAX_OBJECT: u64 = 48 << 30;

/// As many parts of an object are sent at a time, while the next one comes.
const PARTS_AT_A_TIME: usize = 2;

/// What is kept of each object until it takes one of the places for large ones.
const KEPT_OF_EACH: usize = 256 << 10;

/// As many large objects are written to a store at a time: each takes the memory of three parts.
pub(super) const LARGE_AT_A_TIME: usize = 64;

impl Store {
    /// Writes an object: all of it, or nothing where `content` fails or this is dropped.
    pub(super) async fn put(
        &self,
        name: &str,
        mut content: Content,
        options: PutOptions,
    ) -> Result<Option<String>, Error> {
        let path = self.path(name)?;
        let objects = self.objects().await?;
        let PutOptions { length, condition } = options;
        let mut received = Received { bytes: 0, expected: length };
        let mut small = PutPayloadMut::new();
        let mut place = None;
        while let Some(bytes) = content.next().await.transpose()? {
            received.add(bytes.len())?;
            small.extend_from_slice(&bytes);
            if small.content_length() > KEPT_OF_EACH && place.is_none() {
                place = self.large.acquire().await.ok();
            }
            if small.content_length() > PART {
                break;
            }
        }
        if small.content_length() <= PART {
            received.end()?;
            return self.put_at_once(objects, &path, small.freeze(), condition).await;
        }
        if condition.is_some() {
            return Err(Error::TooLarge);
        }
        let failure = |error: object_store::Error| self.failure(&error);
        let parts = objects.put_multipart_opts(&path, PutMultipartOptions::default());
        let mut upload = Upload::new(self, parts.await.map_err(failure)?);
        for bytes in small.freeze() {
            upload.write(&bytes).map_err(failure).await?;
        }
        while let Some(bytes) = content.next().await.transpose()? {
            received.add(bytes.len())?;
            upload.write(&bytes).map_err(failure).await?;
        }
        received.end()?;
        upload.finish(self).await
    }

    async fn put_at_once(
        &self,
        objects: &Arc<dyn ObjectStore>,
        path: &Path,
        content: PutPayload,
        condition: Option<Condition>,
    ) -> Result<Option<String>, Error> {
        let mode = match (condition, self.folder()) {
            (None, _) => PutMode::Overwrite,
            (Some(Condition::Absent), _) => PutMode::Create,
            (Some(Condition::Matches(etag)), None) => {
                PutMode::Update(UpdateVersion { e_tag: Some(etag), version: None })
            }
            (Some(Condition::Matches(etag)), Some(folder)) => {
                return self.put_over(folder, objects, path, content, &etag).await;
            }
        };
        let _changing = self.changing().await;
        let put = objects.put_opts(path, content, mode.into()).await;
        Ok(put.map_err(|error| self.failure(&error))?.e_tag)
    }

    /// Writes an object of a folder in place of the one that has this etag.
    async fn put_over(
        &self,
        folder: &Folder,
        objects: &Arc<dyn ObjectStore>,
        path: &Path,
        content: PutPayload,
        etag: &str,
    ) -> Result<Option<String>, Error> {
        let _alone = folder.changes.write().await;
        let found = objects.get_opts(path, GetOptions::new().with_head(true)).await;
        match found.map_err(|error| self.failure(&error)) {
            Ok(found) if found.meta.e_tag.as_deref() == Some(etag) => {}
            Ok(_) | Err(Error::NotFound) => return Err(Error::ConditionFailed),
            Err(error) => return Err(error),
        }
        let put = objects.put_opts(path, content, PutMode::Overwrite.into()).await;
        Ok(put.map_err(|error| self.failure(&error))?.e_tag)
    }
}

/// How much of a content has come.
struct Received {
    bytes: u64,
    expected: Option<u64>,
}

impl Received {
    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.expected.is_some_and(|expected| self.bytes > expected) {
            return Err(Error::WrongLength);
        }
        if self.bytes > MAX_OBJECT { Err(Error::TooLarge) } else { Ok(()) }
    }

    fn end(&self) -> Result<(), Error> {
        match self.expected {
            Some(expected) if expected != self.bytes => Err(Error::WrongLength),
            _ => Ok(()),
        }
    }
}

/// An object that is written in parts. Where it is dropped before its end, it is taken back: by a
/// task, since that may take a request to a server.
struct Upload {
    parts: Option<WriteMultipart>,
    backend: String,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Upload {
    fn new(store: &Store, upload: Box<dyn MultipartUpload>) -> Self {
        Self {
            parts: Some(WriteMultipart::new_with_chunk_size(upload, PART)),
            backend: store.name.clone(),
            tasks: store.tasks.clone(),
            runtime: Handle::current(),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> object_store::Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        for bytes in bytes.chunks(PART) {
            parts.wait_for_capacity(PARTS_AT_A_TIME).await?;
            parts.write(bytes);
        }
        Ok(())
    }

    /// Makes the object visible. All of it is here: from now on it comes to its end, whoever waits.
    async fn finish(mut self, store: &Store) -> Result<Option<String>, Error> {
        let changing = store.changing().await;
        let Some(parts) = self.parts.take() else { return Ok(None) };
        let finished = self.tasks.spawn_on(
            async move {
                let _changing = changing;
                parts.finish().await
            },
            &self.runtime,
        );
        let finished = finished.await.unwrap_or_else(|error| Err(error.into()));
        Ok(finished.map_err(|error| store.failure(&error))?.e_tag)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let backend = std::mem::take(&mut self.backend);
        let abort = async move {
            if let Err(error) = parts.abort().await {
                tracing::warn!(backend, "an object that was cut off could not be removed: {error}");
            }
        };
        drop(self.tasks.spawn_on(abort, &self.runtime));
    }
}
