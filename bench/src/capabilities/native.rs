//! The same clients, used natively.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use deadpool_postgres::{Manager, Pool};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use rusqlite::{Connection, OptionalExtension as _};
use tokio_postgres::NoTls;

use crate::live::Live;

/// One client, shared by all callers.
#[derive(Clone)]
pub enum Native {
    RedbGet(Arc<Database>),
    RedbSet(Arc<Database>),
    RedisGet(MultiplexedConnection),
    RedisSet(MultiplexedConnection),
    Sqlite(PathBuf),
    Postgres(Pool),
    Http(Box<Client<HttpConnector, Empty<bytes::Bytes>>>, http::Uri),
}

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
const VALUE: [u8; 100] = [7; 100];
const QUERY: &str = "SELECT name FROM points WHERE id = $1";

pub fn redb(path: &Path) -> Result<[Native; 2]> {
    let database = Arc::new(Database::create(path)?);
    set(&database)?;
    Ok([Native::RedbGet(database.clone()), Native::RedbSet(database)])
}

fn set(database: &Database) -> Result<()> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?.insert("key", VALUE.as_slice())?;
    transaction.commit()?;
    Ok(())
}

pub async fn redis(url: &str) -> Result<[Native; 2]> {
    let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    Ok([Native::RedisGet(connection.clone()), Native::RedisSet(connection)])
}

const POINTS: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
                      INSERT INTO points SELECT i, 'a name of some length' FROM n";
const TABLES: &str = "CREATE TABLE points (id INTEGER PRIMARY KEY, name TEXT)";

/// On the file that the guest has, too.
pub fn sqlite(path: &Path) -> Result<Native> {
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLES}; {POINTS}"))?;
    Ok(Native::Sqlite(path.to_owned()))
}

pub async fn postgres(url: &str) -> Result<Native> {
    let pool = Pool::builder(Manager::new(url.parse()?, NoTls)).max_size(16).build()?;
    pool.get().await?.batch_execute(&format!("{TABLES}; {POINTS}")).await?;
    Ok(Native::Postgres(pool))
}

pub fn http(address: SocketAddr) -> Native {
    let client = Client::builder(TokioExecutor::new()).build_http();
    Native::Http(Box::new(client), format!("http://{address}/x").parse().expect("a URL"))
}

impl Native {
    /// What has to be there before the first round.
    pub async fn prepare(&self, live: &Live) -> Result<()> {
        if matches!(self, Self::RedbGet(_) | Self::RedisGet(_)) {
            live.request("/kv-set/1").await;
        }
        if let Self::RedisGet(connection) = self {
            let () = connection.clone().set("key", VALUE.as_slice()).await?;
        }
        Ok(())
    }

    /// Does it so often.
    pub async fn run(self, count: usize) -> Result<()> {
        match self {
            Self::RedbGet(database) => (0..count).try_for_each(|_| {
                let transaction = database.begin_read()?;
                let found = transaction.open_table(TABLE)?.get("key")?;
                found.map(|value| value.value().to_vec()).context("a value")?;
                Ok(())
            }),
            Self::RedbSet(database) => {
                let all = move || (0..count).try_for_each(|_| set(&database));
                tokio::task::spawn_blocking(all).await?
            }
            Self::RedisGet(mut connection) => {
                for _ in 0..count {
                    let _: Vec<u8> = connection.get("key").await?;
                }
                Ok(())
            }
            Self::RedisSet(mut connection) => {
                for _ in 0..count {
                    let () = connection.set("key", VALUE.as_slice()).await?;
                }
                Ok(())
            }
            Self::Sqlite(path) => tokio::task::spawn_blocking(move || query(&path, count)).await?,
            Self::Postgres(pool) => {
                for number in 0..count {
                    let client = pool.get().await?;
                    let statement = client.prepare_cached(QUERY).await?;
                    client.query_one(&statement, &[&((number % 1000) as i32)]).await?;
                }
                Ok(())
            }
            Self::Http(client, uri) => {
                for _ in 0..count {
                    let body = client.get(uri.clone()).await?.into_body();
                    anyhow::ensure!(!body.collect().await?.to_bytes().is_empty(), "a body");
                }
                Ok(())
            }
        }
    }
}

fn query(path: &Path, count: usize) -> Result<()> {
    let connection = Connection::open(path)?;
    for number in 0..count {
        let mut statement = connection.prepare_cached(QUERY)?;
        let name: Option<String> =
            statement.query_row([(number % 1000) as i64], |row| row.get(0)).optional()?;
        name.context("a row")?;
    }
    Ok(())
}
