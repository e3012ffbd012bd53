//! `spin:sqlite@3.1.0`, over any database that is granted.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-sqlite",
        world: "imports",
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": crate::sql::spin_sqlite::Connection },
    });
}

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bindings::spin::sqlite::sqlite::{
    self as interface, QueryResult, RowResult, Value as SpinValue,
};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{
    database::{Column, Database, Error, Native, Query, Row, Value, words},
    held::{self, cloned, put},
    questions::{Dialect, numbered},
    serve::{Sql, View},
    text,
};
use crate::linking::{Linking, add};

/// A connection, and whether SQLite itself can say what was inserted and changed: before, it would
/// say it of somebody else's statement.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Connection {
    held: held::Connection,
    has_inserted: Arc<AtomicBool>,
    has_changed: Arc<AtomicBool>,
}

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "spin:sqlite/sqlite@3.1.0", interface, Sql, sql)
}

type Served<T> = wasmtime::Result<Result<T, interface::Error>>;
type Rows = (Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), interface::Error>>);

impl Connection {
    fn new(database: &Arc<dyn Database>) -> Self {
        Self {
            held: held::Connection::new(database, Some(Native::Sqlite)),
            has_inserted: Arc::default(),
            has_changed: Arc::default(),
        }
    }

    /// What the database takes for a guest's statement.
    fn prepare(&self, statement: &str, parameters: Vec<SpinValue>) -> (String, Vec<Value>) {
        let upper = statement.to_ascii_uppercase();
        if upper.contains("INSERT") || upper.contains("REPLACE") {
            self.has_inserted.store(true, Relaxed);
            self.has_changed.store(true, Relaxed);
        } else if upper.contains("UPDATE") || upper.contains("DELETE") {
            self.has_changed.store(true, Relaxed);
        }
        let parameters = parameters.into_iter().map(to_value).collect();
        (numbered(statement, Dialect::Sqlite), parameters)
    }

    async fn last_insert_rowid(&self) -> wasmtime::Result<i64> {
        match self.has_inserted.load(Relaxed) {
            true => self.number("last_insert_rowid()").await,
            false => Ok(0),
        }
    }

    async fn changes(&self) -> wasmtime::Result<u64> {
        match self.has_changed.load(Relaxed) {
            true => Ok(self.number("changes()").await?.unsigned_abs()),
            false => Ok(0),
        }
    }

    /// Of a function of SQLite's. The interface has no error for it.
    async fn number(&self, function: &str) -> wasmtime::Result<i64> {
        let listed = self.held.list(format!("SELECT {function}"), Vec::new()).await;
        let (_, rows) =
            listed.map_err(|error| wasmtime::format_err!("{function}: {}", words(error)))?;
        match rows.into_iter().flatten().next() {
            Some(Value::Integer(number)) => Ok(number),
            _ => Err(wasmtime::format_err!("{function}: the database has none")),
        }
    }
}

impl View<'_> {
    fn open_sqlite(&mut self, label: &str) -> Served<Resource<Connection>> {
        let database = self.granted.open(label, "sql").map(Connection::new);
        put(self, database.ok_or(interface::Error::AccessDenied))
    }
}

impl interface::Host for View<'_> {}

impl interface::HostConnection for View<'_> {
    async fn open(&mut self, database: String) -> Served<Resource<Connection>> {
        self.open_sqlite(&database)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<SpinValue>,
    ) -> Served<QueryResult> {
        let connection = self.table.get(&connection)?.clone();
        let (statement, parameters) = connection.prepare(&statement, parameters);
        let listed = connection.held.list(statement, parameters).await;
        let result = listed.map(|(columns, rows)| QueryResult {
            columns: names(columns),
            rows: rows.into_iter().map(to_row).collect(),
        });
        Ok(result.map_err(to_error))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        let connection = self.table.get(&connection)?.clone();
        connection.last_insert_rowid().await
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        let connection = self.table.get(&connection)?.clone();
        connection.changes().await
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> interface::HostConnectionWithStore<T> for Sql {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> Served<Resource<Connection>> {
        accessor.with(|mut store| store.get().open_sqlite(&database))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<SpinValue>,
    ) -> Served<Rows> {
        let connection = cloned(accessor, &connection)?;
        let (statement, parameters) = connection.prepare(&statement, parameters);
        let Query { columns, rows } = match connection.held.query(statement, parameters).await {
            Ok(query) => query,
            Err(error) => return Ok(Err(to_error(error))),
        };
        let (rows, ended) = held::give(accessor, rows, to_row, to_error)?;
        Ok(Ok((names(columns), rows, ended)))
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        cloned(accessor, &connection)?.last_insert_rowid().await
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        cloned(accessor, &connection)?.changes().await
    }
}

fn names(columns: Vec<Column>) -> Vec<String> {
    columns.into_iter().map(|column| column.name).collect()
}

fn to_row(row: Row) -> RowResult {
    RowResult { values: row.into_iter().map(from_value).collect() }
}

fn to_value(value: SpinValue) -> Value {
    match value {
        SpinValue::Integer(integer) => Value::Integer(integer),
        SpinValue::Real(float) => Value::Float(float),
        SpinValue::Text(text) => Value::Text(text),
        SpinValue::Blob(bytes) => Value::Bytes(bytes),
        SpinValue::Null => Value::Null,
    }
}

/// What only other databases have is text.
fn from_value(value: Value) -> SpinValue {
    match value {
        Value::Null => SpinValue::Null,
        Value::Boolean(boolean) => SpinValue::Integer(boolean.into()),
        Value::Integer(integer) => SpinValue::Integer(integer),
        Value::Float(float) => SpinValue::Real(float),
        Value::Bytes(bytes) => SpinValue::Blob(bytes),
        other => SpinValue::Text(text::of(other)),
    }
}

/// SQLite's own words for a disk that is full.
const FULL: &str = "database or disk is full";

fn to_error(error: Error) -> interface::Error {
    match error {
        Error::AccessDenied => interface::Error::AccessDenied,
        Error::Other(why) if why == FULL => interface::Error::DatabaseFull,
        other => interface::Error::Io(words(other)),
    }
}
