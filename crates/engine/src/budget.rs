//! How much memory one instance may use.

use wasmtime::ResourceLimiter;

/// The memory that one instance may use in total: all of its linear memories and tables.
#[derive(Debug)]
pub struct Budget {
    memory_limit: usize,
    used: usize,
    /// What the last growth added, to be taken back where it fails after all.
    last_growth: usize,
    refused: Option<usize>,
}

/// What wasmtime keeps for each element of a table.
const TABLE_ELEMENT: usize = size_of::<usize>();

impl Budget {
    /// A budget of `memory_limit` bytes.
    pub fn new(memory_limit: u64) -> Self {
        Self {
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

    /// The bytes it would have used, had the last growth beyond the limit not been refused.
    pub fn refused(&self) -> Option<usize> {
        self.refused
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.memory_limit {
            self.refused = Some(wanted);
            return false;
        }
        self.last_growth = wanted - self.used;
        self.used = wanted;
        true
    }

    fn take_back(&mut self) {
        self.used = self.used.saturating_sub(std::mem::take(&mut self.last_growth));
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

    const PAGE: usize = 64 << 10;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut budget = Budget::new(4 * PAGE as u64);
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(budget.memory_growing(0, PAGE, None).unwrap(), "a second memory");
        assert!(!budget.memory_growing(2 * PAGE, 4 * PAGE, None).unwrap());
        assert_eq!(budget.refused(), Some(5 * PAGE));
        assert!(budget.table_growing(0, PAGE / TABLE_ELEMENT, None).unwrap());
        assert!(!budget.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn what_the_system_refuses_is_taken_back() {
        let mut budget = Budget::new(2 * PAGE as u64);
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
        budget.memory_grow_failed(wasmtime::Error::msg("out of memory")).unwrap();
        assert!(budget.memory_growing(0, 2 * PAGE, None).unwrap());
    }

    #[test]
    fn growth_that_fails_anyway_is_not_counted() {
        let mut budget = Budget::new(4 * PAGE as u64);
        assert!(!budget.memory_growing(0, 2 * PAGE, Some(PAGE)).unwrap());
        assert_eq!(budget.refused(), None);
        assert!(budget.memory_growing(0, 4 * PAGE, None).unwrap());
    }
}
