//! A key-value store, whatever stands behind it.

use async_trait::async_trait;
use thiserror::Error;

use super::expiry::Ttl;

/// Keys with text and values of bytes. Each method is one atomic step; what has expired is not
/// there.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The value of each key, in the order of `keys`; an error where they are more than
    /// [`MAX_VALUES`] together, before all of them are in memory.
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Sets each key to its value, for good; none where that fails.
    async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError>;

    /// Sets one key for as long as `ttl`, if `condition` holds; whether it did.
    async fn put(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Ttl>,
        condition: Condition,
    ) -> Result<bool, StoreError>;

    /// Removes the keys that are there.
    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError>;

    /// Removes `key` if its value has that version; whether it had.
    async fn remove(&self, key: String, version: String) -> Result<bool, StoreError>;

    /// Whether `key` is there.
    async fn exists(&self, key: String) -> Result<bool, StoreError>;

    /// Some of the keys that begin with `prefix`, or none of them, and where to go on; from the
    /// beginning where `cursor` is none. A key that is there all the while is given at least once.
    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<Keys, StoreError>;

    /// Adds `delta` to the number that `key` has, 0 where it is not there. Numbers are kept as
    /// decimal text, as Redis does, so that they read the same from each kind of store. When it
    /// expires stays as it is.
    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError>;
}

/// What has to hold of a key for it to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// It is not there.
    Absent,
    /// It has this value.
    Value(Vec<u8>),
    /// It has a value of this version.
    Version(String),
}

impl Condition {
    /// Whether it holds where `found` is the value.
    pub(super) fn holds(&self, found: Option<&[u8]>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => found.is_none(),
            Self::Value(value) => found == Some(value.as_slice()),
            Self::Version(version) => found.is_some_and(|found| version_of(found) == *version),
        }
    }
}

/// What a value is known by: its hash, the only thing that all stores have of one, whoever has
/// written it.
pub(super) fn version_of(value: &[u8]) -> String {
    blake3::hash(value).to_string()
}

/// Some of a store's keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<String>,
    /// Where the next ones begin; none where these are the last.
    pub(crate) next: Option<String>,
}

/// The most bytes of all values of one call: the host keeps them until the guest has them.
pub(crate) const MAX_VALUES: usize = 32 << 20;

/// The values of `keys`, as far as they are not too many bytes together.
pub(super) fn within_bounds(
    values: impl Iterator<Item = Result<Option<Vec<u8>>, StoreError>>,
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let mut bytes = 0;
    values
        .map(|value| {
            let value = value?;
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > MAX_VALUES { Err(StoreError::TooMuch) } else { Ok(value) }
        })
        .collect()
}

/// As many keys are looked at for a listing at a time.
pub(crate) const KEYS_AT_A_TIME: usize = 1_000;

/// What a store can't do. The text goes to the guest: it names no address and no secret.
#[derive(Debug, Clone, Error)]
pub(crate) enum StoreError {
    #[error("the value is not a number")]
    NotANumber,
    #[error("the number would not fit 64 bits")]
    Overflow,
    #[error("the values are more than {MAX_VALUES} bytes together")]
    TooMuch,
    #[error("the cursor is not one of this store's")]
    Cursor,
    /// Why is in the log.
    #[error("the store can't be reached")]
    Unreachable,
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The number that a value holds, with `delta` added.
pub(super) fn add(value: Option<&[u8]>, delta: i64) -> Result<i64, StoreError> {
    let number = match value {
        Some(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or(StoreError::NotANumber)?,
        None => 0,
    };
    number.checked_add(delta).ok_or(StoreError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let (one, two) = (Some("one".as_bytes()), Some("two".as_bytes()));
        let version = Condition::Version(version_of(b"one"));
        for (condition, found, holds) in [
            (Condition::Always, one, true),
            (Condition::Always, None, true),
            (Condition::Absent, one, false),
            (Condition::Absent, None, true),
            (Condition::Value(b"one".to_vec()), one, true),
            (Condition::Value(b"one".to_vec()), two, false),
            (Condition::Value(Vec::new()), None, false),
            (version.clone(), one, true),
            (version.clone(), two, false),
            (version, None, false),
            (Condition::Version("one".to_owned()), one, false),
        ] {
            assert_eq!(condition.holds(found), holds, "{condition:?} {found:?}");
        }
    }
}
