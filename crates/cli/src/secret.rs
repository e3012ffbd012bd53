//! `dhow secret`: the secrets of an app, encrypted in its data folder.

use std::{
    io::{self, IsTerminal as _, Read as _, Stdin},
    process::ExitCode,
};

use dhow_capabilities::SecretFolder;
use dhow_manifest::Name;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{
    app::{self, LocalApp},
    args::{AppArgs, SecretArgs, SecretCommand},
    error::CliError,
    output,
};

/// What is read of standard input: more is no secret.
const MAX_INPUT: u64 = 1 << 20;

pub(crate) fn secret(command: SecretCommand) -> Result<ExitCode, CliError> {
    match command {
        SecretCommand::Set(SecretArgs { name, app }) => {
            let secrets = secrets_of(&app)?;
            secrets.set(&name, &read_value(&name)?)?;
            output::progress(format_args!("The secret {name} is set."));
        }
        SecretCommand::List(app) => secrets_of(&app)?.list()?.iter().for_each(output::data),
        SecretCommand::Remove(SecretArgs { name, app }) => {
            if !secrets_of(&app)?.remove(&name)? {
                return Err(CliError::failure(format!("no secret is called `{name}`")));
            }
            output::progress(format_args!("The secret {name} is removed."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn secrets_of(AppArgs { path }: &AppArgs) -> Result<SecretFolder, CliError> {
    Ok(app::secrets(&LocalApp::read(path)?.folder))
}

/// The value, as it is typed or piped.
fn read_value(name: &Name) -> Result<String, CliError> {
    let stdin = io::stdin();
    let read = if stdin.is_terminal() {
        output::question(format_args!("The value of {name}:"));
        read_unseen(&stdin)
    } else {
        let mut value = String::new();
        stdin.lock().take(MAX_INPUT).read_to_string(&mut value).map(|_| value)
    };
    let value = read.map_err(|error| {
        CliError::failure(format!("the value of `{name}` can't be read: {error}"))
    })?;
    // Editors and `echo` end a line that nobody means.
    Ok(value.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_unseen(terminal: &Stdin) -> io::Result<String> {
    let mut value = String::new();
    let _unseen = Unseen::new(terminal)?;
    terminal.read_line(&mut value)?;
    Ok(value)
}

/// A terminal that does not show what is typed, but where the line ends, until this is dropped.
struct Unseen<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn new(terminal: &'a Stdin) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &unseen)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
