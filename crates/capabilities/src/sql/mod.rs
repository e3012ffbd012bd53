//! SQL databases: `dhow:sql`, our own interface, since none of WASI has types, transactions or
//! streams; and, over the same databases, the draft of `wasi:sql` and what Spin's guests import.

mod database;
mod endings;
mod held;
mod mysql;
mod mysql_value;
mod placeholders;
mod plain;
mod postgres;
mod postgres_value;
mod questions;
mod serve;
mod spin_mysql;
mod spin_postgres;
mod spin_postgres_value;
mod spin_sqlite;
mod sqlite;
mod sqlite_value;
mod text;
mod wasi_sql;

use std::{path::Path, sync::Arc};

use dhow_manifest::{Name, SqlBackend};

use crate::{
    backends::{self, BindFault, Labels},
    linking::Linking,
    tls::Tls,
};
pub(crate) use database::Database;
pub(crate) use mysql::MysqlUrlError;
pub(crate) use postgres::PostgresUrlError;
pub(crate) use serve::View;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/sql",
        world: "imports",
        imports: { default: async | store | trappable },
        with: {
            "dhow:sql/database.connection": crate::sql::serve::Connection,
            "dhow:sql/database.transaction": crate::sql::serve::Transaction,
        },
    });
}

/// The database that `backend` says, which is opened when it is first used.
pub(crate) fn bind(
    name: &Name,
    backend: &SqlBackend,
    data: Option<&Path>,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn Database>, BindFault> {
    Ok(match backend {
        SqlBackend::Embedded => embedded(name, data.ok_or(BindFault::NoFolder)?),
        SqlBackend::Postgres(url) => {
            let url = backends::expand(url.expose(), environment)?;
            Arc::new(postgres::Postgres::new(name.as_str(), &url, tls)?)
        }
        SqlBackend::Mysql(url) => {
            let url = backends::expand(url.expose(), environment)?;
            Arc::new(mysql::Mysql::new(name.as_str(), &url, tls)?)
        }
    })
}

/// A file of its own in the folder `data`.
pub(crate) fn embedded(name: &Name, data: &Path) -> Arc<dyn Database> {
    Arc::new(sqlite::Sqlite::new(data.join("sql").join(format!("{name}.sqlite"))))
}

/// The databases that one component can open.
pub(crate) type Granted = Labels<dyn Database>;

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    serve::link(to)?;
    spin_sqlite::link(to)?;
    spin_postgres::link(to)?;
    spin_mysql::link(to)?;
    wasi_sql::link(to)
}
