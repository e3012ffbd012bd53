//! The main job: a component answers a request.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build_dhow, setup,
    steps::{Steps, run},
};

const DHOW: &str = "target/debug/dhow";

/// Serves the example until Ctrl-C.
pub fn serve(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    steps.print_times();
    *steps = Steps::default();
    eprintln!("\nTry it, in another terminal:  curl http://127.0.0.1:3000/\n");
    run(Command::new(DHOW).args(["up", "examples/hello"]))
}

/// Serves the example on a free port, does one request, prints it and stops.
pub fn once(steps: &mut Steps) -> Result<()> {
    prepare(steps)?;
    steps.step("serve and ask", || {
        let mut server = Server::start(&["up", "examples/hello", "--listen", "127.0.0.1:0"])?;
        let response = server.get("/demo")?;
        println!("$ curl -i http://{}/demo\n{response}", server.address);
        ensure!(response.starts_with("HTTP/1.1 200 OK\r\n"), "that is no 200");
        server.stop()
    })
}

fn prepare(steps: &mut Steps) -> Result<()> {
    steps.step("setup", setup::rust)?;
    steps.step("build dhow", build_dhow)
}

/// A `dhow` that serves. It is killed when dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(DHOW).args(arguments))
    }

    /// Starts `command` and waits until it says where it listens.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .inspect(|line| eprintln!("{line}"))
            .find(|line| line.starts_with("Serving "));
        let address = line
            .as_deref()
            .and_then(|line| line.split_once("http://")?.1.parse().ok())
            .context("it does not serve")?;
        // Somebody has to read what it writes from here on.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        Ok(Self { process, address })
    }

    /// The whole response to a GET.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        run(Command::new("kill").arg(self.process.id().to_string()))?;
        let status = self.process.wait()?;
        ensure!(status.success(), "dhow ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
