//! How much memory one instance may use.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::Account;

/// The memory that one instance may use in total: all of its linear memories and tables. What it uses
/// is its account's as well, for as long as this lives.
#[derive(Debug)]
pub struct Budget {
    account: Arc<Account>,
    memory_limit: usize,
    used: usize,
    /// What the last growth added, to be taken back where it fails after all.
    last_growth: usize,
    refused: Option<Refused>,
}

/// Why an instance got no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It would have used so many bytes, beyond its own limit.
    Own {
        /// In bytes.
        wanted: usize,
    },
    /// With it all instances of its account would have used more than they may.
    Account {
        /// The account's limit then, in bytes.
        limit: u64,
    },
}

/// What wasmtime keeps for each element of a table.
const TABLE_ELEMENT: usize = size_of::<usize>();

impl Budget {
    /// A budget of `memory_limit` bytes for an instance of `account`.
    pub fn new(memory_limit: u64, account: Arc<Account>) -> Self {
        account.add_instance();
        Self {
            account,
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            used: 0,
            last_growth: 0,
            refused: None,
        }
    }

    /// The bytes it may use.
    pub fn memory_limit(&self) -> usize {
        self.memory_limit
    }

    /// On whose account the instance is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Why the last growth beyond a limit was refused.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_limit {
            self.refused = Some(Refused::Own { wanted });
            return false;
        }
        let growth = wanted - self.used;
        if let Err(limit) = self.account.grow(growth as u64) {
            self.refused = Some(Refused::Account { limit });
            return false;
        }
        self.last_growth = growth;
        self.used = wanted;
        true
    }

    fn take_back(&mut self) {
        let growth = std::mem::take(&mut self.last_growth);
        self.used -= growth;
        self.account.shrink(growth as u64);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.account.shrink(self.used as u64);
        self.account.remove_instance();
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A growth beyond the memory's own maximum is no question of the budget.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(current, desired))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT);
        Ok(maximum.is_none_or(|maximum| desired <= maximum)
            && self.grow(bytes(current), bytes(desired)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountLimits;

    const PAGE: usize = 64 << 10;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut budget = Budget::new(4 * PAGE as u64, Account::alone());
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(budget.memory_growing(0, PAGE, None).unwrap(), "a second memory");
        assert!(!budget.memory_growing(2 * PAGE, 4 * PAGE, None).unwrap());
        assert_eq!(budget.refused(), Some(Refused::Own { wanted: 5 * PAGE }));
        assert!(budget.table_growing(0, PAGE / TABLE_ELEMENT, None).unwrap());
        assert!(!budget.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn what_the_system_refuses_is_taken_back() {
        let mut budget = Budget::new(2 * PAGE as u64, Account::alone());
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
        budget.memory_grow_failed(wasmtime::Error::msg("out of memory")).unwrap();
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
    }

    #[test]
    fn growth_that_fails_anyway_is_not_counted() {
        let mut budget = Budget::new(4 * PAGE as u64, Account::alone());
        assert!(!budget.memory_growing(0, 2 * PAGE, Some(PAGE)).unwrap());
        assert_eq!(budget.refused(), None);
        assert!(budget.memory_growing(0, 4 * PAGE, None).unwrap());
    }

    #[test]
    fn instances_of_an_account_share_its_limit() {
        let account = Account::alone();
        let limits = AccountLimits { memory: 3 * PAGE as u64, ..AccountLimits::NONE };
        account.set_limits(limits);
        let mut one = Budget::new(u64::MAX, account.clone());
        let mut other = Budget::new(u64::MAX, account.clone());
        assert_eq!(account.instances(), 2);
        assert!(one.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(!other.memory_growing(0, 2 * PAGE, None).unwrap());
        assert_eq!(other.refused(), Some(Refused::Account { limit: limits.memory }));
        assert_eq!(one.refused(), None);
        assert!(other.memory_growing(0, PAGE, None).unwrap());
        other.memory_grow_failed(wasmtime::Error::msg("out of memory")).unwrap();
        other.memory_grow_failed(wasmtime::Error::msg("told twice")).unwrap();
        assert_eq!(account.memory(), 2 * PAGE as u64);
        assert!(other.table_growing(0, PAGE / TABLE_ELEMENT, None).unwrap());
        assert_eq!(account.memory(), 3 * PAGE as u64);
        drop(one);
        assert_eq!(account.memory(), PAGE as u64);
        drop(other);
        assert_eq!((account.memory(), account.instances()), (0, 0));
    }
}
