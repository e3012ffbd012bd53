//! Compiling in a process of its own: Dhow starts itself for what was not built here.

use std::{env, io, process::ExitCode, time::Duration};

use dhow_server::{CompileLimits, Compiler, compile_as_child};

use crate::{args::CompileArgs, error::CliError};

/// This program as a compiler; none where it is not known by what path it was started.
pub(crate) fn compiler() -> Option<Compiler> {
    let arguments = vec!["compile".to_owned()];
    Some(Compiler::new(env::current_exe().ok()?, arguments, CompileLimits::default()))
}

/// The child's side.
pub(crate) fn compile(CompileArgs { memory, time }: CompileArgs) -> Result<ExitCode, CliError> {
    let limits = CompileLimits { memory, time: Duration::from_secs(time) };
    compile_as_child(limits, io::stdin().lock(), io::stdout().lock())
        .map_err(|error| CliError::failure(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
