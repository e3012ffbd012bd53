//! For guests that wait often: `FuturesUnordered`, by which wit-bindgen runs tasks, asks to be polled
//! again whenever all tasks there are have been polled and wait. That takes the guest to its host and
//! back once more each time. Where one of them sleeps on, not all have been polled.

use std::future::{Future, pending};

use wit_bindgen::{JoinHandle, spawn_local};

/// Runs `work` beside a task that sleeps until it is done.
pub async fn beside_a_sleeper<T>(work: impl Future<Output = T>) -> T {
    let _sleeper = Sleeper(spawn_local(pending()));
    work.await
}

struct Sleeper(JoinHandle<()>);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
