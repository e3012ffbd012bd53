//! The steps that guests are run in: what one poll of them does.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::schedule::LONG_STEP;

/// When a step has begun, by the clock of the thread that does it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begun {
    /// Where it is polled.
    Here(Instant),
    /// By a thread of which the system may run hardly any, such as those for long steps: by its own time.
    Away(Duration),
}

thread_local! {
    /// The step that is being done.
    static CURRENT: Cell<Option<Begun>> = const { Cell::new(None) };
}

impl Begun {
    /// Now, by the calling thread's own time.
    pub(crate) fn away() -> Self {
        Self::Away(thread_time())
    }

    /// For how long the step has gone on.
    pub(crate) fn elapsed(self) -> Duration {
        match self {
            Self::Here(start) => start.elapsed(),
            Self::Away(start) => thread_time().saturating_sub(start),
        }
    }

    /// Does the step, or a part of it.
    pub(crate) fn run<T>(self, step: impl FnOnce() -> T) -> T {
        /// What this thread did before, which it goes on with, also where the step panics.
        struct Before(Option<Begun>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _before = Before(CURRENT.replace(Some(self)));
        step()
    }

    /// For how long others wait for it, whatever it does.
    fn slice(self) -> Duration {
        match self {
            Self::Here(_) => SLICE,
            // It has to be a long one where the guest computes, however little the system runs the thread.
            Self::Away(_) => LONG_STEP,
        }
    }
}

/// A step where it is polled goes on for so long. No longer, since others wait for the thread.
pub(crate) const SLICE: Duration = Duration::from_micros(50);

/// Whether a step is being done that has only begun, which is not interrupted.
pub(crate) fn has_only_begun() -> bool {
    CURRENT.get().is_some_and(|begun| begun.elapsed() < begun.slice())
}

/// Whether a step is being done that has gone on for its slice, so that what can wait is left for the next.
pub(crate) fn is_over() -> bool {
    CURRENT.get().is_some_and(|begun| begun.elapsed() >= SLICE)
}

/// What a guest has waited for goes on in the next step where this one is over. An instance that waits for many things
/// at a time would see to all that are ready in one step otherwise, which would take so long that it passed for computing.
#[derive(Debug, Default)]
pub struct Paced {
    has_waited: bool,
}

impl Paced {
    /// Polls what is paced, if it is its turn. What was not polled before always is: whoever is asked for
    /// something is asked at once.
    pub fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.has_waited && is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let result = poll(cx);
        self.has_waited = result.is_pending();
        result
    }
}

/// `work`, [`Paced`].
pub async fn paced<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let mut pace = Paced::default();
    poll_fn(|cx| pace.poll(cx, |cx| work.as_mut().poll(cx))).await
}

/// For how long the calling thread has run.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long the steps of some work have been of late.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// How many were long.
    long: u8,
    /// How many were brief, after the last of those.
    brief: u8,
}

impl Steps {
    /// One long step says little about the next.
    pub(crate) const LONG: u8 = 2;
    /// As many brief ones after it, and it is forgotten. Not fewer: handing a step over costs as much as many brief
    /// ones take, and work that computes and waits in turn would be handed over again soon.
    pub(crate) const BRIEF: u8 = 16;

    /// There was one more.
    pub(crate) fn count(&mut self, is_long: bool) {
        if is_long {
            self.long = self.long.saturating_add(1);
            self.brief = 0;
        } else if self.long > 0 {
            self.brief += 1;
            if self.brief >= Self::BRIEF {
                *self = Self::default();
            }
        }
    }

    /// Whether the next one is expected to be long.
    pub(crate) fn are_long(&self) -> bool {
        self.long >= Self::LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_only_begun_for_a_while() {
        assert!(!has_only_begun(), "none is being done");
        let long = Begun::Here(Instant::now().checked_sub(SLICE).unwrap());
        // However long it takes until it is asked.
        let begun = || Begun::Here(Instant::now() + LONG_STEP);
        begun().run(|| {
            assert!(has_only_begun());
            long.run(|| assert!(!has_only_begun()));
            assert!(has_only_begun(), "the one before");
        });
        let away = Begun::away();
        away.run(|| while has_only_begun() {});
        assert!(away.elapsed() >= LONG_STEP);
        let panicked = std::panic::catch_unwind(|| begun().run(|| panic!("a host call")));
        assert!(panicked.is_err() && !has_only_begun());
    }

    #[test]
    fn long_steps_are_forgotten_after_many_brief_ones() {
        let mut steps = Steps::default();
        let mut count = |is_long, times| (0..times).for_each(|_| steps.count(is_long));
        count(true, 1);
        count(false, Steps::BRIEF);
        count(true, 1);
        count(false, Steps::BRIEF - 1);
        assert!(!steps.are_long());
        steps.count(true);
        assert!(steps.are_long());
        (1..Steps::BRIEF).for_each(|_| steps.count(false));
        assert!(steps.are_long());
        steps.count(false);
        assert!(!steps.are_long());
    }
}
