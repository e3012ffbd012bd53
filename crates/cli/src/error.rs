//! What ends a command, and with which exit code.

use std::process::ExitCode;

use dhow_capabilities::{BackendError, SecretError};
use dhow_host::LinkFaults;
use dhow_manifest::{Faults, Name};
use dhow_package::ReadError;

pub(crate) const FAILURE: u8 = 1;
/// The arguments, or the manifest, are wrong.
pub(crate) const USAGE: u8 = 2;
const BUILD: u8 = 3;
/// A check, or what somebody may have, does not allow it.
pub(crate) const POLICY: u8 = 4;
pub(crate) const NOT_FOUND: u8 = 5;
pub(crate) const AUTHENTICATION: u8 = 6;
/// It took too long, or a new revision did not prove itself.
pub(crate) const TIMEOUT: u8 = 7;
/// Somebody else was faster.
pub(crate) const CONFLICT: u8 = 8;

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
        Self::with_exit(FAILURE, what, None)
    }

    pub(crate) fn failure_with_help(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::with_exit(FAILURE, what, Some(help.into()))
    }

    /// What the arguments ask for can't be done; `help` is what can.
    pub(crate) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::with_exit(USAGE, what, Some(help.into()))
    }

    pub(crate) fn build(what: impl Into<String>, help: Option<String>) -> Self {
        Self::with_exit(BUILD, what, help)
    }

    /// What ends with one of the exit codes above.
    pub(crate) fn with_exit(exit: u8, what: impl Into<String>, help: Option<String>) -> Self {
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
        Self::with_exit(FAILURE, error.to_string(), error.help())
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        let message = Message { what: error.to_string(), help: error.reason.help(&error.path) };
        Self::Plain { messages: vec![message], exit: FAILURE }
    }
}
