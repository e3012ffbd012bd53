//! What ends a command, and with which exit code.

use std::process::ExitCode;

use dhow_capabilities::{BackendError, SecretError};
use dhow_host::LinkFaults;
use dhow_manifest::{Faults, Name};
use dhow_package::ReadError;

/// The arguments, or the manifest, are wrong.
pub(crate) const USAGE: u8 = 2;
const FAILURE: u8 = 1;
const BUILD: u8 = 3;

/// An error for people: what happened, and what to do.
pub(crate) enum CliError {
    /// A manifest with faults, which are shown in their text.
    Manifest(Faults),
    /// Anything else: messages, each perhaps with help.
    Plain { messages: Vec<Message>, exit: u8 },
}

/// What happened, and what to do about it.
pub(crate) struct Message {
    pub(crate) what: String,
    pub(crate) help: Option<String>,
}

impl CliError {
    pub(crate) fn failure(what: impl Into<String>) -> Self {
        Self::plain(FAILURE, what, None)
    }

    pub(crate) fn failure_with_help(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::plain(FAILURE, what, Some(help.into()))
    }

    /// What the arguments ask for can't be done; `help` is what can.
    pub(crate) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::plain(USAGE, what, Some(help.into()))
    }

    pub(crate) fn build(what: impl Into<String>, help: Option<String>) -> Self {
        Self::plain(BUILD, what, help)
    }

    fn plain(exit: u8, what: impl Into<String>, help: Option<String>) -> Self {
        Self::Plain { messages: vec![Message { what: what.into(), help }], exit }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Manifest(_) => USAGE.into(),
            Self::Plain { exit, .. } => (*exit).into(),
        }
    }
}

impl From<Faults> for CliError {
    fn from(faults: Faults) -> Self {
        Self::Manifest(faults)
    }
}

impl From<LinkFaults> for CliError {
    fn from(faults: LinkFaults) -> Self {
        let messages = faults
            .iter()
            .map(|fault| Message { what: fault.to_string(), help: fault.help() })
            .collect();
        Self::Plain { messages, exit: FAILURE }
    }
}

impl From<Vec<(Name, ReadError)>> for CliError {
    fn from(errors: Vec<(Name, ReadError)>) -> Self {
        let message = |(name, error): (Name, ReadError)| Message {
            what: format!("component `{name}`: {error}"),
            help: error.reason.help(&error.path),
        };
        Self::Plain { messages: errors.into_iter().map(message).collect(), exit: FAILURE }
    }
}

impl From<Vec<BackendError>> for CliError {
    fn from(errors: Vec<BackendError>) -> Self {
        let message = |error: BackendError| Message { what: error.to_string(), help: None };
        Self::Plain { messages: errors.into_iter().map(message).collect(), exit: FAILURE }
    }
}

impl From<SecretError> for CliError {
    fn from(error: SecretError) -> Self {
        Self::plain(FAILURE, error.to_string(), error.help())
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        let message = Message { what: error.to_string(), help: error.reason.help(&error.path) };
        Self::Plain { messages: vec![message], exit: FAILURE }
    }
}
