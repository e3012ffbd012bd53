//! Who of those that compute for long runs next.
//!
//! Tokio's queue of tasks is one for all, first come first served, so that an owner of a thousand
//! guests that compute would run a thousand times as often as an owner of one. Here only who has a
//! turn is in Tokio's queue, and there are as many turns as cores. The next turn is for the account that
//! has used the least of them, by time, and within it for the guest that has waited the longest.
//!
//! Accounts that have a share of the CPU hold, all together, no more turns at a time than their shares come to:
//! two of half a core each have one of two cores, rather than both for half of the time. What they get is the
//! same, and the others need not wait for the system to take a core from them, which Linux does only at its
//! next tick, of 4 ms.
//!
//! All state is behind one lock, which is held for less than a microsecond. Wakers are woken and
//! dropped after it was released, since either may run what locks it again.
//!
//! No wake-up is lost: a guest that is polled without a turn leaves its waker under the lock, and a
//! turn is granted under the lock to a guest that has one there, which is then woken. Whenever the
//! lock is released, either no turn is free, or nobody waits that could have it, or who has
//! released it goes on granting.
//!
//! A guest that was granted a turn need not be polled: its task may first wait for a client to read.
//! So a turn that is not used soon lapses and is granted to the next, by the thread that also
//! interrupts guests; its account is charged for what it has kept from others. The guest may then still run once, without a turn: if it had to wait
//! again, it would never run where tasks are always polled late.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

use crate::bucket::{Bucket, SECOND, nanos};

/// The turns of a process. A turn is the permission to be polled once.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

/// Where an account's guests wait for turns.
#[derive(Debug)]
pub(crate) struct Line {
    turns: Arc<Turns>,
    id: LineId,
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    share: Arc<Bucket>,
    /// How far it is: the nanoseconds of its turns. Changed under the lock only, as all that follows.
    used: AtomicU64,
    /// Guests of it that wait or have a turn.
    guests: AtomicUsize,
    /// Its share when the first of those came, in nanoseconds of a core for each second; 0 where it has none.
    limit: AtomicU64,
}

/// By which a guest that waits is known. To be given back to the line it came from.
#[derive(Debug)]
pub(crate) struct Ticket(u64);

/// A turn while it is used; dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    owner: Arc<Owner>,
    used: Duration,
    /// It has not lapsed before.
    counts: bool,
}

/// A task that was woken is polled sooner, unless there are many light ones before it.
const LAPSE: Duration = Duration::from_millis(2);

/// For how long a guest may use a turn that has lapsed. Longer than tasks ever wait to be polled, and
/// short enough that nobody can save up many.
const LAPSED_FOR: Duration = Duration::from_secs(1);

/// What each turn is charged with at least: about what it takes to wake who is next.
const LEAST: Duration = Duration::from_micros(20);

/// How long an account that is over its share rests before it is looked at again: its limits may
/// have changed.
const LONGEST_REST: Duration = Duration::from_millis(100);

type LineId = u64;

#[derive(Debug, Default)]
struct State {
    free: usize,
    last_line: LineId,
    last_ticket: u64,
    /// Those where somebody waits, or has until just now.
    lines: HashMap<LineId, Waiting>,
    /// Each line is here, in `resting` or aside, once: who has used the least is first. How much that is may
    /// be out of date, and is looked up when it is the first.
    order: BinaryHeap<Reverse<(u64, LineId)>>,
    /// What who was granted the last turn had used. Who comes now begins there: what was not used
    /// while nobody waited is not saved up.
    floor: u64,
    /// Those over their share, and until when.
    resting: BinaryHeap<Reverse<(Instant, LineId)>>,
    limited: Limited,
    /// As many as there are turns at most.
    granted: Vec<Granted>,
    /// The tickets of guests whose turn has lapsed, and when it did.
    lapsed: HashMap<u64, Instant>,
}

/// The accounts with a share that have guests.
#[derive(Debug, Default)]
struct Limited {
    /// Their shares together, as in [`Owner::limit`].
    shares: u64,
    /// The turns that they have, of those that count.
    turns: u64,
    /// Their lines, with what they have used, while they have as many turns as there may be.
    aside: Vec<Reverse<(u64, LineId)>>,
}

#[derive(Debug)]
struct Waiting {
    owner: Arc<Owner>,
    /// By ticket: who came first is first.
    guests: BTreeMap<u64, Waker>,
}

#[derive(Debug)]
struct Granted {
    ticket: u64,
    owner: Arc<Owner>,
    at: Instant,
}

impl Turns {
    /// So many turns at a time.
    pub(crate) fn new(turns: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: turns.max(1), ..State::default() })))
    }

    /// The line of an account, which waits as a whole while it is over its `share`.
    pub(crate) fn line(self: &Arc<Self>, share: &Arc<Bucket>) -> Line {
        let mut state = self.state();
        state.last_line += 1;
        let owner = Arc::new(Owner {
            share: share.clone(),
            used: AtomicU64::new(0),
            guests: AtomicUsize::new(0),
            limit: AtomicU64::new(0),
        });
        Line { turns: self.clone(), id: state.last_line, owner }
    }

    /// Takes back the turns that are not used, and ends the rest of accounts. To be called once in
    /// a millisecond while guests live.
    pub(crate) fn tick(&self, now: Instant) {
        let mut state = self.state();
        state.lapse(now);
        state.end_rests(now);
        drop(state);
        self.grant_all(now);
    }

    fn grant_all(&self, now: Instant) {
        loop {
            // A statement of its own, so that the lock is released before the waker is called.
            let next = self.state().grant(now);
            match next {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    fn give_back(&self, mut state: MutexGuard<'_, State>, owner: &Owner) {
        state.take_back(owner);
        if !state.order.is_empty() {
            drop(state);
            self.grant_all(Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// A turn, if it is there for who holds `ticket`. If not, the ticket is for the place in line,
    /// and `waker` is woken when the turn has come.
    pub(crate) fn take(
        &self,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
        now: Instant,
    ) -> Option<Turn> {
        let mut state = self.turns.state();
        if let Some(Ticket(id)) = ticket {
            match state.claim(self.id, *id, waker, now) {
                Claim::Turn { counts } => {
                    *ticket = None;
                    return Some(self.turn(counts));
                }
                Claim::Wait(before) => {
                    drop(state);
                    drop(before);
                    return None;
                }
                Claim::Nothing => {
                    state.exit(&self.owner);
                    *ticket = None;
                }
            }
        }
        state.enter(&self.owner);
        // While a turn is free nobody else waits that could have it.
        let is_next = state.order.is_empty() && state.limited.let_run(&self.owner);
        if state.free > 0 && is_next && self.owner.share.debt(now).is_zero() {
            state.give(&self.owner);
            state.floor = self.owner.used_since(state.floor);
            return Some(self.turn(true));
        }
        *ticket = Some(state.join(self, waker.clone()));
        let has_free = state.free > 0;
        drop(state);
        if has_free {
            self.turns.grant_all(now);
        }
        None
    }

    fn turn(&self, counts: bool) -> Turn {
        Turn { turns: self.turns.clone(), owner: self.owner.clone(), used: LEAST, counts }
    }

    /// Whoever has the `ticket` does not come any more.
    pub(crate) fn leave(&self, Ticket(ticket): Ticket) {
        let mut state = self.turns.state();
        let waker = state.lines.get_mut(&self.id).and_then(|line| line.guests.remove(&ticket));
        state.exit(&self.owner);
        if let Some(granted) = state.remove_granted(ticket) {
            self.owner.charge(granted.at.elapsed().max(LEAST));
            self.turns.give_back(state, &self.owner);
            return;
        }
        if waker.is_none() {
            state.lapsed.remove(&ticket);
        }
        drop(state);
        drop(waker);
    }
}

impl Turn {
    /// Ends a turn that was used for so long.
    pub(crate) fn end(mut self, used: Duration) {
        self.used = used.max(LEAST);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        self.owner.charge(self.used);
        state.exit(&self.owner);
        if self.counts {
            self.turns.give_back(state, &self.owner);
        }
    }
}

/// What becomes of a ticket.
enum Claim {
    Turn {
        counts: bool,
    },
    /// With the waker that was replaced.
    Wait(Option<Waker>),
    /// Its turn has lapsed long ago.
    Nothing,
}

impl State {
    /// A guest of `owner` comes.
    fn enter(&mut self, owner: &Owner) {
        if owner.guests.fetch_add(1, Relaxed) == 0 {
            let limit = owner.share.rate().map_or(0, |rate| rate.per_second.get());
            owner.limit.store(limit, Relaxed);
            self.limited.shares += limit;
            if limit > 0 {
                self.order.extend(self.limited.aside.drain(..));
            }
        }
    }

    /// A guest of `owner` goes.
    fn exit(&mut self, owner: &Owner) {
        if owner.guests.fetch_sub(1, Relaxed) == 1 {
            self.limited.shares -= owner.limit.load(Relaxed);
        }
    }

    /// A free turn becomes one of `owner`.
    fn give(&mut self, owner: &Owner) {
        self.free -= 1;
        self.limited.turns += u64::from(owner.is_limited());
    }

    /// A turn of `owner` is free again.
    fn take_back(&mut self, owner: &Owner) {
        self.free += 1;
        self.limited.turns -= u64::from(owner.is_limited());
        self.order.extend(self.limited.aside.drain(..));
    }

    fn claim(&mut self, line: LineId, ticket: u64, waker: &Waker, now: Instant) -> Claim {
        if self.remove_granted(ticket).is_some() {
            return Claim::Turn { counts: true };
        }
        let waiting = self.lines.get_mut(&line).and_then(|line| line.guests.get_mut(&ticket));
        if let Some(waiting) = waiting {
            let is_same = waiting.will_wake(waker);
            return Claim::Wait((!is_same).then(|| mem::replace(waiting, waker.clone())));
        }
        match self.lapsed.remove(&ticket) {
            Some(at) if now.saturating_duration_since(at) < LAPSED_FOR => {
                Claim::Turn { counts: false }
            }
            _ => Claim::Nothing,
        }
    }

    fn remove_granted(&mut self, ticket: u64) -> Option<Granted> {
        let index = self.granted.iter().position(|granted| granted.ticket == ticket)?;
        Some(self.granted.swap_remove(index))
    }

    fn join(&mut self, Line { id, owner, .. }: &Line, waker: Waker) -> Ticket {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let line = self.lines.entry(*id).or_insert_with(|| {
            self.order.push(Reverse((owner.used_since(self.floor), *id)));
            Waiting { owner: owner.clone(), guests: BTreeMap::new() }
        });
        line.guests.insert(ticket, waker);
        Ticket(ticket)
    }

    /// Grants a free turn to the next in order, who is then to be woken. Where there is none left in
    /// order, or no turn, nobody.
    fn grant(&mut self, now: Instant) -> Option<Waker> {
        if self.free == 0 {
            return None;
        }
        while let Some(Reverse((before, id))) = self.order.pop() {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            let used = line.owner.used_since(before);
            if used > before {
                self.order.push(Reverse((used, id)));
                continue;
            }
            let debt = line.owner.share.debt(now);
            if !debt.is_zero() && !line.guests.is_empty() {
                self.resting.push(Reverse((now + debt.min(LONGEST_REST), id)));
                continue;
            }
            if !self.limited.let_run(&line.owner) && !line.guests.is_empty() {
                self.limited.aside.push(Reverse((used, id)));
                continue;
            }
            let owner = line.owner.clone();
            let first = line.guests.pop_first();
            if line.guests.is_empty() {
                self.lines.remove(&id);
            } else {
                self.order.push(Reverse((used, id)));
            }
            if let Some((ticket, waker)) = first {
                self.give(&owner);
                self.floor = used.max(self.floor);
                self.granted.push(Granted { ticket, owner, at: now });
                return Some(waker);
            }
        }
        None
    }

    fn lapse(&mut self, now: Instant) {
        let is_late = |granted: &mut Granted| now.saturating_duration_since(granted.at) >= LAPSE;
        let late: Vec<_> = self.granted.extract_if(.., is_late).collect();
        for Granted { ticket, owner, at } in late {
            owner.charge(now.saturating_duration_since(at));
            self.take_back(&owner);
            self.lapsed.insert(ticket, now);
        }
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some(Reverse((until, id))) = self.resting.pop() {
            if until > now {
                self.resting.push(Reverse((until, id)));
                return;
            }
            let owner = self.lines.get(&id).map(|line| &line.owner);
            let used = owner.map_or(0, |owner| owner.used_since(self.floor));
            self.order.push(Reverse((used, id)));
        }
    }
}

impl Limited {
    /// Whether `owner` may have one more turn, if one is free.
    fn let_run(&self, owner: &Owner) -> bool {
        !owner.is_limited() || self.turns < self.shares.div_ceil(SECOND).max(1)
    }
}

impl Owner {
    fn charge(&self, time: Duration) {
        self.used.fetch_add(nanos(time), Relaxed);
    }

    /// Whether it has a share, and no more.
    fn is_limited(&self) -> bool {
        self.limit.load(Relaxed) > 0
    }

    /// What it has used, and at least `floor`, from where it goes on.
    fn used_since(&self, floor: u64) -> u64 {
        self.used.fetch_max(floor, Relaxed).max(floor)
    }
}

#[cfg(test)]
mod tests;
