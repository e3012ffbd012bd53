//! HTTP requests: accept -> connection -> route -> [`Host::dispatch`](dhow_host::Host::dispatch),
//! and back through respond.

mod accept;
mod access_log;
mod connection;
mod cork;
mod respond;
mod route;

pub use accept::{HttpTrigger, Settings};
