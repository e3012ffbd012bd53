//! Postgres, by a pool of connections that all requests share.

use std::{
    pin::Pin,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use deadpool::{
    Runtime,
    managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult},
};
use deadpool_postgres::ClientWrapper;
use futures_util::{Stream, StreamExt as _};
use thiserror::Error as ThisError;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_postgres::{
    CancelToken, Config, NoTls, RowStream, Statement,
    config::{Host, SslMode},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    database::{
        Column, Control, Database, DatabaseError, Error, Native, Query, ROWS_AT_A_TIME, Row,
        Session, Value, parameter_count,
    },
    endings::Endings,
    plain::is_plain,
    postgres_value::{Parameter, from_row},
};
use crate::{cork::Corked, egress, tls::Tls};

/// Connections at a time: Postgres takes 100 of all its clients.
const MAX_CONNECTIONS: usize = 16;
/// Statements that are kept prepared for each connection; with more, it begins anew.
const PREPARED: usize = 256;
/// The longest statement, in bytes.
const MAX_STATEMENT: usize = 64 << 10;
/// So long one waits for a connection, and for the server to accept it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So long the server may take to answer; guests are usually more impatient.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Postgres {
    /// What the operator calls it: addresses and passwords stay out of the log.
    name: Arc<str>,
    pool: Pool<Server>,
    server: Arc<Address>,
    endings: Endings,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("write postgres://USER:PASSWORD@HOST[:PORT]/DATABASE[?sslmode=require]")]
pub(crate) struct PostgresUrlError;

impl Postgres {
    /// The server at `url`, connected to when it is first used.
    ///
    /// # Errors
    /// When that is no such URL.
    pub(super) fn new(name: &str, url: &str, tls: &Arc<Tls>) -> Result<Self, PostgresUrlError> {
        let mut config = Config::from_str(url).map_err(|_| PostgresUrlError)?;
        if config.get_options().is_none() {
            config.options(format!("-c statement_timeout={}", RESPONSE_TIMEOUT.as_millis()));
        }
        let [Host::Tcp(host)] = config.get_hosts() else { return Err(PostgresUrlError) };
        let (host, port) = (host.clone(), config.get_ports().first().copied().unwrap_or(5432));
        let server = Arc::new(Address { config, host, port, tls: tls.clone() });
        let pool = Pool::builder(Server(server.clone()))
            .max_size(MAX_CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|_| PostgresUrlError)?;
        Ok(Self { name: name.into(), pool, server, endings: Endings::default() })
    }
}

/// Where connections lead.
struct Server(Arc<Address>);

/// Where the server is, and how it is spoken to.
struct Address {
    config: Config,
    host: String,
    port: u16,
    tls: Arc<Tls>,
}

type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Corked<TcpStream>>>::TlsConnect;

impl Address {
    /// For one connection; none where TLS is not wanted.
    fn tls(&self) -> Option<TlsConnect> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return None;
        }
        let mut tls = MakeRustlsConnect::new((*self.tls.config()).clone());
        let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &self.host);
        Some(tls)
    }
}

#[derive(Debug, ThisError)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

/// Undoes what a guest may have left behind: nothing of it is for the next.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

impl managed::Manager for Server {
    type Type = Peer;
    type Error = ConnectError;

    async fn create(&self) -> Result<Peer, ConnectError> {
        let Self(server) = self;
        let stream = egress::dial_backend(&server.host, server.port).await?;
        let Some(tls) = server.tls() else {
            let (client, connection) = server.config.connect_raw(stream, NoTls).await?;
            return Ok(Peer::new(client, drive(connection)));
        };
        let (client, connection) = server.config.connect_raw(stream, tls).await?;
        Ok(Peer::new(client, drive(connection)))
    }

    async fn recycle(
        &self,
        Peer { client, is_clean }: &mut Peer,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        if !std::mem::replace(is_clean, true) {
            client.simple_query(CLEAN).await.map_err(ConnectError::Postgres)?;
        }
        Ok(())
    }
}

/// A connection in the pool.
struct Peer {
    client: ClientWrapper,
    /// Nothing was done on it that leaves something behind.
    is_clean: bool,
}

impl Peer {
    fn new(client: tokio_postgres::Client, driver: JoinHandle<()>) -> Self {
        Self { client: ClientWrapper::new(client, driver), is_clean: true }
    }
}

/// Moves bytes between the client and the socket, until the client is dropped and ends it.
fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "the client holds it, and ends it when dropped")]
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to Postgres: {error}");
        }
    })
}

#[async_trait]
impl Database for Postgres {
    async fn session(&self) -> Result<Box<dyn Session>, Error> {
        let client = self.pool.get().await.map_err(|error| {
            let words = match &error {
                PoolError::Backend(ConnectError::Postgres(error)) => words(error),
                PoolError::Timeout(_) => "no connection in time".to_owned(),
                error => error.to_string(),
            };
            tracing::warn!(backend = &*self.name, "the database can't be reached: {words}");
            Error::Unreachable
        })?;
        Ok(Box::new(PostgresSession {
            client: Some(client),
            in_transaction: false,
            is_native: false,
            is_busy: Arc::default(),
            server: self.server.clone(),
            endings: self.endings.clone(),
        }))
    }
}

struct PostgresSession {
    client: Option<Object<Server>>,
    in_transaction: bool,
    /// Whether rows have what Postgres keeps.
    is_native: bool,
    /// Something was sent whose end was not seen.
    is_busy: Arc<AtomicBool>,
    server: Arc<Address>,
    endings: Endings,
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        let is_busy = self.is_busy.load(SeqCst);
        if (self.in_transaction || is_busy)
            && let Some(client) = self.client.take()
        {
            // Out of the pool: the server undoes what was begun when it sees the connection closed.
            if !is_busy {
                drop(Object::take(client));
                return;
            }
            // It would not look before the statement is done.
            let cancelled = cancel(client.client.cancel_token(), self.server.clone());
            self.endings.begin(async move {
                if let Err(error) = timeout(CONNECT_TIMEOUT, cancelled).await.unwrap_or(Ok(())) {
                    tracing::debug!("a statement of Postgres' is not cancelled: {error}");
                }
                // Until then it keeps its place.
                drop(Object::take(client));
            });
        }
    }
}

/// Has the server end what it does for a connection.
async fn cancel(token: CancelToken, server: Arc<Address>) -> Result<(), ConnectError> {
    let stream = egress::dial_backend(&server.host, server.port).await?;
    match server.tls() {
        Some(tls) => token.cancel_query_raw(stream, tls).await?,
        None => token.cancel_query_raw(stream, NoTls).await?,
    }
    Ok(())
}

impl PostgresSession {
    /// Prepares a statement and holds the parameters against it.
    async fn prepare(&self, text: &str, given: usize) -> Result<Statement, Error> {
        let client = self.client()?;
        if client.statement_cache.size() >= PREPARED {
            client.statement_cache.clear();
        }
        let statement = client.prepare_cached(text).await.map_err(|e| self.failure(&e))?;
        let expected = statement.params().len();
        if given != expected {
            // Nothing but its preparing was sent.
            self.is_busy.store(false, SeqCst);
            return Err(parameter_count(given, expected));
        }
        Ok(statement)
    }

    /// What the guest is told. Where the server has said it, the connection is free again.
    fn failure(&self, e: &tokio_postgres::Error) -> Error {
        if e.as_db_error().is_some() {
            self.is_busy.store(false, SeqCst);
        }
        error(e)
    }

    fn client(&self) -> Result<&ClientWrapper, Error> {
        self.client.as_deref().map(|peer| &peer.client).ok_or(Error::Unreachable)
    }

    async fn start(
        &mut self,
        text: &str,
        parameters: &[Value],
    ) -> Result<(Statement, RowStream), Error> {
        if text.len() > MAX_STATEMENT {
            return Err(Error::Other(format!("a statement has at most {MAX_STATEMENT} bytes")));
        }
        if let Some(peer) = self.client.as_deref_mut()
            && !is_plain(text)
        {
            peer.is_clean = false;
        }
        let run = async {
            self.is_busy.store(true, SeqCst);
            let statement = self.prepare(text, parameters.len()).await?;
            let parameters: Vec<_> = parameters.iter().map(Parameter).collect();
            match self.client()?.query_raw(&statement, parameters).await {
                Ok(rows) => Ok((statement, rows)),
                Err(e) => {
                    // Perhaps the tables have changed since it was prepared (PostgreSQL: "cached plan
                    // must not change result type"): the next time it is prepared anew.
                    self.client()?.statement_cache.remove(text, &[]);
                    Err(self.failure(&e))
                }
            }
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn execute(&mut self, statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        self.in_transaction |= may_begin(&statement);
        let run = async {
            let (_, rows) = self.start(&statement, &parameters).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.next().await {
                row.map_err(|e| self.failure(&e))?;
            }
            self.is_busy.store(false, SeqCst);
            Ok(rows.rows_affected().unwrap_or(0))
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }

    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Query, Error> {
        self.in_transaction |= may_begin(&statement);
        let (statement, rows) = self.start(&statement, &parameters).await?;
        let columns = statement.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.type_().name().to_owned(),
        });
        let (is_busy, is_native) = (self.is_busy.clone(), self.is_native);
        let rows = Rows { rows: Box::pin(rows), is_busy, is_native };
        let rows = rows.ready_chunks(ROWS_AT_A_TIME).map(|rows| rows.into_iter().collect());
        Ok(Query { columns: columns.collect(), rows: rows.boxed() })
    }

    async fn control(&mut self, control: Control) -> Result<(), Error> {
        let statement = match control {
            Control::Begin => "BEGIN",
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
        };
        // Before, so that a connection on which it fails is not used again.
        self.in_transaction = true;
        self.is_busy.store(true, SeqCst);
        let run = self.client()?.simple_query(statement);
        let done = timeout(RESPONSE_TIMEOUT, run).await.map_err(|_| Error::Unreachable)?;
        done.map_err(|e| self.failure(&e))?;
        self.is_busy.store(false, SeqCst);
        self.in_transaction = control == Control::Begin;
        Ok(())
    }

    fn give_native(&mut self, native: Native) {
        self.is_native = native == Native::Postgres;
    }
}

/// Whether a statement may begin a transaction by itself. Its locks are in the way of others until the
/// connection is closed, or used again.
fn may_begin(statement: &str) -> bool {
    let first = statement.split_ascii_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("BEGIN") || first.eq_ignore_ascii_case("START")
}

/// The rows of a query, which says when they have ended.
struct Rows {
    rows: Pin<Box<RowStream>>,
    is_busy: Arc<AtomicBool>,
    is_native: bool,
}

impl Stream for Rows {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.rows.as_mut().poll_next(context));
        Poll::Ready(match next {
            Some(Ok(row)) => Some(from_row(&row, self.is_native)),
            Some(Err(e)) => {
                self.is_busy.store(e.as_db_error().is_none(), SeqCst);
                Some(Err(error(&e)))
            }
            None => {
                self.is_busy.store(false, SeqCst);
                None
            }
        })
    }
}

/// What the server says, and nothing of where it is.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.code().code(), said.message()),
        None => error.to_string(),
    }
}

/// What the guest is told.
fn error(error: &tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        // Of a parameter that can't be sent; anything else is the connection.
        return match std::error::Error::source(error) {
            Some(source) if source.is::<super::postgres_value::WrongType>() => {
                Error::ParameterType(source.to_string())
            }
            _ => Error::Unreachable,
        };
    };
    let code = said.code().code();
    let told = DatabaseError { code: code.to_owned(), message: said.message().to_owned() };
    // SQLSTATE's classes (PostgreSQL, appendix A).
    match code.get(..2).unwrap_or_default() {
        "23" => Error::Constraint(told),
        "40" => Error::Conflict(told),
        "08" | "57" | "58" => Error::Unreachable,
        "53" => Error::Other(told.message),
        _ => Error::Statement(told),
    }
}
