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

use crate::bucket::{Bucket, nanos};

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

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

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
mod tests {
    use std::{
        num::NonZeroU64,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Wake,
    };

    use super::*;
    use crate::Rate;

    const MS: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A guest with a task of its own.
    struct Guest<'a> {
        line: &'a Line,
        ticket: Option<Ticket>,
        woken: Arc<Woken>,
    }

    impl<'a> Guest<'a> {
        fn of(line: &'a Line) -> Self {
            Self { line, ticket: None, woken: Arc::default() }
        }

        fn take(&mut self, now: Instant) -> Option<Turn> {
            self.line.take(&mut self.ticket, &self.woken.clone().into(), now)
        }

        /// Whether it was woken since it was asked last.
        fn is_woken(&self) -> bool {
            self.woken.0.swap(0, SeqCst) > 0
        }
    }

    impl Drop for Guest<'_> {
        fn drop(&mut self) {
            if let Some(ticket) = self.ticket.take() {
                self.line.leave(ticket);
            }
        }
    }

    fn unlimited() -> Arc<Bucket> {
        Arc::new(Bucket::new(None))
    }

    /// A share of so many cores, with much to be used at once.
    fn limited(cores: u64) -> Arc<Bucket> {
        let per_second = NonZeroU64::new(cores * SECOND).unwrap();
        Arc::new(Bucket::new(Some(Rate { per_second, burst: 1_000 * SECOND })))
    }

    impl Turns {
        /// Nobody waits or has a turn.
        fn assert_quiet(&self, turns: usize) {
            let state = self.state();
            assert_eq!(state.free, turns);
            assert!(state.lines.is_empty() && state.order.is_empty() && state.resting.is_empty());
            assert!(state.granted.is_empty() && state.lapsed.is_empty());
            let Limited { shares, turns, aside } = &state.limited;
            assert!(*shares == 0 && *turns == 0 && aside.is_empty());
        }
    }

    #[test]
    fn a_free_turn_is_taken_at_once() {
        let turns = Turns::new(2);
        let line = turns.line(&unlimited());
        let now = Instant::now();
        let mut guests: Vec<_> = (0..3).map(|_| Guest::of(&line)).collect();
        let first = guests[0].take(now).unwrap();
        let second = guests[1].take(now).unwrap();
        assert!(guests[2].take(now).is_none());
        drop(first);
        assert!(guests[2].is_woken());
        // Given to who has waited: nobody else gets it.
        assert!(guests[0].take(now).is_none());
        let third = guests[2].take(now).unwrap();
        drop((second, third));
        assert!(guests[0].is_woken());
        drop(guests);
        turns.assert_quiet(2);
    }

    /// How often each guest runs in 1,000 rounds, of an account of 100 and one of so `few`.
    fn rounds(few: usize, slices: [Duration; 2]) -> ([Duration; 2], Vec<usize>) {
        let turns = Turns::new(2);
        let lines = [turns.line(&unlimited()), turns.line(&unlimited())];
        let now = Instant::now();
        let mut blockers = [Guest::of(&lines[0]), Guest::of(&lines[1])];
        let blockers = blockers.each_mut().map(|guest| guest.take(now).unwrap());
        let owner = |index| usize::from(index >= 100);
        let mut guests: Vec<_> =
            (0..100 + few).map(|index| Guest::of(&lines[owner(index)])).collect();
        for guest in &mut guests {
            assert!(guest.take(now).is_none());
        }
        drop(blockers);
        let mut counts = vec![0; guests.len()];
        let mut times = [Duration::ZERO; 2];
        for _ in 0..1_000 {
            // All that are woken run, and join again.
            let is_woken = |index: &usize| guests[*index].is_woken();
            let woken: Vec<_> = (0..guests.len()).filter(is_woken).collect();
            assert!((1..=2).contains(&woken.len()));
            for index in woken {
                let slice = slices[owner(index)];
                guests[index].take(now).unwrap().end(slice);
                assert!(guests[index].take(now).is_none());
                counts[index] += 1;
                times[owner(index)] += slice;
            }
        }
        (times, counts)
    }

    #[test]
    fn accounts_have_the_same_time_however_many_guests_they_have() {
        for slices in [[MS, MS], [MS, MS / 5], [MS / 5, MS]] {
            let ([many, few], counts) = rounds(4, slices);
            assert!(many.abs_diff(few) <= 3 * MS, "{many:?} and {few:?}");
            // Everybody is served before anybody is again.
            let (least, most) = (counts[..100].iter().min(), counts[..100].iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{counts:?}");
        }
    }

    #[test]
    fn a_single_guest_waits_for_no_more_than_one_round() {
        // While it runs it does not wait, so that others are granted the turn after its own.
        let (_, counts) = rounds(1, [MS, MS]);
        assert!(counts[100] >= 499, "{counts:?}");
    }

    #[test]
    fn the_last_waker_is_woken() {
        let turns = Turns::new(1);
        let line = turns.line(&unlimited());
        let now = Instant::now();
        let (mut holder, mut guest) = (Guest::of(&line), Guest::of(&line));
        let turn = holder.take(now).unwrap();
        assert!(guest.take(now).is_none());
        let before = mem::take(&mut guest.woken);
        assert!(guest.take(now).is_none());
        assert_eq!(Arc::strong_count(&before), 1, "it was dropped");
        drop(turn);
        assert!(guest.is_woken());
        assert!(guest.take(now).is_some());
    }

    #[test]
    fn who_goes_away_leaves_nothing() {
        let turns = Turns::new(1);
        let line = turns.line(&unlimited());
        let now = Instant::now();
        let turn = Guest::of(&line).take(now).unwrap();
        let mut guests: Vec<_> = (0..4).map(|_| Guest::of(&line)).collect();
        for guest in &mut guests {
            assert!(guest.take(now).is_none());
        }
        drop(guests.remove(0)); // While it waits.
        drop(turn);
        assert!(guests[0].is_woken());
        drop(guests.remove(0)); // With its turn granted.
        assert!(guests[0].is_woken());
        turns.tick(now + LAPSE);
        drop(guests.remove(0)); // With its turn lapsed.
        assert!(guests[0].is_woken());
        drop(guests[0].take(now + LAPSE).unwrap());
        turns.assert_quiet(1);
    }

    #[test]
    fn a_turn_that_is_not_used_lapses() {
        let turns = Turns::new(1);
        let line = turns.line(&unlimited());
        let now = Instant::now();
        let mut guests: Vec<_> = (0..3).map(|_| Guest::of(&line)).collect();
        let turn = Guest::of(&line).take(now).unwrap();
        for guest in &mut guests {
            assert!(guest.take(now).is_none());
        }
        drop(turn);
        let granted = Instant::now();
        turns.tick(now);
        assert!(!guests[1].is_woken());
        turns.tick(granted + LAPSE);
        assert!(guests[1].is_woken());
        let second = guests[1].take(granted + LAPSE).unwrap();
        // The late one may run, and gives nothing back.
        let late = guests[0].take(granted + 2 * LAPSE).unwrap();
        drop(late);
        assert!(!guests[2].is_woken());
        drop(second);
        turns.tick(granted + 10 * LAPSE);
        // Who comes much too late waits again.
        let much_later = granted + 10 * LAPSE + LAPSED_FOR;
        let first = guests[0].take(much_later).unwrap();
        assert!(guests[2].take(much_later).is_none());
        drop(first);
        assert!(guests[2].is_woken());
        drop(guests);
        turns.assert_quiet(1);
    }

    #[test]
    fn turns_that_lapse_are_charged() {
        let turns = Turns::new(1);
        let (absent, present) = (turns.line(&unlimited()), turns.line(&unlimited()));
        let start = Instant::now();
        let turn = Guest::of(&present).take(start).unwrap();
        let mut absents = [Guest::of(&absent), Guest::of(&absent)];
        let mut presents = [Guest::of(&present), Guest::of(&present)];
        for guest in absents.iter_mut().chain(&mut presents) {
            assert!(guest.take(start).is_none());
        }
        turn.end(MS);
        assert!(absents[0].is_woken());
        let now = start + 100 * MS;
        turns.tick(now);
        // What it has kept from the others they have first.
        for index in (0..90).map(|turn| turn % 2) {
            assert!(presents[index].is_woken());
            presents[index].take(now).unwrap().end(MS);
            assert!(presents[index].take(now).is_none());
        }
        assert!(!absents[1].is_woken());
    }

    #[test]
    fn an_account_over_its_share_rests_as_a_whole() {
        let turns = Turns::new(1);
        let rate = Rate { per_second: NonZeroU64::new(1_000_000_000).unwrap(), burst: 0 };
        let share = Arc::new(Bucket::new(Some(rate)));
        let (tired, fresh) = (turns.line(&share), turns.line(&unlimited()));
        let start = Instant::now();
        share.take(10_000_000, start);
        let mut resting: Vec<_> = (0..2).map(|_| Guest::of(&tired)).collect();
        for guest in &mut resting {
            assert!(guest.take(start).is_none(), "although there is a turn");
        }
        drop(Guest::of(&fresh).take(start).unwrap());
        turns.tick(start + 9 * MS);
        assert!(!resting[0].is_woken());
        turns.tick(start + 11 * MS);
        assert!(resting[0].is_woken() && !resting[1].is_woken());
        drop(resting[0].take(start + 11 * MS).unwrap());
        turns.tick(start + 100 * MS);
        assert!(resting[1].is_woken());
        drop(resting[1].take(start + 11 * MS).unwrap());
        // In debt for longer than it rests without a look.
        share.take(100_000_000_000, start);
        assert!(resting[0].take(start + 12 * MS).is_none());
        share.set_rate(None);
        turns.tick(start + 12 * MS + LONGEST_REST);
        assert!(resting[0].is_woken());
        drop(resting);
        turns.assert_quiet(1);
    }

    #[test]
    fn accounts_with_shares_have_no_more_turns_than_those_come_to() {
        let turns = Turns::new(4);
        let half = |_| {
            let rate = Rate { per_second: NonZeroU64::new(SECOND / 2).unwrap(), burst: SECOND };
            turns.line(&Arc::new(Bucket::new(Some(rate))))
        };
        let halves: Vec<_> = (0..2).map(half).collect();
        let now = Instant::now();
        let mut guests: Vec<_> =
            [0, 0, 1].into_iter().map(|line| Guest::of(&halves[line])).collect();
        let first = guests[0].take(now).unwrap();
        assert!(guests[1].take(now).is_none() && guests[2].take(now).is_none());
        // Others are not held up by it.
        let others = turns.line(&unlimited());
        let mut other = Guest::of(&others);
        let its_turn = other.take(now).unwrap();
        // Of the two who wait, the one whose account has used less.
        first.end(MS);
        assert!(guests[2].is_woken() && !guests[1].is_woken());
        let second = guests[2].take(now).unwrap();
        // With a third there is a whole core more, for one of those that wait.
        let whole = turns.line(&limited(1));
        let mut third = Guest::of(&whole);
        assert!(third.take(now).is_none());
        assert!(guests[1].is_woken() != third.is_woken());
        drop((second, its_turn));
        drop(third);
        drop((guests, other));
        turns.assert_quiet(4);
    }

    /// xorshift64*
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
        }
    }

    #[test]
    fn whatever_happens_no_turn_is_lost() {
        const TURNS: usize = 3;
        for seed in 1..=300 {
            let mut random = Random(seed);
            let turns = Turns::new(TURNS);
            // Of some the limits are far beyond what is used here.
            let shares = [unlimited(), unlimited(), limited(1), limited(2)];
            let lines: Vec<_> = shares.iter().map(|share| turns.line(share)).collect();
            let new = |random: &mut Random| Guest::of(&lines[random.below(4)]);
            let mut guests: Vec<_> = (0..20).map(|_| new(&mut random)).collect();
            let mut used: Vec<Turn> = Vec::new();
            let mut now = Instant::now();
            for _ in 0..500 {
                let index = random.below(guests.len());
                match random.below(10) {
                    0 => guests[index] = new(&mut random),
                    1 => guests[index].woken = Arc::default(),
                    2 => {
                        now = now.max(Instant::now()) + MS;
                        turns.tick(now);
                    }
                    3..6 if !used.is_empty() => {
                        used.swap_remove(random.below(used.len()));
                    }
                    _ => {
                        if let Some(turn) = guests[index].take(now) {
                            assert!(guests[index].ticket.is_none());
                            used.push(turn);
                        }
                    }
                }
                let state = turns.state();
                let counting = used.iter().filter(|turn| turn.counts).count();
                assert_eq!(state.free + state.granted.len() + counting, TURNS);
                assert!(state.free == 0 || state.order.is_empty(), "a turn is free, who waits?");
                let aside = state.limited.aside.len();
                assert_eq!(state.lines.len(), state.order.len() + state.resting.len() + aside);
                assert!(aside == 0 || state.limited.turns > 0, "nobody would have them go on");
            }
            // All that still wait are woken and have their turns.
            drop(used);
            for guest in &mut guests {
                guest.woken = Arc::default();
                drop(guest.take(now));
            }
            while let Some(guest) = guests.iter_mut().find(|guest| guest.is_woken()) {
                drop(guest.take(now).unwrap());
            }
            assert!(guests.iter().all(|guest| guest.ticket.is_none()), "seed {seed}");
            drop(guests);
            turns.assert_quiet(TURNS);
        }
    }
}
