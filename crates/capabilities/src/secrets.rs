//! Secrets that the user of an app has set: each in a file of its own, encrypted with a key that is
//! kept elsewhere (ChaCha20-Poly1305, RFC 8439).
//!
//! What is authenticated with a value is the secret's name, so that no file passes for another. An
//! older file of the same secret does.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use dhow_manifest::Name;
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
};
use tempfile::NamedTempFile;
use thiserror::Error;

/// What a file begins with: its format. The nonce follows, then the value, encrypted, and its tag.
const FORMAT: &[u8] = b"dhow secret 1\n";

const KEY_BYTES: usize = 32;

/// The largest value: more than any key, certificate or token has.
const MAX_VALUE: usize = 64 << 10;

/// The secrets of one app that its user has set.
#[derive(Debug)]
pub struct SecretFolder {
    folder: PathBuf,
    key: Option<PathBuf>,
}

impl SecretFolder {
    /// The secrets in the data folder `data`, encrypted with the key in the file `key`. Neither has
    /// to be there yet.
    pub fn new(data: &Path, key: Option<PathBuf>) -> Self {
        Self { folder: data.join("secrets"), key }
    }

    /// Sets a secret, in place of the one that there was. The key is made where there is none.
    ///
    /// # Errors
    /// When there is no value, or too much of one; when the key is not one; when the disk fails.
    pub fn set(&self, name: &Name, value: &str) -> Result<(), SecretError> {
        if value.is_empty() || value.len() > MAX_VALUE {
            return Err(SecretError::Length);
        }
        let key = self.key_or_new()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(SecretError::cipher)?;
        let mut sealed = value.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(name.as_str()),
            &mut sealed,
        )
        .map_err(SecretError::cipher)?;
        let path = self.path(name);
        self.write(&path, &[FORMAT, nonce.as_slice(), sealed.as_slice()].concat())
            .map_err(|error| SecretError::File(path, error))
    }

    /// The names of all secrets.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn list(&self) -> Result<BTreeSet<Name>, SecretError> {
        let names = || -> io::Result<_> {
            let mut names = BTreeSet::new();
            for entry in fs::read_dir(&self.folder)? {
                // What is not a name is being written, or was when the process was killed.
                names.extend(entry?.file_name().to_str().and_then(|name| Name::new(name).ok()));
            }
            Ok(names)
        };
        match names() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            result => result.map_err(|error| SecretError::File(self.folder.clone(), error)),
        }
    }

    /// Removes a secret; whether it was there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(&self, name: &Name) -> Result<bool, SecretError> {
        let path = self.path(name);
        match fs::remove_file(&path).and_then(|()| sync(&self.folder)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SecretError::File(path, error)),
        }
    }

    /// Whether a secret is set.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.path(name).is_file()
    }

    /// The value of a secret as it is now.
    pub(crate) fn read(&self, name: &Name) -> Result<String, SecretError> {
        let path = self.path(name);
        let most = FORMAT.len() + NONCE_LEN + MAX_VALUE + CHACHA20_POLY1305.tag_len();
        let content = match read_at_most(&path, most) {
            Ok(content) => content,
            Err(error) => return Err(SecretError::File(path, error)),
        };
        let key = self.key()?;
        open(&key, name, &content).ok_or(SecretError::NotGenuine(path))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        make_folder(&self.folder)?;
        written(&self.folder, content)?.persist(path)?;
        sync(&self.folder)
    }

    fn key(&self) -> Result<LessSafeKey, SecretError> {
        let path = self.key.as_deref().ok_or(SecretError::NoKey)?;
        let unread = |error| SecretError::Key(path.to_owned(), error);
        let mut file = File::open(path).map_err(unread)?;
        let metadata = file.metadata().map_err(unread)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(SecretError::OpenKey(path.to_owned()));
        }
        if metadata.len() != KEY_BYTES as u64 {
            return Err(unread(io::Error::other(format!("a key has {KEY_BYTES} bytes"))));
        }
        let mut bytes = [0; KEY_BYTES];
        file.read_exact(&mut bytes).map_err(unread)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(SecretError::cipher)?;
        Ok(LessSafeKey::new(key))
    }

    fn key_or_new(&self) -> Result<LessSafeKey, SecretError> {
        match self.key() {
            Err(SecretError::Key(path, error)) if error.kind() == io::ErrorKind::NotFound => {
                make_key(&path)?;
                self.key()
            }
            result => result,
        }
    }
}

fn open(key: &LessSafeKey, name: &Name, content: &[u8]) -> Option<String> {
    let (nonce, sealed) = content.strip_prefix(FORMAT)?.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let value = key.open_in_place(nonce, Aad::from(name.as_str()), &mut sealed).ok()?;
    String::from_utf8(value.to_vec()).ok()
}

fn make_key(path: &Path) -> Result<(), SecretError> {
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(SecretError::cipher)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let make = || {
        make_folder(folder)?;
        // Linked into place, so that of two processes that make one the first wins whole.
        match written(folder, &key)?.persist_noclobber(path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => sync(folder),
        }
    };
    make().map_err(|error| SecretError::Key(path.to_owned(), error))
}

/// Makes a folder that only its owner can look into, where there is none.
fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file in `folder` that only its owner can read, with `content` on disk, to be given its name.
fn written(folder: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let permissions = Permissions::from_mode(0o600);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Names of files are on disk once their folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut content)?;
    Ok(content)
}

/// What can't be done with a secret. Nothing of a value stands in it.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum SecretError {
    #[error("there is no folder for the key that secrets are encrypted with")]
    NoKey,
    #[error("the key {} that secrets are encrypted with: {}", .0.display(), .1)]
    Key(PathBuf, io::Error),
    #[error("the key {} that secrets are encrypted with is open to others", .0.display())]
    OpenKey(PathBuf),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("{} was damaged, or written for another name or with another key", .0.display())]
    NotGenuine(PathBuf),
    #[error("a secret has from 1 byte to 64 KiB")]
    Length,
    #[error("the system gives no random numbers")]
    Random,
}

impl SecretError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoKey => Some("name the key's file: export DHOW_SECRET_KEY_FILE=PATH".to_owned()),
            Self::OpenKey(path) => {
                Some(format!("keep it to yourself: chmod 600 {}", path.display()))
            }
            _ => None,
        }
    }

    /// The cipher itself refuses nothing that it is given here.
    fn cipher(_: Unspecified) -> Self {
        Self::Random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn secrets(folder: &Path) -> SecretFolder {
        SecretFolder::new(folder, Some(folder.join("keys/secret.key")))
    }

    #[test]
    fn what_is_set_is_read_and_nobody_else_can_read_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path());
        assert!(secrets.list().unwrap().is_empty());
        for value in ["first", "grüße\n", &"x".repeat(MAX_VALUE)] {
            secrets.set(&name("a"), value).unwrap();
            assert_eq!(secrets.read(&name("a")).unwrap(), value);
        }
        for value in ["", &"x".repeat(MAX_VALUE + 1)] {
            assert!(matches!(secrets.set(&name("a"), value), Err(SecretError::Length)));
        }
        fs::write(secrets.path(&name("a")).with_file_name(".tmp1"), "").unwrap();
        assert_eq!(secrets.list().unwrap(), BTreeSet::from([name("a")]));
        for file in [secrets.path(&name("a")), folder.path().join("keys/secret.key")] {
            assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        }
        assert!(secrets.remove(&name("a")).unwrap());
        assert!(!secrets.remove(&name("a")).unwrap());
        assert!(matches!(secrets.read(&name("a")), Err(SecretError::File(..))));
    }

    #[test]
    fn equal_values_are_not_seen_to_be_equal() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path());
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            secrets.set(&name("a"), "open sesame").unwrap();
            let content = fs::read(secrets.path(&name("a"))).unwrap();
            assert!(!content.windows(4).any(|part| part == b"open"));
            assert!(seen.insert(content));
        }
    }

    #[test]
    fn a_file_that_was_changed_in_any_byte_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path());
        secrets.set(&name("a"), "value").unwrap();
        let path = secrets.path(&name("a"));
        let whole = fs::read(&path).unwrap();
        let refused = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            matches!(secrets.read(&name("a")), Err(SecretError::NotGenuine(_)))
        };
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(refused(&changed), "byte {at}");
            assert!(refused(&whole[..at]), "cut off at {at}");
        }
        assert!(!refused(&whole));
        // A file of another name.
        fs::copy(&path, secrets.path(&name("b"))).unwrap();
        assert!(matches!(secrets.read(&name("b")), Err(SecretError::NotGenuine(_))));
    }

    #[test]
    fn a_key_that_is_not_ours_alone_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path());
        secrets.set(&name("a"), "value").unwrap();
        let key = folder.path().join("keys/secret.key");
        for mode in [0o604, 0o640, 0o620] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(secrets.read(&name("a")), Err(SecretError::OpenKey(_))));
            assert!(matches!(secrets.set(&name("a"), "b"), Err(SecretError::OpenKey(_))));
        }
        fs::remove_file(&key).unwrap();
        assert!(matches!(secrets.read(&name("a")), Err(SecretError::Key(..))));
        secrets.set(&name("b"), "value").unwrap();
        // Another key.
        assert!(matches!(secrets.read(&name("a")), Err(SecretError::NotGenuine(_))));
        fs::write(&key, "short").unwrap();
        assert!(matches!(secrets.set(&name("a"), "b"), Err(SecretError::Key(..))));
        let nowhere = SecretFolder::new(folder.path(), None);
        assert!(matches!(nowhere.set(&name("a"), "b"), Err(SecretError::NoKey)));
    }
}
