//! Load at a constant rate: h2load, and what it saw of each request.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};

/// A running h2load.
pub struct Load {
    child: Child,
    log: PathBuf,
}

/// A request that it has sent.
pub struct Sent {
    /// In seconds since 1970.
    pub at: f64,
    /// How long it took, in milliseconds.
    pub took: f64,
    pub is_answered: bool,
}

/// With what a load speaks.
#[derive(Clone, Copy)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Load {
    /// Begins to send `rate` requests a second to `host`, for so long.
    pub fn start(
        protocol: Protocol,
        (address, host): (SocketAddr, &str),
        connections: u32,
        rate: u32,
        duration: Duration,
    ) -> Result<Self> {
        let name = match protocol {
            Protocol::Http1 => "h1",
            Protocol::Http2 => "h2",
        };
        let log = std::env::temp_dir().join(format!("dhow-{name}-{}.log", std::process::id()));
        let _ = fs::remove_file(&log);
        let mut command = Command::new("h2load");
        if let Protocol::Http1 = protocol {
            command.arg("--h1");
        }
        let child = command
            .args(["-t", "1", "-c", &connections.to_string()])
            .args(["--rps", &(rate / connections).to_string()])
            .args(["-D", &duration.as_secs().to_string(), "--connect-to", &address.to_string()])
            .arg("--log-file")
            .arg(&log)
            .arg(format!("http://{host}:{}/", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("h2load does not start: apt install nghttp2-client")?;
        Ok(Self { child, log })
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Result<Vec<Sent>> {
        let status = self.child.wait()?;
        ensure!(status.success(), "h2load: {status}");
        let text = fs::read_to_string(&self.log)?;
        fs::remove_file(&self.log)?;
        // A line for each request: when it began, its status, its time in microseconds.
        let read = |line: &str| {
            let mut words = line.split_whitespace();
            let at = words.next()?.parse::<f64>().ok()? / 1e6;
            let is_answered = words.next()? == "200";
            let took = words.next()?.parse::<f64>().ok()? / 1e3;
            Some(Sent { at, took, is_answered })
        };
        text.lines().map(|line| read(line).with_context(|| line.to_owned())).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As the log has it.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
