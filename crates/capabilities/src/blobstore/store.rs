//! A store of objects, whatever stands behind it.

use std::{io, path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error as Cause, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, client::HttpError, local::LocalFileSystem, memory::InMemory,
    path::Path,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::{OnceCell, OwnedRwLockReadGuard, RwLock, Semaphore},
};
use tokio_util::task::TaskTracker;

pub(super) use super::bindings::dhow::blobstore::types::{
    Condition, Entry, Error, Instant, Metadata, PutOptions, Range,
};
use super::{s3::Refusal, upload::LARGE_AT_A_TIME};
use crate::http_client::chain;

/// The longest name, in bytes: as in S3.
const MAX_NAME: usize = 1 << 10;

/// The longest part of a name in a folder, in bytes: file systems have 255, and what is being
/// written has a number behind its name.
const MAX_PART: usize = 240;

/// As many entries are given at a time.
const ENTRIES_AT_A_TIME: usize = 128;

/// What is read of a file at a time.
const FILE_CHUNK: usize = 64 << 10;

/// Contents as they are read; after an error there is no more.
pub(super) type Content = BoxStream<'static, Result<Bytes, Error>>;

/// Objects by name. Others than those that guests read and write are not expected in it.
pub(crate) struct Store {
    /// What the operator calls it: addresses and keys stay out of the log.
    pub(super) name: String,
    place: Place,
    /// For contents that are larger than what is kept in memory of each.
    pub(super) large: Semaphore,
    /// What outlives the call that it came from: the end of an upload, however it was.
    pub(super) tasks: TaskTracker,
}

enum Place {
    Folder(Folder),
    Elsewhere(Arc<dyn ObjectStore>),
}

/// A folder of the host, which is made when it is first used.
pub(super) struct Folder {
    path: PathBuf,
    opened: OnceCell<Arc<dyn ObjectStore>>,
    /// Who changes an object on a condition is alone: file systems know no conditions.
    pub(super) changes: Arc<RwLock<()>>,
}

/// What was found.
pub(super) struct Object {
    pub(super) metadata: Metadata,
    /// How many bytes of it are given.
    pub(super) length: u64,
    pub(super) content: Content,
}

impl Store {
    pub(super) fn in_memory(name: &str) -> Self {
        Self::new(name, Place::Elsewhere(Arc::new(InMemory::new())))
    }

    pub(super) fn in_folder(name: &str, path: PathBuf) -> Self {
        let folder = Folder { path, opened: OnceCell::new(), changes: Arc::default() };
        Self::new(name, Place::Folder(folder))
    }

    pub(super) fn elsewhere(name: &str, objects: Arc<dyn ObjectStore>) -> Self {
        Self::new(name, Place::Elsewhere(objects))
    }

    fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            place,
            large: Semaphore::new(LARGE_AT_A_TIME),
            tasks: TaskTracker::new(),
        }
    }

    /// All of an object, or a range of it.
    pub(super) async fn get(
        self: &Arc<Self>,
        name: &str,
        range: Option<Range>,
    ) -> Result<Object, Error> {
        let path = self.path(name)?;
        let wanted = match range {
            None | Some(Range { start: 0, length: None }) => None,
            // No store knows a range of nothing.
            Some(Range { length: Some(0), .. }) => {
                return Ok(Object::empty(self.head(name).await?));
            }
            Some(Range { start, length: None }) => Some(GetRange::Offset(start)),
            Some(Range { start, length: Some(length) }) => {
                Some(GetRange::Bounded(start..start.saturating_add(length)))
            }
        };
        let options = GetOptions::new().with_range(wanted);
        match self.objects().await?.get_opts(&path, options).await {
            Ok(found) => Ok(self.object(found)),
            Err(error) => self.beyond_the_end(name, range, &error).await,
        }
    }

    /// What begins beyond an object's end is empty. Each store refuses it in a way of its own.
    async fn beyond_the_end(
        &self,
        name: &str,
        range: Option<Range>,
        error: &Cause,
    ) -> Result<Object, Error> {
        if let Some(Range { start, .. }) = range
            && matches!(error, Cause::Generic { .. })
            && find::<HttpError>(error).is_none()
        {
            let metadata = self.head(name).await?;
            if start >= metadata.size {
                return Ok(Object::empty(metadata));
            }
        }
        Err(self.unread(error))
    }

    fn object(self: &Arc<Self>, found: GetResult) -> Object {
        let GetResult { payload, meta, range, .. } = found;
        let length = range.end.saturating_sub(range.start);
        let store = self.clone();
        let content = match payload {
            GetResultPayload::File(file, _) => {
                let file = tokio::fs::File::from_std(file);
                read_file(file, range).map_err(move |error| store.broken(&error)).boxed()
            }
            GetResultPayload::Stream(stream) => {
                stream.map_err(move |error| store.failure(&error)).boxed()
            }
        };
        Object { metadata: metadata(&meta), length, content }
    }

    /// What is known of an object.
    pub(super) async fn head(&self, name: &str) -> Result<Metadata, Error> {
        let path = self.path(name)?;
        let options = GetOptions::new().with_head(true);
        let found = self.objects().await?.get_opts(&path, options).await;
        Ok(metadata(&found.map_err(|error| self.unread(&error))?.meta))
    }

    /// Removes an object, if it is there.
    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        let objects = self.objects().await?;
        let _changing = self.changing().await;
        match objects.delete(&path).await.map_err(|error| self.unread(&error)) {
            Err(Error::NotFound) => Ok(()),
            result => result,
        }
    }

    /// Removes all objects.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        let objects = self.objects().await?;
        let _changing = self.changing().await;
        let paths = objects.list(None).map_ok(|meta| meta.location).boxed();
        let mut deleted = objects.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result.map_err(|error| self.unread(&error)) {
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The objects whose names begin with `prefix`, some at a time.
    pub(super) async fn entries(
        self: &Arc<Self>,
        prefix: String,
    ) -> Result<BoxStream<'static, Result<Vec<Entry>, Error>>, Error> {
        // Stores list what is below a part of a name.
        let below = match prefix.rsplit_once('/') {
            Some((below, _)) => Some(check_name(below)?),
            None => None,
        };
        let store = self.clone();
        Ok(self
            .objects()
            .await?
            .list(below.as_ref())
            .try_ready_chunks(ENTRIES_AT_A_TIME)
            .map_ok(move |found| {
                let wanted =
                    found.iter().filter(|meta| meta.location.as_ref().starts_with(&prefix));
                wanted
                    .map(|meta| Entry { name: meta.location.to_string(), metadata: metadata(meta) })
                    .collect::<Vec<_>>()
            })
            .map_err(move |stream::TryReadyChunksError(_, error)| store.failure(&error))
            .boxed())
    }

    /// Writes the content of one object to another.
    pub(super) async fn copy(self: &Arc<Self>, source: &str, target: &str) -> Result<(), Error> {
        if source == target {
            return self.head(source).await.map(drop);
        }
        if self.folder().is_some() {
            // Not by a link, as `object_store` does: copied again, it would leave a file behind.
            return self.transfer(source, self, target).await;
        }
        let (source, target) = (self.path(source)?, self.path(target)?);
        let copied = self.objects().await?.copy_opts(&source, &target, CopyOptions::new()).await;
        copied.map_err(|error| self.failure(&error))
    }

    /// Writes the content of an object to one of another store.
    pub(super) async fn transfer(
        self: &Arc<Self>,
        source: &str,
        to: &Self,
        target: &str,
    ) -> Result<(), Error> {
        let Object { length, content, .. } = self.get(source, None).await?;
        let options = PutOptions { length: Some(length), condition: None };
        to.put(target, content, options).await.map(drop)
    }

    pub(super) async fn objects(&self) -> Result<&Arc<dyn ObjectStore>, Error> {
        match &self.place {
            Place::Elsewhere(objects) => Ok(objects),
            Place::Folder(folder) => folder
                .opened
                .get_or_try_init(|| folder.open())
                .await
                .map_err(|error| self.failure(&error)),
        }
    }

    pub(super) fn folder(&self) -> Option<&Folder> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Elsewhere(_) => None,
        }
    }

    /// To be held while something changes, without a condition.
    pub(super) async fn changing(&self) -> Option<OwnedRwLockReadGuard<()>> {
        match self.folder() {
            Some(folder) => Some(folder.changes.clone().read_owned().await),
            None => None,
        }
    }

    /// Where the object of that name is.
    pub(super) fn path(&self, name: &str) -> Result<Path, Error> {
        let path = check_name(name)?;
        let wrong = |why: &str| Err(Error::InvalidName(why.to_owned()));
        if self.folder().is_none() {
            return Ok(path);
        }
        if name.split('/').any(|part| part.len() > MAX_PART) {
            return wrong("in a folder a part of a name has at most 240 bytes");
        }
        // Such files are what is being written.
        let file = name.rsplit('/').next().unwrap_or(name);
        match file.split_once('#') {
            Some((_, number)) if is_number(number) => {
                wrong("in a folder no name ends in `#` and digits")
            }
            _ => Ok(path),
        }
    }

    /// What the guest is told of something that is not there to be read.
    fn unread(&self, error: &Cause) -> Error {
        match self.failure(error) {
            Error::InvalidName(_) => Error::NotFound,
            other => other,
        }
    }

    /// What the guest is told. Why is in the log, where that is the operator's to know.
    pub(super) fn failure(&self, error: &Cause) -> Error {
        let backend = &self.name;
        match error {
            Cause::NotFound { .. } => return Error::NotFound,
            Cause::AlreadyExists { .. } | Cause::Precondition { .. } => {
                return Error::ConditionFailed;
            }
            _ => {}
        }
        if let Some(refusal) = find::<Refusal>(error) {
            tracing::warn!(backend, "the blob store refuses: {refusal}");
            return match refusal.is_temporary() {
                true => Error::Unreachable,
                false => Error::Other(format!("the store refuses: {}", refusal.code)),
            };
        }
        if find::<HttpError>(error).is_some() {
            let cause = chain(error).last().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(backend, "the blob store can't be reached: {cause}");
            return Error::Unreachable;
        }
        match find::<io::Error>(error) {
            Some(error) => self.broken(error),
            None => {
                tracing::warn!(backend, "the blob store failed: {error}");
                Error::Other("the store failed".to_owned())
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Error {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidFilename => {
                let why = "in a folder no object's name is a part of another's";
                Error::InvalidName(why.to_owned())
            }
            _ => {
                let backend = &self.name;
                tracing::warn!(backend, "the blob store failed: {error}");
                Error::Other("the store failed".to_owned())
            }
        }
    }
}

impl Folder {
    async fn open(&self) -> Result<Arc<dyn ObjectStore>, Cause> {
        let made = tokio::fs::create_dir_all(&self.path).await;
        made.map_err(|error| Cause::Generic { store: "folder", source: error.into() })?;
        let objects = LocalFileSystem::new_with_prefix(&self.path)?;
        Ok(Arc::new(objects.with_fsync(true).with_automatic_cleanup(true)))
    }
}

impl Object {
    fn empty(metadata: Metadata) -> Self {
        Self { metadata, length: 0, content: stream::empty().boxed() }
    }
}

/// Checks what holds for every store: nothing in a name leads elsewhere, or deceives who reads it.
pub(super) fn check_name(name: &str) -> Result<Path, Error> {
    let why = if name.is_empty() || name.len() > MAX_NAME {
        "a name has from 1 to 1024 bytes"
    } else if name.chars().any(char::is_control) {
        "a name has no control characters"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "the parts of a name are not empty, and neither `.` nor `..`"
    } else {
        return Path::parse(name).map_err(|error| Error::InvalidName(error.to_string()));
    };
    Err(Error::InvalidName(why.to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn metadata(meta: &ObjectMeta) -> Metadata {
    Metadata {
        size: meta.size,
        modified: Instant {
            seconds: meta.last_modified.timestamp(),
            nanoseconds: meta.last_modified.timestamp_subsec_nanos(),
        },
        etag: meta.e_tag.clone(),
    }
}

/// The first of an error's causes that is an `E`.
fn find<E: std::error::Error + 'static>(error: &Cause) -> Option<&E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

fn read_file(
    file: tokio::fs::File,
    range: std::ops::Range<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
    let start = (file, range.start, range.end, true);
    stream::try_unfold(start, |(mut file, at, end, is_first)| async move {
        if is_first && at > 0 {
            file.seek(io::SeekFrom::Start(at)).await?;
        }
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let mut bytes = BytesMut::with_capacity(left.min(FILE_CHUNK));
        let mut limited = (&mut file).take(bytes.capacity() as u64);
        let read = limited.read_buf(&mut bytes).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok::<_, io::Error>(Some((bytes.freeze(), (file, at + read as u64, end, false))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["a", "a/b.png", "..a", "a..", "ä b", "100%", "a#b", "%2e%2e", ".../a", "-"] {
            assert_eq!(check_name(name).unwrap().as_ref(), name);
        }
        let long = "n".repeat(MAX_NAME + 1);
        for name in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0", "a\nb", &long]
        {
            assert!(matches!(check_name(name), Err(Error::InvalidName(_))), "{name}");
        }
    }

    #[test]
    fn a_folder_has_rules_of_its_own() {
        let folder = Store::in_folder("test", PathBuf::new());
        let long = "n".repeat(MAX_PART + 1);
        for name in ["a#1", "a/b#007", &long] {
            assert!(matches!(folder.path(name), Err(Error::InvalidName(_))), "{name}");
            assert!(Store::in_memory("test").path(name).is_ok(), "{name}");
        }
        for name in ["a#", "a#1b", "a#1/b", "#a", "a#1#2"] {
            assert!(folder.path(name).is_ok(), "{name}");
        }
    }
}
