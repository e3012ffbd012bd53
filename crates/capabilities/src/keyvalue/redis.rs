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

use super::{
    expiry::Ttl,
    store::{Condition, KEYS_AT_A_TIME, Keys, MAX_VALUES, Store, StoreError, version_of},
};
use crate::{
    egress::{self, BackendStream},
    tls::Tls,
};

/// The server may take so long to be reached, and to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Changes a key if it has the value that is expected: to the second value, for so many milliseconds
/// where a third follows; without one, it is removed.
const SWAP: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    if #ARGV == 1 then redis.call('DEL', KEYS[1])
    elseif #ARGV == 2 then redis.call('SET', KEYS[1], ARGV[2])
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
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

    async fn put(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Ttl>,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let is_absent = condition == Condition::Absent;
        match condition {
            Condition::Always | Condition::Absent => {
                let mut command = Cmd::new();
                command.arg("SET").arg(key).arg(value);
                if is_absent {
                    command.arg("NX");
                }
                if let Some(ttl) = ttl {
                    command.arg("PX").arg(ttl.millis());
                }
                self.run(&command).await
            }
            Condition::Value(found) => self.replace(key, found, Some((value, ttl))).await,
            Condition::Version(version) => match self.of_version(&key, &version).await? {
                Some(found) => self.replace(key, found, Some((value, ttl))).await,
                None => Ok(false),
            },
        }
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(Cmd::new().arg("DEL").arg(keys)).await
    }

    async fn remove(&self, key: String, version: String) -> Result<bool, StoreError> {
        match self.of_version(&key, &version).await? {
            Some(found) => self.replace(key, found, None).await,
            None => Ok(false),
        }
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        self.run(Cmd::new().arg("EXISTS").arg(key)).await
    }

    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<Keys, StoreError> {
        let cursor: u64 =
            cursor.map_or(Ok(0), |cursor| cursor.parse()).map_err(|_| StoreError::Cursor)?;
        let mut command = Cmd::new();
        command.arg("SCAN").arg(cursor).arg("COUNT").arg(KEYS_AT_A_TIME);
        if !prefix.is_empty() {
            command.arg("MATCH").arg(beginning_with(&prefix));
        }
        let (next, keys): (u64, Vec<Vec<u8>>) = self.run(&command).await?;
        // A guest could not name what is not UTF-8.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Ok(Keys { keys, next: (next != 0).then(|| next.to_string()) })
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.run(Cmd::new().arg("INCRBY").arg(key).arg(delta)).await
    }
}

impl Redis {
    /// The value of `key`, if it has that version. The server knows no such hash: what is then done
    /// is done if the value is still this one.
    async fn of_version(&self, key: &str, version: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found: Option<Vec<u8>> = self.run(Cmd::new().arg("GET").arg(key)).await?;
        Ok(found.filter(|found| version_of(found) == version))
    }

    /// Sets `key` if it has the value `found`, or removes it; whether it had.
    async fn replace(
        &self,
        key: String,
        found: Vec<u8>,
        value: Option<(Vec<u8>, Option<Ttl>)>,
    ) -> Result<bool, StoreError> {
        let Using { mut requests, number } = self.connection().await?;
        let mut invocation = self.swap.key(key);
        invocation.arg(found);
        if let Some((value, ttl)) = value {
            invocation.arg(value);
            if let Some(ttl) = ttl {
                invocation.arg(ttl.millis());
            }
        }
        self.answer(number, invocation.invoke_async(&mut requests).await).await
    }
}

/// The pattern of all that begins with `prefix`.
fn beginning_with(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_prefix_is_a_pattern() {
        for (prefix, pattern) in [
            ("", "*"),
            ("user:1", "user:1*"),
            ("ä-", "ä-*"),
            ("a*[b-c]?\\^", "a\\*\\[b-c\\]\\?\\\\^*"),
        ] {
            assert_eq!(beginning_with(prefix), pattern);
        }
    }
}
