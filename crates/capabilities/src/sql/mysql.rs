//! MySQL and MariaDB, by a pool of connections that all requests share.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use mysql_async::{
    BinaryProtocol, ChangeUserOpts, Conn, DriverError, Opts, OptsBuilder, Params, QueryResult,
    ServerError, SslOpts, consts::StatusFlags, prelude::Queryable as _,
};
use thiserror::Error as ThisError;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use url::Url;

use super::{
    database::{
        Control, Database, DatabaseError, Error, Query, ROWS_AT_A_TIME, Row, Session, Value,
        parameter_count, wrong,
    },
    endings::Endings,
    mysql_value::{described, from_row, to_sql},
    placeholders::rewrite,
    plain::is_plain,
};
use crate::tls::Tls;

/// Connections at a time: a server takes 151 of all its clients. As many again, for a moment, end
/// what was given up.
const MAX_CONNECTIONS: usize = 16;
/// Statements that are kept prepared, within a transaction.
const PREPARED: usize = 32;
/// The longest statement, in bytes.
const MAX_STATEMENT: usize = 64 << 10;
/// So long one waits for a connection, and for what is done with it afterwards.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So long the server may take to answer; guests are usually more impatient.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Mysql {
    /// What the operator calls it: addresses and passwords stay out of the log.
    name: Arc<str>,
    pool: Pool<Server>,
    options: Opts,
    endings: Endings,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("write mysql://USER:PASSWORD@HOST[:PORT]/DATABASE[?ssl-mode=required]")]
pub(crate) struct MysqlUrlError;

impl Mysql {
    /// The server at `url`, connected to when it is first used.
    ///
    /// # Errors
    /// When that is no such URL.
    pub(super) fn new(name: &str, url: &str, tls: &Tls) -> Result<Self, MysqlUrlError> {
        let options = options(url, tls)?;
        let pool = Pool::builder(Server(options.clone())).max_size(MAX_CONNECTIONS).build();
        let pool = pool.map_err(|_| MysqlUrlError)?;
        Ok(Self { name: name.into(), pool, options, endings: Endings::default() })
    }
}

/// Of the driver's own options nothing is taken: it has some that read files, or send passwords as
/// they are.
fn options(url: &str, tls: &Tls) -> Result<Opts, MysqlUrlError> {
    let rest = url.strip_prefix("mysql://").or_else(|| url.strip_prefix("mariadb://"));
    let url = format!("mysql://{}", rest.ok_or(MysqlUrlError)?);
    let mut url = Url::parse(&url).map_err(|_| MysqlUrlError)?;
    let has_tls = has_tls(&url)?;
    url.set_query(None);
    let options = Opts::from_url(url.as_str()).map_err(|_| MysqlUrlError)?;
    if options.db_name().is_none() {
        return Err(MysqlUrlError);
    }
    // As it is resolved, and found in certificates.
    let host = options.ip_or_hostname().trim_matches(['[', ']']).to_owned();
    let builder = OptsBuilder::from_opts(options)
        .ip_or_hostname(host)
        .prefer_socket(false)
        // As other databases count, and not only what is another value than before.
        .client_found_rows(true)
        .stmt_cache_size(PREPARED)
        .setup(vec![setup()])
        .ssl_opts(has_tls.then(|| ssl_options(tls)));
    Ok(builder.into())
}

/// Whether TLS is asked for. Certificates are always verified, names too.
fn has_tls(url: &Url) -> Result<bool, MysqlUrlError> {
    let mut has_tls = false;
    for (key, value) in url.query_pairs() {
        has_tls = match (&*key, &*value) {
            ("ssl-mode", "disabled") => false,
            ("ssl-mode", "required" | "verify_identity") => true,
            _ => return Err(MysqlUrlError),
        };
    }
    Ok(has_tls)
}

/// The driver makes TLS of its own, and takes certificates for it.
fn ssl_options(tls: &Tls) -> SslOpts {
    let roots = tls.certificates().into_iter().map(|root| root.to_vec().into()).collect();
    SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots)
}

/// What a session begins with. What is in comments is for MariaDB only, and for MySQL only.
fn setup() -> String {
    // Instants are sent in UTC; and `placeholders.rs` relies on what a backslash is.
    format!(
        "SET NAMES utf8mb4, time_zone = '+00:00', \
         sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '') \
         /*M!100101 , max_statement_time = {} */ /*!50708 , max_execution_time = {} */",
        RESPONSE_TIMEOUT.as_secs(),
        RESPONSE_TIMEOUT.as_millis()
    )
}

/// Where connections lead. The driver resolves and dials by itself, since it takes no stream: what
/// `egress/` checks is for guests, and this address is the operator's.
struct Server(Opts);

/// A connection in the pool.
struct Peer {
    conn: Conn,
    /// What the server says of itself: one address may lead to several.
    server: String,
    /// Nothing that a guest did is left on it.
    is_clean: bool,
}

impl managed::Manager for Server {
    type Type = Peer;
    type Error = mysql_async::Error;

    async fn create(&self) -> Result<Peer, mysql_async::Error> {
        let mut conn = Conn::new(self.0.clone()).await?;
        let server = server_of(&mut conn).await?;
        Ok(Peer { conn, server, is_clean: true })
    }

    async fn recycle(&self, peer: &mut Peer, _: &Metrics) -> RecycleResult<mysql_async::Error> {
        if !peer.is_clean {
            return Err(RecycleError::message("in use until its end"));
        }
        peer.conn.ping().await?;
        Ok(())
    }
}

async fn server_of(conn: &mut Conn) -> Result<String, mysql_async::Error> {
    let said: Option<String> =
        conn.query_first("SELECT CONCAT_WS(':', @@hostname, @@port, @@server_id)").await?;
    Ok(said.unwrap_or_default())
}

#[async_trait]
impl Database for Mysql {
    async fn session(&self) -> Result<Box<dyn Session>, Error> {
        let words = match timeout(CONNECT_TIMEOUT, self.pool.get()).await {
            Ok(Ok(mut peer)) => {
                peer.is_clean = false;
                let link = Link {
                    peer: Some(peer),
                    in_transaction: false,
                    is_busy: false,
                    is_plain: true,
                    is_uncertain: false,
                    options: self.options.clone(),
                    endings: self.endings.clone(),
                };
                return Ok(Box::new(MysqlSession(Arc::new(Mutex::new(link)))));
            }
            Ok(Err(PoolError::Backend(mysql_async::Error::Server(said)))) => {
                format!("{}: {}", said.state, said.message)
            }
            Ok(Err(PoolError::Backend(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no connection in time".to_owned(),
        };
        tracing::warn!(backend = &*self.name, "the database can't be reached: {words}");
        Err(Error::Unreachable)
    }
}

/// A connection while it is a session's.
struct Link {
    peer: Option<Object<Server>>,
    in_transaction: bool,
    /// Something was sent whose end was not seen.
    is_busy: bool,
    /// Nothing was done that leaves something behind.
    is_plain: bool,
    /// What the server last said of the transaction may not be so any more.
    is_uncertain: bool,
    options: Opts,
    endings: Endings,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Elsewhere it can't be cleaned: the pool will not give it out again.
        let Some(mut peer) = self.peer.take() else { return };
        if self.is_plain && !self.is_busy && !self.in_transaction {
            peer.is_clean = true;
            return;
        }
        self.endings.begin(end(peer, self.is_busy, self.options.clone()));
    }
}

/// Ends what a session has left behind, at once: its locks are in the way of others. Until then the
/// connection keeps its place in the pool.
async fn end(mut peer: Object<Server>, is_busy: bool, options: Opts) {
    let ending = async {
        if is_busy {
            // The server would not notice that nobody listens, and work on.
            kill(options, &peer.server, peer.conn.id()).await?;
        } else {
            // A login: `COM_RESET_CONNECTION` leaves the chosen database and role.
            peer.conn.change_user(ChangeUserOpts::default()).await?;
        }
        Ok::<_, mysql_async::Error>(!is_busy)
    };
    let ended = timeout(CONNECT_TIMEOUT, ending).await;
    peer.is_clean = matches!(ended, Ok(Ok(true)));
    if !peer.is_clean {
        // Once is enough to close it. Dropped, it would first read what rows are left.
        let _ = Object::take(peer).conn.disconnect().now_or_never();
    }
}

async fn kill(options: Opts, server: &str, id: u32) -> Result<(), mysql_async::Error> {
    let mut conn = Conn::new(options).await?;
    // On another server it would be somebody else's.
    if server_of(&mut conn).await? == server {
        conn.query_drop(format!("KILL {id}")).await?;
    }
    conn.disconnect().await
}

impl Link {
    fn conn(&mut self) -> Result<&mut Conn, Error> {
        self.peer.as_deref_mut().map(|peer| &mut peer.conn).ok_or(Error::Unreachable)
    }

    /// The result of whatever is under way.
    fn result(&mut self) -> Result<QueryResult<'_, 'static, BinaryProtocol>, Error> {
        Ok(QueryResult::new(self.conn()?))
    }

    /// Has the connection free for a statement, and the transaction still there.
    async fn ready(&mut self) -> Result<(), Error> {
        if self.conn()?.is_disconnected() {
            // It failed, or what was sent before was given up without an answer.
            return Err(Error::Unreachable);
        }
        if self.is_busy {
            // Of rows that nobody wanted, nor what went wrong with them.
            let rest = self.result()?.drop_result().await;
            if let Err(error) = self.settle(rest)
                && self.is_busy
            {
                return Err(error);
            }
        }
        if !self.in_transaction {
            return Ok(());
        }
        if self.is_uncertain {
            let answer = self.conn()?.ping().await;
            self.settle(answer)?;
        }
        // The server ends one by itself: it undoes it to end a deadlock, and commits it where
        // tables are changed. What would follow is not part of it any more, and is not done.
        let said = self.conn()?.last_ok_packet().map(|said| said.status_flags());
        if said.is_some_and(|flags| flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS)) {
            Ok(())
        } else {
            Err(wrong("the transaction has ended: it was undone, or committed by a statement"))
        }
    }

    /// Runs a statement, up to its first row: the columns of its rows.
    async fn start(
        &mut self,
        text: &str,
        parameters: &[Value],
    ) -> Result<Arc<[mysql_async::Column]>, Error> {
        if text.len() > MAX_STATEMENT {
            return Err(Error::Other(format!("a statement has at most {MAX_STATEMENT} bytes")));
        }
        self.is_plain &= is_plain(text);
        let statement = rewrite(text)?;
        let expected = statement.expected();
        if parameters.len() != expected {
            return Err(parameter_count(parameters.len(), expected));
        }
        let values = statement.order.iter().filter_map(|index| parameters.get(*index)).map(to_sql);
        let values = values.collect::<Result<Vec<_>, _>>()?;
        self.ready().await?;
        self.is_busy = true;
        // The driver reads the answer to this as if it said something of the transaction.
        self.is_uncertain = true;
        let prepared = self.conn()?.prep(statement.text).await;
        let prepared = prepared.map_err(|error| self.failure(&error))?;
        if usize::from(prepared.num_params()) != values.len() {
            self.is_busy = false;
            return Err(wrong("the server finds no parameter where one is written"));
        }
        let run = self.conn()?.exec_iter(prepared, Params::Positional(values)).await;
        let columns = run.map(|result| result.columns());
        Ok(columns.map_err(|error| self.failure(&error))?.unwrap_or_default())
    }

    /// Reads to the end: how many rows were changed.
    async fn finish(&mut self) -> Result<u64, Error> {
        let read = self.result()?.drop_result().await;
        self.settle(read)?;
        Ok(self.conn()?.affected_rows())
    }

    async fn next_row(&mut self) -> Result<Option<Row>, Error> {
        let next = self.result()?.next().await;
        match next.map_err(|error| self.failure(&error))? {
            Some(row) => from_row(row).map(Some),
            None => {
                // A procedure has several results; the first is given.
                self.finish().await?;
                Ok(None)
            }
        }
    }

    /// What was sent has ended, unless it has failed otherwise than by the server's word.
    fn settle<T>(&mut self, result: Result<T, mysql_async::Error>) -> Result<T, Error> {
        let value = result.map_err(|error| self.failure(&error))?;
        (self.is_busy, self.is_uncertain) = (false, false);
        Ok(value)
    }

    /// What the guest is told. Where the server has said it, the connection is free again.
    fn failure(&mut self, e: &mysql_async::Error) -> Error {
        if let mysql_async::Error::Server(_) = e {
            (self.is_busy, self.is_uncertain) = (false, true);
        }
        error(e)
    }
}

/// A connection, which the rows of a query hold while they are read.
struct MysqlSession(Arc<Mutex<Link>>);

impl MysqlSession {
    fn link(&self) -> Result<OwnedMutexGuard<Link>, Error> {
        self.0.clone().try_lock_owned().map_err(|_| Error::Other("rows are unread".to_owned()))
    }
}

#[async_trait]
impl Session for MysqlSession {
    async fn execute(&mut self, statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        let mut link = self.link()?;
        let run = async {
            link.start(&statement, &parameters).await?;
            link.finish().await
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }

    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Query, Error> {
        let mut link = self.link()?;
        let run = link.start(&statement, &parameters);
        let columns = timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))?;
        let columns = columns.iter().map(described).collect();
        let rows = stream::try_unfold(link, |mut link| async move {
            let row = link.next_row().await?;
            Ok::<_, Error>(row.map(|row| (row, link)))
        });
        let rows = rows.ready_chunks(ROWS_AT_A_TIME).map(|rows| rows.into_iter().collect());
        Ok(Query { columns, rows: rows.boxed() })
    }

    async fn control(&mut self, control: Control) -> Result<(), Error> {
        let statement = match control {
            Control::Begin => "START TRANSACTION",
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
        };
        let mut link = self.link()?;
        let run = async {
            link.ready().await?;
            link.is_busy = true;
            let done = link.conn()?.query_drop(statement).await;
            link.settle(done)?;
            link.in_transaction = control == Control::Begin;
            Ok(())
        };
        timeout(RESPONSE_TIMEOUT, run).await.unwrap_or(Err(Error::Unreachable))
    }
}

/// What the guest is told.
fn error(error: &mysql_async::Error) -> Error {
    let ServerError { code, message, state } = match error {
        mysql_async::Error::Server(said) => said,
        mysql_async::Error::Driver(DriverError::LocalInfile(_)) => {
            return wrong("there are no files here for LOAD DATA LOCAL");
        }
        _ => return Error::Unreachable,
    };
    let told = DatabaseError { code: state.clone(), message: message.clone() };
    // MySQL's and MariaDB's numbers ("Server Error Message Reference", "MariaDB Error Codes") where
    // the SQLSTATE is the one for all that has none.
    match (state.get(..2).unwrap_or_default(), *code) {
        // A column without a default; a check, as MySQL says it.
        ("23", _) | (_, 1364 | 3819) => Error::Constraint(told),
        // A lock that was not free in time, or not at once; a row that another has changed.
        ("40", _) | (_, 1205 | 3572 | 1020) => Error::Conflict(told),
        // Not in time (MySQL, and by class 70 MariaDB); the server goes down.
        ("08" | "70", _) | (_, 3024 | 1053) => Error::Unreachable,
        // No memory, no disk, a table that is full, a server that only reads.
        (_, 1021 | 1037 | 1038 | 1041 | 1114 | 1290 | 1836) => Error::Other(told.message),
        _ => Error::Statement(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_what_they_may_ask_for() {
        let options = |url: &str| options(url, &Tls::default());
        for url in [
            "mysql://shop:word@localhost/shop",
            "mariadb://shop:w%40rd@[::1]:3307/shop?ssl-mode=disabled",
            "mysql://shop@db.internal/shop",
        ] {
            let options = options(url).unwrap();
            assert_eq!((options.db_name(), options.user()), (Some("shop"), Some("shop")), "{url}");
            assert!(!options.prefer_socket() && options.ssl_opts().is_none(), "{url}");
        }
        let found = options("mariadb://shop:w%40rd@[::1]:3307/shop").unwrap();
        assert_eq!((found.ip_or_hostname(), found.tcp_port()), ("::1", 3307));
        assert_eq!(found.pass(), Some("w@rd"));
        let found = options("mysql://shop@localhost/shop?ssl-mode=required").unwrap();
        let tls = found.ssl_opts().unwrap();
        assert!(tls.disable_built_in_roots() && !tls.accept_invalid_certs());
        for url in [
            "postgres://shop@localhost/shop",
            "mysql://shop@localhost",
            "mysql:///shop",
            "mysql://shop@localhost/shop?ssl-mode=preferred",
            "mysql://shop@localhost/shop?socket=/run/mysqld.sock",
            "mysql://shop@localhost/shop?verify_ca=false",
        ] {
            assert_eq!(options(url).err(), Some(MysqlUrlError), "{url}");
        }
    }

    #[test]
    fn errors_by_their_class_and_number() {
        let told = |code: u16, state: &str| {
            let (message, state) = ("said".to_owned(), state.to_owned());
            error(&mysql_async::Error::Server(ServerError { code, message, state }))
        };
        assert!(matches!(told(1062, "23000"), Error::Constraint(said) if said.code == "23000"));
        assert!(matches!(told(3819, "HY000"), Error::Constraint(_)));
        assert!(matches!(told(1213, "40001"), Error::Conflict(_)));
        assert!(matches!(told(1205, "HY000"), Error::Conflict(_)));
        assert!(matches!(told(1969, "70100"), Error::Unreachable));
        assert!(matches!(told(1114, "HY000"), Error::Other(_)));
        assert!(matches!(told(1064, "42000"), Error::Statement(said) if said.message == "said"));
    }
}
