//! TLS for guests: `wasi:tls`, the client's side, over whatever streams they have.
//!
//! There is nothing to grant but whom to trust: what is encrypted goes where the guest's sockets
//! may lead.

use std::{path::Path, sync::Arc};

use tokio_rustls::TlsConnector;
use wasmtime::component::Linker;
use wasmtime_wasi_tls::{
    Error, TlsProvider, TlsStream, TlsTransport, WasiTlsCtx, WasiTlsCtxBuilder, WasiTlsCtxView,
    WasiTlsView, p2, p3,
};

use super::{Tls, UnknownAuthority};
use crate::State;

/// Whom one component trusts.
pub(crate) type Granted = Arc<Tls>;

/// Trusts the authorities in the file `ca`, besides those that `system` trusts.
pub(crate) fn grant(
    ca: Option<&Path>,
    system: &Arc<Tls>,
) -> Result<Granted, Vec<UnknownAuthority>> {
    match ca {
        Some(ca) => Tls::trusting(ca).map(Arc::new).map_err(|error| vec![error]),
        None => Ok(system.clone()),
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker(linker, p2::LinkOptions::default().tls(true))?;
    p3::add_to_linker(linker)
}

pub(crate) fn open(granted: &Granted) -> Opened {
    Opened { tls: granted.clone(), context: None }
}

/// TLS of one instance.
pub(crate) struct Opened {
    tls: Arc<Tls>,
    /// Made when it is first needed.
    context: Option<WasiTlsCtx>,
}

impl WasiTlsView for State {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        let Opened { tls, context } = &mut self.tls;
        let ctx = context.get_or_insert_with(|| {
            WasiTlsCtxBuilder::new().provider(Box::new(Client(tls.clone()))).build()
        });
        WasiTlsCtxView { ctx, table: &mut self.table }
    }
}

struct Client(Arc<Tls>);

type Connecting = std::pin::Pin<Box<dyn Future<Output = Result<Box<dyn TlsStream>, Error>> + Send>>;

impl TlsProvider for Client {
    fn connect(&self, server_name: String, transport: Box<dyn TlsTransport>) -> Connecting {
        let connector = TlsConnector::from(self.0.config());
        Box::pin(async move {
            let name = server_name.try_into().map_err(Error::msg)?;
            let stream = connector.connect(name, transport).await.map_err(Error::msg)?;
            Ok(Box::new(stream) as Box<dyn TlsStream>)
        })
    }
}
