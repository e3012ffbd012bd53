//! The code cache: compiled components on disk.
//!
//! Loading compiled code runs it, so a forged file would be arbitrary code in this process
//! (CVE-2026-47218). A file is therefore only loaded after its tag was checked: a keyed hash over
//! the engine's fingerprint, the component's digest and the code, with a key that only the owner
//! of the cache can read. This file holds the one `unsafe` of the project.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use thiserror::Error;
use wasmtime::{Engine, component::Component};

/// The cache's size: a thousand components as Rust makes them, or fifty of Python's.
const MAX_BYTES: u64 = 1 << 30;

const TAG_BYTES: usize = blake3::OUT_LEN;
const KEY_BYTES: usize = blake3::KEY_LEN;

pub(crate) struct CodeCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    fingerprint: blake3::Hash,
    engine: Engine,
}

impl CodeCache {
    /// Opens the cache in `folder`, which is made where it is missing.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        check_owner(folder)?;
        Ok(Self {
            key: read_or_make_key(folder)?,
            fingerprint: fingerprint(engine),
            folder: folder.to_owned(),
            engine: engine.clone(),
        })
    }

    /// The code of the component with this digest, where the cache has it and it is genuine.
    pub(crate) fn load(&self, digest: &[u8; 32]) -> Option<Component> {
        let path = self.path(digest);
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cached code can't be read: compiling anew");
                return None;
            }
        };
        let genuine = file.split_at_checked(TAG_BYTES).and_then(|(tag, code)| {
            let tag = blake3::Hash::from_bytes(tag.try_into().ok()?);
            // `blake3::Hash` compares in constant time.
            (tag == self.tag(digest, code)).then_some(code)
        });
        let Some(code) = genuine else {
            tracing::warn!(file = %path.display(), "cached code is damaged or not ours: compiling anew");
            return None;
        };
        // What is used stays: eviction goes by this time.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        self.deserialize(code)
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "cached code does not load: compiling anew");
            })
            .ok()
    }

    /// Keeps `component`. A cache that can't be written is reported and done without.
    pub(crate) fn store(&self, digest: &[u8; 32], component: &Component) {
        if let Err(error) = self.write(digest, component) {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled code is not kept");
        }
    }

    fn write(&self, digest: &[u8; 32], component: &Component) -> Result<(), WriteError> {
        let code = component.serialize().map_err(WriteError::Serialize)?;
        // Written beside and renamed, so that no other process sees half a file.
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.folder)?;
        file.write_all(self.tag(digest, &code).as_bytes())?;
        file.write_all(&code)?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        self.evict()?;
        Ok(())
    }

    /// Removes what was used the longest ago, until the rest is no more than [`MAX_BYTES`].
    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let path = entry.path();
            if let (Some("cwasm"), Ok(metadata)) =
                (path.extension().and_then(|extension| extension.to_str()), entry.metadata())
            {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= MAX_BYTES {
                break;
            }
            // Another process may have been faster.
            let _ = fs::remove_file(path);
            bytes -= size;
        }
        Ok(())
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let mut name = blake3::Hasher::new();
        name.update(self.fingerprint.as_bytes()).update(digest);
        self.folder.join(format!("{}.cwasm", name.finalize().to_hex()))
    }

    fn tag(&self, digest: &[u8; 32], code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key)
            .update(self.fingerprint.as_bytes())
            .update(digest)
            .update(code)
            .finalize()
    }

    #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one place that loads code")]
    fn deserialize(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: `code` was written by an engine with this key and this fingerprint, as its tag
        // shows; `load` is the only caller and has checked the tag of these very bytes.
        unsafe { Component::deserialize(&self.engine, code) }
    }
}

/// What code depends on besides the component: wasmtime's version, its settings, the processor.
fn fingerprint(engine: &Engine) -> blake3::Hash {
    struct Blake3(blake3::Hasher);
    impl Hasher for Blake3 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // Not asked for: the hash is taken from the field.
        }
    }
    let mut hasher = Blake3(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize()
}

fn read_or_make_key(folder: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let path = folder.join("key");
    match read_key(&path) {
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
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read_key(&path),
        Err(error) => Err(error.error.into()),
    }
}

/// Who can write to the folder can put a key of his own there. The owner must be this process's
/// user, which a file that it makes there shows.
fn check_owner(folder: &Path) -> Result<(), OpenError> {
    let metadata = fs::metadata(folder)?;
    let ours = tempfile::tempfile_in(folder)?.metadata()?.uid();
    if metadata.uid() != ours || metadata.mode() & 0o022 != 0 {
        return Err(OpenError::NotOurs(folder.to_owned()));
    }
    Ok(())
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], OpenError> {
    let mut file: File = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path)?;
    let metadata = file.metadata()?;
    let folder = path.parent().unwrap_or(path);
    if metadata.mode() & 0o077 != 0 || metadata.uid() != fs::metadata(folder)?.uid() {
        return Err(OpenError::NotOurs(path.to_owned()));
    }
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// `open` fails on a symbolic link (Linux, `asm-generic/fcntl.h`).
const O_NOFOLLOW: i32 = 0o400_000;

/// A cache that can't be used.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no random numbers: {0}")]
    Random(String),
    #[error("{} is open to others; remove it to have it made anew", .0.display())]
    NotOurs(PathBuf),
}

#[derive(Debug, Error)]
enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Serialize(wasmtime::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const DIGEST: [u8; 32] = [7; 32];

    fn stored() -> (tempfile::TempDir, CodeCache, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = CodeCache::open(folder.path(), &engine).unwrap();
        cache.store(&DIGEST, &Component::new(&engine, EMPTY).unwrap());
        let file = cache.path(&DIGEST);
        (folder, cache, file)
    }

    #[test]
    fn what_was_stored_is_loaded_by_a_later_process() {
        let (folder, cache, file) = stored();
        assert!(cache.load(&DIGEST).is_some());
        let later = CodeCache::open(folder.path(), &cache.engine).unwrap();
        assert!(later.load(&DIGEST).is_some());
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_changed_file_is_not_loaded() {
        let (_folder, cache, file) = stored();
        let genuine = fs::read(&file).unwrap();
        for position in [0, TAG_BYTES, genuine.len() / 2, genuine.len() - 1] {
            let mut forged = genuine.clone();
            forged[position] ^= 1;
            fs::write(&file, forged).unwrap();
            assert!(cache.load(&DIGEST).is_none(), "byte {position}");
        }
        for length in [0, TAG_BYTES - 1, TAG_BYTES, genuine.len() - 1] {
            fs::write(&file, &genuine[..length]).unwrap();
            assert!(cache.load(&DIGEST).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn code_of_another_component_or_another_key_is_not_loaded() {
        let (_folder, cache, file) = stored();
        fs::copy(&file, cache.path(&[8; 32])).unwrap();
        assert!(cache.load(&[8; 32]).is_none());

        let (_other_folder, other, _) = stored();
        fs::copy(&file, other.path(&DIGEST)).unwrap();
        assert!(other.load(&DIGEST).is_none());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let (folder, cache, _) = stored();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let opened = CodeCache::open(folder.path(), &cache.engine);
        assert!(matches!(opened, Err(OpenError::NotOurs(_))));
    }

    #[test]
    fn what_was_used_the_longest_ago_is_removed_first() {
        let (folder, cache, used) = stored();
        let old = folder.path().join("old.cwasm");
        let file = File::create(&old).unwrap();
        file.set_len(MAX_BYTES).unwrap(); // Sparse: takes no room.
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        cache.store(&[8; 32], &Component::new(&cache.engine, EMPTY).unwrap());
        assert!(!old.exists());
        assert!(used.exists());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (folder, cache, _) = stored();
        let key = folder.path().join("key");
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            CodeCache::open(folder.path(), &cache.engine),
            Err(OpenError::NotOurs(_))
        ));
    }
}
