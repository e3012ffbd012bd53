//! `wasi:keyvalue@0.2.0-draft2`.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/keyvalue-draft2",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::keyvalue::serve::Bucket,
            "wasi:keyvalue/atomics.cas": crate::keyvalue::serve::Cas,
        },
    });
}

super::serve::serve_common!(bindings, "0.2.0-draft2");

use super::{
    serve::Cas,
    store::{Keys, Store},
};

type Cursor = String;

async fn list_keys(store: &dyn Store, cursor: Option<Cursor>) -> Served<store::KeyResponse> {
    let Keys { keys, next } = serve::keys(store, cursor).await?;
    Ok(store::KeyResponse { keys, cursor: next })
}

impl atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        answer(serve::increment(&*self.store(&bucket)?, key, delta).await)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        Ok(match View::swap(self, cas, value).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cas)) => Err(atomics::CasError::CasFailed(cas)),
            Err(failure) => Err(atomics::CasError::StoreError(failure.into())),
        })
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        answer(self.read_for_swap(&bucket, key).await?)
    }

    async fn current(
        &mut self,
        cas: Resource<Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.table.get(&cas)?.value().cloned()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}
