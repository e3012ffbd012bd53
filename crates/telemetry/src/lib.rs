//! Traces and metrics, on their way to an OpenTelemetry collector.
//!
//! [`span`] is what the process records of a request and of what it leads to: spans of `tracing`, which cost
//! next to nothing while nobody collects them. [`Exporter`] sends them on, by OTLP.

mod export;
pub mod span;

pub use export::{Collector, Exporter, StartError};
/// By which metrics are described.
pub use opentelemetry::{KeyValue, metrics::Meter};
