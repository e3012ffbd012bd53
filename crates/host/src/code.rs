//! The code of an entry at work: loaded while it is called, not held when it has not been for
//! long.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use dhow_capabilities::{OwnImport, State, is_own};
use dhow_engine::{Code, Engine, HttpEntry, LinkError, Linker, Maker, Reuse};
use dhow_package::Artifact;
use thiserror::Error;
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::assembly::Assembly;

/// Where compiled code comes from, and what it is linked with.
pub(crate) struct Loader {
    pub(crate) engine: Arc<Engine>,
    pub(crate) linker: Linker<State>,
    /// The entries whose code is loaded, and since when each was not called.
    loaded: Mutex<Vec<(Weak<EntryCode>, Instant)>>,
}

/// Finds the code of one entry, loaded or not.
pub(crate) struct EntryCode {
    /// From what it is compiled again when the cache has lost it.
    assembly: Assembly,
    own: Box<[OwnImport]>,
    reuse: Option<Reuse>,
    loaded: ArcSwapOption<HttpEntry<State>>,
    /// Set by each call, cleared by each sweep: cheaper than the time of day.
    was_called: AtomicBool,
    /// Held by the one who loads it.
    loading: AsyncMutex<()>,
}

/// Loaded components at most: each holds a descriptor and three mappings, of which Linux gives a
/// process 65,530 unless told otherwise.
const MAX_LOADED: usize = 4_096;

impl Loader {
    pub(crate) fn new(engine: Arc<Engine>, linker: Linker<State>) -> Arc<Self> {
        Arc::new(Self { engine, linker, loaded: Mutex::default() })
    }

    /// Links `code`, which is made of `parts` components whose imports are `own`; `None` where it
    /// exports no handler.
    pub(crate) fn link(
        &self,
        code: &Code,
        own: &[OwnImport],
        parts: usize,
        reuse: Option<Reuse>,
    ) -> Option<Result<HttpEntry<State>, LinkError>> {
        if parts == 1 {
            return HttpEntry::new(&self.engine, &self.linker, code, reuse);
        }
        let mut linker = self.linker.clone();
        match dhow_capabilities::link_parts(&mut linker, parts, own) {
            Ok(()) => HttpEntry::new(&self.engine, &linker, code, reuse),
            Err(error) => Some(Err(LinkError::Import(error))),
        }
    }

    /// The code of an entry that was linked just now.
    pub(crate) fn loaded(
        &self,
        assembly: Assembly,
        own: Vec<OwnImport>,
        reuse: Option<Reuse>,
        entry: HttpEntry<State>,
    ) -> Arc<EntryCode> {
        let code = Arc::new(EntryCode {
            assembly,
            own: own.into(),
            reuse,
            loaded: ArcSwapOption::from_pointee(entry),
            was_called: AtomicBool::new(false),
            loading: AsyncMutex::new(()),
        });
        self.keep(&code);
        code
    }

    /// The handler of `code`, which is loaded where it is not.
    pub(crate) async fn entry(
        self: &Arc<Self>,
        code: &Arc<EntryCode>,
    ) -> Result<Arc<HttpEntry<State>>, LoadError> {
        if !code.was_called.load(Ordering::Relaxed) {
            code.was_called.store(true, Ordering::Relaxed);
        }
        if let Some(entry) = &*code.loaded.load() {
            return Ok(entry.clone());
        }
        let _loading = code.loading.lock().await;
        if let Some(entry) = code.loaded.load_full() {
            return Ok(entry);
        }
        let (loader, lost) = (self.clone(), code.clone());
        let load = move || loader.load(&lost);
        let entry = spawn_blocking(load).await.map_err(|_| LoadError::Cancelled)??;
        let entry = Arc::new(entry);
        code.loaded.store(Some(entry.clone()));
        self.keep(code);
        Ok(entry)
    }

    fn load(
        &self,
        EntryCode { assembly, own, reuse, .. }: &EntryCode,
    ) -> Result<HttpEntry<State>, LoadError> {
        let code = match self.engine.cached(assembly.digest().as_bytes()) {
            Some(code) => code,
            None => self.compile(assembly)?,
        };
        self.link(&code, own, assembly.len(), *reuse).and_then(Result::ok).ok_or(LoadError::Damaged)
    }

    fn compile(&self, assembly: &Assembly) -> Result<Code, LoadError> {
        let artifacts = assembly.read().map_err(LoadError::Lost)?;
        let bytes: Vec<_> = artifacts.iter().map(Artifact::bytes).collect();
        let joined = assembly.join(&bytes, &is_own).map_err(|_| LoadError::Damaged)?;
        let digest = assembly.digest();
        let code = self.engine.load(&joined.wasm, digest.as_bytes(), Maker::Anybody);
        code.map_err(|_| LoadError::Damaged)
    }

    /// Lets go of what was not called for `unused`, and of what was not called the longest where
    /// there is more than there may be.
    pub(crate) fn unload(&self, unused: Duration) {
        let now = Instant::now();
        let mut all = self.all();
        all.retain_mut(|(code, since)| {
            let Some(code) = code.upgrade() else { return false };
            if code.was_called.swap(false, Ordering::Relaxed) {
                *since = now;
            }
            now.duration_since(*since) < unused || !self.let_go(&code)
        });
        if all.len() > MAX_LOADED {
            all.sort_by_key(|(_, since)| *since);
            let surplus = all.len() - MAX_LOADED;
            let mut index = 0;
            all.retain(|(code, _)| {
                index += 1;
                index > surplus || !code.upgrade().is_none_or(|code| self.let_go(&code))
            });
        }
    }

    /// Only what the cache has is let go of: what is served from memory has nowhere else to be. Nor
    /// what has instances that wait for requests: their own time is to end first.
    fn let_go(&self, code: &EntryCode) -> bool {
        let is_in_use = code.loaded.load().as_ref().is_some_and(|entry| entry.has_instances());
        let goes = !is_in_use && self.engine.has_cached(code.assembly.digest().as_bytes());
        if goes {
            code.loaded.store(None);
        }
        goes
    }

    /// The number of entries whose code is loaded.
    pub(crate) fn count(&self) -> usize {
        self.all().iter().filter(|(code, _)| code.strong_count() > 0).count()
    }

    fn keep(&self, code: &Arc<EntryCode>) {
        let mut all = self.all();
        all.push((Arc::downgrade(code), Instant::now()));
        let is_too_much = all.len() > MAX_LOADED + MAX_LOADED / 8;
        drop(all);
        if is_too_much {
            self.unload(Duration::MAX);
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Weak<EntryCode>, Instant)>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntryCode {
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load().is_some()
    }
}

/// Code that was let go of can't be had again.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The code cache has lost it, and the component is not where it was.
    #[error("the component {} has changed or is gone, and so is its compiled code", .0.display())]
    Lost(PathBuf),
    /// It does not load or link as it did before.
    #[error("the component's code does not load any more")]
    Damaged,
    /// The process is coming to its end.
    #[error("loading was cut off")]
    Cancelled,
}
