//! `wasi:blobstore@0.2.0-draft`: its containers are those that are granted.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/blobstore-draft",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:blobstore/types.outgoing-value": crate::blobstore::value::OutgoingValue,
            "wasi:blobstore/types.incoming-value": crate::blobstore::value::IncomingValue,
            "wasi:blobstore/container.container": crate::blobstore::serve::Container,
            "wasi:blobstore/container.stream-object-names": crate::blobstore::draft::Names,
        },
    });
}

use std::sync::Arc;

use bindings::wasi::blobstore::{
    blobstore::{self, ObjectId},
    container::{self, ContainerMetadata, ObjectMetadata},
    types,
};
use futures_util::{StreamExt as _, stream::BoxStream};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::{
    serve::{Blobs, Container, View},
    store::{Entry, Error, Range, Store},
    value::{IncomingValue, OutgoingValue},
};
use crate::{
    linking::{Linking, add},
    operate::operate,
};

/// As many names are given or skipped at a time.
const MAX_NAMES: u64 = 1_000;

/// The names of a container's objects that were not read yet.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Names {
    entries: BoxStream<'static, Result<Vec<Entry>, Error>>,
    received: std::vec::IntoIter<Entry>,
}

impl Names {
    /// The next so many, and whether they are the last.
    async fn next(&mut self, count: u64) -> Result<(Vec<String>, bool), Error> {
        let mut names = Vec::new();
        while (names.len() as u64) < count.min(MAX_NAMES) {
            if let Some(entry) = self.received.next() {
                names.push(entry.name);
                continue;
            }
            match self.entries.next().await.transpose()? {
                Some(entries) => self.received = entries.into_iter(),
                None => return Ok((names, true)),
            }
        }
        Ok((names, false))
    }
}

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "wasi:blobstore/types@0.2.0-draft", types, Blobs, blobstore)?;
    add!(to, "wasi:blobstore/container@0.2.0-draft", container, Blobs, blobstore)?;
    add!(to, "wasi:blobstore/blobstore@0.2.0-draft", blobstore, Blobs, blobstore)
}

/// What the guest gets: its errors are texts.
type Served<T> = wasmtime::Result<Result<T, String>>;

fn answer<T>(result: Result<T, Error>) -> Served<T> {
    Ok(result.map_err(|error| match error {
        Error::AccessDenied => "access denied: no container of that name is granted".to_owned(),
        Error::NotFound => "not found: there is no such object".to_owned(),
        Error::ConditionFailed => "the object was changed meanwhile".to_owned(),
        Error::TooLarge => "an object has at most 48 GiB".to_owned(),
        Error::WrongLength => "the content was cut off".to_owned(),
        Error::InvalidName(why) => format!("invalid name: {why}"),
        Error::Unreachable => "the store can't be reached".to_owned(),
        Error::Other(why) => why,
    }))
}

impl View<'_> {
    fn store(&self, container: &Resource<Container>) -> wasmtime::Result<Arc<Store>> {
        Ok(self.table.get(container)?.store.clone())
    }

    fn granted_store(&self, label: &str) -> Result<Arc<Store>, Error> {
        self.granted.open(label, "blobstore").cloned().ok_or(Error::AccessDenied)
    }

    async fn copy(&mut self, source: &ObjectId, target: &ObjectId) -> Result<(), Error> {
        let (from, to) =
            (self.granted_store(&source.container)?, self.granted_store(&target.container)?);
        match Arc::ptr_eq(&from, &to) {
            true => from.copy(&source.object, &target.object).await,
            false => from.transfer(&source.object, &to, &target.object).await,
        }
    }

    async fn rename(&mut self, source: &ObjectId, target: &ObjectId) -> Result<(), Error> {
        self.copy(source, target).await?;
        let (from, to) =
            (self.granted_store(&source.container)?, self.granted_store(&target.container)?);
        if Arc::ptr_eq(&from, &to) && source.object == target.object {
            return Ok(());
        }
        from.delete(&source.object).await
    }
}

impl blobstore::Host for View<'_> {
    async fn create_container(&mut self, name: String) -> Served<Resource<Container>> {
        let result = self.granted_store(&name);
        answer(
            result.and_then(|_| {
                Err(Error::Other(format!("the container {name} exists: it is granted")))
            }),
        )
    }

    async fn get_container(&mut self, name: String) -> Served<Resource<Container>> {
        answer(self.open(name)?)
    }

    async fn delete_container(&mut self, name: String) -> Served<()> {
        let result = self.granted_store(&name);
        answer(result.and_then(|_| {
            Err(Error::Other("access denied: containers are the operator's".to_owned()))
        }))
    }

    async fn container_exists(&mut self, name: String) -> Served<bool> {
        Ok(Ok(self.granted.has(&name)))
    }

    async fn copy_object(&mut self, src: ObjectId, dest: ObjectId) -> Served<()> {
        answer(operate("blobstore", "copy", self.copy(&src, &dest)).await)
    }

    async fn move_object(&mut self, src: ObjectId, dest: ObjectId) -> Served<()> {
        answer(operate("blobstore", "move", self.rename(&src, &dest)).await)
    }
}

impl container::Host for View<'_> {}

impl container::HostContainer for View<'_> {
    async fn name(&mut self, this: Resource<Container>) -> Served<String> {
        Ok(Ok(self.table.get(&this)?.label.clone()))
    }

    /// Stores do not say when they began.
    async fn info(&mut self, this: Resource<Container>) -> Served<ContainerMetadata> {
        let name = self.table.get(&this)?.label.clone();
        Ok(Ok(ContainerMetadata { name, created_at: 0 }))
    }

    /// Both ends are included, and what is beyond the object's end is not there.
    async fn get_data(
        &mut self,
        this: Resource<Container>,
        name: String,
        start: u64,
        end: u64,
    ) -> Served<Resource<IncomingValue>> {
        // Some ask for everything by an end that is no size.
        let length = (end < u64::MAX >> 1).then(|| end.saturating_add(1).saturating_sub(start));
        let range = Range { start, length };
        let store = self.store(&this)?;
        match operate("blobstore", "get", store.get(&name, Some(range))).await {
            Ok(object) => Ok(Ok(self.table.push(IncomingValue::new(object))?)),
            Err(error) => answer(Err(error)),
        }
    }

    async fn write_data(
        &mut self,
        this: Resource<Container>,
        name: String,
        data: Resource<OutgoingValue>,
    ) -> Served<()> {
        let store = self.store(&this)?;
        answer(self.table.get_mut(&data)?.write(store, name))
    }

    async fn list_objects(&mut self, this: Resource<Container>) -> Served<Resource<Names>> {
        let store = self.store(&this)?;
        match operate("blobstore", "list", store.entries(String::new())).await {
            Ok(entries) => {
                let names = Names { entries, received: Vec::new().into_iter() };
                Ok(Ok(self.table.push(names)?))
            }
            Err(error) => answer(Err(error)),
        }
    }

    async fn delete_object(&mut self, this: Resource<Container>, name: String) -> Served<()> {
        let store = self.store(&this)?;
        answer(operate("blobstore", "delete", store.delete(&name)).await)
    }

    async fn delete_objects(
        &mut self,
        this: Resource<Container>,
        names: Vec<String>,
    ) -> Served<()> {
        let store = self.store(&this)?;
        for name in names {
            if let Err(error) = store.delete(&name).await {
                return answer(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn has_object(&mut self, this: Resource<Container>, name: String) -> Served<bool> {
        let store = self.store(&this)?;
        match operate("blobstore", "head", store.head(&name)).await {
            Ok(_) => Ok(Ok(true)),
            Err(Error::NotFound) => Ok(Ok(false)),
            Err(error) => answer(Err(error)),
        }
    }

    async fn object_info(
        &mut self,
        this: Resource<Container>,
        name: String,
    ) -> Served<ObjectMetadata> {
        let Container { label, store } = self.table.get(&this)?;
        let (container, store) = (label.clone(), store.clone());
        let found = operate("blobstore", "head", store.head(&name)).await;
        answer(found.map(|metadata| ObjectMetadata {
            name,
            container,
            created_at: metadata.modified.seconds.try_into().unwrap_or_default(),
            size: metadata.size,
        }))
    }

    async fn clear(&mut self, this: Resource<Container>) -> Served<()> {
        answer(self.store(&this)?.clear().await)
    }

    async fn drop(&mut self, this: Resource<Container>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl container::HostStreamObjectNames for View<'_> {
    async fn read_stream_object_names(
        &mut self,
        this: Resource<Names>,
        len: u64,
    ) -> Served<(Vec<String>, bool)> {
        answer(self.table.get_mut(&this)?.next(len).await)
    }

    async fn skip_stream_object_names(
        &mut self,
        this: Resource<Names>,
        num: u64,
    ) -> Served<(u64, bool)> {
        let skipped = self.table.get_mut(&this)?.next(num).await;
        answer(skipped.map(|(names, is_end)| (names.len() as u64, is_end)))
    }

    async fn drop(&mut self, this: Resource<Names>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::Host for View<'_> {}

impl types::HostOutgoingValue for View<'_> {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        Ok(self.table.push(OutgoingValue::default())?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        this: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let Some(body) = self.table.get_mut(&this)?.body() else { return Ok(Err(())) };
        Ok(Ok(self.table.push_child(body, &this)?))
    }

    /// Traps where the body was not dropped before, as the interface says.
    async fn finish(&mut self, this: Resource<OutgoingValue>) -> Served<()> {
        let writing = self.table.delete(this)?;
        answer(operate("blobstore", "put", writing.finish()).await)
    }

    async fn drop(&mut self, this: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostIncomingValue for View<'_> {
    async fn incoming_value_consume_sync(
        &mut self,
        this: Resource<IncomingValue>,
    ) -> Served<Vec<u8>> {
        answer(self.table.delete(this)?.read().await)
    }

    async fn incoming_value_consume_async(
        &mut self,
        this: Resource<IncomingValue>,
    ) -> Served<Resource<DynInputStream>> {
        let stream = self.table.delete(this)?.stream();
        Ok(Ok(self.table.push(stream)?))
    }

    async fn size(&mut self, this: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&this)?.size())
    }

    async fn drop(&mut self, this: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
