//! The only crate that configures wasmtime: compiling, the code cache, instances, budgets and
//! deadlines.
//!
//! It is generic over the state that a store carries ([`InstanceState`]); what a component can
//! call is added to a [`Linker`](wasmtime::component::Linker) by others.

mod account;
mod alarm;
mod body;
mod bucket;
mod budget;
mod cache;
mod cache_key;
mod call_error;
mod code;
mod command;
mod compile;
mod epoch;
mod functions;
mod http;
mod instance;
mod metered;
mod modules;
mod pool;
mod reuse;
mod schedule;
mod shared;
mod shelf;
mod step;
mod turns;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;
use wasmtime::{Config, Module, Store, UpdateDeadline};
use wasmtime_wasi::WasiView;
use wasmtime_wasi_http::WasiHttpView;

use functions::Functions;
use schedule::Schedule;
use shelf::Shelf;

pub use account::{Account, AccountLimits, CpuShare};
pub use body::{Body, BodyError, ResponseBody};
pub use bucket::{Bucket, Rate};
pub use budget::{Budget, Refused};
pub use call_error::CallError;
pub use code::{Code, CompileError, LinkError, Maker};
pub use command::{CommandEntry, Exit};
pub use compile::{CompileLimits, Compiler, compile_as_child};
pub use http::{HttpCall, HttpEntry};
pub use reuse::Reuse;
pub use step::{Paced, paced};
/// What a component's imports are resolved by.
pub use wasmtime::component::Linker;

/// The state of one instance.
pub trait InstanceState: WasiView + WasiHttpView + Send + 'static {
    /// What the instance may use.
    fn budget(&mut self) -> &mut Budget;

    /// The instance begins with a request, which carries these extensions.
    fn begin(&mut self, request: &::http::Extensions);
}

/// Compiles components and makes stores for them. One for each process.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    cache: Option<cache::CodeCache>,
    /// The components that are loaded.
    code: Shelf<code::Loaded>,
    /// The core modules that are loaded by themselves, for whatever components.
    modules: Shelf<Module>,
    ticker: epoch::Ticker,
    schedule: Arc<Schedule>,
    idle: reuse::IdleInstances,
    places: usize,
    functions: Functions,
    compiler: Option<Compiler>,
}

/// How an [`Engine`] is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for compiled code; none is kept without one.
    pub code_cache: Option<PathBuf>,
    /// Where instances come from.
    pub instances: Instances,
    /// What compiles components that were not built here; this process does without one.
    pub compiler: Option<Compiler>,
    /// From how long on what a guest does at a time is done by threads for long work, so that others
    /// don't wait for it.
    pub long_step: Duration,
}

impl Options {
    /// What is usual for [`Self::long_step`].
    pub const LONG_STEP: Duration = schedule::LONG_STEP;
}

/// Where instances come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// A pool: one is made in microseconds.
    Pooled {
        /// So many, or as many as the machine has room for.
        instances: Option<NonZeroU32>,
        /// Of how many components each is made at most, where several are joined.
        parts: u32,
    },
    /// Each is made from nothing: for a single one, of any size.
    OnDemand,
}

/// A deadline is checked, and other tasks get their turn, after so many ticks of a guest's
/// uninterrupted work.
const TICKS_BEFORE_YIELD: u64 = 1;

/// Handles of one component instance at most: far above what a request needs, and far below what
/// it takes to hurt the host (RUSTSEC-2026-0020).
const MAX_HANDLES: usize = 4_096;

impl Engine {
    /// Makes the engine. A cache folder that can't be used is reported in the log and done
    /// without.
    ///
    /// # Errors
    /// When wasmtime does not run on this machine.
    pub fn new(options: &Options) -> Result<Self, EngineError> {
        let mut config = config();
        let functions = Functions::new();
        config.enable_incremental_compilation(Arc::new(functions.clone())).map_err(EngineError)?;
        let mut places = usize::MAX;
        if let Instances::Pooled { instances, parts } = options.instances {
            let parts = parts.max(1);
            let size = instances.map_or_else(|| pool::default_instances(parts), NonZeroU32::get);
            pool::warn_of_few_mappings(size, parts);
            config.allocation_strategy(pool::strategy(size, parts));
            places = size as usize;
        }
        #[expect(clippy::disallowed_methods, reason = "the one place that configures wasmtime")]
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError)?;
        let cache = options.code_cache.as_deref().and_then(|folder| {
            cache::CodeCache::open(folder, &wasmtime)
                .inspect_err(|error| {
                    tracing::warn!(folder = %folder.display(), %error, "no code cache");
                })
                .ok()
        });
        // As many as a runtime has threads, unless it is told otherwise.
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let schedule = Schedule::new(cores, options.long_step);
        let ticker = epoch::Ticker::start(&wasmtime, &schedule);
        Ok(Self {
            wasmtime,
            cache,
            code: Shelf::default(),
            modules: Shelf::default(),
            ticker,
            schedule,
            idle: reuse::IdleInstances::default(),
            places,
            functions,
            compiler: options.compiler.clone(),
        })
    }

    /// How many instances there can be at a time.
    pub fn places(&self) -> usize {
        self.places
    }

    /// An account for instances of this engine. Guests of one that uses much of the CPU take turns with
    /// those of the others.
    pub fn account(&self, limits: AccountLimits) -> Arc<Account> {
        Account::among(&self.schedule, limits)
    }

    /// A linker for this engine's components.
    pub fn linker<T: 'static>(&self) -> wasmtime::component::Linker<T> {
        wasmtime::component::Linker::new(&self.wasmtime)
    }

    /// Guests are interrupted while the result lives.
    pub(crate) fn running(&self) -> epoch::Running {
        self.ticker.running()
    }

    /// The instances that wait for a request.
    pub(crate) fn idle(&self) -> &reuse::IdleInstances {
        &self.idle
    }

    /// Drops the instances that were idle for longer than they may.
    pub fn expire_idle_instances(&self) {
        self.idle.expire(Instant::now());
    }

    /// A store for one instance, bounded by the state's budget. A guest that runs in it yields to
    /// other tasks at every tick, unless its step has only begun.
    pub fn store<T: InstanceState>(&self, state: T) -> Store<T> {
        let mut store = Store::new(&self.wasmtime, state);
        store.limiter(|state| state.budget());
        store.set_max_component_handles(MAX_HANDLES);
        store.set_epoch_deadline(TICKS_BEFORE_YIELD);
        store.epoch_deadline_callback(|_| {
            // Ticks pass while a guest waits, too.
            if step::has_only_begun() {
                return Ok(UpdateDeadline::Continue(TICKS_BEFORE_YIELD));
            }
            // Tokio's own yield, since waking oneself at once would not let timers run
            // (wasmtime#10667).
            let turn = Box::pin(tokio::task::yield_now());
            Ok(UpdateDeadline::YieldCustom(TICKS_BEFORE_YIELD, turn))
        });
        store
    }
}

/// What compiled code depends on: the same for all processes that share a code cache.
fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // WASI 0.3.1 asks hosts for both.
    config.wasm_component_model_map(true);
    config.wasm_component_model_implements(true);
    config
}

/// Wasmtime can't run here.
#[derive(Debug, Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct EngineError(wasmtime::Error);
