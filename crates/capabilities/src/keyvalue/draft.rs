//! `wasi:keyvalue@0.2.0-draft`.

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/keyvalue-draft",
        world: "imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::keyvalue::serve::Bucket },
    });
}

super::serve::serve_common!(bindings, "0.2.0-draft");

use super::store::{Store, StoreError};

type Cursor = u64;

/// All keys at once. A number can't say where the next begin in a store whose keys change.
async fn list_keys(store: &dyn Store, cursor: Option<Cursor>) -> Served<store::KeyResponse> {
    match cursor {
        None => Ok(store::KeyResponse { keys: serve::all_keys(store).await?, cursor: None }),
        Some(_) => Err(StoreError::Cursor.into()),
    }
}

impl atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, store::Error>> {
        let store = self.store(&bucket)?;
        let Ok(delta) = i64::try_from(delta) else {
            return answer(Err(StoreError::Overflow.into()));
        };
        let sum = serve::increment(&*store, key, delta).await;
        answer(sum.and_then(|sum| u64::try_from(sum).map_err(|_| StoreError::NotANumber.into())))
    }
}
