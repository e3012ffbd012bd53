//! Real servers that guests use, each on a free port of this machine with data of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use http::Request;
use tempfile::TempDir;

use crate::{
    client::{Connection, answer, full},
    guests::root,
    upstream::Certified,
};

/// A Redis, with a password.
pub struct Redis {
    process: Child,
    pub address: SocketAddr,
    _data: TempDir,
}

/// The password of every server.
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
        Self::start_in(data, address, &["--port", &address.port().to_string()])
    }

    /// Starts one that speaks TLS only, as `localhost`. The certificate of its authority is written
    /// to `authority`.
    pub fn start_tls(authority: &Path) -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let [certificate, key] = Certified::for_localhost(authority).write(data.path());
        let address = free_address();
        let port = address.port().to_string();
        let tls = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        Self::start_in(data, address, &[&tls[..], &files].concat())
    }

    fn start_in(data: TempDir, address: SocketAddr, arguments: &[&str]) -> Option<Self> {
        let started = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD])
            .args(arguments)
            .current_dir(data.path())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            return skipped("redis-server", "apt install redis-server");
        };
        wait_for(process.stdout.take().expect("piped"), "Ready to accept connections");
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

/// `wasmtime serve`: another runtime, for what is written for others.
pub struct WasmtimeServe {
    process: Child,
    pub address: SocketAddr,
}

impl WasmtimeServe {
    /// Starts one that serves `component`; none, and a line that says so, where wasmtime is not
    /// installed.
    pub fn start(component: &Path) -> Option<Self> {
        let address = free_address();
        let started = Command::new(root().join("target/wasmtime/bin/wasmtime"))
            .args(["serve", "-Scli", "--addr", &address.to_string()])
            .arg(component)
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut process) = started else {
            return skipped("wasmtime", "cargo xtask wasmtime");
        };
        wait_for(process.stderr.take().expect("piped"), "Serving HTTP on ");
        Some(Self { process, address })
    }
}

impl Drop for WasmtimeServe {
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

/// An address of this machine where connections are accepted, and nobody ever says a word.
pub fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        // Until the test is over: a connection that is closed is an answer.
        let _held: Vec<_> = listener.incoming().map_while(Result::ok).collect();
    });
    address
}

/// A Postgres, with a password for its user `postgres`.
pub struct Postgres {
    process: Child,
    pub address: SocketAddr,
    programs: PathBuf,
    arguments: Vec<String>,
    data: TempDir,
}

impl Postgres {
    /// Starts one; none, and a line that says so, where Postgres is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(Vec::new(), tempfile::tempdir().expect("a folder"))
    }

    /// Starts one that speaks TLS too, as `localhost`. The certificate of its authority is written to
    /// `authority`.
    pub fn start_tls(authority: &Path) -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let [certificate, key] = Certified::for_localhost(authority).write(data.path());
        let files = [format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}")];
        let settings = ["ssl=on".to_owned()].into_iter().chain(files);
        let arguments = settings.flat_map(|setting| ["-c".to_owned(), setting]);
        Self::start_with(arguments.collect(), data)
    }

    fn start_with(arguments: Vec<String>, data: TempDir) -> Option<Self> {
        let Some(programs) = newest("/usr/lib/postgresql", "bin/postgres") else {
            return skipped("postgresql", "apt install postgresql");
        };
        let folder = data.path().join("data");
        let password = data.path().join("password");
        fs::write(&password, PASSWORD).expect("written");
        give_to("postgres", data.path());
        let made = as_user("postgres", &programs.join("initdb"))
            .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("--pgdata")
            .arg(&folder)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb is there").success(), "no data folder for Postgres");
        let address = free_address();
        let process = postgres(&programs, &data, address, &arguments);
        Some(Self { process, address, programs, arguments, data })
    }

    /// Ends it, at once, and whatever it has started before it: what they share would keep it from
    /// starting again.
    pub fn stop(&mut self) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", "QUIT", &id]).status();
        assert!(status.expect("kill is there").success());
        let _ = self.process.wait();
    }

    /// Starts it again, after it was stopped, with what it has kept.
    pub fn start_again(&mut self) {
        self.process = postgres(&self.programs, &self.data, self.address, &self.arguments);
    }

    /// Where it is, with the password in the variable `DB_PASSWORD`.
    pub fn url(&self) -> String {
        format!("postgres://postgres:${{DB_PASSWORD}}@{}/postgres", self.address)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn postgres(programs: &Path, data: &TempDir, address: SocketAddr, arguments: &[String]) -> Child {
    let mut process = as_user("postgres", &programs.join("postgres"))
        .args(["-F", "-h", "127.0.0.1", "-p", &address.port().to_string(), "-D"])
        .arg(data.path().join("data"))
        .arg("-k")
        .arg(data.path())
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("Postgres starts");
    wait_for(process.stderr.take().expect("piped"), "ready to accept connections");
    process
}

/// A MariaDB with the database `shop`, and a password for its user `shop`.
pub struct MariaDb {
    process: Child,
    pub address: SocketAddr,
    arguments: Vec<String>,
    data: TempDir,
}

/// Small and quick: what it writes need not outlive the machine.
const MARIADB: [&str; 7] = [
    // Has to stand first.
    "--no-defaults",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--aria-log-file-size=8M",
    "--skip-name-resolve",
];

impl MariaDb {
    /// Starts one; none, and a line that says so, where MariaDB is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(Vec::new(), tempfile::tempdir().expect("a folder"))
    }

    /// Starts one that speaks TLS too, as `localhost`. The certificate of its authority is written to
    /// `authority`.
    pub fn start_tls(authority: &Path) -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let [certificate, key] = Certified::for_localhost(authority).write(data.path());
        let tls = vec![format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
        Self::start_with(tls, data)
    }

    fn start_with(arguments: Vec<String>, data: TempDir) -> Option<Self> {
        if !Path::new(MARIADBD).exists() {
            return skipped("mariadb-server", "apt install mariadb-server");
        }
        let statements = format!(
            "CREATE DATABASE IF NOT EXISTS shop;\n\
             CREATE USER IF NOT EXISTS shop@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON shop.* TO shop@'%';\n"
        );
        fs::write(data.path().join("first.sql"), statements).expect("written");
        give_to("mysql", data.path());
        let made = as_user("mysql", Path::new("mariadb-install-db"))
            .args(MARIADB)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", data.path().join("data").display()))
            // Several at a time take the same names for what is temporary.
            .env("TMPDIR", data.path())
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("mariadb-install-db is there").success(), "no data for MariaDB");
        let address = free_address();
        let process = mariadbd(&data, address, &arguments);
        Some(Self { process, address, arguments, data })
    }

    /// Ends it, at once.
    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, after it was stopped, with what it has kept.
    pub fn start_again(&mut self) {
        self.process = mariadbd(&self.data, self.address, &self.arguments);
    }

    /// Where it is, with the password in the variable `DB_PASSWORD`.
    pub fn url(&self) -> String {
        format!("mysql://shop:${{DB_PASSWORD}}@{}/shop", self.address)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
    }
}

const MARIADBD: &str = "/usr/sbin/mariadbd";

fn mariadbd(data: &TempDir, address: SocketAddr, arguments: &[String]) -> Child {
    let folder = data.path().display();
    let mut process = as_user("mysql", Path::new(MARIADBD))
        .args(MARIADB)
        .args(["--skip-log-bin", "--performance-schema=OFF", "--character-set-server=utf8mb4"])
        .args(["--bind-address=127.0.0.1", &format!("--port={}", address.port())])
        .arg(format!("--datadir={folder}/data"))
        .arg(format!("--socket={folder}/socket"))
        .arg(format!("--pid-file={folder}/pid"))
        .arg(format!("--init-file={folder}/first.sql"))
        .env("TMPDIR", data.path())
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("MariaDB starts");
    wait_for(process.stderr.take().expect("piped"), "ready for connections");
    process
}

/// A server that speaks as S3 does, with an empty bucket and everything in memory. It takes any
/// key.
pub struct S3 {
    process: Child,
    pub address: SocketAddr,
}

impl S3 {
    /// Starts one; none, and a line that says so, where moto is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_at(free_address()).await
    }

    /// Starts one at `address`.
    pub async fn start_at(address: SocketAddr) -> Option<Self> {
        let start = |program: &Path| {
            Command::new(program)
                .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        };
        let ours = root().join("target/moto/bin/moto_server");
        let Ok(mut process) = start(Path::new("moto_server")).or_else(|_| start(&ours)) else {
            return skipped("moto_server", "pip install 'moto[server]'");
        };
        wait_for(process.stderr.take().expect("piped"), "Running on");
        let server = Self { process, address };
        server.ask("PUT", "/objects", "").await;
        Some(server)
    }

    /// The operator's text for its bucket, with the keys in the variables `S3_KEY` and `S3_SECRET`.
    pub fn backend(&self) -> String {
        format!(
            "{{ bucket = \"objects\", prefix = \"shop/x\", endpoint = \"http://{}\", \
             access-key = \"${{S3_KEY}}\", secret-key = \"${{S3_SECRET}}\" }}",
            self.address
        )
    }

    /// From now on it takes no key.
    pub async fn refuse(&self) {
        self.ask("POST", "/moto-api/reset-auth", "0").await;
    }

    /// The names of the objects that are being uploaded, in XML.
    pub async fn uploads(&self) -> String {
        self.ask("GET", "/objects?uploads", "").await
    }

    async fn ask(&self, method: &str, path: &str, body: &'static str) -> String {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "text/plain")
            .body(full(body))
            .expect("a request");
        let response = Connection::http1(self.address).await.send(request).await;
        let answer = answer(response.expect("an answer")).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        answer.text
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for a line with `text`, and has the rest read.
fn wait_for(output: impl std::io::Read + Send + 'static, text: &str) {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(text)), "a server does not start");
    std::thread::spawn(move || lines.for_each(drop));
}

/// The folder of `program` in the highest version below `folder`.
fn newest(folder: &str, program: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = versions.filter(|path| path.join(program).exists()).collect();
    found.sort();
    Some(found.pop()?.join(program).parent()?.to_owned())
}

/// `program`, as `user` where we are root: some servers refuse to run as root.
fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
    command
}

fn give_to(user: &str, folder: &Path) {
    if is_root() {
        let status = Command::new("chown").args(["-R", user]).arg(folder).status();
        assert!(status.expect("chown is there").success());
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Says so past the capture of the tests' output, which nobody sees where all pass.
pub fn skipped<T>(program: &str, install: &str) -> Option<T> {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed: {install}");
    None
}
