//! How long somebody waits, for one thing after the other.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// Measures waits that follow each other, by one timer: setting one costs a lock that all of the
/// runtime's threads share, and most of what is waited for comes long before.
#[derive(Default)]
pub(crate) struct Patience {
    /// When the wait is over; none where nobody waits.
    end: Option<Instant>,
    /// May be set for an earlier wait, and be over before.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Where a guest waits for ever: a point in time has to be representable.
const EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

impl Patience {
    /// What was waited for is there.
    pub(crate) fn begin_anew(&mut self) {
        self.end = None;
    }

    /// Ready once it was polled for `limit`, and there was no new beginning.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let end = *self.end.get_or_insert_with(|| Instant::now() + limit.min(EVER));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= end {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
    }

    /// Completes after `limit`.
    pub(crate) async fn over(&mut self, limit: Duration) {
        poll_fn(|cx| self.poll_over(cx, limit)).await;
    }
}

/// The next frame of `body`, or an error where it was silent for longer than `limit`, by `patience` where somebody
/// waits.
pub(crate) fn poll_frame_of<B>(
    body: &mut B,
    patience: Option<&mut Patience>,
    limit: Duration,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>>
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    match (Pin::new(body).poll_frame(cx), patience) {
        (Poll::Ready(frame), patience) => {
            patience.into_iter().for_each(Patience::begin_anew);
            Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| {
                    tracing::debug!(?error, "the body of a response");
                    Error::HttpResponseIncomplete
                })
            }))
        }
        (Poll::Pending, None) => Poll::Pending,
        (Poll::Pending, Some(patience)) => {
            ready!(patience.poll_over(cx, limit));
            Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
        }
    }
}

/// A body that fails where it is silent for longer than `limit`.
pub(crate) struct Awaited<B> {
    pub(crate) body: B,
    pub(crate) limit: Duration,
    pub(crate) patience: Patience,
}

impl<B> Body for Awaited<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, limit, patience } = &mut *self;
        poll_frame_of(body, Some(patience), *limit, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Whether it is over, for who looks once.
    fn is_over(patience: &mut Patience, limit: Duration) -> bool {
        patience.poll_over(&mut Context::from_waker(Waker::noop()), limit).is_ready()
    }

    #[tokio::test]
    async fn each_wait_has_its_own_limit() {
        let mut patience = Patience::default();
        // The timer is set for a longer wait, and for a shorter one, than those that follow.
        for other in [HOUR, Duration::from_millis(1)] {
            is_over(&mut patience, other);
            for limit in [3, 20, 0, 5].map(Duration::from_millis) {
                patience.begin_anew();
                let start = Instant::now();
                patience.over(limit).await;
                assert!(start.elapsed() >= limit, "{:?} of {limit:?}", start.elapsed());
            }
            patience.begin_anew();
        }
    }

    #[tokio::test]
    async fn one_wait_goes_on_however_often_it_is_looked_at() {
        let mut patience = Patience::default();
        assert!(!is_over(&mut patience, HOUR));
        let end = patience.end;
        assert!(!is_over(&mut patience, HOUR));
        assert_eq!(patience.end, end);
    }

    #[tokio::test]
    async fn the_longest_limit_can_be_waited_for() {
        assert!(!is_over(&mut Patience::default(), Duration::MAX));
    }
}
