//! Accepting connections, as many as there may be.

use std::{io, sync::Arc, time::Duration};

use dhow_host::Host;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use super::{Certificates, connection::Context};

/// Answers HTTP requests that come to one listener.
pub struct HttpTrigger {
    host: Arc<Host>,
    listener: TcpListener,
    tls: Option<Arc<Certificates>>,
    settings: Settings,
}

/// The bounds of the connections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Connections at the same time; more wait in the system's backlog.
    pub max_connections: usize,
    /// From the opening of a connection, or the end of a response, to the end of the next
    /// request's headers; a TLS handshake is within it. An idle connection is closed after as long.
    pub header_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Each idle connection costs about 10 KiB.
            max_connections: 10_000,
            // What a client on a bad line needs at most.
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// How long to wait when the process has no more descriptors or memory: as long as it takes some
/// requests to end.
const OUT_OF_RESOURCES_PAUSE: Duration = Duration::from_millis(100);

impl HttpTrigger {
    /// Will answer on `listener` with what is live on `host`: HTTPS where there are certificates,
    /// HTTP elsewhere.
    pub fn new(
        host: Arc<Host>,
        listener: TcpListener,
        tls: Option<Arc<Certificates>>,
        settings: Settings,
    ) -> Self {
        Self { host, listener, tls, settings }
    }

    /// Serves until `stop` is true, then lets every request that has begun come to its end.
    pub async fn serve(self, stop: watch::Receiver<bool>) {
        let connections = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(self.settings.max_connections));
        let accept_all = async {
            // The semaphore is never closed.
            while let Ok(permit) = permits.clone().acquire_owned().await {
                let stream = accept(&self.listener).await;
                let context = Context {
                    host: self.host.clone(),
                    settings: self.settings,
                    stop: stop.clone(),
                };
                let tls = self.tls.clone();
                // In the connection's own task, so that a client that stalls holds up nobody.
                connections.spawn(async move {
                    match tls {
                        // Apart, since it takes far more memory than a plain connection.
                        Some(tls) => Box::pin(context.serve_tls(stream, &tls)).await,
                        None => context.serve(stream).await,
                    }
                    drop(permit);
                });
            }
        };
        let mut stopped = stop.clone();
        tokio::select! {
            // First, so that who has connected before the stop is not reset by it.
            biased;
            () = accept_all => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// The next connection. Errors are those of one connection that is gone already, or of a process
/// that is out of descriptors, which must not be tried again in a busy loop (RUSTSEC-2024-0376).
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                sleep(OUT_OF_RESOURCES_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
