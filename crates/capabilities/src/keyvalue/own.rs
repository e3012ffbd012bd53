//! `dhow:keyvalue`.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::{Accessor, Resource, StreamReader};

use super::{
    expiry::Ttl,
    serve::{self, Bucket, Failure, KeyValue, MAX_VALUE, View, check_key},
    store::{Condition, Keys, MAX_VALUES, Store, StoreError, version_of},
};
use crate::{
    linking::{Linking, add},
    operate::operate,
    reading::{self, Batches},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/keyvalue",
        world: "imports",
        imports: { default: async | store | trappable },
        with: { "dhow:keyvalue/store.store": crate::keyvalue::serve::Bucket },
    });
}

use bindings::dhow::keyvalue::{
    store as interface,
    types::{self, Error, SetOptions, Versioned},
};

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "dhow:keyvalue/types@0.1.0", types, KeyValue, keyvalue)?;
    add!(to, "dhow:keyvalue/store@0.1.0", interface, KeyValue, keyvalue)
}

impl types::Host for View<'_> {}
impl interface::Host for View<'_> {}
impl interface::HostStore for View<'_> {}

type Served<T> = wasmtime::Result<Result<T, Error>>;

impl<T: Send> interface::HostStoreWithStore<T> for KeyValue {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Served<Resource<Bucket>> {
        accessor.with(|mut store| Ok(store.get().open(&label)?.map_err(Error::from)))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<Option<Vec<u8>>> {
        let Bucket { store, traffic } = bucket_of(accessor, &bucket)?;
        let _reading = traffic.reading().await;
        Ok(serve::get(&*store, key).await.map_err(Error::from))
    }

    async fn get_versioned(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<Option<Versioned>> {
        let Bucket { store, traffic } = bucket_of(accessor, &bucket)?;
        let _reading = traffic.reading().await;
        let versioned = |value: Vec<u8>| Versioned { version: version_of(&value), value };
        let found = serve::get(&*store, key).await;
        Ok(found.map(|value| value.map(versioned)).map_err(Error::from))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
        options: SetOptions,
    ) -> Served<String> {
        Ok(set(bucket_of(accessor, &bucket)?, key, value, options).await)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        matches: Option<String>,
    ) -> Served<()> {
        Ok(delete(bucket_of(accessor, &bucket)?, key, matches).await)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<bool> {
        let Bucket { store, .. } = bucket_of(accessor, &bucket)?;
        Ok(serve::exists(&*store, key).await.map_err(Error::from))
    }

    async fn increment(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Served<i64> {
        let Bucket { store, .. } = bucket_of(accessor, &bucket)?;
        Ok(serve::increment(&*store, key, delta).await.map_err(Error::from))
    }

    async fn keys(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        prefix: String,
    ) -> Served<(StreamReader<String>, reading::Ended<Error>)> {
        let Bucket { store, .. } = bucket_of(accessor, &bucket)?;
        if let Err(failure) = check_key(&prefix) {
            return Ok(Err(failure.into()));
        }
        let unread = Error::Other("the keys were not read to their end".to_owned());
        let pages = pages(store, prefix);
        accessor.with(|store| reading::give(store, pages, Err(unread)).map(Ok))
    }

    async fn drop(accessor: &Accessor<T, Self>, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        accessor.with(|mut store| store.get().table.delete(bucket).map(drop))?;
        Ok(())
    }
}

fn bucket_of<T>(
    accessor: &Accessor<T, KeyValue>,
    bucket: &Resource<Bucket>,
) -> wasmtime::Result<Bucket> {
    accessor.with(|mut store| Ok(store.get().table.get(bucket)?.clone()))
}

async fn set(
    Bucket { store, traffic }: Bucket,
    key: String,
    value: Vec<u8>,
    SetOptions { ttl_ms, condition }: SetOptions,
) -> Result<String, Error> {
    check_key(&key)?;
    if value.len() > MAX_VALUE {
        return Err(Error::TooLarge);
    }
    let _writing = traffic.writing(value.len())?;
    let ttl = ttl_ms.map(|millis| Ttl::from_millis(millis).ok_or(Error::InvalidTtl)).transpose()?;
    let (condition, _reading) = match condition {
        None => (Condition::Always, None),
        Some(types::Condition::Absent) => (Condition::Absent, None),
        Some(types::Condition::Matches(version)) => {
            (Condition::Version(version), traffic.reading().await)
        }
    };
    let version = version_of(&value);
    let put = store.put(key, value, ttl, condition);
    let is_set = operate("keyvalue", "set", put).await?;
    if is_set { Ok(version) } else { Err(Error::Conflict) }
}

async fn delete(
    Bucket { store, traffic }: Bucket,
    key: String,
    matches: Option<String>,
) -> Result<(), Error> {
    let Some(version) = matches else {
        return Ok(serve::delete(&*store, vec![key]).await?);
    };
    check_key(&key)?;
    let _reading = traffic.reading().await;
    let removed = operate("keyvalue", "delete", store.remove(key, version)).await?;
    if removed { Ok(()) } else { Err(Error::Conflict) }
}

/// The keys that begin with `prefix`, as many at a time as the store gives, when they are wanted.
fn pages(store: Arc<dyn Store>, prefix: String) -> Batches<String, Error> {
    // Where the next ones begin, which is nowhere for the first; none after the last.
    let first: Option<Option<String>> = Some(None);
    stream::try_unfold(first, move |next| {
        let (store, prefix) = (store.clone(), prefix.clone());
        async move {
            let Some(cursor) = next else { return Ok(None) };
            let page = store.keys(prefix, cursor);
            let Keys { keys, next } = operate("keyvalue", "keys", page).await?;
            if keys.is_empty() {
                // Others have a turn, however many have expired.
                tokio::task::yield_now().await;
            }
            Ok::<_, Error>(Some((keys, next.map(Some))))
        }
    })
    .boxed()
}

/// What one instance has under way: its calls do not wait for each other, and the host keeps their
/// values.
pub(super) struct Traffic {
    reads: Semaphore,
    /// Bytes.
    writes: Semaphore,
}

/// As many values of one instance are read at a time; further ones wait.
const MAX_READS: usize = 8;

impl Default for Traffic {
    fn default() -> Self {
        Self { reads: Semaphore::new(MAX_READS), writes: Semaphore::new(MAX_VALUES) }
    }
}

impl Traffic {
    async fn reading(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.reads.acquire().await.ok()
    }

    /// Room for a value of so many bytes. It is already there: waiting would bound nothing.
    fn writing(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Error> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::TooLarge)?;
        self.writes.try_acquire_many(bytes).map_err(|_| Error::TooLarge)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied => Self::AccessDenied,
            Failure::Key => Self::InvalidKey,
            Failure::Value | Failure::Swapped | Failure::Batch => Self::TooLarge,
            Failure::Store(error) => error.into(),
            Failure::Keys => Self::Other(failure.to_string()),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotANumber | StoreError::Overflow => Self::NotANumber,
            StoreError::TooMuch => Self::TooLarge,
            StoreError::Unreachable => Self::Unreachable,
            StoreError::Cursor | StoreError::Failed(_) => Self::Other(error.to_string()),
        }
    }
}
