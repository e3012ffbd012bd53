//! A store in memory: for tests, and for what may be gone after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    expiry::{Moment, NEVER, Ttl, now},
    store::{Condition, KEYS_AT_A_TIME, Keys, Store, StoreError, add, version_of, within_bounds},
};

#[derive(Default)]
pub(crate) struct Memory {
    entries: Mutex<Entries>,
}

/// What is there, and what was and is not swept yet.
#[derive(Default)]
struct Entries {
    by_key: BTreeMap<String, Entry>,
    /// What expires, in that order.
    due: BTreeSet<(Moment, String)>,
    now: Moment,
}

struct Entry {
    value: Vec<u8>,
    expires: Moment,
}

/// As many expired entries are removed by each call: more than one call can add.
const SWEPT_AT_A_TIME: usize = 64;

impl Memory {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.sweep(now());
        entries
    }
}

impl Entries {
    fn sweep(&mut self, now: Moment) {
        self.now = now;
        for _ in 0..SWEPT_AT_A_TIME {
            if self.due.first().is_none_or(|(expires, _)| now < *expires) {
                return;
            }
            if let Some((_, key)) = self.due.pop_first() {
                self.by_key.remove(&key);
            }
        }
    }

    fn get(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).filter(|entry| self.now < entry.expires)
    }

    fn value(&self, key: &str) -> Option<&[u8]> {
        self.get(key).map(|entry| entry.value.as_slice())
    }

    fn set(&mut self, key: String, value: Vec<u8>, expires: Moment) {
        if expires != NEVER {
            self.due.insert((expires, key.clone()));
        }
        let before = self.by_key.insert(key.clone(), Entry { value, expires });
        self.forget(key, before.filter(|before| before.expires != expires));
    }

    fn remove(&mut self, key: String) {
        let before = self.by_key.remove(&key);
        self.forget(key, before);
    }

    fn forget(&mut self, key: String, before: Option<Entry>) {
        if let Some(Entry { expires, .. }) = before
            && expires != NEVER
        {
            self.due.remove(&(expires, key));
        }
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let entries = self.entries();
        within_bounds(keys.iter().map(|key| Ok(entries.value(key).map(<[u8]>::to_vec))))
    }

    async fn set(&self, changed: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let mut entries = self.entries();
        changed.into_iter().for_each(|(key, value)| entries.set(key, value, NEVER));
        Ok(())
    }

    async fn put(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Ttl>,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let mut entries = self.entries();
        let holds = condition.holds(entries.value(&key));
        if holds {
            let expires = Ttl::end(ttl, entries.now);
            entries.set(key, value, expires);
        }
        Ok(holds)
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let mut entries = self.entries();
        keys.into_iter().for_each(|key| entries.remove(key));
        Ok(())
    }

    async fn remove(&self, key: String, version: String) -> Result<bool, StoreError> {
        let mut entries = self.entries();
        let is_it = entries.value(&key).is_some_and(|value| version_of(value) == version);
        if is_it {
            entries.remove(key);
        }
        Ok(is_it)
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        Ok(self.entries().get(&key).is_some())
    }

    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<Keys, StoreError> {
        let entries = self.entries();
        let mut found = Keys::default();
        let from = cursor.unwrap_or_else(|| prefix.clone());
        for (count, (key, entry)) in entries.by_key.range(from..).enumerate() {
            if !key.starts_with(&prefix) {
                break;
            }
            if count == KEYS_AT_A_TIME {
                found.next = Some(key.clone());
                break;
            }
            if entries.now < entry.expires {
                found.keys.push(key.clone());
            }
        }
        Ok(found)
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        let mut entries = self.entries();
        let number = add(entries.value(&key), delta)?;
        let expires = entries.get(&key).map_or(NEVER, |entry| entry.expires);
        entries.set(key, number.to_string().into_bytes(), expires);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_not_there_and_its_memory_is_given_back() {
        let mut entries = Entries::default();
        for number in 0..100 {
            entries.set(format!("k{number:02}"), vec![1], 10 + number);
        }
        entries.set("kept".to_owned(), vec![1], NEVER);
        entries.set("k99".to_owned(), vec![2], NEVER);
        entries.sweep(10);
        assert_eq!((entries.by_key.len(), entries.due.len()), (100, 98));
        entries.sweep(200);
        // No more than this at a time, and what is left is not seen.
        assert_eq!((entries.by_key.len(), entries.due.len()), (36, 34));
        assert_eq!(entries.value("k98"), None);
        assert_eq!(entries.value("k99"), Some([2].as_slice()));
        entries.sweep(200);
        assert_eq!((entries.by_key.len(), entries.due.len()), (2, 0));
    }

    #[test]
    fn what_is_set_or_removed_is_not_due_any_more() {
        let mut entries = Entries::default();
        for expires in [10, 20, 20, 30] {
            entries.set("a".to_owned(), vec![1], expires);
            assert_eq!(entries.due.len(), 1);
        }
        entries.sweep(20);
        assert_eq!(entries.value("a"), Some([1].as_slice()));
        entries.remove("a".to_owned());
        assert!(entries.by_key.is_empty() && entries.due.is_empty());
    }
}
