//! Redis and Valkey: a client, which key-value stores use too, and the servers that components are
//! granted as such.

mod client;
mod commands;
mod spin;

use std::sync::Arc;

use dhow_manifest::{Hidden, Name};
use redis::{Cmd, Value};
use tokio::sync::Semaphore;

use crate::{
    backends::{self, BindFault, Labels},
    linking::Linking,
    tls::Tls,
};
pub(crate) use client::{Client, Failure, RedisUrlError, Using};
pub(crate) use spin::View;

/// Commands of guests at a time, each of whose answers is in memory.
const MAX_COMMANDS: usize = 32;

/// A server that components can be granted.
pub(crate) struct Server {
    client: Client,
    places: Semaphore,
}

impl Server {
    async fn run(&self, command: &Cmd) -> Result<Value, Failure> {
        // It is never closed.
        let _place = self.places.acquire().await;
        self.client.run(command).await
    }
}

/// The server at `url`, which is connected to when it is first used.
pub(crate) fn bind(
    name: &Name,
    url: &Hidden,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<Server>, BindFault> {
    let url = backends::expand(url.expose(), environment)?;
    let client = Client::new(name.as_str(), "Redis", &url, tls)?;
    Ok(Arc::new(Server { client, places: Semaphore::new(MAX_COMMANDS) }))
}

/// The servers that one component can open.
pub(crate) type Granted = Labels<Server>;

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    spin::link(to)
}
