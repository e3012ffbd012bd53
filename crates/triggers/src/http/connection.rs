//! One connection: HTTP/1.1 or HTTP/2, with TLS or without.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use dhow_host::{Corked, Host};
use dhow_telemetry::span::Instrument as _;
use http::uri::Scheme;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Certificates, Settings,
    crowd::{Activity, UnderWay},
    handshake::{Protocol, shake_hands},
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

/// What all connections of a listener have in common.
pub(super) struct Context {
    pub(super) host: Arc<Host>,
    pub(super) settings: Settings,
    /// Once it is true, connections end with the requests that are under way.
    pub(super) stop: watch::Receiver<bool>,
}

impl Context {
    /// Serves a connection without TLS to its end.
    pub(super) async fn serve(self, stream: TcpStream, activity: Arc<Activity>) {
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + self.settings.header_timeout;
        let kind = (Protocol::Any, Scheme::HTTP);
        serve(self, stream, kind, activity, deadline).await;
    }

    /// Serves a connection with TLS to its end.
    pub(super) async fn serve_tls(
        mut self,
        stream: TcpStream,
        activity: Arc<Activity>,
        certificates: &Certificates,
    ) {
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + self.settings.header_timeout;
        let stream = shake_hands(stream, certificates, deadline, &mut self.stop).await;
        if let Some(stream) = stream {
            let kind = (Protocol::agreed(&stream), Scheme::HTTPS);
            serve(self, stream, kind, activity, deadline).await;
        }
    }
}

/// Serves `stream` to its end, which is at `deadline` if there is no request by then.
async fn serve<S>(
    context: Context,
    stream: S,
    (protocol, scheme): (Protocol, Scheme),
    activity: Arc<Activity>,
    deadline: Instant,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Context { host, settings, mut stop } = context;
    let service = service_fn({
        let activity = activity.clone();
        move |request: hyper::Request<Incoming>| {
            answer(host.clone(), scheme.clone(), request, activity.begin())
        }
    });
    let builder = builder(&settings, protocol);
    // Outside of TLS: inside, its own messages would wait as well.
    let stream = TokioIo::new(Corked::new(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    // hyper has no timer before it knows the protocol (hyper#3962), nor for an HTTP/2 client that
    // sends no request.
    let mut first_request = pin!(sleep_until(deadline));
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
                if !activity.has_asked() {
                    return;
                }
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                if !activity.has_asked() {
                    return; // hyper waits for the protocol before it would stop.
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(settings: &Settings, protocol: Protocol) -> auto::Builder<TokioExecutor> {
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
    match protocol {
        Protocol::Any => builder,
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// A request in: routed, dispatched, and whatever came of it made a response.
async fn answer(
    host: Arc<Host>,
    scheme: Scheme,
    mut request: hyper::Request<Incoming>,
    under_way: UnderWay,
) -> Result<http::Response<respond::Body>, Infallible> {
    let mut exchange = respond::Exchange::begin(&mut request, under_way);
    let span = exchange.span().clone();
    let answering = async {
        match route::route(&host, exchange.id(), scheme, request).await {
            Ok(Routed { revision, invocation }) => {
                exchange.is_for(&invocation.callee, revision);
                let outcome = host.dispatch(invocation).await;
                exchange.respond(outcome.map_err(Into::into))
            }
            Err(problem) => exchange.respond(Err(problem)),
        }
    };
    Ok(answering.instrument(span).await)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// How the answer begins to what begins with `bytes`.
    async fn answer_to(bytes: &[u8], protocol: Protocol) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(bytes).await.unwrap();
        let service = service_fn(async |_| {
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"hello"))))
        });
        let builder = builder(&Settings::default(), protocol);
        let connection = builder.serve_connection(TokioIo::new(server), service);
        let mut begin = [0; 16];
        tokio::select! {
            biased;
            _ = connection => Vec::new(),
            length = client.read(&mut begin) => begin[..length.unwrap()].to_vec(),
        }
    }

    #[tokio::test]
    async fn only_the_protocol_that_was_agreed_on_is_spoken() {
        let http1 = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        // An empty frame of settings follows.
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let is_http1 = |answer: &[u8]| answer.starts_with(b"HTTP/1.1 200");
        // Length, then the type of settings.
        let is_http2 = |answer: &[u8]| answer.starts_with(b"\0\0") && answer.get(3) == Some(&4);

        assert!(is_http1(&answer_to(http1, Protocol::Any).await));
        assert!(is_http2(&answer_to(http2, Protocol::Any).await));
        assert!(is_http1(&answer_to(http1, Protocol::Http1).await));
        assert!(is_http2(&answer_to(http2, Protocol::Http2).await));
        assert!(!is_http2(&answer_to(http2, Protocol::Http1).await));
        assert!(!is_http1(&answer_to(http1, Protocol::Http2).await));
    }
}
