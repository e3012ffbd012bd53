//! A server of Redis or Valkey, by one connection that all requests share.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    RedisError, ServerErrorKind, aio::MultiplexedConnection,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Mutex,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use crate::{
    egress::{self, BackendStream},
    tls::Tls,
};

/// The server may take so long to be reached, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes. Redis' own values have up to 512 MiB.
const MAX_ANSWER: usize = 40 << 20;

pub(crate) struct Client {
    /// What the operator calls it: addresses and passwords stay out of the log.
    name: String,
    /// What it is for, in the log.
    what: &'static str,
    server: ConnectionInfo,
    tls: Option<Arc<Tls>>,
    /// Every request takes a look at it: no lock.
    connection: ArcSwapOption<Connection>,
    connecting: Mutex<()>,
    /// How many connections there were.
    made: AtomicU64,
}

/// One connection, shared by all requests: each goes out as it comes (pipelining).
struct Connection {
    using: Using,
    /// Moves bytes between the requests and the socket.
    driver: AbortHandle,
    _drivers: JoinSet<()>,
}

/// What a request needs of a connection.
#[derive(Clone)]
pub(crate) struct Using {
    pub(crate) requests: MultiplexedConnection,
    /// Which it is of those that there were.
    number: u64,
    unanswered: Arc<AtomicUsize>,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS")]
pub(crate) struct RedisUrlError;

/// What a server can't do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Why is in the log.
    Unreachable,
    /// The server's own words. They name no address and no secret.
    Said {
        /// `ERR`, `WRONGTYPE` and so on.
        code: String,
        words: String,
    },
}

impl Client {
    /// The server at `url`, connected to at the first request.
    ///
    /// # Errors
    /// When that is no such URL.
    pub(crate) fn new(
        name: &str,
        what: &'static str,
        url: &str,
        tls: &Arc<Tls>,
    ) -> Result<Self, RedisUrlError> {
        let (url, tls) = match url.strip_prefix("rediss://") {
            Some(rest) => (format!("redis://{rest}"), Some(tls.clone())),
            None => (url.to_owned(), None),
        };
        let server: ConnectionInfo =
            redis::IntoConnectionInfo::into_connection_info(url).map_err(|_| RedisUrlError)?;
        Ok(Self {
            name: name.to_owned(),
            what,
            server,
            tls,
            connection: ArcSwapOption::empty(),
            connecting: Mutex::new(()),
            made: AtomicU64::new(0),
        })
    }

    /// Runs one command.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let mut using = self.connection().await?;
        let result = command.query_async(&mut using.requests).await;
        self.answer(&using, result)
    }

    /// The connection, made anew where there is none or it has broken.
    pub(crate) async fn connection(&self) -> Result<Using, Failure> {
        if let Some(using) = self.working() {
            return Ok(using);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(using) = self.working() {
            return Ok(using);
        }
        match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(made)) => {
                let using = made.using.clone();
                self.connection.store(Some(Arc::new(made)));
                Ok(using)
            }
            Ok(Err(ConnectError::Redis(error))) => Err(self.failure(&error)),
            Ok(Err(ConnectError::Io(error))) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"it does not answer")),
        }
    }

    /// The connection, if there is one that works.
    fn working(&self) -> Option<Using> {
        let connection = self.connection.load();
        let connection = connection.as_ref().filter(|connection| !connection.driver.is_finished());
        connection.map(|connection| connection.using.clone())
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let ConnectionAddr::Tcp(host, port) = self.server.addr() else {
            return Err(ConnectError::Io(std::io::ErrorKind::Unsupported.into()));
        };
        let stream = egress::connect_backend(host, *port, self.tls.as_deref()).await?;
        let unanswered = Arc::<AtomicUsize>::default();
        let stream = Bounded { stream, unanswered: unanswered.clone() };
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let settings = self.server.redis_settings();
        let (requests, work) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        let mut drivers = JoinSet::new();
        let driver = drivers.spawn(work);
        let number = self.made.fetch_add(1, Relaxed);
        let using = Using { requests, number, unanswered };
        Ok(Connection { using, driver, _drivers: drivers })
    }

    /// What came of a request. Its connection is not used again where it does not answer.
    pub(crate) fn answer<T>(
        &self,
        using: &Using,
        result: Result<T, RedisError>,
    ) -> Result<T, Failure> {
        using.unanswered.store(0, Relaxed);
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                if error.is_io_error() {
                    let connection = self.connection.load();
                    if connection.as_ref().is_some_and(|it| it.using.number == using.number) {
                        self.connection.compare_and_swap(&*connection, None);
                    }
                }
                Err(self.failure(&error))
            }
        }
    }

    fn failure(&self, error: &RedisError) -> Failure {
        let code = error.code().unwrap_or_default().to_owned();
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) => {
                Failure::Said { code, words: error.detail().unwrap_or_default().to_owned() }
            }
            ErrorKind::Extension if code == "WRONGTYPE" => {
                Failure::Said { code, words: error.to_string() }
            }
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
                // The server's own, as far as the client passes them on.
                let words = error.to_string();
                tracing::warn!(backend = self.name, "{} refuses: {words}", self.what);
                Failure::Said { code, words }
            }
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        tracing::warn!(backend = self.name, "{} can't be reached: {error}", self.what);
        Failure::Unreachable
    }
}

#[derive(Debug, Error)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// A connection that fails where an answer is too large: the driver would keep all of it.
struct Bounded {
    stream: Box<dyn BackendStream>,
    /// What was read since the latest answer.
    unanswered: Arc<AtomicUsize>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        if self.unanswered.fetch_add(read, Relaxed) + read > MAX_ANSWER {
            return Poll::Ready(Err(io::Error::other("an answer has more than 40 MiB")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
