//! How much a tenant has stored, what it is just uploading included.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dhow_manifest::Name;

/// The uploads under way, by tenant.
#[derive(Default)]
pub(crate) struct Uploading(Mutex<BTreeMap<Name, Bytes>>);

#[derive(Default)]
struct Bytes {
    under_way: u64,
    /// All that ever came to its end.
    done: u64,
}

/// An upload under way, which counts until this is dropped.
pub(crate) struct Claim<'a> {
    all: &'a Uploading,
    tenant: &'a Name,
    bytes: u64,
    /// What was stored and done when it began, without what it may replace.
    stored: u64,
    done: u64,
    quota: u64,
    /// The most that a single file may have.
    longest: u64,
}

impl Uploading {
    /// An upload of `tenant`, which may store `quota` bytes. `stored` says how many it has, and is asked
    /// when none of its uploads can come to its end.
    pub(crate) fn begin<'a, E>(
        &'a self,
        tenant: &'a Name,
        quota: u64,
        longest: u64,
        stored: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Claim<'a>, E> {
        let mut by_tenant = self.lock();
        let done = by_tenant.entry(tenant.clone()).or_default().done;
        let stored = stored()?;
        Ok(Claim { all: self, tenant, bytes: 0, stored, done, quota, longest })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Of one file.
    File,
    /// Of all that the tenant has.
    Tenant,
}

impl Claim<'_> {
    /// So many bytes more.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Excess> {
        let mut by_tenant = self.all.lock();
        let Some(all) = by_tenant.get_mut(self.tenant) else { return Err(Excess::Tenant) };
        all.under_way = all.under_way.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.longest {
            return Err(Excess::File);
        }
        let since = all.done.saturating_sub(self.done);
        let sum = self.stored.saturating_add(since).saturating_add(all.under_way);
        if sum > self.quota { Err(Excess::Tenant) } else { Ok(()) }
    }

    /// The bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It has come to its end: `record` writes that it has.
    pub(crate) fn finish<E>(self, record: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut by_tenant = self.all.lock();
        record()?;
        if let Some(all) = by_tenant.get_mut(self.tenant) {
            all.done = all.done.saturating_add(self.bytes);
        }
        drop(by_tenant);
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(all) = self.all.lock().get_mut(self.tenant) {
            all.under_way = all.under_way.saturating_sub(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn uploads_count_while_they_are_under_way_and_after() {
        let uploading = Uploading::default();
        let tenant = Name::new("acme").unwrap();
        let begin =
            |stored| uploading.begin(&tenant, 100, 70, || Ok::<_, Infallible>(stored)).unwrap();
        let (mut one, mut other) = (begin(10), begin(10));
        one.grow(50).unwrap();
        other.grow(40).unwrap();
        assert_eq!(other.grow(1), Err(Excess::Tenant));
        drop(other);
        let mut other = begin(10);
        one.finish(|| Ok::<_, Infallible>(())).unwrap();
        // What has come to its end since `other` began is stored now.
        other.grow(40).unwrap();
        assert_eq!(other.grow(1), Err(Excess::Tenant));
        drop(other);
        assert_eq!(begin(0).grow(71), Err(Excess::File));
        begin(60).grow(40).unwrap();
    }
}
