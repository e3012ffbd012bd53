//! Clients of apps: one that looks on, and those that mean ill.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    runtime::Builder,
    time::{sleep, sleep_until, timeout},
};

use super::report::{millis, percentile};

/// A connection to an app, by HTTP/1.1.
pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Client {
    pub async fn connect(address: SocketAddr, host: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host.to_owned() })
    }

    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, String)> {
        let request = Request::builder().uri(path).header("host", &self.host).body(Empty::new())?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = timeout(PATIENCE, exchange).await.context("no answer in time")??;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A GET on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Result<(StatusCode, String)> {
    Client::connect(address, host).await?.get(path).await
}

/// Sends requests for as long as it is let, one after the other. What becomes of them does not matter.
pub async fn insist(address: SocketAddr, host: String, path: &'static str) {
    loop {
        if let Ok(mut client) = Client::connect(address, &host).await {
            while client.get(path).await.is_ok() {
                sleep(REFUSED_PAUSE).await;
            }
        }
        sleep(REFUSED_PAUSE).await;
    }
}

/// The clients share the machine with the server: those that are refused at once must not take it all.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// Holds a connection that says nothing, and another one when that is closed.
pub async fn be_silent(address: SocketAddr) {
    let mut buffer = [0; 64];
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            loop {
                let is_there = stream.readable().await.is_ok();
                match stream.try_read(&mut buffer) {
                    Ok(0) => break,
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                    _ if is_there => {}
                    _ => break,
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the one who looks on has seen, in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    pub requests: usize,
    pub failed: usize,
    pub p50: f64,
    pub p99: f64,
    /// Of requests on connections of their own.
    pub new: usize,
    pub new_failed: usize,
    pub new_p50: f64,
    pub new_p99: f64,
}

/// Two hundred requests a second over so many connections, each at its time, whether the one before was
/// answered or not; and ten on new connections.
const CONNECTIONS: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(100);

/// Looks on from a process of its own, which the system prefers: what is measured is the server.
pub fn look_on(address: SocketAddr, host: &str, duration: Duration) -> Result<Seen> {
    let output = Command::new("nice")
        .args(["-n", "-10"])
        .arg(std::env::current_exe()?)
        .args(["serve", "--witness", &address.to_string(), host])
        .arg(duration.as_secs().to_string())
        .stderr(Stdio::inherit())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The process that looks on.
pub fn witness(address: &str, host: &str, seconds: &str) -> Result<()> {
    let (address, seconds): (SocketAddr, u64) = (address.parse()?, seconds.parse()?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        let start = Instant::now() + INTERVAL;
        let end = start + Duration::from_secs(seconds);
        let kept = (0..CONNECTIONS)
            .map(|index| tokio::spawn(keep_asking(address, host.to_owned(), start, index, end)));
        let kept: Vec<_> = kept.collect();
        let new = tokio::spawn(ask_anew(address, host.to_owned(), start, end));
        let mut times = Vec::new();
        for task in kept {
            times.extend(task.await?);
        }
        Ok::<_, anyhow::Error>(seen(&times, &new.await?))
    })?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// The time of each request; none where it failed.
type Times = Vec<Option<f64>>;

fn seen(kept: &Times, new: &Times) -> Seen {
    let answered = |times: &Times| times.iter().flatten().copied().collect::<Vec<f64>>();
    let (kept_times, new_times) = (answered(kept), answered(new));
    Seen {
        requests: kept.len(),
        failed: kept.len() - kept_times.len(),
        p50: percentile(&kept_times, 50.0),
        p99: percentile(&kept_times, 99.0),
        new: new.len(),
        new_failed: new.len() - new_times.len(),
        new_p50: percentile(&new_times, 50.0),
        new_p99: percentile(&new_times, 99.0),
    }
}

async fn keep_asking(
    address: SocketAddr,
    host: String,
    start: Instant,
    index: u32,
    end: Instant,
) -> Times {
    let mut times = Vec::new();
    let mut due = start + INTERVAL / CONNECTIONS * index;
    let mut client = Client::connect(address, &host).await.ok();
    while due < end {
        let asked = wait_until(due).await;
        if client.is_none() {
            client = Client::connect(address, &host).await.ok();
        }
        let answer = match &mut client {
            Some(client) => client.get("/").await.ok(),
            None => None,
        };
        let is_answered = answer.is_some_and(|(status, _)| status == StatusCode::OK);
        if !is_answered {
            client = None;
        }
        times.push(is_answered.then(|| millis(asked.elapsed())));
        due += INTERVAL;
    }
    times
}

/// Waits for a request to be due, and says since when its answer is waited for. That is `due` where the
/// answer before came later, but not where this process only woke later: timers count whole milliseconds.
async fn wait_until(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    sleep_until(due.into()).await;
    Instant::now()
}

async fn ask_anew(address: SocketAddr, host: String, start: Instant, end: Instant) -> Times {
    let mut tasks = Vec::new();
    let mut due = start;
    while due < end {
        let asked = wait_until(due).await;
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            let answer = timeout(PATIENCE, get(address, &host, "/")).await.ok()?.ok()?;
            (answer.0 == StatusCode::OK).then(|| millis(asked.elapsed()))
        }));
        due += INTERVAL;
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.ok().flatten());
    }
    times
}
