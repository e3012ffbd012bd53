//! `spin:key-value@3.0.0`.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-key-value",
        world: "imports",
        imports: { default: async | trappable },
        with: { "spin:key-value/key-value.store": crate::keyvalue::serve::Bucket },
    });
}

use std::sync::Arc;

use bindings::spin::key_value::key_value::{self as interface, Error};
use futures_util::{StreamExt as _, stream};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{
    serve::{self, Bucket, Failure, KeyValue, View},
    store::{Keys, Store},
};
use crate::{
    linking::{Linking, add},
    reading,
};

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "spin:key-value/key-value@3.0.0", interface, KeyValue, keyvalue)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied => Self::AccessDenied,
            other => Self::Other(other.to_string()),
        }
    }
}

type Served<T> = wasmtime::Result<Result<T, Error>>;

/// What the guest gets.
fn answer<T>(served: serve::Served<T>) -> Served<T> {
    Ok(served.map_err(Error::from))
}

fn stored<T>(
    accessor: &Accessor<T, KeyValue>,
    bucket: &Resource<Bucket>,
) -> wasmtime::Result<Arc<dyn Store>> {
    accessor.with(|mut store| store.get().store(bucket))
}

impl interface::Host for View<'_> {}

impl interface::HostStore for View<'_> {
    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl<T: Send> interface::HostStoreWithStore<T> for KeyValue {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Served<Resource<Bucket>> {
        accessor.with(|mut store| answer(store.get().open(&label)?))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<Option<Vec<u8>>> {
        answer(serve::get(&*stored(accessor, &bucket)?, key).await)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Served<()> {
        answer(serve::set(&*stored(accessor, &bucket)?, vec![(key, value)]).await)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<()> {
        answer(serve::delete(&*stored(accessor, &bucket)?, vec![key]).await)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Served<bool> {
        answer(serve::exists(&*stored(accessor, &bucket)?, key).await)
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        bucket: Resource<Bucket>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), Error>>)> {
        let store = stored(accessor, &bucket)?;
        // Where the next begin, as long as there are some.
        let first: Option<Option<String>> = Some(None);
        let pages = stream::try_unfold(first, move |from| {
            let store = store.clone();
            async move {
                let Some(cursor) = from else { return Ok(None) };
                let Keys { keys, next } = serve::keys(&*store, cursor).await?;
                Ok::<_, Error>(Some((keys, next.map(Some))))
            }
        });
        accessor.with(|store| reading::give(store, pages.boxed(), Ok(())))
    }
}
