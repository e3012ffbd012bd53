//! Connections that are kept for the next request to the same origin.
//!
//! hyper-util's pooled client does the same and is not used: each request costs it two hashes of the origin,
//! letter by letter, a checkout that races with connecting, and a task that waits for the connection
//! to be idle. Of a guest's request that was an eighth of all instructions.

use std::{
    collections::HashMap,
    error::Error as StdError,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use dhow_manifest::Scheme;
use http::{
    Method, Request, Response, Uri,
    header::{Entry, HOST},
};
use hyper::{
    client::conn::{TrySendError, http1, http2},
    rt::{Executor as _, Read, Write},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::connect::Connection as _,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tower_service::Service as _;
use wasmtime_wasi_http::WasiBody;

use super::{
    connector::Connector,
    received::{Lent, Received, Source},
    target::Target,
};
use crate::patience::Patience;

/// How often idle connections are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often one is looked at before it is closed: after half a minute, which is what servers keep an
/// idle connection for at the least.
const LOOKS: u32 = 6;
/// What a burst leaves behind, for each origin.
const MAX_IDLE_PER_ORIGIN: usize = 32;

type BoxError = Box<dyn StdError + Send + Sync>;

/// HTTP/1.1, and HTTP/2 where the other end offers it by ALPN.
pub(super) struct Pool {
    connector: HttpsConnector<Connector>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    http: HashMap<Box<str>, Kept>,
    https: HashMap<Box<str>, Kept>,
    /// How often they were looked at.
    looks: u32,
    /// Whether somebody looks at them.
    is_watched: bool,
}

/// What there is of one origin.
#[derive(Default)]
struct Kept {
    /// Idle since how many looks, the youngest last.
    http1: Vec<(u32, Http1)>,
    /// Shared by all, and when it was used last.
    http2: Option<(u32, http2::SendRequest<WasiBody>)>,
}

/// A connection, for one request at a time.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<WasiBody>,
    /// Of whoever has the connection: its timer is kept for the next, who need not set one.
    pub(super) patience: Patience,
}

enum Connection {
    Http1(Http1),
    Http2(http2::SendRequest<WasiBody>),
}

/// How long a request waits, at most.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    /// Each time, for more of the response.
    pub(super) between_bytes: Duration,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("connecting")]
    Connect(#[source] BoxError),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("sending")]
    Send(#[source] hyper::Error),
    #[error("no response in time")]
    FirstByteTimeout,
}

impl Pool {
    pub(super) fn new(connector: HttpsConnector<Connector>) -> Self {
        Self { connector, idle: Mutex::default() }
    }

    /// What comes of `request` to `target`.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<WasiBody>,
        target: &Target,
        waits: Waits,
    ) -> Result<Response<Received>, SendError> {
        let uri = request.uri().clone();
        loop {
            let (connection, is_used) = match self.take(target) {
                Some(connection) => (connection, true),
                None => (self.connect(&uri, target, waits.connect).await?, false),
            };
            let sent = match connection {
                Connection::Http1(connection) => {
                    self.send_by_http1(connection, request, target, waits).await
                }
                Connection::Http2(connection) => send_by_http2(connection, request, waits).await,
            };
            let mut error = match sent? {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            // The other end may close a connection while a request is on its way to it.
            match error.take_message().filter(|_| is_used) {
                Some(unsent) => request = unsent,
                None => return Err(SendError::Send(error.into_error())),
            }
            *request.uri_mut() = uri.clone();
        }
    }
}

/// A response, or the request that was not sent.
type Sent = Result<Response<Received>, TrySendError<Request<WasiBody>>>;

impl Pool {
    /// Sends `request` by `connection`, which is kept for others after that.
    async fn send_by_http1(
        self: &Arc<Self>,
        mut connection: Http1,
        mut request: Request<WasiBody>,
        target: &Target,
        waits: Waits,
    ) -> Result<Sent, SendError> {
        address(&mut request, target);
        let Http1 { sender, patience } = &mut connection;
        let sent = first_byte(sender.try_send_request(request), patience, waits).await?;
        Ok(sent.map(|response| {
            response.map(|body| {
                let lent = Lent::new(self, target, connection);
                Received::new(body, Source::Http1(lent), waits.between_bytes)
            })
        }))
    }

    async fn connect(
        self: &Arc<Self>,
        uri: &Uri,
        target: &Target,
        limit: Duration,
    ) -> Result<Connection, SendError> {
        // Larger than all the rest of a request, most of which need none: on the heap, so that only those
        // that do carry it about.
        let opening = Box::pin(timeout(limit, self.open(uri, target)));
        opening.await.unwrap_or(Err(SendError::ConnectTimeout))
    }

    async fn open(self: &Arc<Self>, uri: &Uri, target: &Target) -> Result<Connection, SendError> {
        let io = self.connector.clone().call(uri.clone()).await.map_err(SendError::Connect)?;
        let is_http2 = io.connected().is_negotiated_h2();
        // What fails from here on was connected: the other end has closed it again.
        self.begin(io, is_http2, target).await.map_err(SendError::Send)
    }

    /// Begins HTTP by `io`.
    async fn begin<T>(
        self: &Arc<Self>,
        io: T,
        is_http2: bool,
        target: &Target,
    ) -> hyper::Result<Connection>
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        if !is_http2 {
            let (mut sender, connection) = http1::handshake(io).await?;
            drive(connection);
            sender.ready().await?;
            return Ok(Connection::Http1(Http1 { sender, patience: Patience::default() }));
        }
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(io)
            .await?;
        drive(connection);
        sender.ready().await?;
        // Shared from now on, with all who come.
        self.keep(target, |kept, looks| kept.http2 = Some((looks, sender.clone())));
        Ok(Connection::Http2(sender))
    }
}

/// Sends `request` by `connection`, beside others.
async fn send_by_http2(
    mut connection: http2::SendRequest<WasiBody>,
    request: Request<WasiBody>,
    waits: Waits,
) -> Result<Sent, SendError> {
    let mut patience = Patience::default();
    let sent = first_byte(connection.try_send_request(request), &mut patience, waits).await?;
    Ok(sent.map(|response| {
        response.map(|body| Received::new(body, Source::Http2(patience), waits.between_bytes))
    }))
}

/// What comes of `sending`, in time.
async fn first_byte<T>(
    sending: impl Future<Output = T>,
    patience: &mut Patience,
    waits: Waits,
) -> Result<T, SendError> {
    patience.begin_anew();
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        () = patience.over(waits.first_byte) => return Err(SendError::FirstByteTimeout),
    };
    patience.begin_anew();
    Ok(sent)
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for the next request to `target`, if there is one.
    fn take(&self, target: &Target) -> Option<Connection> {
        let mut idle = self.idle();
        let looks = idle.looks;
        let kept = idle.of(target.scheme()).get_mut(target.authority().as_str())?;
        loop {
            if let Some((used, shared)) = &mut kept.http2 {
                if !shared.is_closed() {
                    *used = looks;
                    return Some(Connection::Http2(shared.clone()));
                }
                kept.http2 = None;
            }
            let (_, connection) = kept.http1.pop()?;
            if connection.sender.is_ready() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    /// Keeps `connection`, which is idle, for the next request to `target`.
    pub(super) fn put(self: &Arc<Self>, target: &Target, connection: Http1) {
        self.keep(target, |kept, looks| {
            if kept.http1.len() < MAX_IDLE_PER_ORIGIN {
                kept.http1.push((looks, connection));
            }
        });
    }

    /// Changes what is kept for `target`, and sees to it that somebody looks at it from time to time.
    fn keep(self: &Arc<Self>, target: &Target, change: impl FnOnce(&mut Kept, u32)) {
        let mut idle = self.idle();
        let looks = idle.looks;
        let of_scheme = idle.of(target.scheme());
        match of_scheme.get_mut(target.authority().as_str()) {
            Some(kept) => change(kept, looks),
            None => change(of_scheme.entry(target.authority().as_str().into()).or_default(), looks),
        }
        if !mem::replace(&mut idle.is_watched, true) {
            TokioExecutor::new().execute(watch(Arc::downgrade(self)));
        }
    }

    /// Closes what was idle for too long, and forgets what the other end has closed. Whether something
    /// is left.
    fn look(&self) -> bool {
        let mut idle = self.idle();
        idle.looks = idle.looks.wrapping_add(1);
        let Idle { http, https, looks, .. } = &mut *idle;
        let is_young = |since: u32| looks.wrapping_sub(since) <= LOOKS;
        for of_scheme in [http, https] {
            of_scheme.retain(|_, kept| {
                kept.http1
                    .retain(|(since, connection)| is_young(*since) && connection.sender.is_ready());
                kept.http2.take_if(|(used, shared)| !is_young(*used) || shared.is_closed());
                kept.http2.is_some() || !kept.http1.is_empty()
            });
        }
        idle.is_watched = !(idle.http.is_empty() && idle.https.is_empty());
        idle.is_watched
    }
}

/// Does what is to be done for a connection, until its end.
fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    TokioExecutor::new().execute(async move {
        let ended = connection.await;
        tracing::trace!(?ended, "a connection to a server");
    });
}

/// Looks at what is idle in `pool`, for as long as something is.
async fn watch(pool: Weak<Pool>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if !pool.upgrade().is_some_and(|pool| pool.look()) {
            return;
        }
    }
}

impl Idle {
    fn of(&mut self, scheme: Scheme) -> &mut HashMap<Box<str>, Kept> {
        match scheme {
            Scheme::Http => &mut self.http,
            Scheme::Https => &mut self.https,
        }
    }
}

/// Has the first line of `request` say what it says by HTTP/1.1 (RFC 9112, section 3.2), and who is asked.
fn address<B>(request: &mut Request<B>, target: &Target) {
    if let Entry::Vacant(entry) = request.headers_mut().entry(HOST)
        && let Some(host) = target.host_header()
    {
        entry.insert(host);
    }
    let asked = match request.uri().path_and_query() {
        _ if *request.method() == Method::CONNECT => target.authority().clone().into(),
        Some(path) => path.clone().into(),
        None => Uri::default(),
    };
    *request.uri_mut() = asked;
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use http_body_util::{BodyExt as _, Empty};
    use hyper_rustls::HttpsConnectorBuilder;
    use hyper_util::rt::TokioIo;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::tls::Tls;

    const MINUTE: Duration = Duration::from_secs(60);
    const PATIENT: Waits = Waits { connect: MINUTE, first_byte: MINUTE, between_bytes: MINUTE };
    const CONNECTIONS: usize = 100;

    /// A pool, and how many connections it may open besides those that it has.
    fn pool() -> (Arc<Pool>, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*Tls::default().config()).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { egress: Arc::default(), permits: permits.clone() });
        (Arc::new(Pool::new(connector)), permits)
    }

    /// A server on which each connection answers so many requests, with what they asked, and then
    /// ends.
    fn server(requests: usize) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    for _ in 0..requests {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let length = head.len();
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        (&stream).write_all((answer + &head).as_bytes()).unwrap();
                    }
                });
            }
        });
        address.to_string()
    }

    fn get(uri: &str) -> Request<WasiBody> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Request::get(uri).body(body).unwrap()
    }

    fn target(uri: &str) -> Target {
        Target::of(&uri.parse().unwrap()).unwrap()
    }

    async fn ask(pool: &Arc<Pool>, uri: &str) -> Result<String, SendError> {
        let response = pool.send(get(uri), &target(uri), PATIENT).await?;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_request_says_where_to_and_not_how_to_get_there() {
        let (pool, _) = pool();
        let server = server(10);
        for (path, line) in [("/a?b=c", "/a?b=c"), ("", "/"), ("?b", "/?b")] {
            let asked = ask(&pool, &format!("http://{server}{path}")).await.unwrap();
            assert_eq!(asked, format!("GET {line} HTTP/1.1\r\nhost: {server}\r\n\r\n"));
        }
    }

    #[tokio::test]
    async fn one_connection_serves_one_after_another_and_many_serve_many() {
        let (pool, permits) = pool();
        let uri = format!("http://{}/", server(usize::MAX));
        for _ in 0..10 {
            ask(&pool, &uri).await.unwrap();
        }
        assert_eq!(permits.available_permits(), CONNECTIONS - 1);
        let all = futures_util::future::join_all((0..50).map(|_| ask(&pool, &uri))).await;
        assert!(all.iter().all(Result::is_ok));
        // The others end.
        let _ended =
            permits.acquire_many((CONNECTIONS - MAX_IDLE_PER_ORIGIN) as u32).await.unwrap();
        assert_eq!(permits.available_permits(), 0);
    }

    #[tokio::test]
    async fn what_was_idle_for_long_is_closed() {
        let (pool, permits) = pool();
        let uri = format!("http://{}/", server(usize::MAX));
        ask(&pool, &uri).await.unwrap();
        for _ in 0..LOOKS {
            assert!(pool.look());
        }
        // Used again, and idle for a short time again.
        ask(&pool, &uri).await.unwrap();
        for _ in 0..LOOKS {
            assert!(pool.look());
        }
        assert_eq!(permits.available_permits(), CONNECTIONS - 1);
        assert!(!pool.look());
        let _ended = permits.acquire_many(CONNECTIONS as u32).await.unwrap();
    }

    #[tokio::test]
    async fn what_the_other_end_closed_is_not_used_again() {
        let (pool, permits) = pool();
        let uri = format!("http://{}/", server(1));
        ask(&pool, &uri).await.unwrap();
        let all = permits.acquire_many(CONNECTIONS as u32).await.unwrap();
        assert!(pool.take(&target(&uri)).is_none());
        drop(all);
        ask(&pool, &uri).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_not_sent_by_a_connection_that_ends_goes_by_another() {
        let (pool, _) = pool();
        let uri = format!("http://{}/", server(1));
        let (here, _there) = tokio::io::duplex(1 << 10);
        let (sender, mut ending) = http1::handshake(TokioIo::new(here)).await.unwrap();
        // Idle from here on, and driven no more.
        assert!(futures_util::poll!(&mut ending).is_pending());
        let idle = Http1 { sender, patience: Patience::default() };
        pool.put(&target(&uri), idle);
        let (asked, ()) = tokio::join!(biased; ask(&pool, &uri), async { drop(ending) });
        assert!(asked.unwrap().starts_with("GET / HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn nobody_answers() {
        let (pool, _) = pool();
        let refused = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/", listener.local_addr().unwrap())
        };
        assert!(matches!(ask(&pool, &refused).await, Err(SendError::Connect(_))));
        let closes = format!("http://{}/", server(0));
        assert!(matches!(ask(&pool, &closes).await, Err(SendError::Send(_))));
    }
}
