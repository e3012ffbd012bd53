//! The cache of single functions: a component of which one function has changed is compiled in
//! about the time that this function takes.
//!
//! Compiled functions are code, so each is kept with a keyed hash, like what is in the code cache.

use std::{
    borrow::Cow,
    fmt,
    fs::{self, OpenOptions},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard},
};

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use wasmtime::CacheStore;

use crate::cache_key::Key;

/// As many functions as some hundred components of Rust's have, or a few of Python's.
const MAX_BYTES: u64 = 512 << 20;

const FUNCTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("functions");
const TAG_BYTES: usize = blake3::OUT_LEN;

/// What wasmtime asks for functions, by all of its compiling threads at once. It knows some while a
/// [`Session`] is open.
#[derive(Clone)]
pub(crate) struct Functions(Arc<RwLock<Option<Open>>>);

struct Open {
    database: Database,
    /// None where nothing was written yet.
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    key: Key,
    compiled: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// The functions are at hand until this is dropped; then what was compiled is kept.
pub(crate) struct Session<'a>(&'a Functions);

impl Functions {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Opens the database in `folder`. None where another process or thread has it open, or it
    /// can't be had: then everything is compiled.
    pub(crate) fn open(&self, folder: &Path, key: &Key) -> Option<Session<'_>> {
        let mut open = self.state();
        if open.is_some() {
            return None;
        }
        let path = folder.join("functions.redb");
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_BYTES) {
            let _ = fs::remove_file(&path);
        }
        let database = database(&path)?;
        let table = database.begin_read().ok().and_then(|read| read.open_table(FUNCTIONS).ok());
        *open = Some(Open { database, table, key: key.clone(), compiled: Mutex::default() });
        Some(Session(self))
    }

    fn state(&self) -> RwLockWriteGuard<'_, Option<Open>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn database(path: &PathBuf) -> Option<Database> {
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(redb::StorageError::Io)?;
        Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)
    };
    match open() {
        Ok(database) => Some(database),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "compiled functions are lost");
            fs::remove_file(path).ok()?;
            open().ok()
        }
    }
}

impl Open {
    fn tag(&self, key: &[u8], code: &[u8]) -> blake3::Hash {
        let mut hasher = self.key.hasher();
        hasher.update(b"function").update(&key.len().to_le_bytes()).update(key).update(code);
        hasher.finalize()
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.table.as_ref()?.get(key).ok()??;
        let (tag, code) = value.value().split_at_checked(TAG_BYTES)?;
        let tag = blake3::Hash::from_bytes(tag.try_into().ok()?);
        (tag == self.tag(key, code)).then(|| code.to_vec())
    }

    fn keep(mut self) -> Result<(), redb::Error> {
        self.table = None;
        let compiled = mem::take(&mut self.compiled).into_inner();
        let compiled = compiled.unwrap_or_else(PoisonError::into_inner);
        tracing::debug!("{} functions were compiled, the others were known", compiled.len());
        if compiled.is_empty() {
            return Ok(());
        }
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(FUNCTIONS)?;
            for (key, code) in &compiled {
                let mut value = self.tag(key, code).as_bytes().to_vec();
                value.extend_from_slice(code);
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.state().take().map(Open::keep) {
            tracing::warn!(%error, "compiled functions are not kept");
        }
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Functions")
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref()?.get(key).map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_ref() else { return false };
        let mut compiled = open.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.push((key.to_vec(), value));
        true
    }
}
