//! What all versions of the interface do for a guest: open what is granted, keep to the limits, call
//! the store.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::component::{HasData, Resource, ResourceTable};

use super::{
    Granted,
    own::Traffic,
    store::{Condition, Keys, MAX_VALUES, Store, StoreError},
};
use crate::{operate::operate, parts::Caller};

/// The longest key, in bytes: as for objects in S3.
const MAX_KEY: usize = 1 << 10;
/// The largest value.
pub(super) const MAX_VALUE: usize = 8 << 20;
/// The largest value that can be swapped: an instance may have as many as it has resources.
const MAX_SWAPPED: usize = 64 << 10;
/// The most keys of one call.
const MAX_BATCH: usize = 1_000;

/// An open store.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Bucket {
    pub(super) store: Arc<dyn Store>,
    pub(super) traffic: Arc<Traffic>,
}

/// A value that was read in order to be replaced.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Cas {
    store: Arc<dyn Store>,
    key: String,
    value: Option<Vec<u8>>,
}

/// What the interfaces are implemented for.
pub(super) struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = View<'a>;
}

/// The stores of one instance.
pub(crate) struct Opened {
    granted: Granted,
    /// Nothing until a store is opened.
    traffic: Option<Arc<Traffic>>,
}

pub(crate) fn open(granted: &Granted) -> Opened {
    Opened { granted: granted.clone(), traffic: None }
}

/// An instance's stores and its table of resources.
pub(crate) struct View<'a> {
    opened: &'a mut Opened,
    pub(super) table: &'a mut ResourceTable,
}

impl<'a> View<'a> {
    pub(crate) fn of(caller: Caller<'a>) -> Self {
        Self { opened: &mut caller.part.keyvalue, table: caller.table }
    }
}

/// What the guest is told.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("not granted")]
    Denied,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a key is at most {MAX_KEY} bytes long")]
    Key,
    #[error("a value is at most {MAX_VALUE} bytes long")]
    Value,
    #[error("a value that is swapped is at most {MAX_SWAPPED} bytes long")]
    Swapped,
    #[error("a call is for at most {MAX_BATCH} keys and {MAX_VALUES} bytes of values")]
    Batch,
    #[error("the store has more keys than this version of the interface can list")]
    Keys,
}

pub(super) type Served<T> = Result<T, Failure>;

impl View<'_> {
    pub(super) fn open(&mut self, label: &str) -> wasmtime::Result<Served<Resource<Bucket>>> {
        let Some(store) = self.opened.granted.open(label, "keyvalue").cloned() else {
            return Ok(Err(Failure::Denied));
        };
        let traffic = self.opened.traffic.get_or_insert_default().clone();
        Ok(Ok(self.table.push(Bucket { store, traffic })?))
    }

    pub(super) fn store(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<dyn Store>> {
        Ok(self.table.get(bucket)?.store.clone())
    }

    pub(super) async fn read_for_swap(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Served<Resource<Cas>>> {
        let store = self.store(bucket)?;
        self.cas(store, key).await
    }

    async fn cas(
        &mut self,
        store: Arc<dyn Store>,
        key: String,
    ) -> wasmtime::Result<Served<Resource<Cas>>> {
        let value = match get(&*store, key.clone()).await {
            Ok(value) if value.as_ref().is_some_and(|value| value.len() > MAX_SWAPPED) => {
                return Ok(Err(Failure::Swapped));
            }
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(Ok(self.table.push(Cas { store, key, value })?))
    }

    /// Swaps, or gives a new handle with the value that is there instead.
    pub(super) async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Served<Result<(), Resource<Cas>>>> {
        let Cas { store, key, value: expected } = self.table.delete(cas)?;
        if value.len() > MAX_SWAPPED {
            return Ok(Err(Failure::Swapped));
        }
        let expected = expected.map_or(Condition::Absent, Condition::Value);
        let put = store.put(key.clone(), value, None, expected);
        let swapped = match operate("keyvalue", "swap", put).await {
            Ok(swapped) => swapped,
            Err(error) => return Ok(Err(error.into())),
        };
        if swapped {
            return Ok(Ok(Ok(())));
        }
        Ok(self.cas(store, key).await?.map(Err))
    }
}

impl Cas {
    pub(super) fn value(&self) -> Option<&Vec<u8>> {
        self.value.as_ref()
    }
}

pub(super) async fn get(store: &dyn Store, key: String) -> Served<Option<Vec<u8>>> {
    check_key(&key)?;
    Ok(operate("keyvalue", "get", store.get(vec![key])).await?.pop().flatten())
}

pub(super) async fn set(store: &dyn Store, entries: Vec<(String, Vec<u8>)>) -> Served<()> {
    check_batch(entries.iter().map(|(key, _)| key))?;
    if entries.iter().any(|(_, value)| value.len() > MAX_VALUE) {
        return Err(Failure::Value);
    }
    if entries.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_VALUES {
        return Err(Failure::Batch);
    }
    Ok(operate("keyvalue", "set", store.set(entries)).await?)
}

pub(super) async fn delete(store: &dyn Store, keys: Vec<String>) -> Served<()> {
    check_batch(keys.iter())?;
    Ok(operate("keyvalue", "delete", store.delete(keys)).await?)
}

pub(super) async fn exists(store: &dyn Store, key: String) -> Served<bool> {
    check_key(&key)?;
    Ok(operate("keyvalue", "exists", store.exists(key)).await?)
}

/// The keys that are there, with their values.
pub(super) async fn get_many(
    store: &dyn Store,
    keys: Vec<String>,
) -> Served<Vec<Option<(String, Vec<u8>)>>> {
    check_batch(keys.iter())?;
    let values = operate("keyvalue", "get", store.get(keys.clone())).await?;
    Ok(keys.into_iter().zip(values).map(|(key, value)| Some((key, value?))).collect())
}

pub(super) async fn increment(store: &dyn Store, key: String, delta: i64) -> Served<i64> {
    check_key(&key)?;
    Ok(operate("keyvalue", "increment", store.increment(key, delta)).await?)
}

pub(super) async fn keys(store: &dyn Store, cursor: Option<String>) -> Served<Keys> {
    Ok(operate("keyvalue", "keys", store.keys(String::new(), cursor)).await?)
}

/// All keys, where they are not too many: for the draft whose cursor is a number, which only
/// Redis has.
pub(super) async fn all_keys(store: &dyn Store) -> Served<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.keys(String::new(), cursor);
        let Keys { keys, next } = operate("keyvalue", "keys", page).await?;
        found.extend(keys);
        if found.len() > MAX_BATCH * 10 {
            return Err(Failure::Keys);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
}

pub(super) fn check_key(key: &str) -> Served<()> {
    if key.len() > MAX_KEY { Err(Failure::Key) } else { Ok(()) }
}

fn check_batch<'a>(mut keys: impl ExactSizeIterator<Item = &'a String>) -> Served<()> {
    if keys.len() > MAX_BATCH {
        return Err(Failure::Batch);
    }
    keys.try_for_each(|key| check_key(key))
}

/// Implements what both drafts have in common, for the bindings in `$bindings`.
macro_rules! serve_common {
    ($bindings:ident, $version:literal) => {
        use wasmtime::component::Resource;
        use $bindings::wasi::keyvalue::{atomics, batch, store};

        use super::serve::{self, Bucket, Failure, KeyValue, Served, View};
        use crate::linking::{Linking, add};

        impl From<Failure> for store::Error {
            fn from(failure: Failure) -> Self {
                match failure {
                    Failure::Denied => Self::AccessDenied,
                    other => Self::Other(other.to_string()),
                }
            }
        }

        /// What the guest gets.
        fn answer<T>(served: Served<T>) -> wasmtime::Result<Result<T, store::Error>> {
            Ok(served.map_err(store::Error::from))
        }

        pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
            add!(to, concat!("wasi:keyvalue/store@", $version), store, KeyValue, keyvalue)?;
            add!(to, concat!("wasi:keyvalue/atomics@", $version), atomics, KeyValue, keyvalue)?;
            add!(to, concat!("wasi:keyvalue/batch@", $version), batch, KeyValue, keyvalue)
        }

        impl store::Host for View<'_> {
            async fn open(
                &mut self,
                label: String,
            ) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
                answer(View::open(self, &label)?)
            }
        }

        impl store::HostBucket for View<'_> {
            async fn get(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
                answer(serve::get(&*self.store(&bucket)?, key).await)
            }

            async fn set(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
                value: Vec<u8>,
            ) -> wasmtime::Result<Result<(), store::Error>> {
                answer(serve::set(&*self.store(&bucket)?, vec![(key, value)]).await)
            }

            async fn delete(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<(), store::Error>> {
                answer(serve::delete(&*self.store(&bucket)?, vec![key]).await)
            }

            async fn exists(
                &mut self,
                bucket: Resource<Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<bool, store::Error>> {
                answer(serve::exists(&*self.store(&bucket)?, key).await)
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<Bucket>,
                cursor: Option<Cursor>,
            ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
                answer(list_keys(&*self.store(&bucket)?, cursor).await)
            }

            async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }

        impl batch::Host for View<'_> {
            async fn get_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<Vec<Option<(String, Vec<u8>)>>, store::Error>> {
                answer(serve::get_many(&*self.store(&bucket)?, keys).await)
            }

            async fn set_many(
                &mut self,
                bucket: Resource<Bucket>,
                entries: Vec<(String, Vec<u8>)>,
            ) -> wasmtime::Result<Result<(), store::Error>> {
                answer(serve::set(&*self.store(&bucket)?, entries).await)
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<(), store::Error>> {
                answer(serve::delete(&*self.store(&bucket)?, keys).await)
            }
        }
    };
}

pub(super) use serve_common;
