//! A collector of OpenTelemetry, which knows what it was sent.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify, time::timeout};

/// Longer than anything that a test waits for takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The running collector.
pub struct Collector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    changed: Notify,
}

/// What was sent so far.
#[derive(Default)]
pub struct Received {
    pub spans: Vec<Span>,
    /// The latest last.
    pub numbers: Vec<Number>,
    /// Of the last request.
    pub headers: HeaderMap,
}

/// A number of a metric.
#[derive(Debug)]
pub struct Number {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub value: f64,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let taking = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = taking.clone();
                let service =
                    hyper::service::service_fn(move |request| take(shared.clone(), request));
                let serve = async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                };
                drop(tokio::spawn(serve));
            }
        });
        Self { address, shared }
    }

    /// Waits until `find` finds what it looks for.
    pub async fn wait_for<T>(&self, what: &str, find: impl Fn(&Received) -> Option<T>) -> T {
        let look = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if let Some(found) = find(&self.shared.received()) {
                    return found;
                }
                changed.await;
            }
        };
        let found = timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| {
            let received = self.shared.received();
            let names: Vec<_> = received.spans.iter().map(|span| &span.name).collect();
            panic!("no {what} among {names:?}, {:?}", received.numbers)
        })
    }
}

impl Shared {
    fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut received = shared.received();
    received.headers = parts.headers;
    match parts.uri.path() {
        "/v1/traces" => {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
            received.spans.extend(scopes.flat_map(|scope| scope.spans));
        }
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(body).unwrap();
            let scopes = request.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
            for metric in scopes.flat_map(|scope| scope.metrics) {
                let points = match metric.data {
                    Some(Data::Gauge(gauge)) => gauge.data_points,
                    Some(Data::Sum(sum)) => sum.data_points,
                    _ => Vec::new(),
                };
                for point in points {
                    let value = match point.value {
                        Some(number_data_point::Value::AsDouble(value)) => value,
                        Some(number_data_point::Value::AsInt(value)) => value as f64,
                        None => continue,
                    };
                    let mut attributes: Vec<_> = point.attributes.iter().map(pair).collect();
                    attributes.sort();
                    let name = metric.name.clone();
                    received.numbers.push(Number { name, attributes, value });
                }
            }
        }
        other => panic!("{other}"),
    }
    drop(received);
    shared.changed.notify_waiters();
    Ok(Response::new(Full::default()))
}

fn pair(attribute: &KeyValue) -> (String, String) {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    let text = match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    };
    (attribute.key.clone(), text)
}

/// What a span says of `key`.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().map(pair).find(|(name, _)| name == key).map(|(_, value)| value)
}

/// In hexadecimal digits, as headers have it.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
