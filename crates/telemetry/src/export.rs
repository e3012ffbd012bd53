//! Sending spans and metrics on, by OTLP over HTTP.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider as _},
    trace::TracerProvider as _,
};
use opentelemetry_http::{HttpClient, HttpError, hyper::HyperClient};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use thiserror::Error;
use tokio::runtime::Handle;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::span::TARGET;

/// Where spans and metrics go.
#[derive(Clone)]
pub struct Collector {
    /// The URL of an OTLP receiver over HTTP, without the path of a signal: `http://localhost:4318`.
    pub endpoint: String,
    /// Sent with everything, such as a token.
    pub headers: HashMap<String, String>,
    /// The part of the traces that begin here, from 0 to 1. What others have begun is collected if they do.
    pub sample: f64,
    /// How often metrics are sent.
    pub interval: Duration,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a token, and so may a URL.
        f.debug_struct("Collector").field("sample", &self.sample).finish_non_exhaustive()
    }
}

/// What the process is called among others.
const SERVICE: &str = "dhow";
/// A collector that takes longer is not waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is left at the end is waited for no longer than this.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends spans and metrics to a collector, from threads of its own. What it can't get rid of in time is
/// dropped; nobody waits for it.
pub struct Exporter {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

/// The exporter can't be had.
#[derive(Debug, Error)]
#[error("telemetry: {0}")]
pub struct StartError(String);

impl From<ExporterBuildError> for StartError {
    fn from(error: ExporterBuildError) -> Self {
        Self(error.to_string())
    }
}

impl Exporter {
    /// One for `collector`, which is not connected to yet. Requests are sent in the runtime of the caller.
    ///
    /// # Errors
    /// When the collector's URL is none, or a header.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(collector: &Collector, version: &'static str) -> Result<Self, StartError> {
        let uri: Uri =
            collector.endpoint.parse().map_err(|_| StartError("its URL is none".to_owned()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(StartError("its URL is none of http or https".to_owned()));
        }
        for (name, value) in &collector.headers {
            let is_header =
                name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
            if !is_header {
                return Err(StartError(format!("`{name}` can't be sent as a header")));
            }
        }
        let client: Arc<dyn HttpClient> = Arc::new(Client::new());
        let of = |signal: &str| format!("{}/v1/{signal}", collector.endpoint.trim_end_matches('/'));
        let spans = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(client.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_headers(collector.headers.clone())
            .with_endpoint(of("traces"))
            .build()?;
        let metrics = MetricExporter::builder()
            .with_http()
            .with_shared_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_headers(collector.headers.clone())
            .with_endpoint(of("metrics"))
            .build()?;
        let version = KeyValue::new("service.version", version);
        let resource =
            Resource::builder().with_service_name(SERVICE).with_attribute(version).build();
        let root = Sampler::TraceIdRatioBased(collector.sample);
        let traces = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource.clone())
            .with_batch_exporter(spans)
            .build();
        let reader = PeriodicReader::builder(metrics).with_interval(collector.interval).build();
        let metrics =
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        Ok(Self { traces, metrics })
    }

    /// By which spans of `tracing` reach the collector: those of [`crate::span`], and no others.
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.traces.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layer.with_filter(ours).boxed()
    }

    /// For metrics of the process.
    pub fn meter(&self) -> Meter {
        self.metrics.meter(SERVICE)
    }

    /// Sends what is left, for some seconds at most. The calling thread waits.
    pub fn end(self) {
        let results = [
            self.traces.shutdown_with_timeout(END_TIMEOUT),
            self.metrics.shutdown_with_timeout(END_TIMEOUT),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            tracing::debug!("the last of the telemetry is lost: {error}");
        }
    }
}

/// Sends requests in a runtime, whoever asks: the exporters have threads of their own without one.
#[derive(Debug)]
struct Client {
    runtime: Handle,
    client: HyperClient<HttpsConnector<HttpConnector>>,
}

impl Client {
    fn new() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = match config.with_safe_default_protocol_versions() {
            Ok(config) => config.with_root_certificates(roots).with_no_client_auth(),
            Err(_) => unreachable!("ring has what the default versions need"),
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        Self {
            runtime: Handle::current(),
            client: HyperClient::new(connector.build(), TIMEOUT, None),
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        #[expect(clippy::disallowed_methods, reason = "it is waited for, and ends in time")]
        let sending = self.runtime.spawn(async move { client.send_bytes(request).await });
        sending.await?
    }
}
