//! Calls by name: requests for `http://cart.internal/` are for the component `cart` of the same app.
//! They never leave the host.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
};

use dhow_manifest::Name;
use http::{Extensions, Request, Response};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::http_client::Limits;

/// The components of an app, as others of it call them.
pub trait Neighbours: Send + Sync + 'static {
    /// Sends `request` to the component `name`, as one that is `depth` calls away from outside.
    fn call(self: Arc<Self>, name: &Name, depth: Depth, request: Request<WasiBody>) -> Calling;
}

/// A call by name on its way to a response.
pub type Calling = Pin<Box<dyn Future<Output = Result<Response<WasiBody>, Error>> + Send>>;

/// Where the components of one app find each other, once they are at work, and what they share.
#[derive(Clone, Default)]
pub struct Neighbourhood {
    neighbours: Arc<OnceLock<Weak<dyn Neighbours>>>,
    limits: Limits,
}

impl Neighbourhood {
    /// From here on they are there; whoever came first stays.
    pub fn settle(&self, neighbours: Weak<dyn Neighbours>) {
        let _ = self.neighbours.set(neighbours);
    }

    /// How many requests to others they may have under way.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn call(&self, name: &Name, depth: Depth, request: Request<WasiBody>) -> Calling {
        match self.neighbours.get().and_then(Weak::upgrade) {
            Some(neighbours) => neighbours.call(name, depth, request),
            // The app is gone, and what is left of it comes to its end.
            None => Box::pin(async { Err(Error::DestinationUnavailable) }),
        }
    }
}

/// A component that calls itself, or one that calls it back, would go on for ever: deeper than any
/// app that is meant.
const MAX_DEPTH: u32 = 16;

/// How many calls by name lie between a request and the outside. A request that came by such a call
/// carries it among its extensions, for as long as it is under way.
#[derive(Debug, Clone)]
pub struct Depth(Arc<u32>);

/// The depths of the requests that an instance answers.
#[derive(Default)]
pub(crate) struct Depths(Vec<Weak<u32>>);

impl Depths {
    /// The instance begins with a request that carries `extensions`.
    pub(crate) fn begin(&mut self, extensions: &Extensions) {
        if let Some(Depth(depth)) = extensions.get() {
            self.0.retain(|depth| depth.strong_count() > 0);
            self.0.push(Arc::downgrade(depth));
        }
    }

    /// The depth of a call that the instance makes: which of its requests it is for is not known,
    /// so it counts as one of the deepest. None where that is too deep.
    pub(crate) fn of_call(&self) -> Option<Depth> {
        let deepest = self.0.iter().filter_map(Weak::upgrade).map(|depth| *depth).max();
        let depth = deepest.unwrap_or(0) + 1;
        (depth <= MAX_DEPTH).then(|| Depth(Arc::new(depth)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_deeper_than_the_deepest_request_under_way() {
        let mut depths = Depths::default();
        let mut last = depths.of_call().unwrap();
        assert_eq!(*last.0, 1);
        for depth in 2..=MAX_DEPTH {
            let mut extensions = Extensions::new();
            extensions.insert(last.clone());
            depths.begin(&extensions);
            last = depths.of_call().unwrap();
            assert_eq!(*last.0, depth);
        }
        let mut extensions = Extensions::new();
        extensions.insert(last);
        depths.begin(&extensions);
        assert!(depths.of_call().is_none());
        drop(extensions);
        // All that were deep are answered.
        assert_eq!(*depths.of_call().unwrap().0, 1);
    }
}
