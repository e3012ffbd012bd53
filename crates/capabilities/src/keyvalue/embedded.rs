//! The store that needs no server: a redb file.
//!
//! Reads happen where they are asked for: they take microseconds, out of a mapped cache or the
//! system's. Changes are written by one thread, which puts all that wait into one transaction: a
//! commit takes as long as the disk takes, however many changes are in it. With them it removes what
//! has expired: the file grows by nothing but changes.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use async_trait::async_trait;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    expiry::{NEVER, Ttl, now},
    store::{
        Condition, KEYS_AT_A_TIME, Keys, MAX_VALUES, Store, StoreError, add, version_of,
        within_bounds,
    },
    tables::{ENTRIES, Stored, Tables},
};

/// Changes that wait for their transaction; whoever comes later waits for a place.
const MAX_WAITING: usize = 1_024;
/// The most bytes of their values: they wait when who wanted them has gone, too.
const MAX_WAITING_BYTES: usize = 2 * MAX_VALUES;

/// What redb keeps of the file in memory.
const CACHE_BYTES: usize = 64 << 20;

/// With a number of changes so many expired entries are removed, which is more than they can add.
const fn swept_with(changes: usize) -> usize {
    64 + 2 * changes
}

pub(crate) struct Embedded {
    path: PathBuf,
    /// Nothing until it is first used, and while it can't be opened.
    opened: Arc<Slot>,
    /// Bytes that may wait to be written.
    room: Arc<Semaphore>,
}

type Slot = Mutex<Option<Opened>>;

#[derive(Clone)]
struct Opened {
    database: Arc<Database>,
    changes: mpsc::Sender<Change>,
}

/// Makes a change, and gives what tells whoever waits for it whether it was committed.
type Change = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Acknowledge, redb::StorageError> + Send>;
type Acknowledge = Box<dyn FnOnce(Committed)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Committed {
    Yes,
    No,
}

impl Embedded {
    /// The store in the file at `path`, which is made when it is first used.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, opened: Arc::default(), room: Arc::new(Semaphore::new(MAX_WAITING_BYTES)) }
    }

    fn opened(&self) -> Result<Opened, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(opened.clone());
        }
        let made = open(&self.path, Arc::downgrade(&self.opened)).map_err(|error| {
            let path = self.path.display();
            tracing::warn!("the key-value store {path} can't be opened: {error}");
            StoreError::Unreachable
        })?;
        Ok(opened.insert(made).clone())
    }

    /// Room for values of so many bytes, to be held until they are written.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let bytes = u32::try_from(bytes).map_err(|_| StoreError::TooMuch)?;
        self.room.clone().acquire_many_owned(bytes).await.map_err(|_| StoreError::Unreachable)
    }

    /// Has `apply` make a change, and waits until it is on disk. What `apply` refuses has to leave
    /// the entries as they were.
    async fn change<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut Tables<'_>) -> Result<Result<T, StoreError>, redb::StorageError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let change: Change = Box::new(move |tables| {
            let result = apply(tables)?;
            Ok(Box::new(move |committed| {
                let result = match committed {
                    Committed::Yes => result,
                    Committed::No => Err(StoreError::Unreachable),
                };
                // Whoever has gone does not want to know.
                let _ = done.send(result);
            }))
        });
        let opened = self.opened()?;
        opened.changes.send(change).await.map_err(|_| StoreError::Unreachable)?;
        answer.await.map_err(|_| StoreError::Unreachable)?
    }
}

fn open(path: &PathBuf, slot: Weak<Slot>) -> Result<Opened, redb::Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let transaction = database.begin_write()?;
    drop(Tables::open(&transaction)?);
    transaction.commit()?;
    let database = Arc::new(database);
    let (changes, waiting) = mpsc::channel(MAX_WAITING);
    let writer = database.clone();
    thread::Builder::new()
        .name("dhow-keyvalue".to_owned())
        .spawn(move || write(&writer, waiting, &slot))?;
    Ok(Opened { database, changes })
}

/// Writes what comes, until nobody is left who could send more.
fn write(database: &Database, mut waiting: mpsc::Receiver<Change>, slot: &Weak<Slot>) {
    let mut batch = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        batch.push(first);
        while let Ok(next) = waiting.try_recv() {
            batch.push(next);
        }
        commit(database, batch.drain(..), slot);
    }
}

/// One transaction. Where the file fails, nothing of it is kept.
fn commit(database: &Database, changes: impl ExactSizeIterator<Item = Change>, slot: &Weak<Slot>) {
    let mut waiting = Vec::new();
    let written = write_all(database, changes, &mut waiting);
    if let Err(error) = &written {
        tracing::error!("a key-value store can't be written to: {error}");
        if let Some(slot) = slot.upgrade() {
            let_go(&slot);
        }
    }
    let committed = if written.is_ok() { Committed::Yes } else { Committed::No };
    waiting.into_iter().for_each(|acknowledge| acknowledge(committed));
}

fn write_all(
    database: &Database,
    changes: impl ExactSizeIterator<Item = Change>,
    waiting: &mut Vec<Acknowledge>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        tables.sweep(swept_with(changes.len()))?;
        for change in changes {
            waiting.push(change(&mut tables)?);
        }
    }
    Ok(transaction.commit()?)
}

/// After an error of the disk redb refuses everything until the file is opened again, which is done
/// when it is next used.
fn let_go(slot: &Slot) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl Embedded {
    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        tracing::error!("a key-value store can't be read: {}", error.into());
        let_go(&self.opened);
        StoreError::Unreachable
    }

    fn entries(&self) -> Result<ReadOnlyTable<&'static str, Stored>, StoreError> {
        let transaction = self.opened()?.database.begin_read().map_err(|e| self.failed(e))?;
        transaction.open_table(ENTRIES).map_err(|e| self.failed(e))
    }

    /// What `read` makes of the value of `key`; none where it is not there.
    fn read<T>(
        &self,
        entries: &ReadOnlyTable<&'static str, Stored>,
        key: &str,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        let found = entries.get(key).map_err(|error| self.failed(error))?;
        let found = found.as_ref().map(|found| found.value());
        Ok(found.filter(|(expires, _)| now() < *expires).map(|(_, value)| read(value)))
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let entries = self.entries()?;
        within_bounds(keys.iter().map(|key| self.read(&entries, key, <[u8]>::to_vec)))
    }

    async fn set(&self, changed: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let room = self.room(changed.iter().map(|(_, value)| value.len()).sum()).await?;
        self.change(move |tables| {
            let _room = room;
            for (key, value) in &changed {
                tables.set(key, value, None)?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn put(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Ttl>,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let room = self.room(value.len()).await?;
        self.change(move |tables| {
            let _room = room;
            let holds =
                tables.read(&key, |found| condition.holds(found.map(|(_, value)| value)))?;
            if holds {
                tables.set(&key, &value, ttl)?;
            }
            Ok(Ok(holds))
        })
        .await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.change(move |tables| {
            for key in &keys {
                tables.remove(key)?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn remove(&self, key: String, version: String) -> Result<bool, StoreError> {
        self.change(move |tables| {
            let is_it = tables
                .read(&key, |found| found.is_some_and(|(_, value)| version_of(value) == version))?;
            if is_it {
                tables.remove(&key)?;
            }
            Ok(Ok(is_it))
        })
        .await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        Ok(self.read(&self.entries()?, &key, |_| ())?.is_some())
    }

    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<Keys, StoreError> {
        let (entries, now) = (self.entries()?, now());
        let mut found = Keys::default();
        let from = cursor.as_deref().unwrap_or(&prefix);
        let range = entries.range::<&str>(from..).map_err(|e| self.failed(e))?;
        for (count, entry) in range.enumerate() {
            let (key, stored) = entry.map_err(|e| self.failed(e))?;
            let (key, (expires, _)) = (key.value(), stored.value());
            if !key.starts_with(&prefix) {
                break;
            }
            if count == KEYS_AT_A_TIME {
                found.next = Some(key.to_owned());
                break;
            }
            if now < expires {
                found.keys.push(key.to_owned());
            }
        }
        Ok(found)
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.change(move |tables| {
            let (sum, expires) = tables.read(&key, |found| match found {
                Some((expires, value)) => (add(Some(value), delta), expires),
                None => (add(None, delta), NEVER),
            })?;
            if let Ok(number) = sum {
                tables.set_until(&key, number.to_string().as_bytes(), expires)?;
            }
            Ok(sum)
        })
        .await
    }
}
