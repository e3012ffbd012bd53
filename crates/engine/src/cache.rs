//! The code cache: compiled components, and core modules of components, on disk; mapped into memory when
//! they are loaded.
//!
//! Loading compiled code runs it, so a forged file would be arbitrary code in this process
//! (CVE-2026-47218). A file is therefore only loaded after its tag was checked: a keyed hash over
//! the engine's fingerprint, the component's digest and the code, with a key that only the owner
//! of the cache can read. This file holds the one door to what is `unsafe` in the project.
//!
//! Reading all of a large file takes longer than loading it. What was checked once is therefore
//! sealed: a second keyed hash, over the identity of the file and the time of its last change as
//! the kernel keeps it (`ctime`, which no program sets). A file with a valid seal is the one that
//! was checked.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    hash::{Hash, Hasher},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use thiserror::Error;
use wasmtime::{Engine, Module, component::Component};

use crate::{
    cache_key::{Key, O_NOFOLLOW, OpenError, is_ours_alone},
    functions::{Functions, Session},
};

/// The cache's size: a thousand components as Rust makes them, or twenty-five of Python's.
const MAX_BYTES: u64 = 1 << 30;

/// Files of another layout have other names: here the code comes first, and then its tag.
const FORMAT: &[u8] = b"2";

const TAG_BYTES: usize = blake3::OUT_LEN;

/// A file that was changed less than this ago is not sealed: it could be changed once more without
/// a later time, since the kernel's clock for files ticks every few milliseconds.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) struct CodeCache {
    folder: PathBuf,
    key: Key,
    fingerprint: blake3::Hash,
    engine: Engine,
    /// What was said of a file is not said again.
    reported: Mutex<HashSet<PathBuf>>,
    write_has_failed: AtomicBool,
}

impl CodeCache {
    /// Opens the cache in `folder`, which is made where it is missing.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self {
            key: Key::of(folder)?,
            fingerprint: fingerprint(engine),
            folder: folder.to_owned(),
            engine: engine.clone(),
            reported: Mutex::default(),
            write_has_failed: AtomicBool::new(false),
        })
    }

    /// The code of what has this digest, where the cache has it and it is genuine.
    pub(crate) fn load<C: Compiled>(&self, digest: &[u8; 32]) -> Option<C> {
        let path = self.path(digest);
        match self.load_file(digest, &path) {
            Ok(code) => Some(code),
            Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
                if reported.insert(path.clone()) {
                    tracing::warn!(file = %path.display(), "cached code {error}: compiling anew");
                }
                None
            }
        }
    }

    fn load_file<C: Compiled>(&self, digest: &[u8; 32], path: &Path) -> Result<C, LoadError> {
        let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path)?;
        if !is_ours_alone(&file)? {
            return Err(LoadError::NotGenuine);
        }
        let seal = self.seal(digest, &file)?;
        let sealed = fs::read(path.with_extension("seal"));
        if sealed.as_deref().ok().and_then(hash_from) == Some(seal) {
            // What is used stays: eviction goes by this time.
            let touch = |file: File| file.set_modified(SystemTime::now());
            let _ = File::open(path.with_extension("seal")).and_then(touch);
        } else {
            self.check(digest, &mut file)?;
            if changed(&file)? + SETTLED < since_epoch() {
                let _ = self.write_whole(&path.with_extension("seal"), &[seal.as_bytes()]);
            }
        }
        self.map(&file).map_err(LoadError::Deserialize)
    }

    /// Whether the tag at the end of `file` is that of the code before it.
    fn check(&self, digest: &[u8; 32], file: &mut File) -> Result<(), LoadError> {
        let length = file.metadata()?.len();
        let code = length.checked_sub(TAG_BYTES as u64).ok_or(LoadError::NotGenuine)?;
        let mut hasher = self.hasher(digest);
        hasher.update_reader((&mut *file).take(code))?;
        let mut tag = [0; TAG_BYTES];
        file.seek(SeekFrom::Start(code))?;
        file.read_exact(&mut tag)?;
        // `blake3::Hash` compares in constant time.
        if hasher.finalize() == blake3::Hash::from_bytes(tag) {
            Ok(())
        } else {
            Err(LoadError::NotGenuine)
        }
    }

    /// What stands for `file` as it is: any change to it gives another.
    fn seal(&self, digest: &[u8; 32], file: &File) -> io::Result<blake3::Hash> {
        let metadata = file.metadata()?;
        let mut hasher = self.hasher(digest);
        hasher.update(b"seal");
        for number in [metadata.dev(), metadata.ino(), metadata.size()] {
            hasher.update(&number.to_le_bytes());
        }
        let (mtime, ctime) = (metadata.mtime(), metadata.ctime());
        for number in [mtime, metadata.mtime_nsec(), ctime, metadata.ctime_nsec()] {
            hasher.update(&number.to_le_bytes());
        }
        Ok(hasher.finalize())
    }

    /// Opens what is known of single functions, until the result is dropped.
    pub(crate) fn functions<'a>(&self, functions: &'a Functions) -> Option<Session<'a>> {
        functions.open(&self.folder, &self.key)
    }

    /// Whether there is a file for the component with this digest.
    pub(crate) fn has(&self, digest: &[u8; 32]) -> bool {
        self.path(digest).is_file()
    }

    /// Keeps `code`, and gives it back as it is in the cache: mapped, not in memory of its own. A cache
    /// that can't be written is reported once and done without.
    pub(crate) fn store<C: Compiled>(&self, digest: &[u8; 32], code: C) -> C {
        match self.write(digest, &code) {
            Ok(()) => self.load(digest).unwrap_or(code),
            Err(error) => {
                if !self.write_has_failed.swap(true, Ordering::Relaxed) {
                    let folder = self.folder.display();
                    tracing::warn!(
                        %folder, %error, "compiled code is not kept, and served from memory"
                    );
                }
                code
            }
        }
    }

    fn write(&self, digest: &[u8; 32], code: &impl Compiled) -> Result<(), WriteError> {
        let code = code.serialize().map_err(WriteError::Serialize)?;
        let tag = self.hasher(digest).update(&code).finalize();
        self.write_whole(&self.path(digest), &[&code, tag.as_bytes()])?;
        self.evict()?;
        Ok(())
    }

    /// Written beside and renamed, so that no other process sees half a file, and none that is
    /// mapped changes.
    fn write_whole(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.persist(path).map_err(|error| error.error)?;
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
                // The seal is touched by each use; before there is one, the file is new.
                let used =
                    fs::metadata(path.with_extension("seal")).and_then(|seal| seal.modified());
                files.push((used.or_else(|_| metadata.modified())?, metadata.len(), path));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in files {
            if bytes <= MAX_BYTES {
                break;
            }
            // Another process may have been faster.
            let _ = fs::remove_file(path.with_extension("seal"));
            let _ = fs::remove_file(path);
            bytes -= size;
        }
        Ok(())
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let mut name = blake3::Hasher::new();
        name.update(FORMAT).update(self.fingerprint.as_bytes()).update(digest);
        self.folder.join(format!("{}.cwasm", name.finalize().to_hex()))
    }

    fn hasher(&self, digest: &[u8; 32]) -> blake3::Hasher {
        let mut hasher = self.key.hasher();
        hasher.update(self.fingerprint.as_bytes()).update(digest);
        hasher
    }

    #[expect(unsafe_code, reason = "the one place that loads code")]
    fn map<C: Compiled>(&self, file: &File) -> wasmtime::Result<C> {
        // The very file that is open: another may have its name by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the file was written by an engine with this key and this fingerprint, as its tag
        // or its seal shows; `load_file` is the only caller and has checked one of them. Nobody but
        // this user can write to it, and no cache changes a file that has its name.
        unsafe { C::deserialize_file(&self.engine, path.as_ref()) }
    }
}

/// What a compiler of our own has handed over as compiled for `engine`.
#[expect(unsafe_code, reason = "the one file that loads code")]
pub(crate) fn adopt<C: Compiled>(
    engine: &Engine,
    compiled: &crate::compile::Compiled,
) -> wasmtime::Result<C> {
    // SAFETY: it is what this program, run as a child, has written to its output.
    unsafe { C::deserialize(engine, compiled.bytes()) }
}

/// What wasmtime compiles: a component, or a core module of one.
#[expect(unsafe_code, reason = "the one file that loads code")]
pub(crate) trait Compiled: Sized {
    /// Compiles it here.
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self>;

    /// Its code, as a file holds it.
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;

    /// # Safety
    /// `code` was serialized by an engine of the same fingerprint, and nobody has changed it.
    unsafe fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self>;

    /// # Safety
    /// The same of the file at `path`, which nobody changes while the result lives.
    unsafe fn deserialize_file(engine: &Engine, path: &Path) -> wasmtime::Result<Self>;
}

/// Implements [`Compiled`] by wasmtime's own functions of the same names.
macro_rules! compiled {
    ($code:ty) => {
        #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one file that loads code")]
        impl Compiled for $code {
            fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
                <$code>::new(engine, wasm)
            }

            fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
                <$code>::serialize(self)
            }

            unsafe fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self> {
                // SAFETY: the caller's.
                unsafe { <$code>::deserialize(engine, code) }
            }

            unsafe fn deserialize_file(engine: &Engine, path: &Path) -> wasmtime::Result<Self> {
                // SAFETY: the caller's.
                unsafe { <$code>::deserialize_file(engine, path) }
            }
        }
    };
}

compiled!(Component);
compiled!(Module);

fn hash_from(bytes: &[u8]) -> Option<blake3::Hash> {
    Some(blake3::Hash::from_bytes(bytes.try_into().ok()?))
}

/// When `file` was last changed, since 1970.
fn changed(file: &File) -> io::Result<Duration> {
    Ok(Duration::from_secs(u64::try_from(file.metadata()?.ctime()).unwrap_or(u64::MAX / 2)))
}

/// The time since 1970.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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

#[derive(Debug, Error)]
enum LoadError {
    #[error("can't be read ({0})")]
    Io(#[from] io::Error),
    #[error("is damaged or not ours")]
    NotGenuine,
    #[error("does not load ({0})")]
    Deserialize(wasmtime::Error),
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
        cache.store(&DIGEST, Component::new(&engine, EMPTY).unwrap());
        let file = cache.path(&DIGEST);
        (folder, cache, file)
    }

    #[test]
    fn what_was_stored_is_loaded_by_a_later_process() {
        let (folder, cache, file) = stored();
        assert!(cache.load::<Component>(&DIGEST).is_some());
        let later = CodeCache::open(folder.path(), &cache.engine).unwrap();
        assert!(later.load::<Component>(&DIGEST).is_some());
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
            assert!(cache.load::<Component>(&DIGEST).is_none(), "byte {position}");
        }
        for length in [0, TAG_BYTES - 1, TAG_BYTES, genuine.len() - 1] {
            fs::write(&file, &genuine[..length]).unwrap();
            assert!(cache.load::<Component>(&DIGEST).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn code_of_another_component_or_another_key_is_not_loaded() {
        let (_folder, cache, file) = stored();
        fs::copy(&file, cache.path(&[8; 32])).unwrap();
        assert!(cache.load::<Component>(&[8; 32]).is_none());

        let (_other_folder, other, _) = stored();
        fs::copy(&file, other.path(&DIGEST)).unwrap();
        assert!(other.load::<Component>(&DIGEST).is_none());
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
        cache.store(&[8; 32], Component::new(&cache.engine, EMPTY).unwrap());
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
