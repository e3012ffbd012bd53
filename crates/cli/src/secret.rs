//! `dhow secret`: the secrets of an app, encrypted in its data folder, or those of a tenant.

use std::{
    io::{self, IsTerminal as _, Read as _, Stdin},
    path::Path,
    process::ExitCode,
};

use dhow_capabilities::SecretFolder;
use dhow_manifest::Name;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{
    app::{self, LocalApp},
    args::{HERE, SecretArgs, SecretCommand, SecretsArgs},
    error::CliError,
    output,
    remote::{args::ServerArgs, secret as remote},
};

/// What is read of standard input: more is no secret.
const MAX_INPUT: u64 = 1 << 20;

pub(crate) async fn secret(command: SecretCommand) -> Result<ExitCode, CliError> {
    match command {
        SecretCommand::Set(SecretArgs { name, of }) => {
            match Place::of(&of)? {
                Place::App(secrets) => secrets.set(&name, &read_value(&name)?)?,
                Place::Tenant(server) => remote::set(server, &name, read_value(&name)?).await?,
            }
            output::progress(format_args!("The secret {name} is set."));
        }
        SecretCommand::List(of) => match Place::of(&of)? {
            Place::App(secrets) => secrets.list()?.iter().for_each(output::data),
            Place::Tenant(server) => {
                remote::list(server).await?.iter().for_each(|name| output::text(name));
            }
        },
        SecretCommand::Remove(SecretArgs { name, of }) => {
            match Place::of(&of)? {
                Place::App(secrets) => {
                    if !secrets.remove(&name)? {
                        return Err(CliError::failure(format!("no secret is called `{name}`")));
                    }
                }
                Place::Tenant(server) => remote::remove(server, &name).await?,
            }
            output::progress(format_args!("The secret {name} is removed."));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose secrets they are.
enum Place<'a> {
    App(SecretFolder),
    Tenant(&'a ServerArgs),
}

impl<'a> Place<'a> {
    /// A server that only the environment names is not meant: an app's own secrets come first.
    fn of(SecretsArgs { app, server }: &'a SecretsArgs) -> Result<Self, CliError> {
        let names_an_app = app.path != Path::new(HERE);
        match server {
            ServerArgs { server: Some(_), .. } if names_an_app => Err(CliError::usage(
                "a tenant's secrets are no app's",
                "leave out the path, or --server",
            )),
            ServerArgs { server: Some(_), .. } => Ok(Self::Tenant(server)),
            ServerArgs { server: None, token_file: None, tenant: None } => {
                Ok(Self::App(app::secrets(&LocalApp::read(&app.path)?.folder)))
            }
            _ => Err(CliError::usage("the secrets of which server?", "say it: --server URL")),
        }
    }
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
