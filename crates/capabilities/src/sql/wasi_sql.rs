//! `wasi:sql@0.2.0-draft`: its errors and its parameters are texts.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/sql-draft",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:sql/types.connection": crate::sql::held::Connection,
            "wasi:sql/types.statement": crate::sql::wasi_sql::Statement,
            "wasi:sql/types.error": crate::sql::wasi_sql::Failure,
        },
    });
}

use bindings::wasi::sql::{
    readwrite,
    types::{self, DataType, Row},
};
use wasmtime::component::Resource;

use super::{
    database::{Column, Error, Value, words},
    held::Connection,
    questions::{Dialect, numbered},
    serve::{Sql, View},
    text,
};
use crate::linking::{Linking, add};

/// A statement with its parameters.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Statement {
    text: String,
    parameters: Vec<Value>,
}

/// What went wrong, in words.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Failure(String);

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "wasi:sql/types@0.2.0-draft", types, Sql, sql)?;
    add!(to, "wasi:sql/readwrite@0.2.0-draft", readwrite, Sql, sql)
}

type Served<T> = wasmtime::Result<Result<T, Resource<Failure>>>;

impl View<'_> {
    fn answer<T>(&mut self, result: Result<T, Error>) -> Served<T> {
        Ok(match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.table.push(Failure(words(error)))?),
        })
    }

    fn both(
        &self,
        connection: &Resource<Connection>,
        statement: &Resource<Statement>,
    ) -> wasmtime::Result<(Connection, Statement)> {
        Ok((self.table.get(connection)?.clone(), self.table.get(statement)?.clone()))
    }
}

impl types::Host for View<'_> {}

impl types::HostConnection for View<'_> {
    async fn open(&mut self, name: String) -> Served<Resource<Connection>> {
        let database = self.granted.open(&name, "sql");
        match database.map(|it| Connection::new(it, None)) {
            Some(connection) => Ok(Ok(self.table.push(connection)?)),
            None => self.answer(Err(Error::AccessDenied)),
        }
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl types::HostStatement for View<'_> {
    async fn prepare(
        &mut self,
        query: String,
        parameters: Vec<String>,
    ) -> Served<Resource<Statement>> {
        let parameters = parameters.into_iter().map(Value::Text).collect();
        let statement = Statement { text: numbered(&query, Dialect::Any), parameters };
        Ok(Ok(self.table.push(statement)?))
    }

    async fn drop(&mut self, statement: Resource<Statement>) -> wasmtime::Result<()> {
        self.table.delete(statement)?;
        Ok(())
    }
}

impl types::HostError for View<'_> {
    async fn trace(&mut self, error: Resource<Failure>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.0.clone())
    }

    async fn drop(&mut self, error: Resource<Failure>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}

impl readwrite::Host for View<'_> {
    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: Resource<Statement>,
    ) -> Served<Vec<Row>> {
        let (connection, Statement { text, parameters }) = self.both(&connection, &statement)?;
        let listed = connection.list(text, parameters).await;
        self.answer(listed.map(|(columns, rows)| {
            rows.into_iter().flat_map(|row| columns.iter().zip(row).map(to_item)).collect()
        }))
    }

    async fn exec(
        &mut self,
        connection: Resource<Connection>,
        statement: Resource<Statement>,
    ) -> Served<u32> {
        let (connection, Statement { text, parameters }) = self.both(&connection, &statement)?;
        let executed = connection.execute(text, parameters).await;
        self.answer(executed.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
    }
}

fn to_item((column, value): (&Column, Value)) -> Row {
    Row { field_name: column.name.clone(), value: to_data(value) }
}

/// What the interface has no type for is text.
fn to_data(value: Value) -> DataType {
    match value {
        Value::Null => DataType::Null,
        Value::Boolean(boolean) => DataType::Boolean(boolean),
        Value::Integer(integer) => DataType::Int64(integer),
        Value::Unsigned(integer) => DataType::Uint64(integer),
        Value::Float(float) => DataType::Double(float),
        Value::Bytes(bytes) => DataType::Binary(bytes),
        Value::Date(date) => DataType::Date(text::of_date(&date)),
        Value::Time(time) => DataType::Time(text::of_time(&time)),
        Value::Timestamp(timestamp) => DataType::Timestamp(text::of_timestamp(&timestamp)),
        Value::Instant(instant) => DataType::Timestamp(text::of_instant(&instant)),
        other => DataType::Str(text::of(other)),
    }
}
