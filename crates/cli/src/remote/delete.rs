//! `dhow delete`: an app, with its revisions.

use std::process::ExitCode;

use http::Method;

use super::{args::DeleteArgs, ask, can_ask, client::Client};
use crate::{error::CliError, output};

pub(crate) async fn delete(
    DeleteArgs { app, yes, server }: DeleteArgs,
) -> Result<ExitCode, CliError> {
    let client = Client::new(&server)?;
    if !yes {
        let help = format!("dhow delete {app} --yes");
        if !can_ask() {
            return Err(CliError::usage(format!("nobody is there to say that {app} goes"), help));
        }
        if !ask(&format!("Delete {app} with all its revisions?"))? {
            return Err(CliError::failure(format!("{app} was not deleted")));
        }
    }
    client.command(Method::DELETE, &format!("/v1/apps/{app}")).await?;
    output::progress(format_args!("{app} is deleted."));
    Ok(ExitCode::SUCCESS)
}
