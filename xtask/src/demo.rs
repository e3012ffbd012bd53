//! The main job: components answer requests.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{
    build_dhow, setup,
    steps::{Steps, run},
};

const DHOW: &str = "target/debug/dhow";
/// The key of the shop's secret, which would else be the user's own.
const KEY: &str = "target/demo-secret.key";

/// An example that is shown.
struct Demo {
    name: &'static str,
    languages: &'static [&'static str],
    /// What to try while it is served.
    hint: &'static str,
    /// What is tried with `--once`.
    once: fn(&Server) -> Result<()>,
}

const DEMOS: [Demo; 3] = [
    Demo { name: "hello", languages: &["rust"], hint: "curl http://127.0.0.1:3000/", once: hello },
    Demo {
        name: "shop",
        languages: &["rust", "go", "python"],
        hint: "open http://127.0.0.1:3000/ in a browser",
        once: shop,
    },
    Demo {
        name: "pipeline",
        languages: &["rust", "go", "python"],
        hint: "curl --data-binary @FILE http://127.0.0.1:3000/",
        once: pipeline,
    },
];

/// Serves the example `name` until Ctrl-C; or tries it once on a free port.
pub fn demo(steps: &mut Steps, name: &str, once: bool) -> Result<()> {
    let Some(demo) = DEMOS.iter().find(|demo| demo.name == name) else {
        let names: Vec<_> = DEMOS.iter().map(|demo| demo.name).collect();
        bail!("`{name}` is none of: {}", names.join(", "));
    };
    setup::setup(steps, demo.languages)?;
    steps.step("build dhow", build_dhow)?;
    let folder = format!("examples/{name}");
    if name == "shop" {
        set_secret(&folder)?;
    }
    steps.step("build the example", || run(dhow().args(["build", &folder])))?;
    if once {
        return steps.step("serve and ask", || {
            let mut up = dhow();
            up.args(["up", &folder, "--listen", "127.0.0.1:0"]);
            let mut server = Server::spawn(&mut up)?;
            (demo.once)(&server)?;
            server.stop()
        });
    }
    steps.print_times();
    *steps = Steps::default();
    eprintln!("\nTry it, in another terminal:  {}\n", demo.hint);
    run(dhow().args(["up", &folder]))
}

/// The examples besides hello, and in which languages they are.
const EXAMPLES: [(&str, &[&str]); 4] = [
    ("c", &["c"]),
    ("javascript", &["javascript"]),
    ("pipeline", &["go", "python"]),
    ("shop", &["go", "python"]),
];

/// Builds the examples whose toolchains are there; tests of the others are skipped.
pub fn build_examples() -> Result<()> {
    for (name, languages) in EXAMPLES {
        if setup::are_there(languages) {
            run(dhow().args(["build", &format!("examples/{name}")]))?;
        } else {
            eprintln!("examples/{name} is not built: cargo xtask setup {}", languages.join(" "));
        }
    }
    Ok(())
}

fn dhow() -> Command {
    let mut dhow = Command::new(DHOW);
    dhow.env("DHOW_SECRET_KEY_FILE", KEY);
    dhow
}

/// Random bytes, as the example's page has it done by hand.
fn set_secret(folder: &str) -> Result<()> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut set =
        dhow().args(["secret", "set", "jwt-key", folder]).stdin(Stdio::piped()).spawn()?;
    set.stdin.take().context("piped")?.write_all(text.as_bytes())?;
    ensure!(set.wait()?.success(), "the secret is not set");
    Ok(())
}

fn hello(server: &Server) -> Result<()> {
    let response = server.get("/demo")?;
    println!("$ curl -i http://{}/demo\n{response}", server.address);
    ensure!(response.starts_with("HTTP/1.1 200 OK\r\n"), "that is no 200");
    Ok(())
}

/// Logs in, orders, reads back; and is refused without a token.
fn shop(server: &Server) -> Result<()> {
    let ask = |request: &str, body: &str, status: &str| -> Result<String> {
        let (first, rest) = request.split_once('\n').unwrap_or((request, ""));
        println!("> {first} {body}");
        let response = server.send(&format!("{first} HTTP/1.1\r\n{rest}"), body)?;
        let answer = response.rsplit("\r\n").next().unwrap_or_default();
        let line = response.lines().next().unwrap_or_default();
        println!("{line}\n{answer}\n");
        ensure!(line.contains(status), "that is no {status}");
        Ok(answer.to_owned())
    };
    ask("GET /api/orders", "", "401")?;
    let answer = ask("POST /login", r#"{"user": "ada", "password": "analytical"}"#, "200")?;
    let token = answer.split('"').nth(3).context("a token")?;
    let me = format!("authorization: Bearer {token}\r\n");
    let order = r#"[{"product": "rope", "quantity": 12}]"#;
    let placed = ask(&format!("POST /api/orders\n{me}"), order, "201")?;
    let orders = ask(&format!("GET /api/orders\n{me}"), "", "200")?;
    ensure!(orders.contains(&placed), "the order is not among them");
    Ok(())
}

/// More than the three components may have of memory together.
const PIPELINE_MIB: usize = 160;

/// Sends a file that no component could hold, and counts what comes back while it is sent.
fn pipeline(server: &Server) -> Result<()> {
    let padding = "so much more to say that this line is a long one, ".repeat(6);
    let entry =
        format!("1 1795420000 all is well, but for one error and a timeout, and {padding}\n");
    let lines = (PIPELINE_MIB << 20) / entry.len();
    server.forget_peak_memory()?;
    let before = server.peak_memory()?;
    println!("> POST / with {PIPELINE_MIB} MiB, {lines} lines");
    let start = Instant::now();
    let mut stream = TcpStream::connect(server.address)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        server.address,
        lines * entry.len()
    )?;
    let mut upload = stream.try_clone()?;
    let sending = thread::spawn(move || -> io::Result<()> {
        let piece = entry.repeat(1000);
        for sent in (0..lines).step_by(1000) {
            let rest = (lines - sent).min(1000) * entry.len();
            upload.write_all(piece.get(..rest).unwrap_or_default().as_bytes())?;
        }
        Ok(())
    });
    let mut scored = 0;
    let mut first = None;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.starts_with("{\"id\"") {
            scored += 1;
            first.get_or_insert_with(|| (line.clone(), start.elapsed()));
        }
    }
    sending.join().map_err(|_| anyhow!("the sender panicked"))??;
    let time = start.elapsed();
    let (line, after) = first.context("no line came back")?;
    println!("{line}   after {after:.1?}");
    println!("{scored} lines came back after {time:.1?}");
    ensure!(scored == lines, "{lines} were sent");
    let peak = server.peak_memory()?;
    let (peak, before) = (peak >> 20, before >> 20);
    println!("The most memory that dhow had: {peak} MiB, of which {before} MiB before that\n");
    Ok(())
}

/// A `dhow` that serves. It is killed when dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
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
        self.send(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    /// The whole response to a request that begins with `head`.
    fn send(&self, head: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "{head}host: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    /// What it needed until now, to compile for example, does not count any more (proc(5)).
    fn forget_peak_memory(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?)
    }

    /// The most memory that it has had, in bytes.
    fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line =
            status.lines().find(|line| line.starts_with("VmHWM:")).context("Linux has it")?;
        let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib << 10)
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
