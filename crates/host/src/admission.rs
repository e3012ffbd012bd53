//! Who gets the next place, when all instances are in use.
//!
//! An engine has places for so many instances. Some are a tenant's own, its reserve, which no other
//! ever takes; the rest are shared. A request that finds none waits in its tenant's queue, and
//! tenants take turns in getting what becomes free: who has the longest queue waits the longest.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// How long a request waits for a place before it is refused: what a burst lasts. A client that
/// would wait longer is better served by another machine, or later.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The requests of one tenant that wait at most: each holds a connection and its headers.
const LONGEST_QUEUE: usize = 1_000;

/// The places of an engine.
pub(crate) struct Admission {
    shared: Semaphore,
    /// The tenants that have requests waiting, in the order of their turns.
    queues: Mutex<VecDeque<Queue>>,
    /// The requests in all queues: where there are none, no lock is taken.
    waiting: AtomicUsize,
}

/// Who asks for places: a tenant, or all calls by name. Some are its own.
pub(crate) struct Claimant {
    reserve: Semaphore,
}

struct Queue {
    claimant: Arc<Claimant>,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The right to have an instance, given back when it is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    claimant: Arc<Claimant>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Reserved,
    Shared,
    /// Given back already.
    Returned,
}

/// All places are taken, and the queue is as long as it may be, or was for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("all instances are in use")]
pub struct Full;

/// A reserve that is larger than what is left to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a reserve of {wanted} instances can't be had: {left} are left")]
pub struct ReserveError {
    /// What was asked for.
    pub wanted: usize,
    /// What there is.
    pub left: usize,
}

impl Admission {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            queues: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// A tenant with so many places of its own, which are taken from those that are free to share.
    pub(crate) fn claimant(&self, reserve: usize) -> Result<Arc<Claimant>, ReserveError> {
        let taken = self.shared.forget_permits(reserve);
        if taken < reserve {
            self.shared.add_permits(taken);
            return Err(ReserveError { wanted: reserve, left: taken });
        }
        Ok(Arc::new(Claimant { reserve: Semaphore::new(reserve) }))
    }

    /// A place for a request of `tenant`, at once or when its turn comes. One `by_name` goes before those
    /// from outside: who calls has a place already, and keeps it until the answer.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        claimant: &Arc<Claimant>,
        by_name: bool,
    ) -> Result<Place, Full> {
        // Nobody passes those who wait.
        if (by_name || self.waiting.load(Ordering::SeqCst) == 0)
            && let Some(place) = self.try_enter(claimant)
        {
            return Ok(place);
        }
        let turn = self.queue(claimant, by_name)?;
        // What became free before this request was in the queue.
        self.serve_queues();
        match timeout(LONGEST_WAIT, turn).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    fn try_enter(self: &Arc<Self>, claimant: &Arc<Claimant>) -> Option<Place> {
        let take = |places: &Semaphore| places.try_acquire().map(|permit| permit.forget()).is_ok();
        let kind = if take(&claimant.reserve) {
            Kind::Reserved
        } else if take(&self.shared) {
            Kind::Shared
        } else {
            return None;
        };
        Some(Place { admission: self.clone(), claimant: claimant.clone(), kind })
    }

    fn queue(
        &self,
        claimant: &Arc<Claimant>,
        is_first: bool,
    ) -> Result<oneshot::Receiver<Place>, Full> {
        let (sender, turn) = oneshot::channel();
        let mut queues = self.queues();
        match queues.iter_mut().find(|queue| Arc::ptr_eq(&queue.claimant, claimant)) {
            Some(queue) => {
                if queue.waiting.len() >= LONGEST_QUEUE {
                    queue.waiting.retain(|waiting| !waiting.is_closed());
                }
                if queue.waiting.len() >= LONGEST_QUEUE {
                    return Err(Full);
                }
                match is_first {
                    true => queue.waiting.push_front(sender),
                    false => queue.waiting.push_back(sender),
                }
            }
            None => {
                let waiting = VecDeque::from([sender]);
                queues.push_back(Queue { claimant: claimant.clone(), waiting });
            }
        }
        self.count(&queues);
        Ok(turn)
    }

    /// Gives what is free to those who wait, tenant by tenant.
    fn serve_queues(self: &Arc<Self>) {
        let mut queues = self.queues();
        loop {
            // The first whose turn it is and who can have a place: one with a reserve of its own
            // may get one where others can't.
            let next = queues
                .iter()
                .enumerate()
                .find_map(|(index, queue)| Some((index, self.try_enter(&queue.claimant)?)));
            let Some((index, place)) = next else { break };
            let Some(mut queue) = queues.remove(index) else { break };
            let mut place = Some(place);
            while let Some(waiting) = queue.waiting.pop_front()
                && let Some(given) = place.take()
            {
                place = waiting.send(given).err(); // One that has gone leaves it to the next.
                if place.is_none() {
                    break;
                }
            }
            if let Some(unclaimed) = place {
                unclaimed.put_back();
            }
            if !queue.waiting.is_empty() {
                queues.push_back(queue);
            }
        }
        self.count(&queues);
    }

    fn count(&self, queues: &VecDeque<Queue>) {
        let waiting = queues.iter().map(|queue| queue.waiting.len()).sum();
        self.waiting.store(waiting, Ordering::SeqCst);
    }

    fn queues(&self) -> MutexGuard<'_, VecDeque<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes it free, without a look at the queues.
    fn put_back(mut self) {
        self.make_free();
    }

    fn make_free(&mut self) {
        match mem::replace(&mut self.kind, Kind::Returned) {
            Kind::Reserved => self.claimant.reserve.add_permits(1),
            Kind::Shared => self.admission.shared.add_permits(1),
            Kind::Returned => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Returned) {
            return;
        }
        self.make_free();
        if self.admission.waiting.load(Ordering::SeqCst) > 0 {
            self.admission.serve_queues();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use futures_util::FutureExt as _;

    use super::*;

    type Entering<'a> = Pin<&'a mut dyn Future<Output = Result<Place, Full>>>;

    fn now(entering: Entering<'_>) -> Option<Result<Place, Full>> {
        entering.now_or_never()
    }

    #[tokio::test]
    async fn a_burst_of_one_tenant_leaves_the_reserve_of_another() {
        let admission = Admission::new(10);
        let quiet = admission.claimant(2).unwrap();
        let noisy = admission.claimant(0).unwrap();
        let mut places = Vec::new();
        while let Some(place) = admission.try_enter(&noisy) {
            places.push(place);
        }
        assert_eq!(places.len(), 8);
        let mut burst = pin!(admission.enter(&noisy, false));
        assert!(now(burst.as_mut()).is_none(), "it waits");
        // Those who wait do not stand in the way of a reserve.
        let first = admission.enter(&quiet, false).await.unwrap();
        let second = admission.enter(&quiet, false).await.unwrap();
        let mut third = pin!(admission.enter(&quiet, false));
        assert!(now(third.as_mut()).is_none(), "what is shared is taken");
        drop(first);
        assert!(now(third.as_mut()).is_some(), "its own place");
        assert!(now(burst.as_mut()).is_none(), "which is no one else's");
        drop(second);
        drop(places.pop());
        assert!(now(burst.as_mut()).is_some());
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let admission = Admission::new(1);
        let (many, few) = (admission.claimant(0).unwrap(), admission.claimant(0).unwrap());
        let place = admission.enter(&many, false).await.unwrap();
        let mut first = pin!(admission.enter(&many, false));
        let mut second = pin!(admission.enter(&many, false));
        let mut other = pin!(admission.enter(&few, false));
        for entering in [first.as_mut() as Entering<'_>, second.as_mut(), other.as_mut()] {
            assert!(now(entering).is_none());
        }
        drop(place);
        let place = now(first.as_mut()).unwrap().unwrap();
        drop(place);
        let place = now(other.as_mut()).expect("before the second of the other").unwrap();
        drop(place);
        assert!(now(second.as_mut()).is_some());
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_length_and_in_time() {
        let admission = Admission::new(1);
        let tenant = admission.claimant(0).unwrap();
        let place = admission.enter(&tenant, false).await.unwrap();
        let late = admission.enter(&tenant, false).await;
        assert!(matches!(late, Err(Full)), "after {LONGEST_WAIT:?}");

        let mut waiting: Vec<_> =
            (0..LONGEST_QUEUE).map(|_| Box::pin(admission.enter(&tenant, false))).collect();
        for entering in &mut waiting {
            assert!(now(entering.as_mut()).is_none());
        }
        assert!(matches!(admission.enter(&tenant, false).now_or_never(), Some(Err(Full))));
        // Those who have gone leave their place in the queue.
        drop(waiting.split_off(1));
        let mut entering = pin!(admission.enter(&tenant, false));
        assert!(now(entering.as_mut()).is_none());
        drop(place);
        let place = now(waiting[0].as_mut()).unwrap().unwrap();
        drop(place);
        assert!(now(entering.as_mut()).is_some());
    }

    #[test]
    fn a_reserve_is_taken_from_what_is_free() {
        let admission = Admission::new(3);
        assert!(admission.claimant(2).is_ok());
        let error = admission.claimant(2).map(drop).unwrap_err();
        assert_eq!(error, ReserveError { wanted: 2, left: 1 });
        assert!(admission.claimant(1).is_ok());
    }
}
