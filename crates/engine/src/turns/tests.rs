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
    let mut guests: Vec<_> = (0..100 + few).map(|index| Guest::of(&lines[owner(index)])).collect();
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
    let mut guests: Vec<_> = [0, 0, 1].into_iter().map(|line| Guest::of(&halves[line])).collect();
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
