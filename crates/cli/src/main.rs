//! `dhow`, the command line: the only place that prints, exits or parses arguments.

mod app;
mod args;
mod build;
mod compile;
mod compose;
mod error;
mod folders;
mod grants;
mod graph;
mod inspect;
mod output;
mod remote;
mod run;
mod secret;
mod serve;
mod signals;
mod telemetry;
mod toolchains;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use error::CliError;
use output::{Log, LogFormat};

/// A tenth less processor time for each request than with the system's. It asks for no huge pages: with them
/// requests were no faster, an idle server held 14 MiB more, and whoever touched one first waited while all
/// of it was cleared, on some virtual machines for 7 ms.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // Help and version are answers, not errors.
            return if error.use_stderr() { error::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    // Standard error is the command's own when one is run.
    let is_run = matches!(args.command, Command::Run(_) | Command::Compile(_));
    let format = match &args.command {
        Command::Serve(args) => args.log,
        _ => LogFormat::default(),
    };
    let log = Log { verbose: args.verbose, quiet: args.quiet || is_run, format };
    // These say where traces go first.
    if !matches!(args.command, Command::Up(_) | Command::Serve(_)) {
        output::init_log(log, None);
    }
    match run(args, log) {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error);
            error.exit_code()
        }
    }
}

fn run(args: Args, log: Log) -> Result<ExitCode, CliError> {
    match args.command {
        Command::Up(args) => serving(up::up(args, log)),
        Command::Serve(args) => serving(serve::serve(args, log)),
        Command::Build(args) => build::command(&args),
        Command::Run(args) => block_on(run::run(args)),
        Command::Compose(args) => compose::compose(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Secret(command) => block_on(secret::secret(command)),
        Command::Remote(command) => block_on(remote::run(command)),
        Command::Compile(args) => compile::compile(args),
    }
}

/// Runs a command that takes connections.
fn serving(
    command: impl Future<Output = Result<ExitCode, CliError>>,
) -> Result<ExitCode, CliError> {
    dhow_server::make_room_for_descriptors();
    block_on(command)
}

fn block_on(
    command: impl Future<Output = Result<ExitCode, CliError>>,
) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failure(format!("the runtime does not start: {error}")))?;
    let result = runtime.block_on(command);
    // A name lookup or a file that hangs must not keep the process.
    runtime.shutdown_background();
    result
}
