//! What `dhow:blobstore` does for a guest.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::StreamExt as _;
use wasmtime::{
    StoreContextMut,
    component::{
        Accessor, HasData, Resource, ResourceTable, Source, StreamConsumer, StreamReader,
        StreamResult,
    },
};

use super::{
    Granted,
    bindings::dhow::blobstore::{store as interface, types},
    pipe::Pipe,
    store::{Entry, Error, Metadata, Object, PutOptions, Range, Store},
};
use crate::{
    linking::{Linking, add},
    operate::operate,
    parts::Caller,
    reading,
};

/// A container that was opened, of both interfaces.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Container {
    pub(super) label: String,
    pub(super) store: Arc<Store>,
}

/// What the interfaces are implemented for.
pub(super) struct Blobs;

impl HasData for Blobs {
    type Data<'a> = View<'a>;
}

/// An instance's containers and its table of resources.
pub(crate) struct View<'a> {
    pub(super) granted: &'a Granted,
    pub(super) table: &'a mut ResourceTable,
}

impl<'a> View<'a> {
    pub(crate) fn of(caller: Caller<'a>) -> Self {
        Self { granted: &caller.part.blobstore, table: caller.table }
    }

    pub(super) fn open(&mut self, label: String) -> Served<Resource<Container>> {
        let Some(store) = self.granted.open(&label, "blobstore") else {
            return Ok(Err(Error::AccessDenied));
        };
        let store = store.clone();
        Ok(Ok(self.table.push(Container { label, store })?))
    }
}

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "dhow:blobstore/types@0.1.0", types, Blobs, blobstore)?;
    add!(to, "dhow:blobstore/store@0.1.0", interface, Blobs, blobstore)
}

impl types::Host for View<'_> {}
impl interface::Host for View<'_> {}
impl interface::HostContainer for View<'_> {}

pub(super) type Served<T> = wasmtime::Result<Result<T, Error>>;
type Ended = reading::Ended<Error>;

impl<T: Send> interface::HostContainerWithStore<T> for Blobs {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Served<Resource<Container>> {
        accessor.with(|mut store| store.get().open(label))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        name: String,
        range: Option<Range>,
    ) -> Served<(Metadata, StreamReader<u8>, Ended)> {
        let store = store(accessor, &container)?;
        let Object { metadata, content, .. } =
            match operate("blobstore", "get", store.get(&name, range)).await {
                Ok(object) => object,
                Err(error) => return Ok(Err(error)),
            };
        accessor.with(|store| {
            let (content, ended) = reading::give(store, content, Err(unread()))?;
            Ok(Ok((metadata, content, ended)))
        })
    }

    async fn head(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        name: String,
    ) -> Served<Metadata> {
        let store = store(accessor, &container)?;
        Ok(operate("blobstore", "head", store.head(&name)).await)
    }

    async fn put(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        name: String,
        content: StreamReader<u8>,
        options: PutOptions,
    ) -> Served<Option<String>> {
        let pipe = Arc::new(Pipe::default());
        let received = pipe.read().boxed();
        accessor.with(|mut store| content.pipe(&mut store, Consumer(pipe)))?;
        // Here and not in a task of its own: a call that is given up is not polled again, so that
        // the end of a guest never looks like the end of its content.
        let store = store(accessor, &container)?;
        Ok(operate("blobstore", "put", store.put(&name, received, options)).await)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        name: String,
    ) -> Served<()> {
        let store = store(accessor, &container)?;
        Ok(operate("blobstore", "delete", store.delete(&name)).await)
    }

    async fn entries(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        prefix: String,
    ) -> Served<(StreamReader<Entry>, Ended)> {
        let store = store(accessor, &container)?;
        let entries = match operate("blobstore", "list", store.entries(prefix)).await {
            Ok(entries) => entries.boxed(),
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|store| reading::give(store, entries, Err(unread())).map(Ok))
    }

    async fn copy(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
        source: String,
        target: String,
    ) -> Served<()> {
        let store = store(accessor, &container)?;
        Ok(operate("blobstore", "copy", store.copy(&source, &target)).await)
    }

    async fn drop(
        accessor: &Accessor<T, Self>,
        container: Resource<Container>,
    ) -> wasmtime::Result<()> {
        accessor.with(|mut store| store.get().table.delete(container).map(drop))?;
        Ok(())
    }
}

fn store<T>(
    accessor: &Accessor<T, Blobs>,
    container: &Resource<Container>,
) -> wasmtime::Result<Arc<Store>> {
    accessor.with(|mut store| Ok(store.get().table.get(container)?.store.clone()))
}

/// What a guest is told of a stream that it drops.
fn unread() -> Error {
    Error::Other("it was not read to its end".to_owned())
}

/// What a guest writes.
struct Consumer(Arc<Pipe>);

impl<D> StreamConsumer<D> for Consumer {
    type Item = u8;

    fn poll_consume(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, Self::Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Self(pipe) = &*self;
        match pipe.poll_ready(context) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            polled => ready!(polled),
        }
        if pipe.room().is_err() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        let mut source = source.as_direct(store);
        let taken = pipe.write(source.remaining());
        source.mark_read(taken);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.0.end();
    }
}
