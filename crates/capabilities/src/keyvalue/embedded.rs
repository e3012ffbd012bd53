//! The store that needs no server: a redb file.
//!
//! Reads happen where they are asked for: they take microseconds, out of a mapped cache or the
//! system's. Changes are written by one thread, which puts all that wait into one transaction: a
//! commit takes as long as the disk takes, however many changes are in it.

use std::{
    fs,
    ops::Bound,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use async_trait::async_trait;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
};
use tokio::sync::{mpsc, oneshot};

use super::store::{KEYS_AT_A_TIME, Keys, Store, StoreError, add, within_bounds};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

/// Changes that wait for their transaction; whoever comes later waits for a place.
const MAX_WAITING: usize = 1_024;

/// What redb keeps of the file in memory.
const CACHE_BYTES: usize = 64 << 20;

pub(crate) struct Embedded {
    path: PathBuf,
    /// Nothing until it is first used, and while it can't be opened.
    opened: Arc<Slot>,
}

type Slot = Mutex<Option<Opened>>;

#[derive(Clone)]
struct Opened {
    database: Arc<Database>,
    changes: mpsc::Sender<Change>,
}

/// Makes a change, and gives what tells whoever waits for it whether it was committed.
type Change = Box<dyn FnOnce(&mut Entries<'_>) -> Result<Acknowledge, redb::StorageError> + Send>;
type Acknowledge = Box<dyn FnOnce(Committed)>;
type Entries<'a> = Table<'a, &'static str, &'static [u8]>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Committed {
    Yes,
    No,
}

impl Embedded {
    /// The store in the file at `path`, which is made when it is first used.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, opened: Arc::default() }
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

    /// Has `apply` make a change, and waits until it is on disk. What `apply` refuses has to leave
    /// the entries as they were.
    async fn change<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut Entries<'_>) -> Result<Result<T, StoreError>, redb::StorageError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let change: Change = Box::new(move |entries| {
            let result = apply(entries)?;
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
    transaction.open_table(ENTRIES)?;
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
fn commit(database: &Database, changes: impl Iterator<Item = Change>, slot: &Weak<Slot>) {
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
    changes: impl Iterator<Item = Change>,
    waiting: &mut Vec<Acknowledge>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for change in changes {
            waiting.push(change(&mut entries)?);
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

    fn entries(&self) -> Result<ReadOnlyTable<&'static str, &'static [u8]>, StoreError> {
        let transaction = self.opened()?.database.begin_read().map_err(|e| self.failed(e))?;
        transaction.open_table(ENTRIES).map_err(|e| self.failed(e))
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let entries = self.entries()?;
        within_bounds(keys.iter().map(|key| {
            let value = entries.get(key.as_str()).map_err(|error| self.failed(error))?;
            Ok(value.map(|value| value.value().to_vec()))
        }))
    }

    async fn set(&self, changed: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.change(move |entries| {
            for (key, value) in &changed {
                entries.insert(key.as_str(), value.as_slice())?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.change(move |entries| {
            for key in &keys {
                entries.remove(key.as_str())?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        Ok(self.entries()?.get(key.as_str()).map_err(|e| self.failed(e))?.is_some())
    }

    async fn keys(&self, cursor: Option<String>) -> Result<Keys, StoreError> {
        let entries = self.entries()?;
        let from = cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::new();
        for entry in entries.range::<&str>((from, Bound::Unbounded)).map_err(|e| self.failed(e))? {
            if keys.len() == KEYS_AT_A_TIME {
                return Ok(Keys { next: keys.last().cloned(), keys });
            }
            keys.push(entry.map_err(|e| self.failed(e))?.0.value().to_owned());
        }
        Ok(Keys { keys, next: None })
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.change(move |entries| {
            let value = entries.get(key.as_str())?;
            let sum = add(value.as_ref().map(redb::AccessGuard::value), delta);
            drop(value);
            if let Ok(number) = sum {
                entries.insert(key.as_str(), number.to_string().as_bytes())?;
            }
            Ok(sum)
        })
        .await
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        self.change(move |entries| {
            let found = entries.get(key.as_str())?;
            let is_expected = found.as_ref().map(redb::AccessGuard::value) == expected.as_deref();
            drop(found);
            if is_expected {
                entries.insert(key.as_str(), value.as_slice())?;
            }
            Ok(Ok(is_expected))
        })
        .await
    }
}
