//! A store in Redis or Valkey. Keys and values are as the guest gives them, so that others can
//! read what it writes.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, RedisError, Script};

use super::store::{KEYS_AT_A_TIME, Keys, MAX_VALUES, Store, StoreError};
use crate::{
    redis::{Client, Failure, RedisUrlError, Using},
    tls::Tls,
};

/// Sets a key if it has the value that is expected: `1`, then the value; or `0`, where it should
/// not be there. `GET` gives `false` for a key that is not there.
const SWAP: &str = "
    local expected = false
    if ARGV[1] == '1' then expected = ARGV[2] end
    if redis.call('GET', KEYS[1]) ~= expected then return 0 end
    redis.call('SET', KEYS[1], ARGV[3])
    return 1";

pub(crate) struct Redis {
    client: Client,
    swap: Script,
}

impl Redis {
    /// The server at `url`, connected to at the first request.
    ///
    /// # Errors
    /// When that is no such URL.
    pub(crate) fn new(name: &str, url: &str, tls: &Arc<Tls>) -> Result<Self, RedisUrlError> {
        let client = Client::new(name, "the key-value store", url, tls)?;
        Ok(Self { client, swap: Script::new(SWAP) })
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.client.run(command).await.map_err(failed)
    }

    async fn using(&self) -> Result<Using, StoreError> {
        self.client.connection().await.map_err(failed)
    }

    async fn answer<T>(
        &self,
        using: &Using,
        result: Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        self.client.answer(using, result).await.map_err(failed)
    }
}

/// What the guest gets.
fn failed(failure: Failure) -> StoreError {
    match failure {
        Failure::Unreachable => StoreError::Unreachable,
        Failure::Said { words, .. } if words.contains("not an integer") => StoreError::NotANumber,
        Failure::Said { words, .. } if words.contains("overflow") => StoreError::Overflow,
        Failure::Said { words, .. } => StoreError::Failed(words),
    }
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
            let mut using = self.using().await?;
            let lengths = lengths.query_async(&mut using.requests).await;
            let lengths: Vec<usize> = self.answer(&using, lengths).await?;
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
        let mut using = self.using().await?;
        let mut invocation = self.swap.key(key);
        invocation.arg(i32::from(expected.is_some()));
        invocation.arg(expected.unwrap_or_default()).arg(value);
        let swapped = invocation.invoke_async(&mut using.requests).await;
        self.answer(&using, swapped).await
    }
}
