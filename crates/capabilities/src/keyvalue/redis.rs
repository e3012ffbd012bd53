//! A store in Redis or Valkey. Keys and values are as the guest gives them, so that others can
//! read what it writes.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, RedisError, Script};

use super::{
    expiry::Ttl,
    store::{Condition, KEYS_AT_A_TIME, Keys, MAX_VALUES, Store, StoreError, version_of},
};
use crate::{
    redis::{Client, Failure, RedisUrlError, Using},
    tls::Tls,
};

/// Changes a key if it has the value that is expected: to the second value, for so many milliseconds
/// where a third follows; without one, it is removed.
const SWAP: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    if #ARGV == 1 then redis.call('DEL', KEYS[1])
    elseif #ARGV == 2 then redis.call('SET', KEYS[1], ARGV[2])
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
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

    fn answer<T>(&self, using: &Using, result: Result<T, RedisError>) -> Result<T, StoreError> {
        self.client.answer(using, result).map_err(failed)
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
            let lengths: Vec<usize> = self.answer(&using, lengths)?;
            if lengths.iter().sum::<usize>() > MAX_VALUES {
                return Err(StoreError::TooMuch);
            }
        }
        match keys.as_slice() {
            [] => Ok(Vec::new()),
            [key] => match self.client.run(Cmd::new().arg("GET").arg(key)).await {
                Ok(value) => Ok(vec![value]),
                // The key holds something else than a value, which MGET does not say.
                Err(Failure::Said { code, .. }) if code == "WRONGTYPE" => Ok(vec![None]),
                Err(failure) => Err(failed(failure)),
            },
            _ => self.run(Cmd::new().arg("MGET").arg(keys)).await,
        }
    }

    async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let mut command = Cmd::new();
        match entries.len() {
            0 => return Ok(()),
            1 => command.arg("SET"),
            _ => command.arg("MSET"),
        };
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
        let mut using = self.using().await?;
        let mut invocation = self.swap.key(key);
        invocation.arg(found);
        if let Some((value, ttl)) = value {
            invocation.arg(value);
            if let Some(ttl) = ttl {
                invocation.arg(ttl.millis());
            }
        }
        let changed = invocation.invoke_async(&mut using.requests).await;
        self.answer(&using, changed)
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
