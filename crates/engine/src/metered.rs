//! Running guests on account.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use crate::{Account, turns::Ticket};

/// Does `work` as a guest of `account`: what it takes is charged, and before each step it waits
/// for its turn where the account needs turns.
///
/// `work` is moved once, into a box: that of a request has some kilobytes, and each move of it costs as much
/// as all that is metered here.
pub(crate) fn metered<F: Future>(account: Arc<Account>, work: F) -> Metered<Pin<Box<F>>> {
    Metered { account, work: Box::pin(work), ticket: None }
}

/// See [`metered`].
pub(crate) struct Metered<F> {
    account: Arc<Account>,
    work: F,
    /// Where it waits for its turn.
    ticket: Option<Ticket>,
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { account, work, ticket } = &mut *self;
        let start = Instant::now();
        // Who waits keeps waiting, although its account may not need turns any more: it is
        // its turn soon, and only under the lock is it known whether it is now.
        let line = if ticket.is_some() { account.line() } else { account.needs_turn(start) };
        let turn = match line.map(|line| line.take(ticket, cx.waker(), start)) {
            None => None,
            Some(Some(turn)) => Some(turn),
            Some(None) => return Poll::Pending,
        };
        let result = Pin::new(work).poll(cx);
        let end = Instant::now();
        let time = end.saturating_duration_since(start);
        account.charge(time, end);
        // Only now, when it is known what the account has used. Where the work panics it is dropped.
        if let Some(turn) = turn {
            turn.end(time);
        }
        result
    }
}

impl<F> Drop for Metered<F> {
    fn drop(&mut self) {
        if let (Some(ticket), Some(line)) = (self.ticket.take(), self.account.line()) {
            line.leave(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
        time::Duration,
    };

    use futures_util::{FutureExt as _, future::join_all};

    use super::*;
    use crate::{AccountLimits, turns::Turns};

    /// What computes for about so long.
    fn spin(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// A guest that yields so many times.
    async fn guest(steps: usize, mut step: impl FnMut()) {
        let mut left = steps;
        poll_fn(|cx| {
            step();
            left = left.saturating_sub(1);
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn what_a_guest_takes_is_charged_to_its_account() {
        let step = Duration::from_micros(100);
        let (one, other) = (Account::alone(), Account::alone());
        let mut work = pin!(metered(one.clone(), guest(3, || spin(step))));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for polls in 1..=3 {
            assert_eq!(work.as_mut().poll(&mut cx).is_ready(), polls == 3);
            assert!(one.cpu_time() >= step * polls);
        }
        assert_eq!(other.cpu_time(), Duration::ZERO);
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let account = Account::heavy(&Turns::new(1));
        let work = metered(account.clone(), async { panic!("a host call") });
        assert!(std::panic::AssertUnwindSafe(work).catch_unwind().now_or_never().unwrap().is_err());
        assert_eq!(metered(account, async { 7 }).now_or_never(), Some(7));
    }

    #[test]
    fn one_that_waits_and_goes_away_is_no_hindrance() {
        let turns = Turns::new(1);
        let account = Account::heavy(&turns);
        let line = account.line().unwrap();
        let turn = line.take(&mut None, std::task::Waker::noop(), Instant::now()).unwrap();
        assert_eq!(metered(account.clone(), async { 7 }).now_or_never(), None);
        // It was dropped, as one that waits.
        drop(turn);
        assert_eq!(metered(account.clone(), async { 7 }).now_or_never(), Some(7));
    }

    /// Tasks on several threads, more at a time than there are turns: all come to their end, which
    /// they would not if a turn or a wake-up were lost.
    #[test]
    fn all_come_to_their_end_on_many_threads() {
        let turns = Turns::new(2);
        let running = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (turns, running) = (&turns, &running);
                scope.spawn(move || {
                    let heavy = Account::heavy(turns);
                    let usual = Account::among(turns, AccountLimits::NONE);
                    let step = || {
                        assert!(running.fetch_add(1, SeqCst) < 2);
                        std::hint::spin_loop();
                        running.fetch_sub(1, SeqCst);
                    };
                    let heavies = (0..20).map(|_| metered(heavy.clone(), guest(200, step)));
                    let usuals = (0..20).map(|_| metered(usual.clone(), guest(200, || ())));
                    let all = async { tokio::join!(join_all(heavies), join_all(usuals)) };
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(all);
                });
            }
        });
    }
}
