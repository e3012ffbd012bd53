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
    Config, NoTls, RowStream, Statement,
    config::{Host, SslMode},
    tls::MakeTlsConnect,
    types::Type,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    database::{
        Column, Control, Database, DatabaseError, Error, ParameterCount, Query, ROWS_AT_A_TIME,
        Row, Session, Value,
    },
    postgres_value::{Parameter, from_row},
};
use crate::{egress, tls::Tls};

/// Connections at a time: Postgres takes 100 of all its clients.
const MAX_CONNECTIONS: usize = 16;
/// Statements that are kept prepared for each connection; with more, it begins anew.
const PREPARED: usize = 256;
/// So long one waits for a connection, and for the server to accept it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So long the server may take to answer; guests are usually more impatient.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Postgres {
    /// What the operator calls it: addresses and passwords stay out of the log.
    name: Arc<str>,
    pool: Pool<Server>,
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
        let config = Config::from_str(url).map_err(|_| PostgresUrlError)?;
        let [Host::Tcp(host)] = config.get_hosts() else { return Err(PostgresUrlError) };
        let (host, port) = (host.clone(), config.get_ports().first().copied().unwrap_or(5432));
        let pool = Pool::builder(Server { config, host, port, tls: tls.clone() })
            .max_size(MAX_CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|_| PostgresUrlError)?;
        Ok(Self { name: name.into(), pool })
    }
}

/// Where connections lead.
struct Server {
    config: Config,
    host: String,
    port: u16,
    tls: Arc<Tls>,
}

#[derive(Debug, ThisError)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

impl managed::Manager for Server {
    type Type = ClientWrapper;
    type Error = ConnectError;

    async fn create(&self) -> Result<ClientWrapper, ConnectError> {
        let stream = egress::dial_backend(&self.host, self.port).await?;
        if self.config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
            return Ok(ClientWrapper::new(client, drive(connection)));
        }
        let mut tls = MakeRustlsConnect::new(self.tls.config());
        let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &self.host);
        let Ok(tls) = tls;
        let (client, connection) = self.config.connect_raw(stream, tls).await?;
        Ok(ClientWrapper::new(client, drive(connection)))
    }

    async fn recycle(
        &self,
        client: &mut ClientWrapper,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
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
            is_dirty: false,
            in_transaction: false,
            is_reading: Arc::default(),
        }))
    }
}

struct PostgresSession {
    client: Option<Object<Server>>,
    /// Something was set that others would notice.
    is_dirty: bool,
    in_transaction: bool,
    /// Rows are still to come.
    is_reading: Arc<AtomicBool>,
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        if (self.is_dirty || self.in_transaction || self.is_reading.load(SeqCst))
            && let Some(client) = self.client.take()
        {
            // Out of the pool: the server undoes what was begun when the connection closes.
            drop(Object::take(client));
        }
    }
}

impl PostgresSession {
    /// Prepares a statement and holds the parameters against it.
    async fn prepare(&mut self, text: &str, given: usize) -> Result<Statement, Error> {
        match kind_of(text) {
            Kind::Transaction => return Err(wrong("a transaction is begun by `begin`")),
            Kind::Setting => self.is_dirty = true,
            Kind::Other => {}
        }
        let client = self.client()?;
        if client.statement_cache.size() >= PREPARED {
            client.statement_cache.clear();
        }
        let statement = client.prepare_cached(text).await.map_err(|e| error(&e))?;
        let expected = statement.params().len();
        if given != expected {
            return Err(Error::ParameterCount(ParameterCount {
                given: u32::try_from(given).unwrap_or(u32::MAX),
                expected: u32::try_from(expected).unwrap_or(u32::MAX),
            }));
        }
        Ok(statement)
    }

    fn client(&self) -> Result<&ClientWrapper, Error> {
        self.client.as_deref().ok_or(Error::Unreachable)
    }

    async fn start(
        &mut self,
        text: &str,
        parameters: &[Value],
    ) -> Result<(Statement, RowStream), Error> {
        let run = async {
            let statement = self.prepare(text, parameters.len()).await?;
            let parameters: Vec<_> = parameters.iter().map(Parameter).collect();
            let rows = self.client()?.query_raw(&statement, parameters).await;
            Ok((statement, rows.map_err(|e| error(&e))?))
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn execute(&mut self, statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        let run = async {
            let (_, rows) = self.start(&statement, &parameters).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.next().await {
                row.map_err(|e| error(&e))?;
            }
            Ok(rows.rows_affected().unwrap_or(0))
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }

    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Query, Error> {
        let (statement, rows) = self.start(&statement, &parameters).await?;
        let columns = statement.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.type_().name().to_owned(),
        });
        self.is_reading.store(true, SeqCst);
        let rows = Rows { rows: Box::pin(rows), is_reading: self.is_reading.clone() };
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
        let run = self.client()?.simple_query(statement);
        let done = timeout(RESPONSE_TIMEOUT, run).await.map_err(|_| Error::Unreachable)?;
        done.map_err(|e| error(&e))?;
        self.in_transaction = control == Control::Begin;
        Ok(())
    }
}

/// The rows of a query, which says when they have ended.
struct Rows {
    rows: Pin<Box<RowStream>>,
    is_reading: Arc<AtomicBool>,
}

impl Stream for Rows {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.rows.as_mut().poll_next(context));
        Poll::Ready(match next {
            Some(Ok(row)) => Some(from_row(&row)),
            Some(Err(e)) => Some(Err(error(&e))),
            None => {
                self.is_reading.store(false, SeqCst);
                None
            }
        })
    }
}

/// What a statement does besides its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It begins or ends a transaction.
    Transaction,
    /// It changes the connection for whoever has it next.
    Setting,
    Other,
}

/// By its first word.
fn kind_of(statement: &str) -> Kind {
    let word = first_word(statement).to_ascii_uppercase();
    match word.as_str() {
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
            Kind::Transaction
        }
        "SET" | "RESET" | "LISTEN" | "UNLISTEN" | "LOAD" | "DISCARD" | "PREPARE" | "DEALLOCATE"
        | "DECLARE" | "DO" | "CALL" => Kind::Setting,
        _ => Kind::Other,
    }
}

/// The first word after white space and comments.
fn first_word(mut statement: &str) -> &str {
    loop {
        statement = statement.trim_start();
        if let Some(comment) = statement.strip_prefix("--") {
            statement = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = statement.strip_prefix("/*") {
            statement = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            let end = statement.find(|c: char| !c.is_ascii_alphabetic());
            return statement.get(..end.unwrap_or(statement.len())).unwrap_or_default();
        }
    }
}

fn wrong(message: &str) -> Error {
    Error::Statement(DatabaseError { code: String::new(), message: message.to_owned() })
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

/// Whether `kind` is one of those that are sent as text.
pub(super) fn is_text(kind: &Type) -> bool {
    matches!(*kind, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_known_by_their_first_word() {
        for (statement, kind) in [
            ("SELECT 1", Kind::Other),
            (" -- so\n/* and so */ begin", Kind::Transaction),
            ("COMMIT;", Kind::Transaction),
            ("set search_path = x", Kind::Setting),
            ("-- nothing", Kind::Other),
            ("beginning", Kind::Other),
        ] {
            assert_eq!(kind_of(statement), kind, "{statement}");
        }
    }
}
