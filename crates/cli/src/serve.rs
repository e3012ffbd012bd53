//! `dhow serve`: the production server.

use std::{process::ExitCode, sync::Arc};

use dhow_manifest::Listen;
use dhow_server::{Drained, Instances, Production, Setup, StartError};
use tokio::sync::oneshot;

use crate::{
    app,
    args::ServeArgs,
    compile,
    error::CliError,
    folders,
    output::{self, PrefixedOutput},
    signals::{Signals, bind_error},
};

/// As shells report a process that was ended by a signal: 128 and the number of SIGTERM.
const TERMINATED: u8 = 143;

/// The components that an instance may be made of, as places are counted: of most apps it is one, and
/// the pool has room to spare.
const PARTS: u32 = 2;

pub(crate) async fn serve(args: ServeArgs) -> Result<ExitCode, CliError> {
    let mut operator = app::operator(args.config.as_deref())?;
    if let Some(address) = args.listen {
        operator.server.listen = vec![Listen { address, certificates: Vec::new() }];
    }
    operator.server.admin = args.admin.or(operator.server.admin);
    let domain = operator.server.domain.clone();
    let console = Arc::new(PrefixedOutput::start());
    let setup = Setup {
        data: args.data.clone(),
        operator,
        environment: Arc::new(folders::environment_variable),
        console: console.clone(),
        instances: Instances::Pooled { instances: args.instances, parts: PARTS },
        compiler: compile::compiler(),
        admin_token: folders::admin_token(),
    };
    let mut signals = Signals::new()?;
    let server = Production::start(setup).await.map_err(start_error)?;
    for (scheme, address) in server.addresses() {
        let port = address.port();
        output::heading(format_args!(
            "Serving on {scheme}://{address}, each app at {scheme}://APP.{domain}:{port}"
        ));
    }
    let admin = server.admin_address();
    output::progress(format_args!(
        "The admin API is on http://{admin}, and {} apps are there.",
        server.apps()
    ));
    if let Some(token) = server.first_token() {
        output::progress("");
        output::progress("A token that may do everything, which is shown only now:");
        output::progress(format_args!("  export DHOW_TOKEN={token}"));
        output::progress("Then, in the folder of an app:");
        output::progress(format_args!("  dhow deploy --server http://{admin}"));
    }
    output::progress("");

    // The first signal stops the server, the second the process.
    let (stop, stopped) = oneshot::channel();
    let two_signals = async {
        signals.next().await;
        output::progress("Stopping: requests under way may end. A second signal stops at once.");
        let _ = stop.send(());
        signals.next().await;
    };
    let stopped = async {
        let _ = stopped.await;
    };
    let ended = tokio::select! {
        drained = server.serve(stopped) => match drained {
            Drained::Completely => Ok(ExitCode::SUCCESS),
            Drained::Stopped(count) => Err(CliError::failure(format!(
                "{count} requests were still under way when their time was over"
            ))),
        },
        () = two_signals => Ok(TERMINATED.into()),
    };
    console.flush();
    ended
}

fn start_error(error: StartError) -> CliError {
    match &error {
        StartError::Bind(error) => bind_error(error),
        _ => CliError::failure(error.to_string()),
    }
}
