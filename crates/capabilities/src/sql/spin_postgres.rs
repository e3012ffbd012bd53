//! `spin:postgres@4.2.0`, over any database that is granted.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-postgres",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "spin:postgres/postgres.connection": crate::sql::held::Connection,
            "spin:postgres/postgres.connection-builder": crate::sql::spin_postgres::Builder,
        },
    });
}

pub(super) use bindings::spin::postgres::postgres as interface;
use interface::{DbError, ParameterValue, QueryError, RowSet};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{
    database::{Error, Native, Query, Value, words},
    held::{self, Connection, cloned, put},
    serve::{Sql, View},
    spin_postgres_value::{columns, from_row, to_value},
};
use crate::linking::{Linking, add};

/// The label of a connection to come.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Builder(String);

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "spin:postgres/postgres@4.2.0", interface, Sql, sql)
}

type Served<T> = wasmtime::Result<Result<T, interface::Error>>;
type Rows = (
    Vec<interface::Column>,
    StreamReader<interface::Row>,
    FutureReader<Result<(), interface::Error>>,
);

impl View<'_> {
    fn open_postgres(&mut self, label: &str) -> Served<Resource<Connection>> {
        let database = self.granted.open(label, "sql");
        let connection = database.map(|it| Connection::new(it, Some(Native::Postgres)));
        put(self, connection.ok_or_else(|| to_error(Error::AccessDenied)))
    }
}

/// What the database takes for a guest's parameters.
fn values(parameters: Vec<ParameterValue>) -> Result<Vec<Value>, Error> {
    let values: Result<_, _> = parameters.into_iter().map(to_value).collect();
    values.map_err(Error::ParameterType)
}

async fn execute(
    connection: Connection,
    statement: String,
    parameters: Vec<ParameterValue>,
) -> Result<u64, Error> {
    connection.execute(statement, values(parameters)?).await
}

impl interface::Host for View<'_> {}

impl interface::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Served<Resource<Connection>> {
        self.open_postgres(&address)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<RowSet> {
        let connection = self.table.get(&connection)?.clone();
        let listed = match values(parameters) {
            Ok(values) => connection.list(statement, values).await,
            Err(error) => Err(error),
        };
        let set = listed.map(|(found, rows)| {
            let columns = columns(found);
            let rows = rows.into_iter().map(|row| from_row(&columns, row)).collect();
            RowSet { columns, rows }
        });
        Ok(set.map_err(to_error))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<u64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(execute(connection, statement, parameters).await.map_err(to_error))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> interface::HostConnectionWithStore<T> for Sql {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Served<Resource<Connection>> {
        accessor.with(|mut store| store.get().open_postgres(&address))
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<Rows> {
        let connection = cloned(accessor, &connection)?;
        let queried = match values(parameters) {
            Ok(values) => connection.query(statement, values).await,
            Err(error) => Err(error),
        };
        let Query { columns: found, rows } = match queried {
            Ok(query) => query,
            Err(error) => return Ok(Err(to_error(error))),
        };
        let columns = columns(found);
        let known = columns.clone();
        let (rows, ended) = held::give(accessor, rows, move |row| from_row(&known, row), to_error)?;
        Ok(Ok((columns, rows, ended)))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Served<u64> {
        let connection = cloned(accessor, &connection)?;
        Ok(execute(connection, statement, parameters).await.map_err(to_error))
    }
}

impl interface::HostConnectionBuilder for View<'_> {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        Ok(self.table.push(Builder(address))?)
    }

    /// Whom connections trust is the operator's, who has named the server too.
    async fn set_ca_root(&mut self, _: Resource<Builder>, _: String) -> Served<()> {
        Ok(Ok(()))
    }

    async fn build(&mut self, builder: Resource<Builder>) -> Served<Resource<Connection>> {
        let Builder(address) = self.table.get(&builder)?.clone();
        self.open_postgres(&address)
    }

    async fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send> interface::HostConnectionBuilderWithStore<T> for Sql {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<Builder>,
    ) -> Served<Resource<Connection>> {
        let Builder(address) = cloned(accessor, &builder)?;
        accessor.with(|mut store| store.get().open_postgres(&address))
    }
}

fn to_error(error: Error) -> interface::Error {
    match error {
        Error::AccessDenied | Error::Unreachable => {
            interface::Error::ConnectionFailed(words(error))
        }
        Error::Statement(said) | Error::Constraint(said) | Error::Conflict(said) => {
            interface::Error::QueryFailed(match said.code.is_empty() {
                // Our own words.
                true => QueryError::Text(said.message),
                false => QueryError::DbError(DbError {
                    as_text: format!("{}: {}", said.code, said.message),
                    severity: "ERROR".to_owned(),
                    code: said.code,
                    message: said.message,
                    detail: None,
                    extras: Vec::new(),
                }),
            })
        }
        Error::ParameterCount(_) | Error::ParameterType(_) => {
            interface::Error::BadParameter(words(error))
        }
        Error::ColumnType(why) => interface::Error::ValueConversionFailed(why),
        Error::Other(why) => interface::Error::Other(why),
    }
}
