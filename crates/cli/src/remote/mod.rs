//! Commands that work on a server, by its admin API.

pub(crate) mod args;
mod client;
mod delete;
mod deploy;
mod logs;
mod problem;
pub(crate) mod secret;
mod show;
mod status;
mod token;
mod top;
mod traffic;
mod upload;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use serde::Serialize;

use crate::{error::CliError, output};
use args::RemoteCommand;

pub(crate) async fn run(command: RemoteCommand) -> Result<ExitCode, CliError> {
    match command {
        RemoteCommand::Deploy(args) => deploy::deploy(args).await,
        RemoteCommand::Revisions(args) => traffic::revisions(args).await,
        RemoteCommand::Traffic(args) => traffic::traffic(args).await,
        RemoteCommand::Rollback(args) => traffic::rollback(args).await,
        RemoteCommand::Delete(args) => delete::delete(args).await,
        RemoteCommand::Status(args) => status::status(args).await,
        RemoteCommand::Top(args) => top::top(args).await,
        RemoteCommand::Logs(args) => logs::logs(args).await,
        RemoteCommand::Token(command) => token::token(command).await,
    }
}

/// The shape of `--output json`: what the server says, and by what it is known. Fields are added in
/// time; a change of meaning changes `schema`.
#[derive(Serialize)]
struct Report<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a T,
}

/// Whether somebody is there to answer.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the answer to `question` is yes.
fn ask(question: &str) -> Result<bool, CliError> {
    output::question(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CliError::failure(format!("the answer can't be read: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests;
