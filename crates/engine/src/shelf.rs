//! What is loaded at the moment, found by its digest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Values that are held by others, each for as long as anybody holds it: who comes later shares it.
pub(crate) struct Shelf<V>(Mutex<Known<V>>);

struct Known<V> {
    values: HashMap<[u8; 32], Weak<V>>,
    /// With so many, those that nobody holds any more are forgotten.
    full: usize,
}

const FULL_AT_FIRST: usize = 64;

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self(Mutex::new(Known { values: HashMap::new(), full: FULL_AT_FIRST }))
    }
}

impl<V> Shelf<V> {
    /// The value with this digest that somebody holds.
    pub(crate) fn get(&self, digest: &[u8; 32]) -> Option<Arc<V>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values.get(digest).and_then(Weak::upgrade)
    }

    /// `value`, or what was put there meanwhile by another.
    pub(crate) fn put(&self, digest: &[u8; 32], value: V) -> Arc<V> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = known.values.get(digest).and_then(Weak::upgrade) {
            return present;
        }
        if known.values.len() >= known.full {
            known.values.retain(|_, value| value.strong_count() > 0);
            known.full = FULL_AT_FIRST.max(2 * known.values.len());
        }
        let value = Arc::new(value);
        known.values.insert(*digest, Arc::downgrade(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest
    }

    #[test]
    fn what_is_held_is_shared_and_the_rest_is_forgotten() {
        let shelf = Shelf::default();
        let first = shelf.put(&digest(0), 'a');
        assert!(Arc::ptr_eq(&first, &shelf.put(&digest(0), 'b')));
        assert!(Arc::ptr_eq(&first, &shelf.get(&digest(0)).unwrap()));
        drop(first);
        assert_eq!(shelf.get(&digest(0)), None);
        assert_eq!(*shelf.put(&digest(0), 'c'), 'c');

        let held: Vec<_> = (1..100).map(|number| shelf.put(&digest(2 * number), 'd')).collect();
        for number in 0..1_000 {
            shelf.put(&digest(2 * number + 1), 'e');
        }
        assert!(shelf.0.lock().unwrap().values.len() <= 2 * held.len());
        assert!((1..100).all(|number| shelf.get(&digest(2 * number)).is_some()));
    }
}
