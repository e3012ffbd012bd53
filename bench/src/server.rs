//! A server under test.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// How a server is started.
pub struct Server {
    pub name: String,
    words: Vec<String>,
}

/// A started server. It is killed when dropped.
pub struct Running {
    process: Child,
    pub address: SocketAddr,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    /// Parses `NAME=COMMAND`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').context("a server is NAME=COMMAND")?;
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(!words.is_empty(), "{name} has no command");
        Ok(Self { name: name.to_owned(), words })
    }

    /// Starts it on a free port, on these cores, and waits until it listens.
    pub fn start(&self, cores: &str) -> Result<Running> {
        // Free a moment ago; nothing else here takes ports.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let words = self.words.iter().map(|word| word.replace("{address}", &address.to_string()));
        let process = Command::new("taskset")
            .args(["-c", cores])
            .args(words)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("taskset does not start")?;
        let mut running = Running { process, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.process.try_wait()? {
                bail!("{} ended: {status}", self.name);
            }
            ensure!(start.elapsed() < PATIENCE, "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }
}

impl Running {
    /// The processor time it has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // proc(5): utime and stime are fields 14 and 15, the first after the name is the third.
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        let (user, system) = (ticks(11).context("utime")?, ticks(12).context("stime")?);
        const TICKS_PER_SECOND: f64 = 100.0; // USER_HZ on Linux.
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// The memory it holds, in MiB.
    pub fn memory_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("kB")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
