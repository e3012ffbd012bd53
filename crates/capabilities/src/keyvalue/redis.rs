//! A store in Redis or Valkey. Keys and values are as the guest gives them, so that others can
//! read what it writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    RedisError, Script, ServerErrorKind, aio::MultiplexedConnection,
};
use thiserror::Error;
use tokio::{sync::Mutex, time::timeout};

use super::store::{KEYS_AT_A_TIME, Keys, MAX_VALUES, Store, StoreError};
use crate::{
    egress::{self, BackendStream},
    tls::Tls,
};

/// The server may take so long to be reached, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sets a key if it has the value that is expected: `1`, then the value; or `0`, where it should
/// not be there. `GET` gives `false` for a key that is not there.
const SWAP: &str = "
    local expected = false
    if ARGV[1] == '1' then expected = ARGV[2] end
    if redis.call('GET', KEYS[1]) ~= expected then return 0 end
    redis.call('SET', KEYS[1], ARGV[3])
    return 1";

pub(crate) struct Redis {
    /// What the operator calls it: addresses and passwords stay out of the log.
    name: String,
    server: ConnectionInfo,
    tls: Option<Arc<Tls>>,
    connection: Mutex<Option<Connection>>,
    /// How many connections there were.
    made: AtomicU64,
    swap: Script,
}

/// One connection, shared by all requests: each goes out as it comes (pipelining).
struct Connection {
    using: Using,
    /// Moves bytes between the requests and the socket.
    driver: tokio::task::JoinSet<()>,
}

/// What a request needs of a connection.
#[derive(Clone)]
struct Using {
    requests: MultiplexedConnection,
    /// Which it is of those that there were.
    number: u64,
}

/// A text that is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS")]
pub(crate) struct RedisUrlError;

impl Redis {
    /// The server at `url`, connected to at the first request.
    ///
    /// # Errors
    /// When that is no such URL.
    pub(crate) fn new(name: &str, url: &str, tls: &Arc<Tls>) -> Result<Self, RedisUrlError> {
        let (url, tls) = match url.strip_prefix("rediss://") {
            Some(rest) => (format!("redis://{rest}"), Some(tls.clone())),
            None => (url.to_owned(), None),
        };
        let server: ConnectionInfo =
            redis::IntoConnectionInfo::into_connection_info(url).map_err(|_| RedisUrlError)?;
        Ok(Self {
            name: name.to_owned(),
            server,
            tls,
            connection: Mutex::new(None),
            made: AtomicU64::new(0),
            swap: Script::new(SWAP),
        })
    }

    /// The connection, made anew where there is none or it has broken.
    async fn connection(&self) -> Result<Using, StoreError> {
        let mut connection = self.connection.lock().await;
        if let Some(Connection { using, driver }) = &mut *connection
            && driver.try_join_next().is_none()
        {
            return Ok(using.clone());
        }
        *connection = None;
        let connected = timeout(CONNECT_TIMEOUT, self.connect()).await;
        match connected {
            Ok(Ok(made)) => Ok(connection.insert(made).using.clone()),
            Ok(Err(ConnectError::Redis(error))) => Err(self.failure(&error)),
            Ok(Err(ConnectError::Io(error))) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"it does not answer")),
        }
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let ConnectionAddr::Tcp(host, port) = self.server.addr() else {
            return Err(ConnectError::Io(std::io::ErrorKind::Unsupported.into()));
        };
        let stream: Box<dyn BackendStream> =
            egress::connect_backend(host, *port, self.tls.as_deref()).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let settings = self.server.redis_settings();
        let (requests, work) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(work);
        let number = self.made.fetch_add(1, Relaxed);
        Ok(Connection { using: Using { requests, number }, driver })
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let Using { mut requests, number } = self.connection().await?;
        self.answer(number, command.query_async(&mut requests).await).await
    }

    /// What the guest gets. The connection of that number is not used again where it does not answer.
    async fn answer<T>(&self, number: u64, result: Result<T, RedisError>) -> Result<T, StoreError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                if error.is_io_error() {
                    let mut connection = self.connection.lock().await;
                    connection.take_if(|connection| connection.using.number == number);
                }
                Err(self.failure(&error))
            }
        }
    }

    fn failure(&self, error: &RedisError) -> StoreError {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) => {
                match error.detail().unwrap_or_default() {
                    detail if detail.contains("not an integer") => StoreError::NotANumber,
                    detail if detail.contains("overflow") => StoreError::Overflow,
                    detail => StoreError::Failed(detail.to_owned()),
                }
            }
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
                // The server's own, as far as the client passes them on.
                let words = error.to_string();
                tracing::warn!(backend = self.name, "the key-value store refuses: {words}");
                StoreError::Failed(words)
            }
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> StoreError {
        tracing::warn!(backend = self.name, "the key-value store can't be reached: {error}");
        StoreError::Unreachable
    }
}

#[derive(Debug, Error)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

#[async_trait]
impl Store for Redis {
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if keys.len() > 1 {
            // Before they are all in memory.
            let mut lengths = redis::pipe();
            for key in &keys {
                lengths.cmd("STRLEN").arg(key);
            }
            let mut connection = self.connection().await?;
            let lengths = lengths.query_async(&mut connection.requests).await;
            let lengths: Vec<usize> = self.answer(connection.number, lengths).await?;
            if lengths.iter().sum::<usize>() > MAX_VALUES {
                return Err(StoreError::TooMuch);
            }
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.run(Cmd::new().arg("MGET").arg(keys)).await
    }

    async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut command = Cmd::new();
        command.arg("MSET");
        for (key, value) in entries {
            command.arg(key).arg(value);
        }
        self.run(&command).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(Cmd::new().arg("DEL").arg(keys)).await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        self.run(Cmd::new().arg("EXISTS").arg(key)).await
    }

    async fn keys(&self, cursor: Option<String>) -> Result<Keys, StoreError> {
        let cursor: u64 =
            cursor.map_or(Ok(0), |cursor| cursor.parse()).map_err(|_| StoreError::Cursor)?;
        let mut command = Cmd::new();
        command.arg("SCAN").arg(cursor).arg("COUNT").arg(KEYS_AT_A_TIME);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.run(&command).await?;
        // A guest could not name what is not UTF-8.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Ok(Keys { keys, next: (next != 0).then(|| next.to_string()) })
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.run(Cmd::new().arg("INCRBY").arg(key).arg(delta)).await
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let Using { mut requests, number } = self.connection().await?;
        let mut invocation = self.swap.key(key);
        invocation.arg(i32::from(expected.is_some()));
        invocation.arg(expected.unwrap_or_default()).arg(value);
        self.answer(number, invocation.invoke_async(&mut requests).await).await
    }
}
