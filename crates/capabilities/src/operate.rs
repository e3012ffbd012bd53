//! What guests have stores, databases and servers do.

use std::future::Future;

use dhow_engine::paced;
use dhow_telemetry::span;

/// Does `work`, which is all that an `operation` of `capability` waits for, within a span of its own, and paced.
///
/// # Errors
/// Those of the work.
pub(crate) async fn operate<T, E>(
    capability: &'static str,
    operation: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    span::traced(capability, operation, paced(work)).await
}
