//! The client of the admin API.

use std::{convert::Infallible, error::Error, fmt::Display, fs, io, time::Duration};

use bytes::Bytes;
use dhow_manifest::Name;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Empty, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{
    args::{ServerArgs, ServerUrl},
    problem::{self, Refusal},
};
use crate::{
    error::{self, CliError},
    folders,
};

/// Where `dhow serve` has its admin API when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9090";

/// How to say who asks.
pub(super) const TOKEN_HELP: &str = "export DHOW_TOKEN=…";

/// Where a connection is had, and no TLS by it.
const TLS_HELP: &str = "where it has no TLS: --server http://…\n\
                        where its certificate is of your own authority: export SSL_CERT_FILE=ca.pem";

/// As long as a lost SYN takes to be sent again, thrice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server answers from what it knows.
const QUICK: Duration = Duration::from_secs(30);

/// What takes as long as a slow line or a large component needs: a whole Python interpreter is
/// compiled in a minute, 128 MiB are sent by 2 Mbit/s in ten.
const SLOW: Duration = Duration::from_secs(15 * 60);

/// The longest answer that is read: twenty times the status of a server with 1,000 apps and as many
/// tenants.
const MAX_ANSWER: usize = 16 << 20;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server and who asks it.
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Body>,
    server: ServerUrl,
    token: HeaderValue,
    tenant: Option<Name>,
}

impl Client {
    pub(super) fn new(args: &ServerArgs) -> Result<Self, CliError> {
        let server = match &args.server {
            Some(server) => server.clone(),
            None => default_server(folders::server())?,
        };
        let token = token(args)?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(server.is_https())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, server, token, tenant: args.tenant.clone() })
    }

    /// Asks for what is at `path`. Keys and values of `query` can stand in a URL as they are.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Refusal> {
        let request = self.request(Method::GET, path, query, Empty::new().boxed_unsync())?;
        self.answer(request, QUICK).await
    }

    /// Asks for a change that takes its time, and for what came of it.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        change: &impl Serialize,
    ) -> Result<T, Refusal> {
        self.answer(self.json_request(method, path, change)?, SLOW).await
    }

    /// Asks for something that needs no more words than its path.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        let request = self.request(Method::POST, path, &[], Empty::new().boxed_unsync())?;
        self.answer(request, SLOW).await
    }

    /// Asks for something to be done that has no answer.
    pub(super) async fn command(&self, method: Method, path: &str) -> Result<(), Refusal> {
        let request = self.request(method, path, &[], Empty::new().boxed_unsync())?;
        self.whole(request, QUICK).await.map(drop)
    }

    /// Puts `value` to `path`.
    pub(super) async fn put(&self, path: &str, value: &impl Serialize) -> Result<(), Refusal> {
        let request = self.json_request(Method::PUT, path, value)?;
        self.whole(request, QUICK).await.map(drop)
    }

    /// Whether there is something at `path`.
    pub(super) async fn has(&self, path: &str) -> Result<bool, Refusal> {
        let request = self.request(Method::HEAD, path, &[], Empty::new().boxed_unsync())?;
        match self.send(request, QUICK).await?.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(problem::of_status(status).into()),
        }
    }

    /// Puts a file of `length` bytes to `path`.
    pub(super) async fn upload(&self, path: &str, file: Body, length: u64) -> Result<(), Refusal> {
        let mut request = self.request(Method::PUT, path, &[], file)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
        self.whole(request, SLOW).await.map(drop)
    }

    /// What is at `path`, as it comes. How long that goes on is for the server to say.
    pub(super) async fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Incoming, Refusal> {
        let request = self.request(Method::GET, path, query, Empty::new().boxed_unsync())?;
        let response = self.send(request, QUICK).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(self.refusal(response).await)
    }

    /// The error of a body that breaks off.
    pub(super) fn broken_off(&self, error: impl Display) -> CliError {
        CliError::failure(format!("the answer of {} broke off: {error}", self.server.as_str()))
    }

    /// The error of what can't be understood.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> CliError {
        let what = format!("the answer of {} can't be read: {error}", self.server.as_str());
        CliError::failure_with_help(what, "take the `dhow` of the server's own version")
    }

    fn json_request(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
    ) -> Result<Request<Body>, CliError> {
        let json =
            serde_json::to_vec(value).map_err(|error| CliError::failure(error.to_string()))?;
        let mut request = self.request(method, path, &[], Full::from(json).boxed_unsync())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        Ok(request)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Request<Body>, CliError> {
        let tenant = self.tenant.as_ref().map(|tenant| ("tenant", tenant.as_str()));
        let mut uri = format!("{}{path}", self.server.as_str());
        for (index, (key, value)) in tenant.iter().chain(query).enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(&format!("{key}={value}"));
        }
        Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, self.token.clone())
            .header(ACCEPT, "application/json")
            .body(body)
            .map_err(|error| CliError::failure(format!("no request can be made: {error}")))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<T, Refusal> {
        let body = self.whole(request, patience).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(&error).into())
    }

    /// The body of an answer that is a success.
    async fn whole(&self, request: Request<Body>, patience: Duration) -> Result<Bytes, Refusal> {
        let response = self.send(request, patience).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        Ok(self.body(response.into_body()).await?)
    }

    async fn refusal(&self, response: Response<Incoming>) -> Refusal {
        let status = response.status();
        match self.body(response.into_body()).await {
            Ok(body) => problem::read(self.server.as_str(), status, &body),
            Err(error) => error.into(),
        }
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, CliError> {
        let body = timeout(QUICK, Limited::new(body, MAX_ANSWER).collect());
        let body = body.await.map_err(|_| self.too_slow(QUICK))?;
        body.map(|body| body.to_bytes()).map_err(|error| self.broken_off(error))
    }

    async fn send(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<Response<Incoming>, CliError> {
        match timeout(patience, self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.too_slow(patience)),
        }
    }

    fn too_slow(&self, patience: Duration) -> CliError {
        let patience = humantime::format_duration(patience);
        let what = format!("{} has not answered within {patience}", self.server.as_str());
        let help = "what was asked for may still be done: look with `dhow status`";
        CliError::with_exit(error::TIMEOUT, what, Some(help.to_owned()))
    }

    fn unreachable(&self, error: &legacy::Error) -> CliError {
        let server = self.server.as_str();
        // What is outside names only the layer; the reason is the innermost.
        let mut reason = error.source();
        let mut kind = None;
        while let Some(error) = reason {
            let io_error = error.downcast_ref::<io::Error>();
            kind = io_error.map(io::Error::kind).or(kind);
            match inner(error) {
                Some(inner) => reason = Some(inner),
                None => break,
            }
        }
        let reason = reason.map_or_else(|| error.to_string(), ToString::to_string);
        if !error.is_connect() {
            return CliError::failure(format!("the connection to {server} broke off: {reason}"));
        }
        let what = format!("can't connect to {server}: {reason}");
        match kind {
            Some(io::ErrorKind::TimedOut) => CliError::with_exit(error::TIMEOUT, what, None),
            // Somebody is there.
            Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                CliError::failure_with_help(what, TLS_HELP)
            }
            _ => CliError::failure_with_help(what, "start a server: dhow serve --data ./data"),
        }
    }
}

/// What `error` comes from. The source of an [`io::Error`] is that of the error in it.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn default_server(variable: Option<String>) -> Result<ServerUrl, CliError> {
    match variable {
        // Not shown: there may be a password in it.
        Some(url) => ServerUrl::parse(&url)
            .map_err(|help| CliError::usage("DHOW_SERVER is no URL of a server", help)),
        None => ServerUrl::parse(DEFAULT_SERVER).map_err(CliError::failure),
    }
}

/// The header by which the server knows who asks.
fn token(args: &ServerArgs) -> Result<HeaderValue, CliError> {
    let nobody = |what: String| {
        CliError::with_exit(error::AUTHENTICATION, what, Some(TOKEN_HELP.to_owned()))
    };
    let token = match &args.token_file {
        Some(path) => fs::read_to_string(path).map_err(|error| {
            nobody(format!("the token in {} can't be read: {error}", path.display()))
        })?,
        None => folders::token()
            .ok_or_else(|| nobody("the server has to know who asks: there is no token".into()))?,
    };
    // Of what can't be a token nothing is shown: it may be a part of one.
    let token = token.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_token.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
    let mut header = header.ok_or_else(|| nobody("that is no token".into()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// TLS that trusts the system's authorities, which are read only where they are needed.
fn tls(is_needed: bool) -> Result<ClientConfig, CliError> {
    let mut roots = RootCertStore::empty();
    if is_needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| CliError::failure(format!("there is no TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
