//! The production server, and those who talk to it.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
};

use http::Request;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Dhow, Finished, Process, app_folder,
    client::{Answer, Body, Connection, answer, empty, full},
    dhow,
};

/// The operator's token.
pub const TOKEN: &str = "the-operators-token";

/// `dhow serve` while it runs. It is killed when dropped.
pub struct Server {
    // Dropped before the folder that it uses.
    process: Process,
    /// Where apps answer.
    pub address: SocketAddr,
    /// Where the admin API is.
    pub admin: SocketAddr,
    pub data: PathBuf,
    config: PathBuf,
    /// Where its configuration is, and its data if that is nowhere else.
    pub folder: TempDir,
}

impl Server {
    /// Starts one that has nothing yet.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts one that its operator has configured so.
    pub fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        Self::start_in(folder, data, config)
    }

    /// Starts one with its data in `data`.
    pub fn start_in(folder: TempDir, data: PathBuf, config: &str) -> Self {
        let file = folder.path().join("dhow-server.toml");
        fs::write(&file, config).expect("written");
        let (process, address, admin) = start(serve(&data, &file));
        Self { process, address, admin, data, config: file, folder }
    }

    /// The command line of another one with the same data.
    pub fn another(&self) -> Dhow {
        serve(&self.data, &self.config)
    }

    /// Writes another configuration, which the server finds by itself.
    pub fn configure(&self, config: &str) {
        fs::write(&self.config, config).expect("written");
    }

    /// Starts it again, after its end, with the same data.
    pub fn start_again(&mut self) {
        (self.process, self.address, self.admin) = start(self.another());
    }

    /// Runs a command on it, as its operator.
    pub fn dhow<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        self.dhow_as(TOKEN, arguments).finish()
    }

    /// A command on it, by whoever has `token`.
    pub fn dhow_as<A: AsRef<OsStr>>(
        &self,
        token: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Dhow {
        let mut dhow = dhow(arguments);
        dhow.0.env("DHOW_SERVER", format!("http://{}", self.admin)).env("DHOW_TOKEN", token);
        dhow
    }

    /// Deploys an app with this manifest, in which `{NAME}` stands for the path of the guest NAME.
    pub fn try_deploy(&self, manifest: &str, arguments: &[&str]) -> Finished {
        self.try_deploy_as(TOKEN, manifest, arguments)
    }

    /// The same, by whoever has `token`.
    pub fn try_deploy_as(&self, token: &str, manifest: &str, arguments: &[&str]) -> Finished {
        let folder = app_folder(manifest);
        let path = folder.path().to_str().expect("text");
        self.dhow_as(token, [&["deploy", path], arguments].concat()).finish()
    }

    /// Deploys an app, which has to work, and gives what is said of it as JSON.
    pub fn deploy(&self, manifest: &str, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        self.try_deploy(manifest, &arguments).json()
    }

    /// Deploys an app of one guest.
    pub fn deploy_guest(&self, app: &str, guest: &str) -> Value {
        self.deploy(&one(app, guest, ""), &[])
    }

    /// What a command says as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.dhow([arguments, &["--output", "json"]].concat()).json()
    }

    /// A new token.
    pub fn token(&self, tenant: &str, scope: &str) -> String {
        let made = self.dhow(["token", "create", "--tenant", tenant, "--scope", scope]);
        assert_eq!(made.code, Some(0), "{made:?}");
        made.stdout.trim().to_owned()
    }

    /// What the status says of `tenant`.
    pub fn tenant(&self, tenant: &str) -> Value {
        let status = self.json(&["status"]);
        let all = status["tenants"].as_array().expect("a list");
        let found = all.iter().find(|it| it["tenant"] == tenant);
        found.unwrap_or_else(|| panic!("no {tenant}: {status}")).clone()
    }

    /// Asks what answers at `host` for `path`.
    pub async fn get(&self, host: &str, path: &str) -> Answer {
        get_at(self.address, host, path).await
    }

    /// Asks the admin API, and gives status and body.
    pub async fn api(&self, token: &str, method: &str, path: &str, body: Body) -> (u16, Value) {
        let request = api_request(token, method, path, body);
        let mut connection = Connection::http1(self.admin).await;
        let answer = answer(connection.send(request).await.expect("an answer")).await;
        let json = serde_json::from_str(&answer.text).unwrap_or(Value::String(answer.text));
        (answer.status.as_u16(), json)
    }

    /// The same, with a body of JSON, as the operator.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { empty() } else { full(body.to_string()) };
        self.api(TOKEN, method, path, body).await
    }

    /// The names of the files of components that it keeps, unfinished ones included.
    pub fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data.join("blobs")).expect("a folder").flatten();
        let mut names: Vec<_> =
            entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn serve(data: &Path, config: &Path) -> Dhow {
    let mut dhow = dhow(["serve", "--admin", "127.0.0.1:0"]);
    dhow.0.arg("--data").arg(data).arg("--config").arg(config).env("DHOW_ADMIN_TOKEN", TOKEN);
    // What is said on the command line goes before what the configuration says.
    if !fs::read_to_string(config).is_ok_and(|text| text.contains("[[server.listen]]")) {
        dhow.0.args(["--listen", "127.0.0.1:0"]);
    }
    dhow
}

fn start(dhow: Dhow) -> (Process, SocketAddr, SocketAddr) {
    let process = dhow.start();
    let address_in = |line: String| {
        let after = line.split_once("://").expect("a URL").1;
        after.split(',').next().and_then(|it| it.parse().ok()).expect("an address")
    };
    let address = address_in(process.wait_for_log("Serving on "));
    let admin = address_in(process.wait_for_log("The admin API is on "));
    (process, address, admin)
}

/// Asks what answers at `host` for `path` on `address`, on a connection of its own.
pub async fn get_at(address: SocketAddr, host: &str, path: &str) -> Answer {
    get_with(address, host, path, &[]).await
}

/// The same, with further headers.
pub async fn get_with(
    address: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(empty()).expect("a request");
    answer(Connection::http1(address).await.send(request).await.expect("an answer")).await
}

/// A request for the admin API.
pub fn api_request(token: &str, method: &str, path: &str, body: Body) -> Request<Body> {
    let json = if path.starts_with("/v1/blobs/") { "application/wasm" } else { "application/json" };
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin.test")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", json)
        .body(body)
        .expect("a request")
}

/// The manifest of an app of one guest, with this text for it.
pub fn one(app: &str, guest: &str, settings: &str) -> String {
    format!("name = \"{app}\"\n[component.{guest}]\nsource = \"{{{guest}}}\"\n{settings}\n")
}

/// A folder in memory of so many bytes.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; none, and a line that says so, where that is not allowed.
    pub fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        // Past the capture of the tests' output, which nobody sees where all pass.
        let _ = writeln!(io::stderr(), "SKIPPED: nothing can be mounted: run the tests as root");
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once or, where somebody still has a file open there, soon.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
