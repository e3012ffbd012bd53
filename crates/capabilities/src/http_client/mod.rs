//! Outbound HTTP: `wasi:http/client@0.3` and `wasi:http/outgoing-handler@0.2`, through one pool.

mod connector;
mod pool;
mod received;
mod target;

use std::{
    future::Future,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dhow_engine::paced;
use dhow_manifest::{Name, Origin};
use dhow_telemetry::span::{self, Instrument as _};
use http::{Extensions, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper_rustls::HttpsConnectorBuilder;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::Span;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::{
    connector::Connector,
    pool::{Pool, SendError, Waits},
    target::Target,
};
use crate::{
    audit::Audit,
    egress::{Egress, EgressError},
    neighbours::{Calling, Depths, Neighbourhood},
    patience::{Awaited, Patience},
    tls::Tls,
};

/// Where a component may send requests, and the pool by which it does: one for each component, so
/// that none can stall another on a connection that they share. How many there may be is said for
/// a revision of their app.
#[derive(Clone)]
pub(crate) struct Granted(Arc<Shared>);

struct Shared {
    audit: Audit,
    origins: Vec<Origin>,
    /// Whom it may call by name, and where they are.
    calls: Vec<Name>,
    neighbourhood: Neighbourhood,
    tls: Arc<Tls>,
    egress: Arc<Egress>,
    pool: OnceLock<Arc<Pool>>,
}

/// By which a component calls others of its app, of those that it is granted.
pub(crate) type Calls<'a> = (&'a [Name], Neighbourhood);

pub(crate) fn grant(
    audit: &Audit,
    origins: &[Origin],
    (calls, neighbourhood): Calls<'_>,
    tls: &Arc<Tls>,
    egress: &Arc<Egress>,
) -> Granted {
    Granted(Arc::new(Shared {
        audit: audit.clone(),
        origins: origins.to_vec(),
        calls: calls.to_vec(),
        neighbourhood,
        tls: tls.clone(),
        egress: egress.clone(),
        pool: OnceLock::new(),
    }))
}

pub(crate) fn open(granted: &Granted) -> Hooks {
    Hooks { granted: granted.clone(), depths: Depths::default() }
}

/// Requests of one app's revision that are under way at a time, until their responses are read; more wait for a moment.
/// Above what one process does usefully at once.
const MAX_REQUESTS: usize = 512;
/// Connections of one app's revision, to all origins, those that wait for their next request among them. Far below the
/// descriptors that there are.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a request waits where there are as many as there may be.
const LIMIT_WAIT: Duration = Duration::from_secs(5);
/// Where the guest does not say: as long as a lost SYN takes to be sent again, thrice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where the guest does not say: its own time limit is usually shorter.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(600);

/// What a guest may write to a request or a response before it is sent: two of these are kept for
/// each body.
const BODY_CHUNK: usize = 64 << 10;

/// What the components of one revision of an app may have at a time, together.
#[derive(Clone)]
pub(crate) struct Limits {
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { requests: semaphore(MAX_REQUESTS), connections: semaphore(MAX_CONNECTIONS) }
    }
}

/// One of those that there may be, or none in time.
async fn permit(of: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = of.clone().try_acquire_owned() {
        return Some(permit);
    }
    timeout(LIMIT_WAIT, of.clone().acquire_owned()).await.ok()?.ok()
}

impl Shared {
    /// Made at the first request: reading the system's roots takes longer than starting a guest.
    fn pool(&self) -> &Arc<Pool> {
        self.pool.get_or_init(|| {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config((*self.tls.config()).clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(Connector {
                    egress: self.egress.clone(),
                    permits: self.neighbourhood.limits().connections.clone(),
                });
            Arc::new(Pool::new(connector))
        })
    }

    async fn send(
        &self,
        request: Request<WasiBody>,
        target: &Target,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let Some(permit) = permit(&self.neighbourhood.limits().requests).await else {
            return Err(Error::ConnectionLimitReached);
        };
        let uri = request.uri().clone();
        let waits = Waits {
            connect: options.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            first_byte: options.first_byte_timeout.unwrap_or(SILENCE_TIMEOUT),
            between_bytes: options.between_bytes_timeout.unwrap_or(SILENCE_TIMEOUT),
        };
        match self.pool().send(request, target, waits).await {
            Ok(response) => Ok(response.map(|body| body.with(permit).boxed_unsync())),
            Err(error) => {
                self.report(&error, &uri);
                Err(error_code(&error))
            }
        }
    }

    /// Says why the operator's rules or the address of `uri` were in the way, if they were.
    fn report(&self, error: &SendError, uri: &Uri) {
        match egress_error(error) {
            Some(EgressError::NotPublic(address)) => self.audit.deny(
                "http",
                format_args!(
                    "a request to {uri}: the name leads to {address}, which is not public"
                ),
                "to allow it, request and grant the address itself",
            ),
            Some(EgressError::Denied(address)) => self.audit.deny(
                "http",
                format_args!("a request to {uri}, at {address}"),
                "the operator's rules for egress don't allow it",
            ),
            _ => {}
        }
    }
}

/// What comes of a call by name, in the time for which the guest waits.
async fn answered_in_time(
    calling: Calling,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let mut patience = Patience::default();
    let response = match options.first_byte_timeout {
        Some(limit) => tokio::select! {
            biased;
            response = calling => response?,
            () = patience.over(limit) => return Err(Error::HttpResponseTimeout),
        },
        // Who is called has a limit of its own.
        None => calling.await?,
    };
    patience.begin_anew();
    let limit = options.between_bytes_timeout.unwrap_or(SILENCE_TIMEOUT);
    Ok(response.map(|body| Awaited { body, limit, patience }.boxed_unsync()))
}

/// The client's side of one instance.
pub(crate) struct Hooks {
    granted: Granted,
    depths: Depths,
}

/// What `http://NAME.internal` is about, with no port and no credentials: a call by name.
fn internal(uri: &Uri) -> Option<String> {
    let host = uri.host()?.to_ascii_lowercase();
    let is_plain =
        uri.scheme_str() == Some("http") && uri.authority()?.as_str().len() == host.len();
    let name = host.strip_suffix(".internal")?;
    (is_plain && !name.contains('.')).then(|| name.to_owned())
}

impl Hooks {
    /// The instance begins with a request that carries `extensions`.
    pub(crate) fn begin(&mut self, extensions: &Extensions) {
        self.depths.begin(extensions);
    }

    /// Whom `uri` calls by name, of those that may be called.
    fn called(&self, uri: &Uri) -> Option<Name> {
        let Granted(granted) = &self.granted;
        if granted.calls.is_empty() {
            return None;
        }
        let name = internal(uri)?;
        granted.calls.iter().find(|called| called.as_str() == name.as_str()).cloned()
    }

    fn call(&self, name: &Name, request: Request<WasiBody>) -> Calling {
        let Granted(granted) = &self.granted;
        let Some(depth) = self.depths.of_call() else {
            tracing::warn!(
                component = %granted.audit.component(),
                "a call of {name} is refused: it comes of calls by name that go on too deep"
            );
            return Box::pin(async { Err(Error::LoopDetected) });
        };
        granted.neighbourhood.call(name, depth, request)
    }

    /// Where `uri` leads, which is granted.
    fn check(&self, uri: &Uri) -> Result<Target, Error> {
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let (scheme, host, port) = (target.scheme(), target.host(), target.port());
        let Granted(granted) = &self.granted;
        if granted.origins.iter().any(|origin| origin.matches(scheme, host, port)) {
            return Ok(target);
        }
        let component = granted.audit.component();
        // Without its port it would be a call by name.
        let is_internal = host.ends_with(".internal") && target.has_port();
        let origin = match port == scheme.default_port() && !is_internal {
            true => format!("{}://{host}", scheme.as_str()),
            false => format!("{}://{host}:{port}", scheme.as_str()),
        };
        granted.audit.deny(
            "http",
            format_args!("a request to {origin}, which is not granted"),
            format_args!(
                "to allow it, add {origin:?} to grants.http of [component.{component}] in dhow.toml"
            ),
        );
        Err(Error::HttpRequestDenied)
    }
}

/// The response of `sending`, for its span as well, and nothing more to wait for.
async fn sent(
    sending: impl Future<Output = Result<Response<WasiBody>, Error>>,
) -> Result<(Response<WasiBody>, Sending<()>), Error> {
    let response = span::ended(paced(sending).await)?;
    span::answered(&Span::current(), response.status());
    Ok((response, Box::new(async { Ok(()) })))
}

type Sending<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn set_host_header(&mut self) -> bool {
        false // The client does, as HTTP/1.1 and HTTP/2 each want it.
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sending<()>,
    ) -> Sending<(Response<WasiBody>, Sending<()>)> {
        let span = span::outbound(&mut request);
        if let Some(name) = self.called(request.uri()) {
            let calling = self.call(&name, request);
            let sending = answered_in_time(calling, options.unwrap_or_default());
            return Box::new(sent(sending).instrument(span));
        }
        let checked = self.check(request.uri());
        let Granted(granted) = &self.granted;
        let granted = granted.clone();
        let sending = async move {
            let target = checked?;
            granted.send(request, &target, options.unwrap_or_default()).await
        };
        Box::new(sent(sending).instrument(span))
    }
}

/// What the guest is told of a request that failed.
fn error_code(error: &SendError) -> Error {
    tracing::debug!(?error, "outbound request");
    if let Some(error) = egress_error(error) {
        return match error {
            EgressError::NotFound => {
                Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None }
            }
            EgressError::NotPublic(_) | EgressError::Denied(_) => Error::DestinationIpProhibited,
            EgressError::TooMany => Error::ConnectionLimitReached,
            EgressError::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                _ => Error::DestinationUnavailable,
            },
        };
    }
    match chain(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => return Error::TlsCertificateError,
        Some(_) => return Error::TlsProtocolError,
        None => {}
    }
    match error {
        SendError::Connect(_) => Error::ConnectionRefused,
        SendError::ConnectTimeout => Error::ConnectionTimeout,
        SendError::Send(_) => Error::ConnectionTerminated,
        SendError::FirstByteTimeout => Error::HttpResponseTimeout,
    }
}

fn egress_error(error: &SendError) -> Option<&EgressError> {
    chain(error).find_map(|error| error.downcast_ref::<EgressError>())
}

/// `error` and its sources. The errors inside `io::Error`s are among them: rustls and the
/// connector come wrapped in those.
pub(crate) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &[&str], uri: &str) -> bool {
        let origins: Vec<_> = origins.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let name = dhow_manifest::Name::new("client").unwrap();
        let audit = Audit::new(&name, &name, &Arc::default());
        let none = (&[][..], Neighbourhood::default());
        open(&grant(&audit, &origins, none, &Arc::default(), &Arc::default()))
            .check(&uri.parse().unwrap())
            .is_ok()
    }

    #[test]
    fn only_granted_origins_pass() {
        let granted = ["https://api.example.com", "http://127.0.0.1:8080", "https://*.cdn.example"];
        for uri in [
            "https://api.example.com/",
            "https://API.example.com:443/x?y",
            "http://127.0.0.1:8080/",
            "https://a.b.cdn.example/",
        ] {
            assert!(check(&granted, uri), "{uri}");
        }
        for uri in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://example.com/",
            "https://api.example.com.evil.example/",
            "https://api.example.com@evil.example/",
            "https://evil.example@api.example.com/",
            "http://127.0.0.1/",
            "http://2130706433:8080/",
            "https://cdn.example/",
            "/relative",
        ] {
            assert!(!check(&granted, uri), "{uri}");
        }
        assert!(!check(&[], "https://api.example.com/"));
    }
}
