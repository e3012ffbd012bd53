//! Outbound HTTP: `wasi:http/client@0.3` and `wasi:http/outgoing-handler@0.2`, through one pool.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use dhow_manifest::{Name, Origin, Scheme};
use dhow_telemetry::span::{self, Instrument as _};
use http::{Extensions, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::rt::ReadBufCursor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connected, Connection, capture_connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::Span;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::{
    audit::Audit,
    cork::Corked,
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
    pool: OnceLock<Pool>,
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

/// HTTP/1.1, and HTTP/2 where the other end offers it by ALPN.
type Pool = Client<HttpsConnector<Connector>, WasiBody>;

/// Half a minute is what servers keep an idle connection for at the least.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of one app's revision that are under way at a time, until their responses are read; more wait for a moment.
/// Above what one process does usefully at once.
const MAX_REQUESTS: usize = 512;
/// Connections of one app's revision, to all origins, those that wait for their next request among them. Far below the
/// descriptors that there are.
const MAX_CONNECTIONS: usize = 1_024;
/// What a burst leaves behind, for each origin.
const MAX_IDLE_PER_ORIGIN: usize = 32;
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
    timeout(LIMIT_WAIT, of.clone().acquire_owned()).await.ok()?.ok()
}

impl Shared {
    /// Made at the first request: reading the system's roots takes longer than starting a guest.
    fn pool(&self) -> &Pool {
        self.pool.get_or_init(|| {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config((*self.tls.config()).clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(Connector {
                    egress: self.egress.clone(),
                    permits: self.neighbourhood.limits().connections.clone(),
                });
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(MAX_IDLE_PER_ORIGIN)
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .build(connector)
        })
    }

    async fn send(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let Some(permit) = permit(&self.neighbourhood.limits().requests).await else {
            return Err(Error::ConnectionLimitReached);
        };
        let uri = request.uri().clone();
        let mut connection = capture_connection(&mut request);
        let mut response = std::pin::pin!(self.pool().request(request));
        let mut patience = Patience::default();
        let early = tokio::select! {
            biased;
            response = &mut response => Some(response),
            _ = connection.wait_for_connection_metadata() => None,
            () = patience.over(options.connect_timeout.unwrap_or(CONNECT_TIMEOUT)) => {
                return Err(Error::ConnectionTimeout);
            }
        };
        patience.begin_anew();
        let response = match early {
            Some(response) => response,
            None => {
                let limit = options.first_byte_timeout.unwrap_or(SILENCE_TIMEOUT);
                first_byte(response, limit, &mut patience).await?
            }
        };
        let response = response.map_err(|error| {
            match egress_error(&error) {
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
            error_code(&error)
        })?;
        Ok(between_bytes(response, &options, patience, permit))
    }
}

/// What comes of `response`, as long as somebody waits for its head.
async fn first_byte<T>(
    response: impl Future<Output = T>,
    limit: Duration,
    patience: &mut Patience,
) -> Result<T, Error> {
    let response = tokio::select! {
        biased;
        response = response => response,
        () = patience.over(limit) => return Err(Error::HttpResponseTimeout),
    };
    patience.begin_anew();
    Ok(response)
}

/// A response whose body ends where it is silent for longer than the guest waits. `kept` is there until then.
fn between_bytes<B, K>(
    response: Response<B>,
    options: &RequestOptions,
    patience: Patience,
    kept: K,
) -> Response<WasiBody>
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send + Unpin + 'static,
    K: Send + Unpin + 'static,
{
    let limit = options.between_bytes_timeout.unwrap_or(SILENCE_TIMEOUT);
    response.map(|body| Awaited { body, limit, patience, _kept: kept }.boxed_unsync())
}

/// Opens connections by the egress door, so many at a time.
#[derive(Clone)]
struct Connector {
    egress: Arc<Egress>,
    /// The app's.
    permits: Arc<Semaphore>,
}

/// A connection that counts among its app's.
struct Counted {
    stream: TokioIo<Corked<TcpStream>>,
    _permit: OwnedSemaphorePermit,
}

impl hyper::rt::Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Counted, EgressError>> + Send>>;

impl tower_service::Service<Uri> for Connector {
    type Response = Counted;
    type Error = EgressError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Self { egress, permits } = self.clone();
        Box::pin(async move {
            let (_, host, port) = target(&uri).ok_or(EgressError::NotFound)?;
            let permit = permit(&permits).await.ok_or(EgressError::TooMany)?;
            let stream = egress.connect(host, port).await?;
            Ok(Counted { stream: TokioIo::new(Corked::new(stream)), _permit: permit })
        })
    }
}

/// The scheme, host and port that a request is for.
fn target(uri: &Uri) -> Option<(Scheme, &str, u16)> {
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or_else(|| scheme.default_port());
    Some((scheme, uri.host()?, port))
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
        let name = internal(uri)?;
        let Granted(granted) = &self.granted;
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

    fn check(&self, uri: &Uri) -> Result<(), Error> {
        let (scheme, host, port) = target(uri).ok_or(Error::HttpRequestUriInvalid)?;
        // Credentials in an authority are sent nowhere, and can pass for a host to whoever reads.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Error::HttpRequestUriInvalid);
        }
        let Granted(granted) = &self.granted;
        if granted.origins.iter().any(|origin| origin.matches(scheme, host, port)) {
            return Ok(());
        }
        let component = granted.audit.component();
        // Without its port it would be a call by name.
        let is_internal = host.ends_with(".internal") && uri.port().is_some();
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
    let response = span::ended(sending.await)?;
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
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let host = uri.host().unwrap_or_default();
        let span = span::outbound(&method, host, request.headers_mut());
        if let Some(name) = self.called(request.uri()) {
            let calling = self.call(&name, request);
            let options = options.unwrap_or_default();
            let sending = async move {
                let mut patience = Patience::default();
                let response = match options.first_byte_timeout {
                    Some(limit) => first_byte(calling, limit, &mut patience).await??,
                    // Who is called has a limit of its own.
                    None => calling.await?,
                };
                Ok(between_bytes(response, &options, patience, ()))
            };
            return Box::new(sent(sending).instrument(span));
        }
        let checked = self.check(request.uri());
        let Granted(granted) = &self.granted;
        let granted = granted.clone();
        let sending = async move {
            checked?;
            granted.send(request, options.unwrap_or_default()).await
        };
        Box::new(sent(sending).instrument(span))
    }
}

/// What the guest is told of a request that failed.
fn error_code(error: &legacy::Error) -> Error {
    tracing::debug!(?error, "outbound request");
    if let Some(error) = egress_error(error) {
        return match error {
            EgressError::NotFound => {
                Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None }
            }
            EgressError::NotPublic(_) | EgressError::Denied(_) => Error::DestinationIpProhibited,
            EgressError::TooMany => Error::ConnectionLimitReached,
            EgressError::Connect(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                _ => Error::DestinationUnavailable,
            },
        };
    }
    if let Some(error) = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
        return match error {
            rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        };
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::ConnectionTerminated }
}

fn egress_error(error: &legacy::Error) -> Option<&EgressError> {
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
