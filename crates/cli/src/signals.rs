//! The signals that end a server, and what is said where its port can't be had.

use std::io;

use dhow_server::BindError;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

/// The signals by which a server is asked to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::failure(format!("no signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The signal by which a server is asked to read its configuration again.
pub(crate) fn hangup() -> Result<Signal, CliError> {
    signal(SignalKind::hangup()).map_err(|error| CliError::failure(format!("no signals: {error}")))
}

/// What is said where a port can't be had.
pub(crate) fn bind_error(error: &BindError) -> CliError {
    let port = error.address.port();
    let help = match error.source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} is in use; take another: --listen 127.0.0.1:0 for any that is free"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is not for this user; take one above 1023: --listen 127.0.0.1:3000"
        ),
        _ => "take an address of this machine: --listen 127.0.0.1:3000".to_owned(),
    };
    CliError::failure_with_help(error.to_string(), help)
}
