//! The arguments. Each flag that holds more than text is parsed into its checked type here.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use dhow_capabilities::FolderGrant;
use dhow_manifest::{Endpoint, Environment, MemorySize, Name, Origin};

use crate::output::LogFormat;

use crate::remote::args::{RemoteCommand, ServerArgs};

/// Serves WebAssembly components: sandboxed, with nothing but what you grant.
#[derive(Debug, Parser)]
#[command(name = "dhow", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Log more: what is compiled, each connection's end.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Log only what went wrong: no line for each request.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an app and serve it on this machine.
    Up(UpArgs),
    /// Serve the apps of many tenants, which are deployed while it runs.
    Serve(ServeArgs),
    /// Build the components of an app whose sources have changed.
    Build(AppArgs),
    /// Run a component as a command, with the arguments that follow.
    Run(RunArgs),
    /// Show what a component is, imports and exports; or of an app, who calls whom, and what each
    /// of its components may do.
    Inspect(InspectArgs),
    /// Write the components of an app as one, which other runtimes take.
    Compose(ComposeArgs),
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Set, list and remove the secrets of an app, which are kept encrypted in its .dhow/; or with
    /// --server those of a tenant.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Compile what comes by standard input, within limits: Dhow's own child.
    #[command(hide = true)]
    Compile(CompileArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CompileArgs {
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Seconds of processor time.
    pub(crate) time: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UpArgs {
    /// A component (.wasm), a folder with a dhow.toml, or the manifest itself.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Where to listen. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// How long requests under way may take to end after Ctrl-C.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
    /// How many instances there may be at a time; more requests get 503. As many as the machine
    /// has room for, up to 2,000, where not given.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) instances: Option<NonZeroU32>,
    /// The most compiled code that the app may have.
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) max_code: MemorySize,
    /// What stands behind the names of backends: a dhow-server.toml. What it does not name, and
    /// everything where there is none, is a file in .dhow/ beside the manifest.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Have guests see a time that begins then and moves on only when they wait: hours pass in a moment.
    /// For trying out what depends on time; a guest that waits for an answer and for its timeout at once
    /// gets the timeout.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    pub(crate) virtual_time: Option<SystemTime>,
    /// Serve what is there, without building it first.
    #[arg(long)]
    pub(crate) no_build: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// Where apps, their data, secrets and compiled code are kept. It is made where there is none.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// What the operator says: a dhow-server.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, in place of what the configuration says. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the admin API is, in place of what the configuration says.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub(crate) admin: Option<SocketAddr>,
    /// How the log is written: a line for each request among it.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: LogFormat,
    /// How many instances there may be at a time, of all tenants. As many as the machine has room for,
    /// up to 2,000, where not given.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) instances: Option<NonZeroU32>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Let it open a folder: HOST, HOST::GUEST to give it another name, or either with :ro at
    /// the end to keep it from writing.
    #[arg(long = "dir", value_name = "FOLDER", value_parser = folder)]
    pub(crate) folders: Vec<FolderGrant>,
    /// Let it see an environment variable: NAME=VALUE, or NAME to pass on its value.
    #[arg(long = "env", value_name = "VARIABLE", value_parser = variable)]
    pub(crate) environment: Vec<(String, String)>,
    /// Let it send HTTP requests to an origin: https://api.example.com.
    #[arg(long = "http", value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(crate) http: Vec<Origin>,
    /// Let it connect by TCP: db.example.com:5432, 10.0.0.0/8:5432, or * for any port.
    #[arg(long, value_name = "ENDPOINT", value_parser = Endpoint::parse)]
    pub(crate) tcp: Vec<Endpoint>,
    /// Let it exchange UDP datagrams with others.
    #[arg(long, value_name = "ENDPOINT", value_parser = Endpoint::parse)]
    pub(crate) udp: Vec<Endpoint>,
    /// Let it listen for TCP connections: 127.0.0.1:7000, or port 0 for any.
    #[arg(long, value_name = "ADDR")]
    pub(crate) tcp_listen: Vec<SocketAddr>,
    /// Let it receive UDP datagrams from anybody, and answer them.
    #[arg(long, value_name = "ADDR")]
    pub(crate) udp_listen: Vec<SocketAddr>,
    /// The most memory it may use.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub(crate) memory: MemorySize,
    /// Have guests see a time that begins then and moves on only when they wait: hours pass in a moment.
    /// For trying out what depends on time; a guest that waits for an answer and for its timeout at once
    /// gets the timeout.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    pub(crate) virtual_time: Option<SystemTime>,
    /// The component (.wasm), and its arguments: all that follows is for the component.
    #[arg(
        value_names = ["COMPONENT", "ARGS"],
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// A component (.wasm), a folder with a dhow.toml, or the manifest itself.
    pub(crate) path: PathBuf,
    /// Of an app: only what each of its components may do.
    #[arg(long)]
    pub(crate) grants: bool,
    /// How to print it. Mermaid draws an app as a graph.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: InspectFormat,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ComposeArgs {
    #[command(flatten)]
    pub(crate) app: AppArgs,
    /// The file to write.
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The route whose components are written, as it stands in the manifest: /..., where the app
    /// has several.
    #[arg(long, value_name = "PATH")]
    pub(crate) route: Option<String>,
    /// Keep the names that tell the imports of each component apart, which a host has to know.
    /// Otherwise imports of the same interface are one, with one grant for all.
    #[arg(long)]
    pub(crate) keep_names: bool,
    /// Write what is there, without building it first.
    #[arg(long)]
    pub(crate) no_build: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret to what is typed, or comes by standard input. What runs reads it from then on.
    Set(SecretArgs),
    /// List the names of the secrets that are set.
    List(SecretsArgs),
    /// Remove a secret.
    #[command(visible_alias = "rm")]
    Remove(SecretArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SecretArgs {
    /// The name by which the manifest grants it.
    #[arg(value_parser = Name::new)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) of: SecretsArgs,
}

/// Whose secrets: an app's on this machine, or with --server a tenant's.
#[derive(Debug, ClapArgs)]
pub(crate) struct SecretsArgs {
    #[command(flatten)]
    pub(crate) app: AppArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where an app is looked for when nobody says where it is.
pub(crate) const HERE: &str = ".";

#[derive(Debug, ClapArgs)]
pub(crate) struct AppArgs {
    /// The app: a folder with a dhow.toml, or the manifest itself.
    #[arg(default_value = HERE)]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    Text,
    Json,
    Mermaid,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let with_host =
        match text.strip_prefix(':').or_else(|| text.parse::<u16>().is_ok().then_some(text)) {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.replacen("localhost:", "127.0.0.1:", 1),
        };
    with_host.parse().map_err(|_| "write an address and a port: 127.0.0.1:3000".to_owned())
}

fn folder(text: &str) -> Result<FolderGrant, String> {
    let (text, writable) = match text.strip_suffix(":ro") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("write HOST or HOST::GUEST, where both are paths".to_owned());
    }
    Ok(FolderGrant { host: host.into(), guest: guest.to_owned(), writable })
}

#[expect(clippy::disallowed_methods, reason = "a variable that the user named to be passed on")]
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            text,
            std::env::var(text).map_err(|_| format!("`{text}` is not set; write {text}=VALUE"))?,
        ),
    };
    if !Environment::is_name(name) {
        return Err("a variable has a name".to_owned());
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn addresses() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            (":8080", "127.0.0.1:8080"),
            ("8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:3000", "[::1]:3000"),
            ("0.0.0.0:3000", "0.0.0.0:3000"),
        ] {
            assert_eq!(listen(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["", "host", "127.0.0.1", "127.0.0.1:99999", "example.com:80"] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn folders() {
        let grant = |host: &str, guest: &str, writable| {
            Ok(FolderGrant { host: host.into(), guest: guest.to_owned(), writable })
        };
        assert_eq!(folder("data"), grant("data", "data", true));
        assert_eq!(folder("data::/d"), grant("data", "/d", true));
        assert_eq!(folder("data::/d:ro"), grant("data", "/d", false));
        assert!(folder("::/d").is_err());
        assert!(folder("data::").is_err());
    }
}
