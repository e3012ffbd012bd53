//! The steps that guests are run in: what one poll of them does.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::schedule::LONG_STEP;

/// When a step has begun, by the clock of the thread that does it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begun {
    /// Where it is polled.
    Here(Instant),
    /// By a thread for long steps, of which the system may run hardly any: by its own time.
    Away(Duration),
}

thread_local! {
    /// The step that is being done.
    static CURRENT: Cell<Option<Begun>> = const { Cell::new(None) };
}

impl Begun {
    /// On a thread for long steps, now.
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

    /// Does the step, or a part of it. A guest that calls another by its name may poll that within.
    pub(crate) fn run<T>(self, step: impl FnOnce() -> T) -> T {
        /// The step around this one, also where this one panics.
        struct Around(Option<Begun>);
        impl Drop for Around {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _around = Around(CURRENT.replace(Some(self)));
        step()
    }
}

/// Whether a step is being done that has only begun.
pub(crate) fn is_brief() -> bool {
    CURRENT.get().is_some_and(|begun| begun.elapsed() < LONG_STEP)
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
    /// One long step may be a thread that the system has interrupted.
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
    fn a_step_is_brief_at_its_beginning() {
        assert!(!is_brief(), "none is being done");
        let now = Instant::now();
        let long = Begun::Here(now.checked_sub(LONG_STEP).unwrap());
        // As if none of the time until it is asked were the system's.
        let begun = || Begun::Here(Instant::now() + LONG_STEP);
        begun().run(|| {
            assert!(is_brief());
            long.run(|| assert!(!is_brief()));
            assert!(is_brief(), "the one around");
        });
        assert!(!is_brief());
        let away = Begun::away();
        away.run(|| while is_brief() {});
        assert!(away.elapsed() >= LONG_STEP);
        let panicked = std::panic::catch_unwind(|| begun().run(|| panic!("a host call")));
        assert!(panicked.is_err() && !is_brief());
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
