//! The database that needs no server: a SQLite file.
//!
//! Each connection is a thread of its own, since SQLite waits for the disk where it is called. A
//! guest's statements are kept to the file: nothing is attached, no extension loaded, no setting
//! changed that others would notice.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use rusqlite::{
    CachedStatement, Connection, ErrorCode,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{
    database::{
        BATCHES, Batch, Column, Control, Database, DatabaseError, Error, Native, Query, Row,
        Session, Value, parameter_count, size_of, wrong,
    },
    sqlite_value::{Declared, from_sql, to_sql},
};

/// Connections at a time. One of them writes; SQLite has them take turns.
const MAX_CONNECTIONS: usize = 8;
/// A statement waits so long for its turn to write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest value, in bytes, and the most columns of a row.
const MAX_LENGTH: i32 = 8 << 20;
const MAX_COLUMNS: i32 = 200;
/// The largest row.
const MAX_ROW: usize = 16 << 20;
/// The longest statement, in bytes.
const MAX_STATEMENT: i32 = 64 << 10;
/// What all of SQLite may take of the process' memory; beyond it, a statement fails.
const MAX_HEAP: i64 = 1 << 30;
/// A statement looks so often whether its session is over, in steps of SQLite's machine.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Statements that are kept prepared for each connection.
const PREPARED: usize = 64;

/// What a guest may ask of SQLite itself: what describes the database and its tables.
const PRAGMAS: [&str; 11] = [
    "application_id",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "optimize",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

pub(super) struct Sqlite(Arc<Shared>);

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Worker>>,
    places: Arc<Semaphore>,
}

impl Sqlite {
    /// The database in the file at `path`, which is made when it is first used.
    pub(super) fn new(path: PathBuf) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self(Arc::new(Shared { path, idle: Mutex::default(), places }))
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn session(&self) -> Result<Box<dyn Session>, Error> {
        let place = timeout(BUSY_TIMEOUT, self.0.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(Error::Other(format!("all {MAX_CONNECTIONS} connections are in use")));
        };
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = match idle {
            Some(worker) => worker,
            None => Worker::start(self.0.path.clone()).await?,
        };
        Ok(Box::new(SqliteSession {
            worker: Some(worker),
            state: State::Free,
            is_plain: false,
            shared: self.0.clone(),
            _place: place,
        }))
    }
}

/// Something to do with the connection.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A thread with a connection.
struct Worker {
    jobs: mpsc::Sender<Job>,
    unfinished: Arc<AtomicUsize>,
    /// Its session is over: whatever is under way or waits ends.
    is_over: Arc<AtomicBool>,
    /// The host itself begins or ends a transaction, which guests can't by statements.
    is_control: Arc<AtomicBool>,
}

impl Worker {
    async fn start(path: PathBuf) -> Result<Self, Error> {
        let (opened, is_opened) = oneshot::channel();
        let (jobs, mut waiting) = mpsc::channel::<Job>(1);
        let (is_over, is_control) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (over, control) = (is_over.clone(), is_control.clone());
        let work = move || {
            let mut connection = match open(&path, &over, control) {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::error!("the database {} can't be opened: {error}", path.display());
                    return;
                }
            };
            if opened.send(()).is_ok() {
                while let Some(job) = waiting.blocking_recv() {
                    if over.load(SeqCst) {
                        return;
                    }
                    job(&mut connection);
                }
            }
        };
        let thread = thread::Builder::new().name("dhow-sqlite".to_owned()).spawn(work);
        thread.map_err(|_| Error::Unreachable)?;
        is_opened.await.map_err(|_| Error::Unreachable)?;
        Ok(Self { jobs, unfinished: Arc::default(), is_over, is_control })
    }

    /// Has the thread do `work`, and then `tell` its result.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
        tell: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), Error> {
        let unfinished = self.unfinished.clone();
        unfinished.fetch_add(1, SeqCst);
        let job: Job = Box::new(move |connection| {
            let result = work(connection);
            // First, so that whoever is told finds the connection free.
            unfinished.fetch_sub(1, SeqCst);
            tell(result);
        });
        self.jobs.send(job).await.map_err(|_| Error::Unreachable)
    }
}

fn open(
    path: &Path,
    is_over: &Arc<AtomicBool>,
    is_control: Arc<AtomicBool>,
) -> Result<Connection, Box<dyn std::error::Error>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on disk when it is acknowledged.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_LENGTH)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, MAX_COLUMNS)?;
    connection.pragma_update(None, "hard_heap_limit", MAX_HEAP)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    let is_over = is_over.clone();
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || is_over.load(SeqCst)))?;
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        if is_control.load(SeqCst) { Authorization::Allow } else { authorize(&context) }
    }))?;
    Ok(connection)
}

/// What is temporary belongs to the connection, and would be there for the next request.
fn authorize(context: &AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::CreateVtable { .. } if context.database_name == Some("temp") => {
            Authorization::Deny
        }
        AuthAction::Pragma { pragma_name, .. } if !PRAGMAS.contains(&pragma_name) => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

struct SqliteSession {
    worker: Option<Worker>,
    state: State,
    /// Whether columns' declarations are of no interest.
    is_plain: bool,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

/// Whether the session has a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    InTransaction,
}

impl SqliteSession {
    fn worker(&self) -> Result<&Worker, Error> {
        self.worker.as_ref().ok_or(Error::Unreachable)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, result) = oneshot::channel();
        self.worker()?.run(work, |result| drop(tell.send(result))).await?;
        result.await.map_err(|_| Error::Unreachable)?
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn execute(&mut self, statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        let state = self.state;
        self.run(move |connection| {
            check_transaction(connection, state)?;
            let before = connection.total_changes();
            {
                let mut statement = prepare(connection, &statement, parameters)?;
                let mut rows = statement.raw_query();
                while rows.next().map_err(error)?.is_some() {}
            }
            check_transaction(connection, state)?;
            Ok(if connection.total_changes() == before { 0 } else { connection.changes() })
        })
        .await
    }

    async fn query(&mut self, statement: String, parameters: Vec<Value>) -> Result<Query, Error> {
        let (state, is_plain) = (self.state, self.is_plain);
        let (found, columns) = oneshot::channel();
        let (sender, mut rows) = mpsc::channel(BATCHES);
        let last = sender.clone();
        let work = move |connection: &mut Connection| {
            check_transaction(connection, state)?;
            let mut statement = prepare(connection, &statement, parameters)?;
            read(&mut statement, is_plain, found, &sender)?;
            drop(statement);
            check_transaction(connection, state)
        };
        let tell = move |result| {
            if let Err(error) = result {
                let _ = last.blocking_send(Err(error));
            }
        };
        self.worker()?.run(work, tell).await?;
        match columns.await {
            Ok(columns) => {
                let rows = stream::poll_fn(move |context| rows.poll_recv(context)).boxed();
                Ok(Query { columns, rows })
            }
            // It has failed before there were any.
            Err(_) => match rows.recv().await {
                Some(Err(error)) => Err(error),
                _ => Err(Error::Unreachable),
            },
        }
    }

    async fn control(&mut self, control: Control) -> Result<(), Error> {
        let (statement, state) = match control {
            // At once: a transaction that reads first could not write later.
            Control::Begin => ("BEGIN IMMEDIATE", State::InTransaction),
            Control::Commit => ("COMMIT", State::Free),
            Control::Rollback => ("ROLLBACK", State::Free),
        };
        let is_control = self.worker()?.is_control.clone();
        self.run(move |connection| {
            is_control.store(true, SeqCst);
            let done = connection.execute_batch(statement).map_err(error);
            is_control.store(false, SeqCst);
            done
        })
        .await?;
        self.state = state;
        Ok(())
    }

    fn give_native(&mut self, native: Native) {
        self.is_plain = native == Native::Sqlite;
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        if self.state == State::Free && worker.unfinished.load(SeqCst) == 0 {
            self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        } else {
            // The thread ends with its connection, which undoes what was begun.
            worker.is_over.store(true, SeqCst);
        }
    }
}

/// SQLite ends a transaction by itself where a statement says so (`ON CONFLICT ROLLBACK`). What would
/// follow is not part of it any more, and is not done.
fn check_transaction(connection: &Connection, state: State) -> Result<(), Error> {
    match (state, connection.is_autocommit()) {
        (State::Free, true) | (State::InTransaction, false) => Ok(()),
        _ => Err(wrong("the transaction has ended: it was undone")),
    }
}

fn prepare<'a>(
    connection: &'a Connection,
    text: &str,
    parameters: Vec<Value>,
) -> Result<CachedStatement<'a>, Error> {
    let mut statement = connection.prepare_cached(text).map_err(error)?;
    let mut expected = 0;
    for index in 1..=statement.parameter_count() {
        let number = statement
            .parameter_name(index)
            .and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok())
            .filter(|number| *number > 0)
            .ok_or_else(|| wrong("parameters are written $1, $2 and so on"))?;
        expected = expected.max(number);
        if let Some(value) = parameters.get(number - 1) {
            statement.raw_bind_parameter(index, to_sql(value)?).map_err(error)?;
        }
    }
    if expected != parameters.len() {
        return Err(parameter_count(parameters.len(), expected));
    }
    Ok(statement)
}

/// Runs a query and sends its rows, until all are sent or nobody reads on.
fn read(
    statement: &mut CachedStatement<'_>,
    is_plain: bool,
    found: oneshot::Sender<Vec<Column>>,
    sender: &mpsc::Sender<Result<Vec<Row>, Error>>,
) -> Result<(), Error> {
    let (columns, declared): (Vec<_>, Vec<_>) = statement
        .columns()
        .map(|column| {
            let type_name = column.decl_type().unwrap_or_default();
            let name = column.name().to_owned();
            let declared = if is_plain { Declared::Other } else { Declared::of(type_name) };
            (Column { name, type_name: type_name.to_owned() }, declared)
        })
        .unzip();
    // What changes something is done before anybody could lose interest in its rows.
    let is_change = !statement.readonly();
    let mut rows = statement.raw_query();
    // The first step is where most errors are.
    let mut next = rows.next().map_err(error)?;
    let mut found = Some((found, columns));
    if !is_change && let Some((found, columns)) = found.take() {
        let _ = found.send(columns);
    }
    let (mut batch, mut kept, mut bytes) = (Batch::default(), Vec::new(), 0);
    while let Some(row) = next {
        let values = values(row, &declared)?;
        let size = values.iter().map(size_of).sum::<usize>();
        bytes = if is_change { bytes + size } else { size };
        if bytes > MAX_ROW {
            return Err(wrong("a row, and all rows of a change, have at most 16 MiB"));
        }
        if let Some(full) = batch.add(values) {
            if is_change {
                kept.push(full);
            } else if sender.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
        next = rows.next().map_err(error)?;
    }
    kept.push(batch.take());
    if let Some((found, columns)) = found {
        let _ = found.send(columns);
    }
    for rows in kept.into_iter().filter(|rows| !rows.is_empty()) {
        if sender.blocking_send(Ok(rows)).is_err() {
            break;
        }
    }
    Ok(())
}

fn values(row: &rusqlite::Row<'_>, declared: &[Declared]) -> Result<Row, Error> {
    let columns = declared.iter().enumerate();
    columns.map(|(index, kind)| from_sql(row.get_ref(index).map_err(error)?, *kind)).collect()
}

/// What the guest is told.
fn error(error: rusqlite::Error) -> Error {
    let message = error.to_string();
    let (code, extended, message) = match error {
        rusqlite::Error::SqliteFailure(failure, text) => {
            (failure.code, failure.extended_code, text.unwrap_or(message))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.code, error.extended_code, msg),
        rusqlite::Error::MultipleStatement => return wrong("one statement at a time"),
        _ => return Error::Other(message),
    };
    let said = DatabaseError { code: extended.to_string(), message };
    match code {
        ErrorCode::ConstraintViolation => Error::Constraint(said),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Error::Conflict(said),
        ErrorCode::CannotOpen | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure => {
            Error::Unreachable
        }
        ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::DatabaseCorrupt => {
            Error::Other(said.message)
        }
        _ => Error::Statement(said),
    }
}
