//! The binary, run to its end or as a server.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::guests::root;

/// Longer than anything that a test waits for takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// An interpreter of Python takes its time.
const TIME_TO_COMPILE: Duration = Duration::from_secs(300);

/// A command line of `dhow`.
pub struct Dhow(pub Command);

/// `dhow` with its first arguments. Its cache is the tests' own.
pub fn dhow<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Dhow {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("XDG_CACHE_HOME", root().join("target/test-cache"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    Dhow(command)
}

/// The binary beside the tests' own.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("the test runs from a file");
    path.pop();
    path.pop();
    path.push("dhow");
    assert!(path.exists(), "{} is not built: cargo xtask test", path.display());
    path
}

/// What a command came to.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it has printed, which is JSON, of a command that has worked.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Dhow {
    /// The same, with what `limit` says of its resources to a shell: `ulimit -n 100`.
    pub fn limited(self, limit: &str) -> Self {
        let Self(inner) = self;
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{limit}; exec \"$@\""), "bash"]).stdin(Stdio::null());
        command.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self(command)
    }

    /// Runs it to its end.
    pub fn finish(mut self) -> Finished {
        let Output { status, stdout, stderr } = self.0.output().expect("dhow starts");
        Finished {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Starts it as a server on a free port and waits until it listens.
    pub fn up(mut self) -> Up {
        self.0.args(["--listen", "127.0.0.1:0"]);
        let process = self.start();
        let line = process.log.wait_for_in("Serving ", TIME_TO_COMPILE);
        let address = line.split_once("http://").expect("a URL").1.parse().expect("an address");
        Up { process, address, folder: None }
    }

    /// Starts it.
    pub fn start(mut self) -> Process {
        let mut child =
            self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("dhow starts");
        let log = Arc::new(Log::default());
        log.clone().follow(child.stdout.take().expect("piped"));
        log.clone().follow(child.stderr.take().expect("piped"));
        Process { child, log }
    }
}

/// `dhow` while it runs. It is killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

impl Process {
    /// Waits for a line of the log, standard output included, that contains `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits until there are so many lines that contain `text`.
    pub fn wait_for_lines(&self, text: &str, count: usize) {
        let has_all =
            |log: &Written| log.lines.iter().filter(|it| it.contains(text)).count() >= count;
        let came = self.log.wait_until(PATIENCE, |log| log.open == 0 || has_all(log));
        assert!(came && has_all(&self.log.written.lock().unwrap()), "{text:?} in:\n{}", self.log());
    }

    /// Every line until now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// What it needed until now, to compile for example, does not count any more (proc(5)).
    /// Returns the bytes that it has at this time, of which the program itself is most.
    pub fn forget_peak_memory(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("it is ours");
        self.peak_memory()
    }

    /// The most memory it has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("alive");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux has it");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("kB");
        kib << 10
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Sends SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, and gives every line.
    pub fn wait_for_end(&self) -> String {
        assert!(
            self.log.wait_until(PATIENCE, |log| log.open == 0),
            "still running:\n{}",
            self.log()
        );
        self.log()
    }

    /// Waits for its end, and gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        // The log ends when the process does.
        self.wait_for_end();
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the log of dhow:\n{}", self.log());
        }
    }
}

/// `dhow up` while it runs. It is killed when dropped.
pub struct Up {
    // Dropped before the folder that it serves.
    process: Process,
    pub address: SocketAddr,
    folder: Option<TempDir>,
}

impl Up {
    /// Serves an app whose manifest is `manifest`, in which `{NAME}` stands for the path of the
    /// guest NAME.
    pub fn app(manifest: &str) -> Self {
        Self::app_with(manifest, |_| {})
    }

    /// The same, after `change` had the command line.
    pub fn app_with(manifest: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = app_folder(manifest);
        let mut up = Self::serve_with(folder.path(), change);
        up.folder = Some(folder);
        up
    }

    /// Serves the app in `folder`, as it was built.
    pub fn serve(folder: &Path) -> Self {
        Self::serve_with(folder, |_| {})
    }

    /// The same, after `change` had the command line.
    pub fn serve_with(folder: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut dhow = dhow([OsStr::new("up"), OsStr::new("--no-build"), folder.as_os_str()]);
        change(&mut dhow.0);
        dhow.up()
    }

    /// Serves one component of the guests with this manifest text for it.
    pub fn guest(name: &str, settings: &str) -> Self {
        Self::app(&format!(
            "name = \"test\"\n[component.{name}]\nsource = \"{{{name}}}\"\n{settings}\n"
        ))
    }

    /// Waits for its end, and gives the exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.process.wait()
    }
}

impl Deref for Up {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// A folder with an app whose manifest is `manifest`.
pub fn app_folder(manifest: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write_manifest(folder.path(), manifest);
    folder
}

/// Writes `manifest` into `folder`, with the paths of guests for their names in braces.
pub fn write_manifest(folder: &Path, manifest: &str) {
    let mut text = manifest.to_owned();
    let guests = fs::read_dir(root().join("guests")).expect("guests").flatten();
    for name in guests.filter_map(|entry| entry.file_name().into_string().ok()) {
        let place = format!("{{{name}}}");
        if text.contains(&place) {
            text = text.replace(&place, &crate::guests::guest(&name).display().to_string());
        }
    }
    fs::write(folder.join("dhow.toml"), text).expect("written");
}

/// What the process has written until now.
#[derive(Default)]
struct Log {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// How many of its streams are still open.
    open: usize,
}

impl Written {
    fn find(&self, text: &str) -> Option<String> {
        self.lines.iter().find(|line| line.contains(text)).cloned()
    }
}

impl Log {
    fn follow(self: Arc<Self>, stream: impl Read + Send + 'static) {
        self.written.lock().unwrap().open += 1;
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                self.written.lock().unwrap().lines.push(line);
                self.changed.notify_all();
            }
            self.written.lock().unwrap().open -= 1;
            self.changed.notify_all();
        });
    }

    fn text(&self) -> String {
        self.written.lock().unwrap().lines.join("\n")
    }

    /// Waits until `condition`, and says whether it came.
    fn wait_until(&self, patience: Duration, condition: impl Fn(&Written) -> bool) -> bool {
        let written = self.written.lock().unwrap();
        let waited = self.changed.wait_timeout_while(written, patience, |log| !condition(log));
        !waited.unwrap().1.timed_out()
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait_for_in(text, PATIENCE)
    }

    fn wait_for_in(&self, text: &str, patience: Duration) -> String {
        self.wait_until(patience, |log| log.open == 0 || log.find(text).is_some());
        let found = self.written.lock().unwrap().find(text);
        found.unwrap_or_else(|| panic!("no line with {text:?} in:\n{}", self.text()))
    }
}
