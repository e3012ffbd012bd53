//! What a redb file holds: the entries, and which of them expire when.

use redb::{
    ReadableTable as _, StorageError, Table, TableDefinition, TableError, WriteTransaction,
};

use super::expiry::{Moment, NEVER, Ttl, now};

/// When each entry expires, and its value.
pub(super) const ENTRIES: TableDefinition<'_, &str, Stored> = TableDefinition::new("values");

/// The entries that expire, in that order.
const DUE: TableDefinition<'_, (Moment, &str), ()> = TableDefinition::new("due");

pub(super) type Stored = (Moment, &'static [u8]);

/// The tables of one write transaction, and when that is.
pub(super) struct Tables<'a> {
    entries: Table<'a, &'static str, Stored>,
    due: Table<'a, (Moment, &'static str), ()>,
    now: Moment,
}

impl<'a> Tables<'a> {
    /// Opens the tables, which are made where there are none.
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, TableError> {
        Self::open_at(transaction, now())
    }

    fn open_at(transaction: &'a WriteTransaction, now: Moment) -> Result<Self, TableError> {
        let (entries, due) = (transaction.open_table(ENTRIES)?, transaction.open_table(DUE)?);
        Ok(Self { entries, due, now })
    }

    /// What `read` makes of when `key` expires and of its value.
    pub(super) fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(Option<(Moment, &[u8])>) -> T,
    ) -> Result<T, StorageError> {
        let found = self.entries.get(key)?;
        let found = found.as_ref().map(|found| found.value());
        Ok(read(found.filter(|(expires, _)| self.now < *expires)))
    }

    /// Sets `key` for as long as `ttl`.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Option<Ttl>,
    ) -> Result<(), StorageError> {
        self.set_until(key, value, Ttl::end(ttl, self.now))
    }

    /// Sets `key` until it `expires`.
    pub(super) fn set_until(
        &mut self,
        key: &str,
        value: &[u8],
        expires: Moment,
    ) -> Result<(), StorageError> {
        let before = self.entries.insert(key, (expires, value))?.map(|before| before.value().0);
        self.note(key, before.unwrap_or(NEVER), expires)
    }

    /// Removes `key`, if it is there.
    pub(super) fn remove(&mut self, key: &str) -> Result<(), StorageError> {
        let before = self.entries.remove(key)?.map(|before| before.value().0);
        self.note(key, before.unwrap_or(NEVER), NEVER)
    }

    fn note(&mut self, key: &str, before: Moment, expires: Moment) -> Result<(), StorageError> {
        if before == expires {
            return Ok(());
        }
        if before != NEVER {
            self.due.remove((before, key))?;
        }
        if expires != NEVER {
            self.due.insert((expires, key), ())?;
        }
        Ok(())
    }

    /// Removes up to `most` of the entries that have expired.
    pub(super) fn sweep(&mut self, most: usize) -> Result<(), StorageError> {
        let mut expired = Vec::new();
        let until = (self.now.saturating_add(1), "");
        for entry in self.due.range::<(Moment, &str)>(..until)?.take(most) {
            let (entry, _) = entry?;
            let (expires, key) = entry.value();
            expired.push((expires, key.to_owned()));
        }
        for (expires, key) in &expired {
            self.due.remove((*expires, key.as_str()))?;
            self.entries.remove(key.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableTableMetadata as _, backends::InMemoryBackend};

    use super::*;

    fn database() -> Database {
        Database::builder().create_with_backend(InMemoryBackend::new()).unwrap()
    }

    /// Does it in a transaction of that time, and gives the sizes of both tables.
    fn at(database: &Database, now: Moment, change: impl FnOnce(&mut Tables<'_>)) -> (u64, u64) {
        let transaction = database.begin_write().unwrap();
        let mut tables = Tables::open_at(&transaction, now).unwrap();
        change(&mut tables);
        let sizes = (tables.entries.len().unwrap(), tables.due.len().unwrap());
        drop(tables);
        transaction.commit().unwrap();
        sizes
    }

    fn value(tables: &Tables<'_>, key: &str) -> Option<Vec<u8>> {
        tables.read(key, |found| found.map(|(_, value)| value.to_vec())).unwrap()
    }

    #[test]
    fn what_has_expired_is_not_there_and_is_swept_in_parts() {
        let database = database();
        let sizes = at(&database, 10, |tables| {
            for number in 0..100 {
                let ttl = Ttl::from_millis(number + 1);
                tables.set(&format!("k{number:02}"), b"1", ttl).unwrap();
            }
            tables.set("kept", b"1", None).unwrap();
        });
        assert_eq!(sizes, (101, 100));
        let sizes = at(&database, 10, |tables| tables.sweep(1_000).unwrap());
        assert_eq!(sizes, (101, 100));
        let sizes = at(&database, 11, |tables| {
            assert_eq!(value(tables, "k00"), None);
            assert_eq!(value(tables, "k01"), Some(b"1".to_vec()));
            tables.sweep(1_000).unwrap();
        });
        assert_eq!(sizes, (100, 99));
        let sizes = at(&database, 1_000, |tables| {
            tables.sweep(60).unwrap();
            assert_eq!(value(tables, "k98"), None);
        });
        assert_eq!(sizes, (40, 39));
        let sizes = at(&database, 1_000, |tables| tables.sweep(60).unwrap());
        assert_eq!(sizes, (1, 0));
    }

    #[test]
    fn what_is_set_or_removed_is_not_due_any_more() {
        let database = database();
        let sizes = at(&database, 0, |tables| {
            for millis in [10, 20, 20, 30] {
                tables.set("a", b"1", Ttl::from_millis(millis)).unwrap();
            }
            tables.set("b", b"1", Ttl::from_millis(10)).unwrap();
            tables.set("b", b"2", None).unwrap();
            tables.set("c", b"1", Ttl::from_millis(10)).unwrap();
            tables.remove("c").unwrap();
            tables.remove("c").unwrap();
        });
        assert_eq!(sizes, (2, 1));
        let sizes = at(&database, 20, |tables| {
            tables.sweep(10).unwrap();
            assert_eq!(value(tables, "a"), Some(b"1".to_vec()));
            assert_eq!(value(tables, "b"), Some(b"2".to_vec()));
        });
        assert_eq!(sizes, (2, 1));
        let sizes = at(&database, 30, |tables| tables.sweep(10).unwrap());
        assert_eq!(sizes, (1, 0));
    }
}
