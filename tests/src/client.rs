//! HTTP clients: one connection each, of HTTP/1.1 or HTTP/2.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Longer than anything that a test waits for takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub trailers: HeaderMap,
}

impl Answer {
    /// The body, which is JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

impl Connection {
    pub async fn http1(address: SocketAddr) -> Self {
        Self::try_http1(address).await.expect("it listens")
    }

    /// One to a server that may have gone.
    pub async fn try_http1(address: SocketAddr) -> io::Result<Self> {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    pub async fn http2(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.expect("it listens"));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// Both kinds, for tests of what must be the same.
    pub async fn both(address: SocketAddr) -> [Self; 2] {
        [Self::http1(address).await, Self::http2(address).await]
    }

    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let response = async {
            match self {
                Self::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Self::Http2(sender) => sender.send_request(request).await,
            }
        };
        timeout(PATIENCE, response).await.expect("an answer in time")
    }

    /// A request for `path`. HTTP/1.1 has its host in a header, HTTP/2 in the target.
    pub fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let builder = Request::builder().method(method);
        match self {
            Self::Http1(_) => builder.uri(path).header("host", "test.example"),
            Self::Http2(_) => builder.uri(format!("http://test.example{path}")),
        }
        .body(body)
        .expect("a request")
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path, empty());
        answer(self.send(request).await.expect("an answer")).await
    }
}

/// Reads the response to its end.
pub async fn answer(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let collected = timeout(PATIENCE, body.collect()).await.expect("in time").expect("whole");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Answer { status: parts.status, headers: parts.headers, text, trailers }
}

/// A GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    Connection::http1(address).await.get(path).await
}

pub fn empty() -> Body {
    full("")
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A body whose frames are sent by hand; it ends when the sender is dropped.
pub fn by_hand() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let frames =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok)));
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// The next piece of data of a body.
pub async fn next_data(body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    let frame = timeout(PATIENCE, body.frame()).await.expect("in time")?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}
