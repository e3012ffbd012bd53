//! The data folder of a server, which one process has at a time.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    thread,
    time::Duration,
};

use dhow_manifest::Name;
use thiserror::Error;

/// The folder, held for as long as this lives.
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Locked: the system lets go of it with the process, however that ends.
    _lock: File,
}

impl DataFolder {
    /// Takes the folder at `path`, which is made where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |error| DataError::Unusable(path.to_owned(), error);
        make(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        let lock = match take(lock) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => return Err(DataError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let path = path.canonicalize().map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// For compiled code.
    pub(crate) fn code(&self) -> PathBuf {
        self.path.join("code")
    }

    /// For components.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// The file that says which apps there are.
    pub(crate) fn registry(&self) -> PathBuf {
        self.path.join("registry.redb")
    }

    /// For what the apps of one tenant keep.
    pub(crate) fn tenant(&self, tenant: &Name) -> PathBuf {
        self.path.join("tenants").join(tenant.as_str())
    }

    /// The key that secrets are encrypted with, where the operator names no other.
    pub(crate) fn secret_key(&self) -> PathBuf {
        self.path.join("secret.key")
    }
}

/// For how long a lock is waited for. A server that was killed while it started a compiler leaves a process
/// behind that has all of its files, until it has become the compiler.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Locks `file`.
fn take(file: File) -> Result<File, TryLockError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        result => return result.map(|()| file),
    }
    let (sender, receiver) = sync_channel(1);
    // Where it is not to be had in time the process ends, and the thread with it.
    thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(locked);
    });
    match receiver.recv_timeout(LOCK_WAIT) {
        Ok(locked) => locked.map_err(TryLockError::Error),
        Err(_) => Err(TryLockError::WouldBlock),
    }
}

/// Makes a folder that only its owner can look into, where there is none.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What a folder lists is on disk once the folder is.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The data folder can't be had.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum DataError {
    #[error("another server uses the data folder {}", .0.display())]
    InUse(PathBuf),
    #[error("the data folder {} can't be used: {}", .0.display(), .1)]
    Unusable(PathBuf, io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_server_has_left_behind_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let left = File::create(folder.path().join("lock")).unwrap();
        left.lock().unwrap();
        thread::scope(|scope| {
            let opening = scope.spawn(|| DataFolder::open(folder.path()).map(drop));
            drop(left);
            opening.join().unwrap().unwrap();
        });
        let open = DataFolder::open(folder.path()).unwrap();
        assert!(matches!(DataFolder::open(folder.path()), Err(DataError::InUse(_))));
        drop(open);
    }
}
