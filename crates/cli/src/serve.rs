//! `dhow serve`: the production server.

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use dhow_manifest::{Domain, Listen, Operator};
use dhow_server::{Drained, Instances, Production, Reloader, Setup, StartError};
use dhow_telemetry::Exporter;
use tokio::{
    signal::unix::Signal,
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};

use crate::{
    app,
    args::ServeArgs,
    compile,
    error::CliError,
    folders,
    output::{self, Log, PrefixedOutput},
    signals::{self, Signals, bind_error},
    telemetry,
};

/// As shells report a process that was ended by a signal: 128 and the number of SIGTERM.
const TERMINATED: u8 = 143;

/// The components that an instance may be made of, as places are counted: of most apps it is one, and
/// the pool has room to spare.
const PARTS: u32 = 2;

pub(crate) async fn serve(args: ServeArgs, log: Log) -> Result<ExitCode, CliError> {
    let operator = read(&args)?;
    let exporter = telemetry::start(&operator)?;
    output::init_log(log, exporter.as_ref().map(Exporter::layer));
    let console = Arc::new(PrefixedOutput::start());
    let setup = Setup {
        data: args.data.clone(),
        operator: operator.clone(),
        environment: Arc::new(folders::environment_variable),
        console: console.clone(),
        instances: Instances::Pooled { instances: args.instances, parts: PARTS },
        compiler: compile::compiler(),
        admin_token: folders::admin_token(),
    };
    let mut signals = Signals::new()?;
    let hangup = signals::hangup()?;
    let server = Production::start(setup).await.map_err(start_error)?;
    if let Some(exporter) = &exporter {
        server.observe(&exporter.meter());
    }
    print_server(&server, &operator.server.domain);

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
    let reloader = server.reloader();
    let ended = tokio::select! {
        drained = server.serve(stopped) => match drained {
            Drained::Completely => Ok(ExitCode::SUCCESS),
            Drained::Stopped(count) => Err(CliError::failure(format!(
                "{count} requests were still under way when their time was over"
            ))),
        },
        () = two_signals => Ok(TERMINATED.into()),
        () = reload(&args, hangup, &reloader) => Ok(ExitCode::FAILURE),
    };
    console.flush();
    telemetry::end(exporter).await;
    ended
}

/// What the operator says, by file and by arguments.
fn read(args: &ServeArgs) -> Result<Operator, CliError> {
    let mut operator = app::operator(args.config.as_deref())?;
    if let Some(address) = args.listen {
        operator.server.listen = vec![Listen { address, certificates: Vec::new() }];
    }
    operator.server.admin = args.admin.or(operator.server.admin);
    Ok(operator)
}

/// How often it is looked whether the configuration's file has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Reads the configuration again whenever its file changes, or a signal asks for it. What can't be used
/// is said, and what counted before still does.
async fn reload(args: &ServeArgs, mut hangup: Signal, reloader: &Reloader) {
    let mut seen = version(args);
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = looks.tick() => if version(args) == seen {
                continue;
            }
        }
        seen = version(args);
        match read(args) {
            Ok(operator) => {
                for key in reloader.reload(operator) {
                    output::progress(format_args!(
                        "{key} has changed: restart the server for that."
                    ));
                }
                output::progress("The configuration was read again.");
            }
            Err(error) => {
                output::print_error(&error);
                output::progress("The configuration stays as it was.");
            }
        }
    }
}

/// Another for each change of the file.
fn version(args: &ServeArgs) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(args.config.as_deref()?).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn print_server(server: &Production, domain: &Domain) {
    for (scheme, address) in server.addresses() {
        let port = address.port();
        output::heading(format_args!(
            "Serving on {scheme}://{address}, each app at {scheme}://APP.{domain}:{port}"
        ));
    }
    let admin = server.admin_address();
    let apps = server.apps();
    output::progress(format_args!(
        "The admin API is on http://{admin}, and {apps} apps are there."
    ));
    if let Some(token) = server.first_token() {
        output::progress("");
        output::progress("A token that may do everything, which is shown only now:");
        output::progress(format_args!("  export DHOW_TOKEN={token}"));
        output::progress("Then, in the folder of an app:");
        output::progress(format_args!("  dhow deploy --server http://{admin}"));
    }
    output::progress("");
}

fn start_error(error: StartError) -> CliError {
    match &error {
        StartError::Bind(error) => bind_error(error),
        StartError::Certificates(certificates) => match certificates.help() {
            Some(help) => CliError::failure_with_help(error.to_string(), help),
            None => CliError::failure(error.to_string()),
        },
        _ => CliError::failure(error.to_string()),
    }
}
