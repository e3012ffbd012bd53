//! A production server under test.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::api::Api;

/// The program that is measured.
pub struct Program(pub PathBuf);

/// A running server. It is killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    admin: SocketAddr,
    /// From the start of the process until it has said where it listens.
    pub startup: Duration,
    log: PathBuf,
}

/// With so many apps as one may have, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub const TOKEN: &str = "dhow_measured_0123456789abcdef0123456789abcdef";

impl Program {
    /// Starts it with what is kept in `folder`, where the configuration is put as well.
    pub fn start(&self, folder: &Path, config: &str, arguments: &[&str]) -> Result<Server> {
        let (file, log) = (folder.join("dhow-server.toml"), folder.join("log"));
        fs::write(&file, config)?;
        let start = Instant::now();
        let child = Command::new(&self.0)
            .args(["serve", "--quiet", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--data")
            .arg(data(folder))
            .arg("--config")
            .arg(file)
            .args(arguments)
            .env("DHOW_ADMIN_TOKEN", TOKEN)
            .env("NO_COLOR", "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let startup = Duration::ZERO;
        let mut server = Server { child, address: nowhere, admin: nowhere, startup, log };
        server.find_addresses(start)?;
        server.startup = start.elapsed();
        Ok(server)
    }
}

/// Where the server in `folder` keeps everything.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Server {
    fn find_addresses(&mut self, start: Instant) -> Result<()> {
        loop {
            let log = fs::read_to_string(&self.log)?;
            let admin = after(&log, "The admin API is on http://");
            if let (Some(address), Some(admin)) = (after(&log, "Serving on http://"), admin) {
                (self.address, self.admin) = (address.parse()?, admin.parse()?);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}\n{log}");
            }
            ensure!(start.elapsed() < PATIENCE, "the server does not listen:\n{log}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection to its admin API.
    pub async fn api(&self) -> Result<Api> {
        Api::connect(self.admin).await
    }

    /// The memory that it holds, in bytes: all of it, and what is not pages of files.
    pub fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |label: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(label)).context("a process")?;
            Ok(line.split_whitespace().nth(1).context("kB")?.parse::<f64>()? * 1024.0)
        };
        Ok(Memory { resident: of("VmRSS:")?, anonymous: of("RssAnon:")? })
    }

    /// The mappings of memory that it has.
    pub fn mappings(&self) -> Result<usize> {
        Ok(fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?.lines().count())
    }

    /// Everything that it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as nothing can be caught.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it come to its end.
    pub fn stop(mut self) -> Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "it is gone");
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: f64,
    pub anonymous: f64,
}

fn after<'a>(log: &'a str, words: &str) -> Option<&'a str> {
    let rest = log.split_once(words)?.1;
    // Only a whole line.
    let line = rest.split_once('\n')?.0;
    line.split([',', ' ']).next()
}
