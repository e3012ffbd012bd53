//! `spin:mysql@3.0.0`, over any database that is granted.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-mysql",
        world: "imports",
        imports: { default: async | trappable },
        with: { "spin:mysql/mysql.connection": crate::sql::held::Connection },
    });
}

use bindings::spin::mysql::mysql::{
    self as interface, Column, DbDataType, DbValue, ParameterValue, Row,
};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{
    database::{self, Error, Query, Value, words},
    held::{self, Connection, cloned, put},
    questions::{Dialect, numbered},
    serve::{Sql, View},
    text,
};
use crate::linking::{Linking, add};

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "spin:mysql/mysql@3.0.0", interface, Sql, sql)
}

type Served<T> = wasmtime::Result<Result<T, interface::Error>>;
type Rows = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), interface::Error>>);

impl interface::Host for View<'_> {}

impl interface::HostConnection for View<'_> {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> interface::HostConnectionWithStore<T> for Sql {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Served<Resource<Connection>> {
        accessor.with(|mut store| {
            let mut view = store.get();
            let database = view.granted.open(&address, "sql");
            let connection = database.map(|it| Connection::new(it, None));
            put(&mut view, connection.ok_or_else(|| to_error(Error::AccessDenied)))
        })
    }

    async fn query(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<Rows> {
        let connection = cloned(accessor, &connection)?;
        let (statement, parameters) = prepare(&statement, parameters);
        let Query { columns: found, rows } = match connection.query(statement, parameters).await {
            Ok(query) => query,
            Err(error) => return Ok(Err(to_error(error))),
        };
        let columns = columns(found);
        let known = columns.clone();
        let (rows, ended) = held::give(accessor, rows, move |row| from_row(&known, row), to_error)?;
        Ok(Ok((columns, rows, ended)))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<()> {
        let connection = cloned(accessor, &connection)?;
        let (statement, parameters) = prepare(&statement, parameters);
        let executed = connection.execute(statement, parameters).await;
        Ok(executed.map(|_| ()).map_err(to_error))
    }
}

/// What the database takes for a guest's statement.
fn prepare(statement: &str, parameters: Vec<ParameterValue>) -> (String, Vec<Value>) {
    let parameters = parameters.into_iter().map(to_value).collect();
    (numbered(statement, Dialect::Mysql), parameters)
}

fn to_value(parameter: ParameterValue) -> Value {
    match parameter {
        ParameterValue::Boolean(boolean) => Value::Boolean(boolean),
        ParameterValue::Int8(integer) => Value::Integer(integer.into()),
        ParameterValue::Int16(integer) => Value::Integer(integer.into()),
        ParameterValue::Int32(integer) => Value::Integer(integer.into()),
        ParameterValue::Int64(integer) => Value::Integer(integer),
        ParameterValue::Uint8(integer) => Value::Integer(integer.into()),
        ParameterValue::Uint16(integer) => Value::Integer(integer.into()),
        ParameterValue::Uint32(integer) => Value::Integer(integer.into()),
        ParameterValue::Uint64(integer) => {
            i64::try_from(integer).map_or(Value::Unsigned(integer), Value::Integer)
        }
        ParameterValue::Floating32(float) => Value::Float(float.into()),
        ParameterValue::Floating64(float) => Value::Float(float),
        ParameterValue::Str(text) => Value::Text(text),
        ParameterValue::Binary(bytes) => Value::Bytes(bytes),
        ParameterValue::DbNull => Value::Null,
    }
}

fn columns(columns: Vec<database::Column>) -> Vec<Column> {
    let column =
        |database::Column { name, type_name }| Column { name, data_type: data_type(&type_name) };
    columns.into_iter().map(column).collect()
}

/// In the words of MySQL and of others. Spin's guests read `boolean` as a small number.
fn data_type(type_name: &str) -> DbDataType {
    match type_name {
        "tinyint(1)" | "tinyint" | "bool" => DbDataType::Int8,
        "smallint" | "int2" | "year" => DbDataType::Int16,
        "mediumint" | "int" | "int4" => DbDataType::Int32,
        "bigint" | "int8" => DbDataType::Int64,
        "tinyint unsigned" => DbDataType::Uint8,
        "smallint unsigned" => DbDataType::Uint16,
        "mediumint unsigned" | "int unsigned" => DbDataType::Uint32,
        "bigint unsigned" | "bit" => DbDataType::Uint64,
        "float" | "float4" => DbDataType::Floating32,
        "double" | "float8" => DbDataType::Floating64,
        "binary" | "varbinary" | "blob" | "bytea" | "geometry" | "vector" => DbDataType::Binary,
        "char" | "varchar" | "text" | "enum" | "set" | "json" | "uuid" | "decimal" | "date"
        | "time" | "datetime" | "timestamp" => DbDataType::Str,
        _ => DbDataType::Other,
    }
}

fn from_row(columns: &[Column], row: database::Row) -> Row {
    let values = columns.iter().zip(row);
    values.map(|(column, value)| from_value(value, column.data_type)).collect()
}

fn from_value(value: Value, kind: DbDataType) -> DbValue {
    match value {
        Value::Null => DbValue::DbNull,
        Value::Boolean(boolean) => from_integer(boolean.into(), kind),
        Value::Integer(integer) => from_integer(integer, kind),
        Value::Unsigned(integer) => DbValue::Uint64(integer),
        Value::Float(float) if kind == DbDataType::Floating32 => DbValue::Floating32(float as f32),
        Value::Float(float) => DbValue::Floating64(float),
        Value::Bytes(bytes) => DbValue::Binary(bytes),
        Value::BooleanArray(_)
        | Value::IntegerArray(_)
        | Value::FloatArray(_)
        | Value::TextArray(_) => DbValue::Unsupported,
        other => DbValue::Str(text::of(other)),
    }
}

fn from_integer(integer: i64, kind: DbDataType) -> DbValue {
    let found = match kind {
        DbDataType::Int8 => integer.try_into().ok().map(DbValue::Int8),
        DbDataType::Int16 => integer.try_into().ok().map(DbValue::Int16),
        DbDataType::Int32 => integer.try_into().ok().map(DbValue::Int32),
        DbDataType::Uint8 => integer.try_into().ok().map(DbValue::Uint8),
        DbDataType::Uint16 => integer.try_into().ok().map(DbValue::Uint16),
        DbDataType::Uint32 => integer.try_into().ok().map(DbValue::Uint32),
        DbDataType::Uint64 => integer.try_into().ok().map(DbValue::Uint64),
        _ => None,
    };
    found.unwrap_or(DbValue::Int64(integer))
}

fn to_error(error: Error) -> interface::Error {
    match error {
        Error::AccessDenied | Error::Unreachable => {
            interface::Error::ConnectionFailed(words(error))
        }
        Error::Statement(_) | Error::Constraint(_) | Error::Conflict(_) => {
            interface::Error::QueryFailed(words(error))
        }
        Error::ParameterCount(_) | Error::ParameterType(_) => {
            interface::Error::BadParameter(words(error))
        }
        Error::ColumnType(why) => interface::Error::ValueConversionFailed(why),
        Error::Other(why) => interface::Error::Other(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_wide_as_their_columns() {
        let found = |value, type_name| from_value(value, data_type(type_name));
        assert!(matches!(found(Value::Boolean(true), "tinyint(1)"), DbValue::Int8(1)));
        assert!(matches!(found(Value::Integer(7), "tinyint(1)"), DbValue::Int8(7)));
        assert!(matches!(found(Value::Integer(7), "int unsigned"), DbValue::Uint32(7)));
        assert!(matches!(found(Value::Integer(7), "bigint unsigned"), DbValue::Uint64(7)));
        assert!(matches!(found(Value::Unsigned(u64::MAX), "bigint unsigned"), DbValue::Uint64(_)));
        assert!(matches!(found(Value::Integer(1 << 40), "int"), DbValue::Int64(_)));
        assert!(matches!(found(Value::Float(0.5), "float"), DbValue::Floating32(_)));
        let decimal = found(Value::Decimal("1.50".to_owned()), "decimal");
        assert!(matches!(decimal, DbValue::Str(text) if text == "1.50"));
    }
}
