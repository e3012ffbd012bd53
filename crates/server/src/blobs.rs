//! The files of components, by digest.
//!
//! A file is there whole or not at all: it is written under another name, and is on disk before it gets
//! its own.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use dhow_package::{Digest, Hasher, MAX_BYTES};
use futures_util::{Stream, StreamExt as _};
use tempfile::NamedTempFile;
use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::{
    data,
    stored::{Claim, Excess},
};

/// A folder of files by digest.
pub(crate) struct Blobs {
    folder: PathBuf,
    /// Held by who gives a file its name, and by who removes one that is old.
    naming: Arc<Mutex<()>>,
}

/// Why a file was not taken.
#[derive(Debug, Error)]
pub(crate) enum PutError {
    #[error("what was sent has the digest {0}")]
    Mismatch(Digest),
    #[error("it is longer than a component may be")]
    TooLarge,
    #[error("it is more than the tenant may store")]
    Quota,
    #[error("the upload broke off: {0}")]
    BrokenOff(String),
    #[error("the file can't be written: {0}")]
    Disk(#[from] io::Error),
}

impl Blobs {
    /// The files in `folder`, which is made where there is none.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        data::make(&folder)?;
        Ok(Self { folder, naming: Arc::default() })
    }

    /// Where the file with `digest` is, if it is anywhere.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string().replace(':', "-"))
    }

    /// Keeps what `content` gives under `digest`, if it has it and no more than `claim` allows.
    pub(crate) async fn put<E: std::fmt::Display>(
        &self,
        digest: Digest,
        mut content: impl Stream<Item = Result<Bytes, E>> + Unpin,
        claim: &mut Claim<'_>,
    ) -> Result<(), PutError> {
        let mut file = Some(NamedTempFile::with_prefix_in(UNFINISHED, &self.folder)?);
        let mut hasher = Hasher::default();
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| PutError::BrokenOff(error.to_string()))?;
            if let Err(excess) = claim.grow(piece.len() as u64) {
                drain(content).await;
                return Err(match excess {
                    Excess::File => PutError::TooLarge,
                    Excess::Tenant => PutError::Quota,
                });
            }
            hasher.update(&piece);
            // The disk may be slow, and this thread answers others.
            let Some(mut unfinished) = file.take() else { break };
            let written = spawn_blocking(move || unfinished.write_all(&piece).map(|()| unfinished));
            file = Some(written.await.map_err(io::Error::other)??);
        }
        let found = hasher.finish();
        if found != digest {
            return Err(PutError::Mismatch(found));
        }
        let (path, folder, naming) = (self.path(&digest), self.folder.clone(), self.naming.clone());
        let finish = move || -> io::Result<()> {
            let Some(file) = file else { return Ok(()) };
            file.as_file().sync_all()?;
            let naming = naming.lock().unwrap_or_else(PoisonError::into_inner);
            file.persist(path)?;
            drop(naming);
            data::sync(&folder)
        };
        spawn_blocking(finish).await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Removes every file that is not in `keep` and was not written since `before`, those that were left
    /// unfinished among them.
    pub(crate) fn sweep(&self, keep: &HashSet<PathBuf>, before: SystemTime) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if keep.contains(&path) {
                continue;
            }
            // Whoever uploads it anew at this moment makes it a new file.
            let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
            let is_old = match fs::metadata(&path) {
                Ok(metadata) => metadata.modified()? < before,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            };
            if is_old {
                data::remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Whether the file with `digest` is there.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        Path::is_file(&self.path(digest))
    }
}

/// Reads on for a while: who is answered while he sends may not see the answer.
async fn drain<E>(mut content: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    let mut length = 0;
    while let Some(Ok(piece)) = content.next().await {
        length += piece.len() as u64;
        if length > MAX_BYTES {
            return;
        }
    }
}

/// What a file is called that is not there yet.
const UNFINISHED: &str = ".unfinished-";
