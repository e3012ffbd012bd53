//! `dhow run`: run a component as a command.

use std::{process::ExitCode, sync::Arc};

use dhow_capabilities::{Capabilities, CommandGrants};
use dhow_package::Artifact;

use crate::{app::component_name, args::RunArgs, error::CliError, folders, output::PrefixedOutput};

pub(crate) async fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let artifact = Artifact::read(&args.component)?;
    let name = component_name(&args.component);
    let capabilities = Capabilities::new(Arc::new(PrefixedOutput), folders::environment_variable);
    let host = dhow_server::host(folders::code_cache(), capabilities)
        .map_err(|error| CliError::failure(error.to_string()))?;
    let command = host.link_command(&name, &artifact)?;
    let program = args.component.display().to_string();
    let grants = CommandGrants {
        name,
        arguments: [program].into_iter().chain(args.arguments).collect(),
        environment: args.environment,
        folders: args.folders,
        http: args.http,
        memory_limit: args.memory,
    };
    let exit =
        host.run(&command, &grants).await.map_err(|error| CliError::failure(error.to_string()))?;
    // What does not fit into an exit code is a failure all the same.
    Ok(u8::try_from(exit.0).map_or(ExitCode::FAILURE, ExitCode::from))
}
