//! Accepting connections, as many as there may be.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use dhow_host::Host;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    Certificates,
    connection::Context,
    crowd::{Activity, Crowd},
};

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
    /// Connections at the same time. Of more, those that are idle make room; where none is, the new ones wait in
    /// the system's backlog.
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

/// How long a new connection waits until it is looked again which of the others is idle.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// How many are accepted before other tasks have their turn: as many of them are polled for the first time then.
const AT_ONCE: usize = 8;

/// How often it is said that there are as many as there may be.
const REMINDER: Duration = Duration::from_secs(60);

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
        let mut room = Room::new(self.settings.max_connections);
        let accept_all = async {
            for number in 1usize.. {
                if number.is_multiple_of(AT_ONCE) {
                    yield_now().await;
                }
                let permit = room.permit().await;
                let stream = accept(&self.listener).await;
                let context = Context {
                    host: self.host.clone(),
                    settings: self.settings,
                    stop: stop.clone(),
                };
                let tls = self.tls.clone();
                let activity = Activity::new();
                let its_own = activity.clone();
                // In the connection's own task, so that a client that stalls holds up nobody.
                let connection = connections.spawn(async move {
                    match tls {
                        // Apart, since it takes far more memory than a plain connection.
                        Some(tls) => Box::pin(context.serve_tls(stream, its_own, &tls)).await,
                        None => context.serve(stream, its_own).await,
                    }
                    drop(permit);
                });
                room.crowd.join(&activity, connection.abort_handle());
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

/// How many connections there may be, and those that are there.
struct Room {
    permits: Arc<Semaphore>,
    max: usize,
    crowd: Crowd,
    said: Option<Instant>,
}

impl Room {
    fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, crowd: Crowd::default(), said: None }
    }

    /// For one more connection.
    async fn permit(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return permit;
            }
            self.crowd.make_room();
            if self.said.is_none_or(|said| said.elapsed() > REMINDER) {
                self.said = Some(Instant::now());
                let connections = self.max;
                tracing::warn!(
                    connections,
                    "as many connections as there may be: those that are idle are closed"
                );
            }
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = timeout(FULL_PAUSE, self.permits.clone().acquire_owned()).await
            {
                return permit;
            }
        }
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
