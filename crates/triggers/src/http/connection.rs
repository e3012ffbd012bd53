//! One connection: HTTP/1.1 and HTTP/2 without TLS, told apart by the first bytes.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dhow_host::Host;
use http::uri::Scheme;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpStream, sync::watch, time::sleep};

use super::{
    Settings,
    cork::Corked,
    respond,
    route::{self, Routed},
};

/// What a client may send of a request's head; more is 431. What proxies and browsers stay below.
/// With HTTP/1.1 it is also what is read ahead of a body, and written ahead of the network.
const MAX_HEADERS: usize = 64 << 10;
/// Requests at the same time on one HTTP/2 connection: what RFC 9113 asks for at least, and what
/// bounds the memory of one connection.
const MAX_STREAMS: u32 = 200;
/// The window of one HTTP/2 stream and of a connection: enough for 100 MB/s at 10 ms.
const STREAM_WINDOW: u32 = 1 << 20;
/// What is buffered for sending, for each HTTP/2 stream.
const MAX_SEND_BUFFER: usize = 256 << 10;
/// How often an HTTP/2 client has to show that it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it has for that.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the connection to its end. Once `stop` is true it ends with the requests that are under
/// way.
pub(super) async fn serve(
    stream: TcpStream,
    host: Arc<Host>,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let has_request = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let has_request = has_request.clone();
        move |request: hyper::Request<Incoming>| {
            has_request.store(true, Ordering::Relaxed);
            answer(host.clone(), Scheme::HTTP, request)
        }
    });
    let builder = builder(&settings);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Corked::new(stream)), service));
    // hyper has no timer before it knows the protocol (hyper#3962), nor for an HTTP/2 client that
    // sends no request.
    let mut first_request = pin!(sleep(settings.header_timeout));
    let mut waits_for_first = true;
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(error, "connection");
                }
                return;
            }
            () = &mut first_request, if waits_for_first => {
                waits_for_first = false;
                if !has_request.load(Ordering::Relaxed) {
                    return;
                }
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                if !has_request.load(Ordering::Relaxed) {
                    return; // hyper waits for the protocol before it would stop.
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// A request in: routed, dispatched, and whatever came of it made a response.
async fn answer(
    host: Arc<Host>,
    scheme: Scheme,
    request: hyper::Request<Incoming>,
) -> Result<http::Response<respond::Body>, Infallible> {
    let mut exchange = respond::Exchange::begin(&request);
    Ok(match route::route(&host, exchange.id(), scheme, request).await {
        Ok(Routed { revision, invocation }) => {
            exchange.is_for(&invocation.callee, revision);
            let outcome = host.dispatch(invocation).await;
            exchange.respond(outcome.map_err(Into::into))
        }
        Err(problem) => exchange.respond(Err(problem)),
    })
}
