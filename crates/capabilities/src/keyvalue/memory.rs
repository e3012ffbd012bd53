//! A store in memory: for tests, and for what may be gone after a restart.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::store::{KEYS_AT_A_TIME, Keys, Store, StoreError, add, within_bounds};

#[derive(Default)]
pub(crate) struct Memory {
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let entries = self.entries();
        within_bounds(keys.iter().map(|key| Ok(entries.get(key).cloned())))
    }

    async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.entries().extend(entries);
        Ok(())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let mut entries = self.entries();
        keys.iter().for_each(|key| {
            entries.remove(key);
        });
        Ok(())
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        Ok(self.entries().contains_key(&key))
    }

    async fn keys(&self, cursor: Option<String>) -> Result<Keys, StoreError> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries();
        let mut rest = entries.range((from, Bound::Unbounded)).map(|(key, _)| key);
        let keys: Vec<_> = rest.by_ref().take(KEYS_AT_A_TIME).cloned().collect();
        let next = rest.next().and(keys.last().cloned());
        Ok(Keys { keys, next })
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        let mut entries = self.entries();
        let number = add(entries.get(&key).map(Vec::as_slice), delta)?;
        entries.insert(key, number.to_string().into_bytes());
        Ok(number)
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let mut entries = self.entries();
        if entries.get(&key) != expected.as_ref() {
            return Ok(false);
        }
        entries.insert(key, value);
        Ok(true)
    }
}
