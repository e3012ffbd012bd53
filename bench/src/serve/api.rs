//! A client of the admin API.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use dhow_api::{Deploy, Deployed, Revisions, Status, Traffic};
use dhow_package::Digest;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time::timeout};

use super::server::TOKEN;

/// A connection.
pub struct Api {
    sender: SendRequest<Full<Bytes>>,
    /// For whom it acts.
    tenant: String,
}

/// Longer than any link takes.
const PATIENCE: Duration = Duration::from_secs(120);

impl Api {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, tenant: "default".to_owned() })
    }

    pub fn act_for(&mut self, tenant: &str) {
        tenant.clone_into(&mut self.tenant);
    }

    /// Uploads a component.
    pub async fn upload(&mut self, component: Bytes) -> Result<String> {
        let digest = Digest::of(&component).to_string();
        let path = format!("/v1/blobs/{digest}");
        let kind = "application/wasm";
        self.send(Method::PUT, &path, kind, component).await?;
        Ok(digest)
    }

    pub async fn deploy(&mut self, app: &str, deploy: &Deploy) -> Result<Deployed> {
        let path = format!("/v1/apps/{app}/revisions");
        self.json(Method::POST, &path, serde_json::to_vec(deploy)?).await
    }

    pub async fn share(&mut self, app: &str, shares: &[(u32, u8)]) -> Result<Revisions> {
        let traffic = Traffic { shares: shares.iter().copied().collect(), sticky: None };
        let path = format!("/v1/apps/{app}/traffic");
        self.json(Method::PUT, &path, serde_json::to_vec(&traffic)?).await
    }

    pub async fn roll_back(&mut self, app: &str) -> Result<Revisions> {
        self.json(Method::POST, &format!("/v1/apps/{app}/rollback"), Vec::new()).await
    }

    pub async fn status(&mut self) -> Result<Status> {
        self.json(Method::GET, "/v1/status", Vec::new()).await
    }

    /// What is at `path`.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        self.send(Method::GET, path, "text/plain", Bytes::new()).await
    }

    async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T> {
        let body = self.send(method, path, "application/json", body.into()).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?tenant={}", self.tenant))
            .header("host", "admin")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", kind)
            .body(Full::new(body))?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = timeout(PATIENCE, exchange).await.context("no answer in time")??;
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success() || status == StatusCode::CREATED, "{path}: {status} {text}");
        Ok(body)
    }
}
