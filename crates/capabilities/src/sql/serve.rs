//! What `dhow:sql` does for a guest.

use std::sync::Arc;

use tokio::sync::Mutex;
use wasmtime::component::{Accessor, FutureReader, HasData, Resource, ResourceTable, StreamReader};

use super::{
    Granted,
    bindings::dhow::sql::{database as interface, types},
    database::{Column, Control, Database, Error, Query, Row, Session, Value},
};
use crate::{
    linking::{Linking, add},
    operate::operate,
    parts::Caller,
    reading,
};

/// A database that was opened: each statement has a session of its own.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Connection {
    database: Arc<dyn Database>,
}

/// A transaction: all of its statements are of one session.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Transaction {
    session: Arc<Mutex<Box<dyn Session>>>,
}

/// What the interfaces are implemented for.
pub(super) struct Sql;

impl HasData for Sql {
    type Data<'a> = View<'a>;
}

/// An instance's databases and its table of resources.
pub(crate) struct View<'a> {
    pub(super) granted: &'a Granted,
    pub(super) table: &'a mut ResourceTable,
}

impl<'a> View<'a> {
    pub(crate) fn of(caller: Caller<'a>) -> Self {
        Self { granted: &caller.part.sql, table: caller.table }
    }
}

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "dhow:sql/types@0.1.0", types, Sql, sql)?;
    add!(to, "dhow:sql/database@0.1.0", interface, Sql, sql)
}

impl types::Host for View<'_> {}
impl interface::Host for View<'_> {}
impl interface::HostConnection for View<'_> {}
impl interface::HostTransaction for View<'_> {}

type Served<T> = wasmtime::Result<Result<T, Error>>;
type Rows = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>);
type Table = (Vec<Column>, Vec<Row>);

/// The most bytes of rows that are given at once, as they are counted for batches.
const MAX_FETCHED: usize = 1 << 20;

impl<T: Send> interface::HostConnectionWithStore<T> for Sql {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Served<Resource<Connection>> {
        accessor.with(|mut store| {
            let View { granted, table } = store.get();
            let Some(database) = granted.open(&label, "sql") else {
                return Ok(Err(Error::AccessDenied));
            };
            Ok(Ok(table.push(Connection { database: database.clone() })?))
        })
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<u64> {
        let database = database(accessor, &connection)?;
        let executed = async { database.session().await?.execute(statement, parameters).await };
        Ok(operate("sql", "execute", executed).await)
    }

    async fn query(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<Rows> {
        let database = database(accessor, &connection)?;
        let queried = async {
            let session = Arc::new(Mutex::new(database.session().await?));
            query(session, statement, parameters).await
        };
        stream(accessor, operate("sql", "query", queried).await)
    }

    async fn fetch(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<Table> {
        let database = database(accessor, &connection)?;
        let fetched = async { fetch(&mut *database.session().await?, statement, parameters).await };
        Ok(operate("sql", "fetch", fetched).await)
    }

    async fn begin(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> Served<Resource<Transaction>> {
        let database = database(accessor, &connection)?;
        let begun = async {
            let mut session = database.session().await?;
            session.control(Control::Begin).await?;
            Ok::<_, Error>(session)
        };
        let session = match operate("sql", "begin", begun).await {
            Ok(session) => Arc::new(Mutex::new(session)),
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut store| Ok(Ok(store.get().table.push(Transaction { session })?)))
    }

    async fn drop(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<()> {
        accessor.with(|mut store| store.get().table.delete(connection).map(drop))?;
        Ok(())
    }
}

impl<T: Send> interface::HostTransactionWithStore<T> for Sql {
    async fn execute(
        accessor: &Accessor<T, Self>,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<u64> {
        let session = session(accessor, &transaction)?;
        let Ok(mut session) = session.try_lock_owned() else { return Ok(Err(unread())) };
        Ok(operate("sql", "execute", session.execute(statement, parameters)).await)
    }

    async fn query(
        accessor: &Accessor<T, Self>,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<Rows> {
        let session = session(accessor, &transaction)?;
        let queried = query(session, statement, parameters);
        stream(accessor, operate("sql", "query", queried).await)
    }

    async fn fetch(
        accessor: &Accessor<T, Self>,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Served<Table> {
        let session = session(accessor, &transaction)?;
        let Ok(mut session) = session.try_lock_owned() else { return Ok(Err(unread())) };
        Ok(operate("sql", "fetch", fetch(&mut **session, statement, parameters)).await)
    }

    async fn commit(accessor: &Accessor<T, Self>, this: Resource<Transaction>) -> Served<()> {
        end(accessor, this, Control::Commit).await
    }

    async fn rollback(accessor: &Accessor<T, Self>, this: Resource<Transaction>) -> Served<()> {
        end(accessor, this, Control::Rollback).await
    }

    async fn drop(
        accessor: &Accessor<T, Self>,
        transaction: Resource<Transaction>,
    ) -> wasmtime::Result<()> {
        accessor.with(|mut store| store.get().table.delete(transaction).map(drop))?;
        Ok(())
    }
}

fn database<T>(
    accessor: &Accessor<T, Sql>,
    connection: &Resource<Connection>,
) -> wasmtime::Result<Arc<dyn Database>> {
    accessor.with(|mut store| Ok(store.get().table.get(connection)?.database.clone()))
}

fn session<T>(
    accessor: &Accessor<T, Sql>,
    transaction: &Resource<Transaction>,
) -> wasmtime::Result<Arc<Mutex<Box<dyn Session>>>> {
    accessor.with(|mut store| Ok(store.get().table.get(transaction)?.session.clone()))
}

async fn end<T>(
    accessor: &Accessor<T, Sql>,
    transaction: Resource<Transaction>,
    control: Control,
) -> Served<()> {
    let Transaction { session } =
        accessor.with(|mut store| store.get().table.delete(transaction))?;
    let Ok(mut session) = session.try_lock_owned() else { return Ok(Err(unread())) };
    let operation = match control {
        Control::Begin => "begin",
        Control::Commit => "commit",
        Control::Rollback => "rollback",
    };
    Ok(operate("sql", operation, session.control(control)).await)
}

/// Of one session, one statement at a time.
fn unread() -> Error {
    Error::Other("the rows of the query before have to be read, or dropped, first".to_owned())
}

async fn query(
    session: Arc<Mutex<Box<dyn Session>>>,
    statement: String,
    parameters: Vec<Value>,
) -> Result<Query, Error> {
    let mut session = session.try_lock_owned().map_err(|_| unread())?;
    let Query { columns, rows } = session.query(statement, parameters).await?;
    // It is in use until all rows are read, or nobody wants more.
    Ok(Query { columns, rows: reading::keeping(rows, session) })
}

/// All rows of a statement, where they are few.
async fn fetch(
    session: &mut dyn Session,
    statement: String,
    parameters: Vec<Value>,
) -> Result<Table, Error> {
    let excess = "the rows have more than 1 MiB: query them";
    session.query(statement, parameters).await?.all(MAX_FETCHED, excess).await
}

/// Gives the guest the rows as a stream, and how it ends as a future.
fn stream<T: Send>(accessor: &Accessor<T, Sql>, queried: Result<Query, Error>) -> Served<Rows> {
    let Query { columns, rows } = match queried {
        Ok(query) => query,
        Err(error) => return Ok(Err(error)),
    };
    accessor.with(|store| {
        let dropped = Error::Other("the rows were not read to their end".to_owned());
        let (rows, ended) = reading::give(store, rows, Err(dropped))?;
        Ok(Ok((columns, rows, ended)))
    })
}
