//! Buckets of S3, and of servers that speak as it does. Requests go through the egress door, by a
//! client of each backend's own.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_manifest::S3Bucket;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
    prefix::PrefixStore,
};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tower_http::timeout::TimeoutBody;

use super::store::check_name;
use crate::{
    backends::{self, BindFault},
    cork::Corked,
    egress,
    tls::Tls,
};

/// The server may take so long to be reached, to answer once it has the request, and for each piece
/// of its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What a request is sent by at the least, in bytes a second; one that is slower is given up.
const SLOWEST: u64 = 128 << 10;

/// A request is tried again so often, and none after so long.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);

/// Half a minute is what servers keep an idle connection for at the least.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is read of a server's words about what it refuses.
const MAX_REFUSAL: usize = 64 << 10;
/// And what is shown of them.
const MAX_WORDS: usize = 200;

/// A bucket that can't be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BucketError {
    #[error("write endpoint = \"https://HOST[:PORT]\", or http://")]
    Endpoint,
    #[error("a bucket has letters, digits, dots, dashes and underscores")]
    Bucket,
    #[error("a region has letters, digits and dashes")]
    Region,
    #[error("the prefix is no name of an object")]
    Prefix,
    #[error("a key is not empty, and has no spaces or line ends")]
    Key,
}

/// The objects of `bucket`, of which nobody is asked yet.
pub(super) fn connect(
    bucket: &S3Bucket,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn ObjectStore>, BindFault> {
    let expand = |text: &dhow_manifest::Hidden| backends::expand(text.expose(), environment);
    let optional = |text: &Option<dhow_manifest::Hidden>| text.as_ref().map(expand).transpose();
    let is_word = |text: &str, also: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(&c))
    };
    let (name, region) = (expand(&bucket.bucket)?, optional(&bucket.region)?);
    if !is_word(&name, &['.', '-', '_']) {
        return Err(BucketError::Bucket.into());
    }
    if region.as_ref().is_some_and(|region| !is_word(region, &['-'])) {
        return Err(BucketError::Region.into());
    }
    let (access, secret) = (expand(&bucket.access_key)?, expand(&bucket.secret_key)?);
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_key(&access) || !is_key(&secret) {
        return Err(BucketError::Key.into());
    }
    let backoff = BackoffConfig { max_backoff: RETRY_TIMEOUT / 5, ..BackoffConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(name)
        .with_region(region.unwrap_or_else(|| "us-east-1".to_owned()))
        .with_access_key_id(access)
        .with_secret_access_key(secret)
        // Not every server deletes several at once.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT })
        .with_http_connector(Connector(Arc::new(Requests::new(tls))));
    if let Some(endpoint) = optional(&bucket.endpoint)? {
        check_endpoint(&endpoint)?;
        builder = builder.with_endpoint(endpoint);
    }
    let objects = builder.build().map_err(|_| BucketError::Endpoint)?;
    Ok(match optional(&bucket.prefix)? {
        None => Arc::new(objects),
        Some(prefix) => {
            let prefix = check_name(&prefix).map_err(|_| BucketError::Prefix)?;
            Arc::new(PrefixStore::new(objects, prefix))
        }
    })
}

fn check_endpoint(endpoint: &str) -> Result<(), BucketError> {
    let uri: Uri = endpoint.parse().map_err(|_| BucketError::Endpoint)?;
    // Of a port that is none http's parser says nothing, and there would be the scheme's in its place.
    let is_plain = uri.authority().is_some_and(|authority| {
        let port = authority.as_str().len() > authority.host().len();
        !authority.as_str().contains('@') && (!port || authority.port_u16().is_some())
    }) && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    match uri.scheme_str() {
        Some("http" | "https") if is_plain => Ok(()),
        _ => Err(BucketError::Endpoint),
    }
}

/// What the server says to a request that it does not do.
#[derive(Debug, Error)]
#[error("{code}: {message} ({status})")]
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) code: String,
    message: String,
}

impl Refusal {
    /// From the answer's XML, of which nothing else is kept: it may repeat the access key.
    fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let between = |tag: &str| -> Option<String> {
            let (_, rest) = text.split_once(&format!("<{tag}>"))?;
            let (words, _) = rest.split_once(&format!("</{tag}>"))?;
            Some(words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect())
        };
        let code = between("Code").unwrap_or_else(|| status.as_str().to_owned());
        let message = between("Message").unwrap_or_else(|| "it does not say why".to_owned());
        Self { status, code, message }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        self.status.is_server_error()
            || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }
}

/// What was waited for long enough.
#[derive(Debug, Error)]
#[error("it does not answer")]
struct NoAnswer;

#[derive(Debug, Clone)]
struct Connector(Arc<Requests>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let length = request.body().content_length() as u64;
        let limit = ANSWER_TIMEOUT + Duration::from_secs(length / SLOWEST);
        let answered = timeout(limit, self.0.client().request(request)).await;
        let response = answered
            .map_err(|_| HttpError::new(HttpErrorKind::Timeout, NoAnswer))?
            .map_err(|error| HttpError::new(kind(&error), error))?;
        let response = response.map(|body| {
            let body = TimeoutBody::new(ANSWER_TIMEOUT, body);
            HttpResponseBody::new(
                body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error)),
            )
        });
        judge(response).await
    }
}

fn kind(error: &legacy::Error) -> HttpErrorKind {
    if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted }
}

/// Lets through what `object_store` understands; anything else is an error with the server's words.
async fn judge(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let is_understood = matches!(
        response.status(),
        StatusCode::NOT_MODIFIED
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
    );
    if is_understood || response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, MAX_REFUSAL).collect().await;
    let body: Bytes = collected.map(|body| body.to_bytes()).unwrap_or_default();
    let refusal = Refusal::read(parts.status, &body);
    // Not having an object is no failure. Not having the bucket is one.
    if parts.status == StatusCode::NOT_FOUND && refusal.code != "NoSuchBucket" {
        return Ok(HttpResponse::from_parts(parts, body.into()));
    }
    let kind = match refusal.is_temporary() {
        true => HttpErrorKind::Connect, // Which is tried again.
        false => HttpErrorKind::Unknown,
    };
    Err(HttpError::new(kind, refusal))
}

/// The client of one backend.
struct Requests {
    tls: Arc<Tls>,
    client: OnceLock<Pool>,
}

type Pool = Client<HttpsConnector<Dial>, HttpRequestBody>;

impl Requests {
    fn new(tls: &Arc<Tls>) -> Self {
        Self { tls: tls.clone(), client: OnceLock::new() }
    }

    /// Made at the first request: the system's roots are read for it.
    fn client(&self) -> &Pool {
        self.client.get_or_init(|| {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config((*self.tls.config()).clone())
                .https_or_http()
                .enable_http1()
                .wrap_connector(Dial);
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .build(connector)
        })
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

/// Opens connections by the egress door.
#[derive(Clone)]
struct Dial;

type Dialling = Pin<Box<dyn Future<Output = io::Result<TokioIo<Corked<TcpStream>>>> + Send>>;

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<Corked<TcpStream>>;
    type Error = io::Error;
    type Future = Dialling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialling {
        Box::pin(async move {
            let host = uri.host().ok_or(io::ErrorKind::InvalidInput)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
            let port = uri.port_u16().unwrap_or(default);
            let dialled = timeout(CONNECT_TIMEOUT, egress::dial_backend(host, port)).await;
            dialled.map_err(|_| io::Error::other(NoAnswer))?.map(TokioIo::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_servers_words_and_nothing_else() {
        let body = b"<Error><Code>InvalidAccessKeyId</Code><Message>no\nsuch</Message>\
                     <AWSAccessKeyId>AKIA1</AWSAccessKeyId></Error>";
        let refusal = Refusal::read(StatusCode::FORBIDDEN, body);
        assert_eq!(refusal.to_string(), "InvalidAccessKeyId: nosuch (403 Forbidden)");
        let refusal = Refusal::read(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(refusal.to_string(), "502: it does not say why (502 Bad Gateway)");
        assert!(refusal.is_temporary());
    }

    #[test]
    fn an_endpoint_is_an_origin() {
        for endpoint in ["https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000/"] {
            assert_eq!(check_endpoint(endpoint), Ok(()), "{endpoint}");
        }
        for endpoint in
            ["s3.example.com", "ftp://a", "http://k:s@a", "http://a/path", "http://a?b", ""]
        {
            assert_eq!(check_endpoint(endpoint), Err(BucketError::Endpoint), "{endpoint}");
        }
    }
}
