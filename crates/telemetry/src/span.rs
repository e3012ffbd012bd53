//! Spans: one for each request, and within it one for each call of a capability that reaches out or waits.
//!
//! Whose request a call is for follows from where it is made: the guest runs within the span of its request.
//! Where one instance answers several requests at a time that is not known, and its calls have no spans.

use std::fmt::Display;

use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::{propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use tracing::Instrument;

/// What spans are told from other things by that `tracing` carries.
pub const TARGET: &str = "dhow_trace";

/// The span of a request on its way in, which continues the trace that its headers name (W3C Trace Context,
/// `traceparent`), if they do. From then on they name the span itself, for whoever gets them.
///
/// Its fields are those of OpenTelemetry's conventions for HTTP servers.
pub fn request(method: &Method, path: &str, headers: &mut HeaderMap) -> Span {
    if !is_collected() {
        return Span::none();
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = format_args!("{method}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %method,
        url.path = path,
        http.response.status_code = Empty,
        dhow.request = Empty,
        dhow.tenant = Empty,
        dhow.app = Empty,
        dhow.revision = Empty,
        dhow.component = Empty,
    );
    let _ = span.set_parent(parent);
    inject(&span, headers);
    span
}

/// Who answers a request.
#[derive(Clone, Copy)]
pub struct Answerer<'a> {
    /// Whose app it is.
    pub tenant: &'a dyn Display,
    /// The app.
    pub app: &'a dyn Display,
    /// Which revision, where it is known.
    pub revision: Option<u32>,
    /// The component.
    pub component: &'a dyn Display,
}

/// Says in the span of a request who answers it.
pub fn is_for(span: &Span, id: &dyn Display, answerer: Answerer<'_>) {
    if span.is_disabled() {
        return;
    }
    let Answerer { tenant, app, revision, component } = answerer;
    span.record("dhow.request", tracing::field::display(id));
    span.record("dhow.tenant", tracing::field::display(tenant));
    span.record("dhow.app", tracing::field::display(app));
    span.record("dhow.component", tracing::field::display(component));
    if let Some(revision) = revision {
        span.record("dhow.revision", revision);
    }
}

/// Says in the span of a request, or of a call over HTTP, what it came to.
pub fn answered(span: &Span, status: StatusCode) {
    if !span.is_disabled() {
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            failed(span);
        }
    }
}

/// Says that what a span is of has failed.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// The span of a call of `capability`, which does `operation`, within the request that it is made for; none
/// where that is not known.
pub fn call(capability: &'static str, operation: &'static str) -> Span {
    if !is_collected() || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = format_args!("{capability} {operation}"),
        otel.kind = "client",
        otel.status_code = Empty,
        dhow.capability = capability,
        dhow.operation = operation,
    )
}

/// The span of a request that a guest sends, whose headers name it from then on, unless the guest has named
/// one.
pub fn outbound<B>(request: &mut Request<B>) -> Span {
    if !is_collected() || Span::current().is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("{}", request.method()),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = %request.method(),
        server.address = request.uri().host().unwrap_or_default(),
        http.response.status_code = Empty,
        dhow.capability = "http",
    );
    // A guest that passes on what it was given says so itself.
    if !request.headers().contains_key("traceparent") {
        inject(&span, request.headers_mut());
    }
    span
}

/// Does `work`, which is all that a call of `capability` waits for, within a span of its own.
///
/// # Errors
/// Those of the work.
pub async fn traced<T, E>(
    capability: &'static str,
    operation: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = call(capability, operation);
    async { ended(work.await) }.instrument(span).await
}

/// What came of the call whose span this is in.
///
/// # Errors
/// Those of the call.
pub fn ended<T, E>(result: Result<T, E>) -> Result<T, E> {
    if result.is_err() {
        failed(&Span::current());
    }
    result
}

fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
        // The propagator writes it where there is nothing to write.
        if headers.get("tracestate").is_some_and(|state| state.is_empty()) {
            headers.remove("tracestate");
        }
    }
}

/// Whether anybody collects spans.
fn is_collected() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}
