//! `dhow run`: run a component as a command.

use std::{path::Path, process::ExitCode, sync::Arc};

use dhow_capabilities::{Backends, Capabilities, CommandGrants, VirtualTime};
use dhow_manifest::{Ceilings, Sockets};
use dhow_package::Artifact;
use dhow_server::{HostSettings, Instances, Options};

use crate::{
    app::component_name, args::RunArgs, compile, error::CliError, folders, output::PrefixedOutput,
};

pub(crate) async fn run(args: RunArgs) -> Result<ExitCode, CliError> {
    let path = Path::new(args.command.first().map_or("", String::as_str));
    let artifact = Artifact::read(path)?;
    let name = component_name(path);
    let output = Arc::new(PrefixedOutput::start());
    let capabilities = Capabilities::new(output, folders::environment_variable, Backends::none())
        .at(args.virtual_time.map(VirtualTime::starting_at));
    let options = Options {
        code_cache: folders::code_cache(),
        instances: Instances::OnDemand,
        compiler: compile::compiler(),
        long_step: Options::LONG_STEP,
    };
    let host = dhow_server::host(&options, HostSettings::default())
        .map_err(|error| CliError::failure(error.to_string()))?;
    let tenant = dhow_server::only_tenant(&host, capabilities, Ceilings::default());
    let command = host.link_command(&name, &artifact)?;
    let grants = CommandGrants {
        name,
        arguments: args.command,
        environment: args.environment,
        folders: args.folders,
        http: args.http,
        sockets: Sockets {
            tcp: args.tcp,
            udp: args.udp,
            tcp_listen: args.tcp_listen,
            udp_listen: args.udp_listen,
        },
        memory_limit: args.memory,
    };
    let exit = host
        .run(&tenant, &command, &grants)
        .await
        .map_err(|error| CliError::failure(error.to_string()))?;
    // What does not fit into an exit code is a failure all the same.
    Ok(u8::try_from(exit.0).map_or(ExitCode::FAILURE, ExitCode::from))
}
