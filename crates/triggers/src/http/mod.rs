//! HTTP requests: accept -> handshake -> connection -> route ->
//! [`Host::dispatch`](dhow_host::Host::dispatch), and back through respond.

mod accept;
mod access_log;
mod connection;
mod crowd;
mod handshake;
mod respond;
mod route;
mod tls;

pub use accept::{HttpTrigger, Settings};
pub use tls::{CertificateError, Certificates};
