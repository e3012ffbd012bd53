//! How much there may be in a folder.
//!
//! What is in it is counted when it is first written to, and from then on what is added, before it
//! is. What is taken away is not: once the quota seems reached the folder is counted anew. So what
//! is counted is never less than what is there, whatever guests do at the same time.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use dhow_manifest::MemorySize;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;
use walkdir::WalkDir;

/// What each file, folder and link counts besides its content: about what a file system takes.
const ENTRY: u64 = 4 << 10;

/// Counting takes at most this part of a core, so that no guest keeps one busy by it: after a count
/// the next begins as many times later as the count took.
const PAUSE: u32 = 10;

/// Where the folders are that manifests name, and what is in those that can be written to.
pub(crate) struct Volumes {
    root: PathBuf,
    /// Whether folders that are missing are made.
    makes_missing: bool,
    /// Shared by all who write to the same folder.
    usages: Mutex<HashMap<PathBuf, Weak<Usage>>>,
}

impl Volumes {
    /// Paths are relative to `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, makes_missing: false, usages: Mutex::default() }
    }

    /// From here on folders are made where there are none.
    pub(crate) fn make_missing(&mut self) {
        self.makes_missing = true;
    }

    /// The canonical path of `folder`.
    pub(super) fn find(&self, folder: &Path) -> io::Result<PathBuf> {
        if self.makes_missing {
            fs::create_dir_all(folder)?;
        }
        folder.canonicalize()
    }

    pub(crate) fn path_of(&self, folder: &Path) -> PathBuf {
        self.root.join(folder)
    }

    /// The quota `limit` for the folder at `path`, which is canonical.
    pub(super) fn quota(&self, path: PathBuf, limit: MemorySize) -> Quota {
        let mut usages = lock(&self.usages);
        usages.retain(|_, usage| usage.strong_count() > 0);
        let usage = usages.get(&path).and_then(Weak::upgrade).unwrap_or_else(|| {
            let usage = Arc::new(Usage::new(path.clone()));
            usages.insert(path, Arc::downgrade(&usage));
            usage
        });
        Quota { limit: limit.bytes(), usage }
    }
}

/// The most that may be in a folder, in bytes.
#[derive(Clone)]
pub(super) struct Quota {
    limit: u64,
    usage: Arc<Usage>,
}

/// What is in a folder.
struct Usage {
    folder: PathBuf,
    count: Mutex<Count>,
    /// Files that are open: what was removed from the folder takes space until it is closed.
    open: Mutex<Vec<Weak<File>>>,
    /// When the next count may begin.
    next_count: tokio::sync::Mutex<Instant>,
    /// Counts, and what is being written.
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// None before the first count.
    used: Option<u64>,
    /// Of that, what is not written yet.
    reserved: u64,
    /// How often it was counted.
    times: u64,
}

/// There is no room; or it is not known, after so many counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    times: u64,
}

impl From<Full> for io::Error {
    fn from(_: Full) -> Self {
        rustix::io::Errno::DQUOT.into()
    }
}

impl Quota {
    /// Reserves `bytes`, if there is room for them by what is known.
    pub(super) fn try_reserve(&self, bytes: u64) -> Result<Reserved, Full> {
        let mut count = lock(&self.usage.count);
        let full = Full { times: count.times };
        // What makes nothing larger always has room.
        if bytes > 0 {
            let after = count.used.ok_or(full)?.saturating_add(bytes);
            if after > self.limit {
                return Err(full);
            }
            count.used = Some(after);
            count.reserved += bytes;
        }
        Ok(Reserved { usage: self.usage.clone(), bytes })
    }

    /// Reserves `bytes`; where there is no room for them by what is known, counts again first.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reserved, Full> {
        match self.try_reserve(bytes) {
            Ok(reserved) => Ok(reserved),
            Err(full) => {
                self.count_again(full).await;
                self.try_reserve(bytes)
            }
        }
    }

    /// Counts what is in the folder, unless somebody has since `full` was found.
    pub(super) async fn count_again(&self, full: Full) {
        // Not by whoever asks: one who is cancelled would leave a count that nobody waits for.
        let counting = self.usage.tasks.spawn(self.usage.clone().count_again(full.times));
        if let Err(error) = counting.await {
            tracing::error!(%error, "counting what is in a folder");
        }
    }

    /// `file` was opened in the folder.
    pub(super) fn opened(&self, file: &Arc<File>) {
        let mut open = lock(&self.usage.open);
        if open.len() == open.capacity() {
            open.retain(|file| file.strong_count() > 0);
        }
        open.push(Arc::downgrade(file));
    }

    /// What goes on in the folder though nobody waits for it.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.usage.tasks
    }

    pub(super) fn is_of_same_folder(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.usage, &other.usage)
    }
}

/// Reserves room for one more file, folder or link, where there is a quota.
pub(super) async fn room_for_entry(quota: Option<Quota>) -> Result<Option<Reserved>, Full> {
    match quota {
        Some(quota) => quota.reserve(ENTRY).await.map(Some),
        None => Ok(None),
    }
}

impl Usage {
    fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            count: Mutex::default(),
            open: Mutex::default(),
            next_count: tokio::sync::Mutex::new(Instant::now()),
            tasks: TaskTracker::new(),
        }
    }

    async fn count_again(self: Arc<Self>, times: u64) {
        let mut next_count = self.next_count.lock().await;
        if lock(&self.count).times != times {
            return;
        }
        sleep_until(*next_count).await;
        let before = *lock(&self.count);
        let start = Instant::now();
        let usage = self.clone();
        let Ok(found) = spawn_blocking(move || usage.found()).await else { return };
        let mut count = lock(&self.count);
        // What was reserved before the count or during it may have been written or not.
        let added = count.used.unwrap_or_default().saturating_sub(before.used.unwrap_or_default());
        count.used = Some(found.saturating_add(before.reserved).saturating_add(added));
        count.times += 1;
        let now = Instant::now();
        *next_count = now + (now - start) * PAUSE;
    }

    /// The bytes of all that is in the folder, and of what was removed from it and is still open.
    fn found(&self) -> u64 {
        let entries = WalkDir::new(&self.folder).min_depth(1).into_iter();
        let found: u64 = entries
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|it| counted(&it))
            .sum();
        let open: Vec<_> = lock(&self.open).iter().filter_map(Weak::upgrade).collect();
        let mut seen = HashSet::new();
        let removed = open.iter().filter_map(|file| file.metadata().ok()).filter(|metadata| {
            metadata.nlink() == 0 && seen.insert((metadata.dev(), metadata.ino()))
        });
        found + removed.map(|metadata| counted(&metadata)).sum::<u64>()
    }
}

fn counted(metadata: &fs::Metadata) -> u64 {
    ENTRY + if metadata.is_file() { metadata.len() } else { 0 }
}

/// Bytes that are about to be written.
pub(super) struct Reserved {
    usage: Arc<Usage>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.usage.count).reserved -= self.bytes;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(folder: &Path, limit: u64) -> Quota {
        let volumes = Volumes::new(PathBuf::new());
        volumes.quota(folder.to_owned(), MemorySize::from_bytes(limit))
    }

    #[tokio::test]
    async fn what_is_there_counts_and_what_is_gone_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::write(&kept, vec![0; 10_000]).unwrap();
        let quota = quota(folder.path(), 10_000 + ENTRY + 5_000);
        assert!(quota.try_reserve(1).is_err(), "nobody has counted yet");
        assert!(quota.try_reserve(0).is_ok());
        assert!(quota.reserve(5_001).await.is_err());
        drop(quota.reserve(5_000).await.unwrap());
        // It was reserved, and nothing was written.
        drop(quota.reserve(5_000).await.unwrap());
        fs::remove_file(&kept).unwrap();
        drop(quota.reserve(10_000).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_reserved_counts_though_it_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let quota = quota(folder.path(), 1_000);
        let first = quota.reserve(600).await.unwrap();
        assert!(quota.reserve(600).await.is_err());
        drop(first);
        assert!(quota.reserve(600).await.is_ok());
    }

    #[tokio::test]
    async fn what_was_removed_counts_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("removed");
        fs::write(&path, vec![0; 10_000]).unwrap();
        let quota = quota(folder.path(), 10_000);
        let file = Arc::new(File::open(&path).unwrap());
        quota.opened(&file);
        fs::remove_file(&path).unwrap();
        assert!(quota.reserve(1).await.is_err());
        drop(file);
        assert!(quota.reserve(1).await.is_ok());
    }
}
