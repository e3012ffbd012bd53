//! The arguments of the commands that work on a server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use dhow_api::{Scope, Sticky};
use dhow_manifest::Name;
use http::{HeaderName, Uri, uri::Scheme};

use crate::args::HERE;

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Build an app and make it a new revision on a server.
    Deploy(DeployArgs),
    /// List the revisions of an app.
    Revisions(ShownAppArgs),
    /// Show how the traffic of an app is shared among its revisions, or share it otherwise.
    Traffic(TrafficArgs),
    /// Give the traffic back to the revisions that had it before.
    Rollback(ShownAppArgs),
    /// Delete an app, with its revisions.
    Delete(DeleteArgs),
    /// Show how the apps of a server are, and what its tenants use.
    Status(StatusArgs),
    /// Show the same each second, until Ctrl-C.
    Top(TopArgs),
    /// Show what the components of an app have written.
    Logs(LogsArgs),
    /// Make, list and revoke the tokens by which a server knows its users.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Which server, and who asks.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The admin API of the server; otherwise $DHOW_SERVER, or http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
    pub(crate) server: Option<ServerUrl>,
    /// A file with the token; otherwise it is $DHOW_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The tenant, for tokens of scope admin; otherwise it is the token's own.
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    pub(crate) tenant: Option<Name>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to print it.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A component (.wasm), a folder with a dhow.toml, or the manifest itself. With --component:
    /// the name of an app on the server.
    #[arg(default_value = HERE)]
    pub(crate) path: PathBuf,
    /// Replace this component only, as in cart=cart.wasm; all else stays as in the revision that
    /// has the most traffic.
    /// May be given several times.
    #[arg(long = "component", value_name = "NAME=FILE", value_parser = replacement)]
    pub(crate) components: Vec<(Name, PathBuf)>,
    /// Deploy what is there, without building it first.
    #[arg(long)]
    pub(crate) no_build: bool,
    /// Only check it, as the server would.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave the traffic where it is: the revision answers at its preview URL only.
    #[arg(long)]
    pub(crate) no_traffic: bool,
    /// A word to find the revision by.
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Wait until the rollout has come to its end.
    #[arg(long, conflicts_with_all = ["dry_run", "no_traffic"])]
    pub(crate) wait: bool,
    /// Let components have what they were not granted before.
    #[arg(long)]
    pub(crate) allow_new_grants: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// An app on the server, which is shown.
#[derive(Debug, Args)]
pub(crate) struct ShownAppArgs {
    /// The app's name.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Name,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// The app's name.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Name,
    /// Percentages by revision, 100 together: r12=90 r13=10. Without any, the traffic is shown.
    #[arg(value_name = "REVISION=PERCENT", value_parser = share)]
    pub(crate) shares: Vec<(u32, u8)>,
    /// Clients that send the same value of this header stay with the same revision.
    #[arg(long, value_name = "NAME", value_parser = header, requires = "shares")]
    #[arg(conflicts_with = "sticky_cookie")]
    pub(crate) sticky_header: Option<Sticky>,
    /// The same, by the value of a cookie.
    #[arg(long, value_name = "NAME", value_parser = cookie, requires = "shares")]
    pub(crate) sticky_cookie: Option<Sticky>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The app's name.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Name,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this app.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Option<Name>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only this app.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Option<Name>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The app's name.
    #[arg(value_parser = Name::new)]
    pub(crate) app: Name,
    /// Go on with what is written from now on, until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what this component has written.
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    pub(crate) component: Option<Name>,
    /// How many of the last lines.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) lines: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for --tenant, and print it: it is not shown again.
    Create(CreateTokenArgs),
    /// List the tokens.
    List(ListTokensArgs),
    /// Make a token worthless.
    Revoke(RevokeTokenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateTokenArgs {
    /// What it is for: read, deploy or admin. May be given several times.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    pub(crate) scopes: Vec<Scope>,
    /// What it is called in the list.
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListTokensArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArgs {
    /// What `dhow token list` shows as its id.
    #[arg(value_parser = token_id)]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where an admin API is: scheme, authority and perhaps the path that a proxy has put before it,
/// without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    text: String,
    is_https: bool,
}

impl ServerUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "write http:// or https:// and a host: http://127.0.0.1:9090".to_owned();
        let uri: Uri = text.trim().parse().map_err(|_| expected())?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') {
            return Err("a token is no part of the URL: export DHOW_TOKEN=…".to_owned());
        }
        if uri.query().is_some() || authority.host().is_empty() {
            return Err(expected());
        }
        let scheme = if is_https { "https" } else { "http" };
        let path = uri.path().trim_end_matches('/');
        Ok(Self { text: format!("{scheme}://{authority}{path}"), is_https })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }
}

fn replacement(text: &str) -> Result<(Name, PathBuf), String> {
    let (name, file) = text
        .split_once('=')
        .filter(|(_, file)| !file.is_empty())
        .ok_or("write the component's name and its file: cart=cart.wasm")?;
    Ok((Name::new(name).map_err(|error| error.to_string())?, file.into()))
}

fn share(text: &str) -> Result<(u32, u8), String> {
    let (revision, percent) = text.split_once('=').ok_or(SHARE)?;
    let revision = revision.strip_prefix('r').unwrap_or(revision);
    let percent = percent.strip_suffix('%').unwrap_or(percent);
    // `+1` is a number to Rust.
    if revision.starts_with('+') || percent.starts_with('+') {
        return Err(SHARE.to_owned());
    }
    let revision = revision.parse().map_err(|_| SHARE)?;
    let percent = percent.parse().ok().filter(|percent| *percent <= 100).ok_or(SHARE)?;
    Ok((revision, percent))
}

const SHARE: &str = "write a revision and its percentage, from 0 to 100: r13=10";

fn header(text: &str) -> Result<Sticky, String> {
    let name = HeaderName::try_from(text).map_err(|_| "a header has a name: x-user")?;
    Ok(Sticky::Header(name.as_str().to_owned()))
}

/// A cookie's name is a token (RFC 6265, section 4.1.1), as a header's is, but its case counts.
fn cookie(text: &str) -> Result<Sticky, String> {
    HeaderName::try_from(text).map_err(|_| "a cookie has a name: session")?;
    Ok(Sticky::Cookie(text.to_owned()))
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "read" => Ok(Scope::Read),
        "deploy" => Ok(Scope::Deploy),
        "admin" => Ok(Scope::Admin),
        _ => Err("write read, deploy or admin".to_owned()),
    }
}

/// What can stand in a path as it is.
fn token_id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_id.then(|| text.to_owned()).ok_or_else(|| "see: dhow token list".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, expected) in
            [("r12=90", (12, 90)), ("13=10", (13, 10)), ("r1=0", (1, 0)), ("r2=100%", (2, 100))]
        {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        for text in ["", "r12", "r12=", "=10", "r12=101", "r12=-1", "rr1=1", "r1=+1", "r+1=1"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers() {
        for (text, expected) in [
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
            ("https://dhow.example.com/", "https://dhow.example.com"),
            ("https://example.com/dhow/", "https://example.com/dhow"),
            ("http://[::1]:9090", "http://[::1]:9090"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.as_str(), expected);
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
        for text in
            ["", "localhost:9090", "ftp://a", "/v1", "http://", "http://me@a", "http://a/?b=c"]
        {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_stands_in_a_path_or_a_header_is_checked() {
        assert!(replacement("cart=a=b.wasm").is_ok_and(|(_, file)| file == *"a=b.wasm"));
        for text in ["cart", "cart=", "=cart.wasm", "Cart=cart.wasm"] {
            assert!(replacement(text).is_err(), "{text}");
        }
        assert_eq!(header("X-User"), Ok(Sticky::Header("x-user".to_owned())));
        assert_eq!(cookie("Session"), Ok(Sticky::Cookie("Session".to_owned())));
        assert!(header("a b").is_err() && cookie("a=b").is_err());
        assert!(token_id("t_1-A").is_ok());
        assert!(token_id("../apps").is_err() && token_id("a?b").is_err());
    }
}
