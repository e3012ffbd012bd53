//! The connections of a listener: when there are as many as there may be, those that were idle the longest
//! make room for new ones. Else whoever opens as many and says nothing would keep everybody else away until
//! they are closed for their silence, and come back at once.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

/// All connections that are there, and perhaps some that were.
#[derive(Default)]
pub(super) struct Crowd {
    members: Vec<Member>,
    /// Those that make room next, the first of them first, where they still are as they were.
    next: VecDeque<Next>,
    /// When those were found.
    found: Option<Instant>,
}

struct Next {
    had_asked: bool,
    member: Member,
}

/// Whether there ever was a request, for how long it was idle, and who.
type Idle = (bool, Duration, Member);

struct Member {
    activity: Weak<Activity>,
    connection: AbortHandle,
}

/// What one connection is about.
///
/// Its numbers are each looked at by themselves, so that all of them are `Relaxed`. A request that comes in while
/// its connection is closed for being idle is lost with it, as it would be had the client been silent for too
/// long: a client has to expect that (RFC 9112, section 9.5).
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose responses have not ended.
    under_way: AtomicU32,
    has_asked: AtomicBool,
    /// Since when no request is under way, in milliseconds after `opened`.
    idle_since: AtomicU64,
}

/// A request that is under way.
pub(super) struct UnderWay(Arc<Activity>);

/// Of so many connections one is found at a time: looking for them takes as long however many it is.
const SOME: usize = 16;

/// What was written last may still be on its way out for so long.
const SETTLED: Duration = Duration::from_millis(100);

impl Crowd {
    /// A connection that was opened just now.
    pub(super) fn join(&mut self, activity: &Arc<Activity>, connection: AbortHandle) {
        let members = &mut self.members;
        if members.len() == members.capacity() {
            members.retain(|member| member.activity.strong_count() > 0);
        }
        members.push(Member { activity: Arc::downgrade(activity), connection });
    }

    /// Closes a connection without a request: one that never had any before others, and one that was idle for
    /// longer before others. None that had one while it is too early to say whether others will. Returns whether
    /// there was one.
    ///
    /// One at a time: whoever is closed may be back at once, and many together would be a burst of work for
    /// which everybody else has to wait.
    pub(super) fn make_room(&mut self) -> bool {
        let now = Instant::now();
        // Who never asked goes before one that has: meanwhile there may be one of whom that can be said.
        let has_asked = self.next.front().is_none_or(|next| next.had_asked);
        if has_asked && self.found.is_none_or(|found| now >= found + SETTLED) {
            self.members.extend(self.next.drain(..).map(|next| next.member));
        }
        if self.next.is_empty() {
            self.find(now);
            self.found = Some(now);
        }
        while let Some(Next { had_asked, member }) = self.next.pop_front() {
            let Some(activity) = member.activity.upgrade() else { continue };
            if activity.has_asked() == had_asked && activity.settled_for(now).is_some() {
                member.connection.abort();
                return true;
            }
            self.members.push(member);
        }
        false
    }

    /// Finds those that make room next.
    fn find(&mut self, now: Instant) {
        let (mut idle, mut is_early) = (Vec::<Idle>::new(), false);
        for member in mem::take(&mut self.members) {
            let Some(activity) = member.activity.upgrade() else { continue };
            match activity.settled_for(now) {
                Some(time) => idle.push((activity.has_asked(), time, member)),
                None => {
                    is_early |= !activity.has_asked();
                    self.members.push(member);
                }
            }
        }
        let may_go = idle.iter().filter(|(has_asked, ..)| !has_asked || !is_early).count();
        let count = (idle.len() + self.members.len()).div_ceil(SOME).min(may_go);
        // False is before true, and what was idle for longest goes first.
        let order = |(asked, time, _): &Idle, (other_asked, other_time, _): &Idle| {
            asked.cmp(other_asked).then(other_time.cmp(time))
        };
        if count < idle.len() {
            idle.select_nth_unstable_by(count, order);
        }
        self.members.extend(idle.split_off(count).into_iter().map(|(_, _, member)| member));
        idle.sort_unstable_by(order);
        let next = idle.into_iter().map(|(had_asked, _, member)| Next { had_asked, member });
        self.next.extend(next);
    }
}

impl Activity {
    /// Of a connection that was opened just now.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            under_way: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
        })
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.has_asked.store(true, Relaxed);
        self.under_way.fetch_add(1, Relaxed);
        UnderWay(self.clone())
    }

    /// Whether there ever was a request.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Relaxed)
    }

    /// For how long it was idle, where what was written last is out.
    fn settled_for(&self, now: Instant) -> Option<Duration> {
        self.idle_for(now).filter(|time| *time >= SETTLED)
    }

    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let since = self.opened + Duration::from_millis(self.idle_since.load(Relaxed));
        (self.under_way.load(Relaxed) == 0).then(|| now.saturating_duration_since(since))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Activity { opened, under_way, idle_since, .. } = &*self.0;
        let now = u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        idle_since.store(now, Relaxed);
        under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio_util::task::TaskTracker;

    use super::*;

    /// A connection that was opened so many milliseconds ago, and is nothing else.
    fn opened(
        crowd: &mut Crowd,
        milliseconds: u64,
    ) -> (Arc<Activity>, tokio::task::JoinHandle<()>) {
        let opened = Instant::now() - Duration::from_millis(milliseconds);
        let activity = Arc::new(Activity { opened, ..Arc::into_inner(Activity::new()).unwrap() });
        let connection = TaskTracker::new().spawn(pending());
        crowd.join(&activity, connection.abort_handle());
        (activity, connection)
    }

    #[tokio::test]
    async fn who_never_asked_goes_first_and_then_who_was_idle_the_longest() {
        let mut crowd = Crowd::default();
        let (asking, asking_task) = opened(&mut crowd, 9_000);
        let _request = asking.begin();
        let (new, new_task) = opened(&mut crowd, 10);
        let (idle, idle_task) = opened(&mut crowd, 1_000);
        idle.has_asked.store(true, Relaxed);
        let (idle_longer, idle_longer_task) = opened(&mut crowd, 2_000);
        idle_longer.has_asked.store(true, Relaxed);
        let (_silent, silent_task) = opened(&mut crowd, 500);
        assert!(crowd.make_room());
        assert!(silent_task.await.unwrap_err().is_cancelled());
        assert!(!crowd.make_room(), "the new one may ask, or be as silent");
        new.has_asked.store(true, Relaxed);
        for gone in [idle_longer_task, idle_task] {
            assert!(crowd.make_room());
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        assert!(!crowd.make_room());
        assert!(!asking_task.is_finished() && !new_task.is_finished());
    }

    #[tokio::test]
    async fn each_of_those_that_were_found_goes_when_it_has_to_and_still_may() {
        let mut crowd = Crowd::default();
        let mut connections: Vec<_> = (0..200).map(|_| opened(&mut crowd, 1_000)).collect();
        assert!(crowd.make_room());
        let found = 200usize.div_ceil(SOME);
        assert_eq!((crowd.next.len(), crowd.members.len()), (found - 1, 200 - found));
        // All that are left begin to ask, of whom some were found before.
        let is_there =
            |(_, connection): &mut (_, tokio::task::JoinHandle<()>)| !connection.is_finished();
        tokio::task::yield_now().await;
        let mut left: Vec<_> = connections.extract_if(.., is_there).collect();
        assert_eq!((left.len(), connections.len()), (199, 1));
        let requests: Vec<_> = left.iter_mut().map(|(activity, _)| activity.begin()).collect();
        assert!(!crowd.make_room());
        assert_eq!(crowd.members.len(), 199);
        drop(requests);
        drop(left);
        assert!(!crowd.make_room(), "they are gone by themselves");
        assert_eq!(crowd.members.len(), 0);
    }

    #[tokio::test]
    async fn one_that_has_asked_stays_when_there_are_silent_ones_meanwhile() {
        let mut crowd = Crowd::default();
        let asked: Vec<_> = (0..40).map(|_| opened(&mut crowd, 1_000)).collect();
        asked.iter().for_each(|(activity, _)| activity.has_asked.store(true, Relaxed));
        assert!(crowd.make_room());
        let (_silent, silent_task) = opened(&mut crowd, 200);
        crowd.found = crowd.found.map(|found| found - SETTLED);
        assert!(crowd.make_room());
        assert!(silent_task.await.unwrap_err().is_cancelled());
        assert_eq!(asked.iter().filter(|(_, task)| task.is_finished()).count(), 1);
    }

    #[tokio::test]
    async fn a_connection_is_idle_from_the_end_of_its_last_request_on() {
        let activity = Activity::new();
        let now = activity.opened + Duration::from_secs(3_600);
        assert!(!activity.has_asked() && activity.idle_for(now).is_some());
        let (one, other) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(activity.idle_for(now), None);
        drop(other);
        assert!(activity.has_asked() && activity.idle_for(now).is_some());
    }
}
