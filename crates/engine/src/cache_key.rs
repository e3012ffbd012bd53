//! The secret by which the code cache knows what it has written itself.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use thiserror::Error;

const KEY_BYTES: usize = blake3::KEY_LEN;

/// `open` fails on a symbolic link (Linux, `asm-generic/fcntl.h`).
pub(crate) const O_NOFOLLOW: i32 = 0o400_000;

/// The key of a cache folder, which only the folder's owner can read.
#[derive(Clone)]
pub(crate) struct Key([u8; KEY_BYTES]);

impl Key {
    /// The key in `folder`, which is made where it is missing. The folder must belong to this
    /// process's user alone: who can write to it can put a key of his own there.
    pub(crate) fn of(folder: &Path) -> Result<Self, OpenError> {
        let metadata = fs::metadata(folder)?;
        if metadata.uid() != user() || metadata.mode() & 0o022 != 0 {
            return Err(OpenError::NotOurs(folder.to_owned()));
        }
        read_or_make(folder).map(Self)
    }

    /// A hash that only who has the key can make.
    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

/// Whether `file` is this user's, and nobody else's to read or write.
pub(crate) fn is_ours_alone(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.uid() == user() && metadata.mode() & 0o077 == 0)
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn read_or_make(folder: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let path = folder.join("key");
    match read(&path) {
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        // Cut off by a crash: what it has signed is lost, and made anew.
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            fs::remove_file(&path)?;
        }
        result => return result,
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| OpenError::Random(error.to_string()))?;
    // Linked into place, so that of two processes that start together one wins whole.
    let mut file =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read(&path),
        Err(error) => Err(error.error.into()),
    }
}

fn read(path: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path)?;
    if !is_ours_alone(&file)? {
        return Err(OpenError::NotOurs(path.to_owned()));
    }
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// A cache that can't be used.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no random numbers: {0}")]
    Random(String),
    #[error("{} is open to others, or not ours; remove it to have it made anew", .0.display())]
    NotOurs(PathBuf),
}
