//! Real servers that guests use, each on a free port of this machine with data of its own.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A Redis, with a password.
pub struct Redis {
    process: Child,
    pub address: SocketAddr,
    _data: TempDir,
}

/// The password of [`Redis`].
pub const PASSWORD: &str = "open-sesame";

impl Redis {
    /// Starts one; none, and a line that says so, where Redis is not installed.
    pub fn start() -> Option<Self> {
        let address = free_address();
        Self::start_at(address)
    }

    /// Starts one at `address`.
    pub fn start_at(address: SocketAddr) -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let started = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD])
            .args(["--port", &address.port().to_string()])
            .current_dir(data.path())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            eprintln!("SKIPPED: redis-server is not installed (Debian: apt install redis-server)");
            return None;
        };
        let output = process.stdout.take().expect("piped");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.contains("Ready to accept connections"));
        assert!(ready.is_some(), "Redis does not start");
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, address, _data: data })
    }

    /// Where it is, with a password in the variable `REDIS_PASSWORD`.
    pub fn url(&self) -> String {
        format!("redis://:${{REDIS_PASSWORD}}@{}", self.address)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address of this machine on which nobody listens.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}
