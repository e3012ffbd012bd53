//! Instances that wait for their next request.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{InstanceState, instance::Instance};

/// How far an instance may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// The requests that one instance answers at most.
    pub requests: NonZeroU32,
    /// How long one is kept without a request.
    pub idle: Duration,
    /// The requests that one answers at the same time.
    pub calls: NonZeroU32,
}

/// The idle instances of one component, each for one request at a time.
pub(crate) struct Warm<T: 'static> {
    reuse: Reuse,
    /// The one that was used last is taken first, so that the others grow old.
    idle: Mutex<VecDeque<Idle<T>>>,
}

/// An instance, and how often it was used.
pub(crate) struct Used<T: 'static> {
    pub(crate) instance: Instance<T>,
    requests: u32,
}

struct Idle<T: 'static> {
    used: Used<T>,
    since: Instant,
}

impl<T: InstanceState> Warm<T> {
    pub(crate) fn new(reuse: Reuse) -> Self {
        Self { reuse, idle: Mutex::default() }
    }

    /// Whether any instance waits for a request.
    pub(crate) fn has_instances(&self) -> bool {
        !self.idle().is_empty()
    }

    pub(crate) fn take(&self) -> Option<Used<T>> {
        let Idle { mut used, since } = self.idle().pop_back()?;
        if since.elapsed() > self.reuse.idle {
            return None; // The others are older still, and will be swept.
        }
        used.requests += 1;
        Some(used)
    }

    /// Keeps an instance that has answered, unless it has answered often enough.
    pub(crate) fn put_back(&self, mut used: Used<T>) {
        // What it was refused once would be given as the reason of a later trap.
        let was_refused_memory = used.instance.store.data_mut().budget().refused().is_some();
        if used.requests < self.reuse.requests.get() && !was_refused_memory {
            self.idle().push_back(Idle { used, since: Instant::now() });
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: 'static> From<Instance<T>> for Used<T> {
    /// One that is used for the first time.
    fn from(instance: Instance<T>) -> Self {
        Self { instance, requests: 1 }
    }
}

/// Who has idle instances to give up.
trait Keeper: Send + Sync {
    /// Drops the one that was used the longest ago; false where there is none.
    fn evict_one(&self) -> bool;
    /// Drops those whose time is over.
    fn expire(&self, now: Instant);
}

impl<T: InstanceState> Keeper for Warm<T> {
    fn evict_one(&self) -> bool {
        let oldest = self.idle().pop_front();
        oldest.is_some()
    }

    fn expire(&self, now: Instant) {
        let mut idle = self.idle();
        let old = idle.partition_point(|idle| now.duration_since(idle.since) > self.reuse.idle);
        let old: Vec<_> = idle.drain(..old).collect();
        drop(idle); // The lock, before the instances.
        drop(old);
    }
}

/// All idle instances of an engine. They have places in its pool, which others may need.
#[derive(Default)]
pub(crate) struct IdleInstances(Mutex<Vec<Weak<dyn Keeper>>>);

impl IdleInstances {
    pub(crate) fn add<T: InstanceState>(&self, warm: &Arc<Warm<T>>) {
        let keeper: Arc<dyn Keeper> = warm.clone();
        let mut keepers = self.keepers();
        keepers.retain(|keeper| keeper.strong_count() > 0);
        keepers.push(Arc::downgrade(&keeper));
    }

    /// Drops an instance that is idle; false where none is.
    pub(crate) fn evict_one(&self) -> bool {
        let keepers: Vec<_> = self.keepers().iter().filter_map(Weak::upgrade).collect();
        keepers.iter().any(|keeper| keeper.evict_one())
    }

    /// Drops those that were idle for longer than they may.
    pub(crate) fn expire(&self, now: Instant) {
        let keepers: Vec<_> = self.keepers().iter().filter_map(Weak::upgrade).collect();
        for keeper in keepers {
            keeper.expire(now);
        }
    }

    fn keepers(&self) -> MutexGuard<'_, Vec<Weak<dyn Keeper>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
