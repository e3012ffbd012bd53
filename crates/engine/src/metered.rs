//! Running guests on account.

use std::{
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use tokio::{
    task::coop::has_budget_remaining,
    time::{Sleep, sleep},
};

use crate::{
    Account,
    alarm::Alarm,
    schedule::{Pace, Schedule},
    step::{Begun, SLICE, Steps},
    turns::{Ticket, Turn},
};

/// Does `work` as a guest of `account`: what it takes is charged, and before each step it waits
/// for its turn where the account needs turns. Where its steps are long, they are not done by the thread that
/// polls it.
///
/// `work` is moved once, into a box: that of a request has some kilobytes, and each move of it costs as much
/// as all that is metered here. When the result is dropped before its end, `work` may be dropped somewhat
/// later.
pub(crate) fn metered<F>(account: Arc<Account>, work: F) -> Metered<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    let work = Work::Here(Box::pin(work));
    let alarm = Arc::<Alarm>::default();
    let waker = Waker::from(alarm.clone());
    Metered {
        account,
        work,
        alarm,
        waker,
        steps: Steps::default(),
        was_away: false,
        stays: false,
        waits: None,
        rest: None,
    }
}

/// See [`metered`].
pub(crate) struct Metered<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    account: Arc<Account>,
    work: Work<F>,
    alarm: Arc<Alarm>,
    /// The alarm's.
    waker: Waker,
    steps: Steps,
    /// A step was done by another thread.
    was_away: bool,
    /// The next step is done here.
    stays: bool,
    /// Where it waits for its turn.
    waits: Option<(Pace, Ticket)>,
    /// Until when it rests, since its account has used more than it may.
    rest: Option<Pin<Box<Sleep>>>,
}

enum Work<F: Future> {
    Here(Pin<Box<F>>),
    /// A step of it is done by another thread, which says how long it has taken.
    Away(oneshot::Receiver<(Step<F>, Duration)>),
    Done,
}

/// What a step has come to.
enum Step<F: Future> {
    Done(F::Output),
    NotYet(Pin<Box<F>>),
}

/// How long it rests before it looks again.
const LONGEST_REST: Duration = Duration::from_millis(100);

impl<F> Future for Metered<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            match &mut this.work {
                Work::Here(_) => {
                    let now = Instant::now();
                    let (pace, turn) = ready!(this.poll_turn(cx, now));
                    match this.account.schedule() {
                        Some(schedule) if pace == Pace::Long => {
                            let schedule = schedule.clone();
                            this.hand_over(&schedule, turn, cx);
                        }
                        _ => return this.step(turn, now, cx),
                    }
                }
                Work::Away(step) => {
                    this.alarm.is_for(cx.waker());
                    // As it would have here.
                    let Ok((step, time)) = ready!(step.poll_unpin(cx)) else {
                        resume_unwind(Box::new("a guest's step panicked"))
                    };
                    match step {
                        Step::Done(output) => {
                            this.work = Work::Done;
                            return Poll::Ready(output);
                        }
                        Step::NotYet(work) => {
                            this.work = Work::Here(work);
                            this.count(time);
                            // Whoever polls looks at what the step has done before there is another.
                            this.alarm.wakes(cx.waker());
                            return Poll::Pending;
                        }
                    }
                }
                Work::Done => return Poll::Pending,
            }
        }
    }
}

impl<F> Metered<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Whether a step is done by another thread.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.work, Work::Away(_))
    }

    /// Has the next step done here, whatever the pace.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
    }

    /// Ready when the next step may be done, with the turn for it where one is needed.
    fn poll_turn(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<(Pace, Option<Turn>)> {
        if self.waits.is_none() {
            ready!(self.poll_rest(cx, now));
        }
        let (pace, mut ticket) = match self.waits.take() {
            // Who waits keeps waiting, although its account may not need turns any more: it is
            // its turn soon, and only under the lock is it known whether it is now.
            Some((pace, ticket)) => (pace, Some(ticket)),
            None if mem::take(&mut self.stays) => (Pace::Brief, None),
            None if self.steps.are_long() => (Pace::Long, None),
            None => (self.account.pace(), None),
        };
        let line = match &ticket {
            Some(_) => self.account.line(pace),
            None => self.account.needs_turn(pace, now),
        };
        let Some(line) = line else { return Poll::Ready((pace, None)) };
        let turn = line.take(&mut ticket, cx.waker(), now);
        self.waits = ticket.map(|ticket| (pace, ticket));
        match turn {
            Some(turn) => Poll::Ready((pace, Some(turn))),
            None => Poll::Pending,
        }
    }

    /// Ready when its account has no more been used than it may.
    fn poll_rest(&mut self, cx: &mut Context<'_>, mut now: Instant) -> Poll<()> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(cx));
                self.rest = None;
                now = Instant::now();
            }
            let Some(rest) = self.account.rest(now) else {
                return Poll::Ready(());
            };
            // Its limits may change meanwhile.
            self.rest = Some(Box::pin(sleep(rest.min(LONGEST_REST))));
        }
    }

    /// A step was of this length.
    fn count(&mut self, length: Duration) {
        let is_long = self.is_long(length);
        self.steps.count(is_long);
    }

    fn is_long(&self, length: Duration) -> bool {
        self.account.schedule().is_some_and(|schedule| schedule.is_long(length))
    }

    /// How long a step was that has taken `time` here, and counts it. Where it seems long, and has not begun with a
    /// look at its `own` time, nobody knows: the system may have run others meanwhile.
    fn length(&mut self, time: Duration, own: Option<Begun>) -> Option<Duration> {
        let length = if self.is_long(time) { own?.elapsed().min(time) } else { time };
        self.count(length);
        Some(length)
    }

    /// Does a step here, which has begun at `start`.
    fn step(
        &mut self,
        turn: Option<Turn>,
        start: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let Work::Here(work) = &mut self.work else { return Poll::Pending };
        let begun = Begun::Here(start);
        let own = self.account.doubts().then(Begun::away);
        let (result, time, end) = loop {
            self.alarm.set();
            let result = begun.run(|| work.as_mut().poll(&mut Context::from_waker(&self.waker)));
            let end = Instant::now();
            let time = end.saturating_duration_since(start);
            // Without a budget Tokio's own futures wake and are not ready, however often.
            // A guest yields for each task that it spawns, and each time around by the runtime costs as much as
            // a short stretch of its own.
            let goes_on = time < SLICE && self.alarm.has_rung() && has_budget_remaining();
            if result.is_ready() || !goes_on {
                break (result, time, end);
            }
        };
        let length = self.length(time, own);
        self.account.charge(length.unwrap_or(time), length, end);
        // Only now, when it is known what the account has used. Where the work panics it is dropped.
        if let Some(turn) = turn {
            turn.end(time);
        }
        if result.is_pending() {
            self.alarm.wakes(cx.waker());
        }
        result
    }

    /// Has a step done by a thread for long ones.
    fn hand_over(&mut self, schedule: &Schedule, turn: Option<Turn>, cx: &mut Context<'_>) {
        let Work::Here(mut work) = mem::replace(&mut self.work, Work::Done) else { return };
        self.was_away = true;
        self.alarm.set();
        self.alarm.is_for(cx.waker());
        let (account, waker) = (self.account.clone(), self.waker.clone());
        let (sender, receiver) = oneshot::channel();
        self.work = Work::Away(receiver);
        schedule.run_long(move || {
            let begun = Begun::away();
            let result = begun.run(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
            let step = match result {
                Poll::Ready(output) => {
                    drop(work);
                    Step::Done(output)
                }
                Poll::Pending => Step::NotYet(work),
            };
            let time = begun.elapsed();
            account.charge(time, Some(time), Instant::now());
            if let Some(turn) = turn {
                turn.end(time);
            }
            // Who is gone wants nothing any more, and the work is dropped.
            drop(sender.send((step, time)));
        });
    }
}

impl<F> Drop for Metered<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some((pace, ticket)) = self.waits.take()
            && let Some(line) = self.account.line(pace)
        {
            line.leave(ticket);
        }
        // What has computed for long may hold much memory, which takes long to give back.
        if let Work::Here(work) = mem::replace(&mut self.work, Work::Done)
            && (self.steps.are_long() || self.was_away)
            && let Some(schedule) = self.account.schedule()
        {
            schedule.run_long(move || drop(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Wake,
        thread::{self, ThreadId},
    };

    use futures_util::future::join_all;

    use super::*;
    use crate::{AccountLimits, schedule::LONG_STEP, step::paced};

    /// How often it was woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Computes for so long, however much of a core the thread has.
    fn spin(time: Duration) {
        let begun = Begun::away();
        while begun.elapsed() < time {
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

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_step_goes_on_while_its_work_wakes_itself_and_is_brief() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        // Once, but for when the system interrupts this thread.
        let mut work = pin!(metered(Account::alone(), guest(1_000, || {})));
        let mut polls = 1;
        while work.as_mut().poll(&mut cx).is_pending() {
            polls += 1;
        }
        assert!(polls < 100, "{polls}");
        assert_eq!(wakes.0.swap(0, SeqCst), polls - 1);

        let mut work = pin!(metered(Account::alone(), guest(20, || spin(SLICE))));
        for polls in 1..20 {
            assert!(work.as_mut().poll(&mut cx).is_pending());
            assert_eq!(wakes.0.load(SeqCst), polls);
        }
        assert!(work.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn what_gets_ready_together_is_seen_to_in_several_steps() {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..50).map(|_| oneshot::channel::<()>()).unzip();
        let waits = receivers.into_iter().map(|receiver| async {
            paced(receiver).await.unwrap();
            spin(SLICE / 2);
        });
        let mut work = pin!(metered(Account::alone(), join_all(waits)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut cx).is_pending());
        senders.into_iter().for_each(|sender| sender.send(()).unwrap());
        let mut steps = 1;
        while work.as_mut().poll(&mut cx).is_pending() {
            steps += 1;
        }
        assert!(steps > 10, "{steps}");
    }

    #[test]
    fn who_polled_last_is_woken() {
        let [first, second] = [0, 1].map(|_| Arc::new(Wakes::default()));
        let (sender, receiver) = oneshot::channel::<()>();
        let mut work = pin!(metered(Account::alone(), receiver));
        for task in [&first, &second] {
            let waker = Waker::from(task.clone());
            assert!(work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        sender.send(()).unwrap();
        assert_eq!([first, second].map(|task| task.0.load(SeqCst)), [0, 1]);
        assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn what_a_guest_takes_is_charged_to_its_account() {
        let step = Duration::from_micros(100);
        let (one, other) = (Account::alone(), Account::alone());
        let mut work = pin!(metered(one.clone(), guest(3, move || spin(step))));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for polls in 1..=3 {
            assert_eq!(work.as_mut().poll(&mut cx).is_ready(), polls == 3);
            assert!(one.cpu_time() >= step * polls);
        }
        assert_eq!(other.cpu_time(), Duration::ZERO);
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let account = Account::heavy(&Schedule::new(1, LONG_STEP));
        let work = metered(account.clone(), async { panic!("a host call") });
        assert!(std::panic::AssertUnwindSafe(work).catch_unwind().now_or_never().unwrap().is_err());
        assert_eq!(metered(account, async { 7 }).now_or_never(), Some(7));
    }

    #[test]
    fn one_that_waits_and_goes_away_is_no_hindrance() {
        let account = Account::heavy(&Schedule::new(1, LONG_STEP));
        let line = account.line(Pace::Brief).unwrap();
        let turn = line.take(&mut None, std::task::Waker::noop(), Instant::now()).unwrap();
        assert_eq!(metered(account.clone(), async { 7 }).now_or_never(), None);
        // It was dropped, as one that waits.
        drop(turn);
        assert_eq!(metered(account.clone(), async { 7 }).now_or_never(), Some(7));
    }

    /// The threads that do the steps of a guest of `account`, each of which takes so long.
    fn threads(account: &Arc<Account>, steps: usize, step: Duration) -> Vec<ThreadId> {
        let (sender, threads) = std::sync::mpsc::sync_channel(100);
        let step = move || {
            sender.send(thread::current().id()).unwrap();
            spin(step);
        };
        block_on(metered(account.clone(), guest(steps, step)));
        threads.into_iter().collect()
    }

    #[test]
    fn long_steps_are_done_by_other_threads() {
        let here = thread::current().id();
        for account in
            [Account::heavy, |schedule: &_| Account::among(schedule, AccountLimits::NONE)]
        {
            let account = account(&Schedule::new(1, LONG_STEP));
            let threads = threads(&account, 30, 2 * LONG_STEP);
            assert_eq!(threads.len(), 30);
            // The first may have been interrupted, for all that is known.
            let first = threads.iter().take_while(|thread| **thread == here).count();
            assert!((1..=usize::from(Steps::LONG) + 1).contains(&first), "{first}");
            assert!(threads.iter().skip(first).all(|thread| *thread != here));
            // Now its first steps are known to be long.
            let next = self::threads(&account, 1, Duration::ZERO);
            assert!(!next.contains(&here));
            // As the thread itself counts it, which has others beside it.
            assert!(account.cpu_time() > 5 * LONG_STEP, "those elsewhere as well");
            // And brief again, unless the system interrupts these as well.
            let is_brief = |_| self::threads(&account, 100, Duration::ZERO).last() == Some(&here);
            assert!((0..10).any(is_brief));
        }
        let alone = threads(&Account::alone(), 10, 2 * LONG_STEP);
        assert!(alone.iter().all(|thread| *thread == here));
    }

    #[test]
    fn what_the_system_interrupts_is_not_long() {
        let here = thread::current().id();
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let (sender, threads) = std::sync::mpsc::sync_channel(100);
        let (_silent, nothing) = std::sync::mpsc::sync_channel::<()>(0);
        let step = move || {
            sender.send(thread::current().id()).unwrap();
            // For so long the thread does not run, as where others do.
            let _ = nothing.recv_timeout(4 * LONG_STEP);
        };
        block_on(metered(account.clone(), guest(20, step)));
        assert!(threads.iter().all(|thread| thread == here));
        assert_eq!(account.pace(), Pace::Brief);
    }

    #[test]
    fn who_has_computed_is_back_when_its_steps_are_brief() {
        let here = thread::current().id();
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let (sender, threads) = std::sync::mpsc::sync_channel(200);
        let mut steps = 0;
        let step = move || {
            sender.send(thread::current().id()).unwrap();
            steps += 1;
            if steps <= 10 {
                spin(2 * LONG_STEP);
            }
        };
        block_on(metered(account, guest(200, step)));
        let threads: Vec<_> = threads.into_iter().collect();
        assert_ne!(threads[9], here);
        // Most of the rest, whatever the system has interrupted.
        let back = threads[100..].iter().filter(|thread| **thread == here).count();
        assert!(back > 50, "{back}");
    }

    #[test]
    fn a_panic_elsewhere_is_one_here() {
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let mut left = 5;
        let step = move || {
            left -= 1;
            assert!(left > 0, "a host call");
            spin(2 * LONG_STEP);
        };
        let work = metered(account.clone(), guest(10, step));
        assert!(block_on(std::panic::AssertUnwindSafe(work).catch_unwind()).is_err());
        assert_eq!(block_on(metered(account, async { 7 })), 7);
    }

    #[test]
    fn what_has_computed_for_long_is_dropped_elsewhere() {
        struct Dropped(std::sync::mpsc::SyncSender<ThreadId>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(thread::current().id());
            }
        }
        let (sender, dropped) = std::sync::mpsc::sync_channel(100);
        let account = Account::among(&Schedule::new(1, LONG_STEP), AccountLimits::NONE);
        let guard = Dropped(sender);
        let mut work = Box::pin(metered(account, async move {
            let _guard = guard;
            guest(usize::MAX, || spin(2 * LONG_STEP)).await;
        }));
        // Whatever it is about when it is dropped.
        let wait = async { tokio::time::timeout(Duration::from_millis(20), &mut work).await };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert!(runtime.block_on(wait).is_err());
        drop(work);
        assert_ne!(dropped.recv_timeout(Duration::from_secs(10)).unwrap(), thread::current().id());
    }

    /// Tasks on several threads, more at a time than there are turns: all come to their end, which
    /// they would not if a turn or a wake-up were lost.
    #[test]
    fn all_come_to_their_end_on_many_threads() {
        let schedule = Schedule::new(2, LONG_STEP);
        let running = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                let (schedule, running) = (&schedule, &running);
                scope.spawn(move || {
                    let heavy = Account::heavy(schedule);
                    let usual = Account::among(schedule, AccountLimits::NONE);
                    let long = Account::heavy(schedule);
                    let step = || {
                        let running = running.clone();
                        move || {
                            assert!(running.fetch_add(1, SeqCst) < 2);
                            std::hint::spin_loop();
                            running.fetch_sub(1, SeqCst);
                        }
                    };
                    let heavies = (0..20).map(|_| metered(heavy.clone(), guest(200, step())));
                    let usuals = (0..20).map(|_| metered(usual.clone(), guest(200, || ())));
                    let longs =
                        (0..10).map(|_| metered(long.clone(), guest(20, || spin(2 * LONG_STEP))));
                    block_on(async {
                        tokio::join!(join_all(heavies), join_all(usuals), join_all(longs))
                    });
                });
            }
        });
    }
}
