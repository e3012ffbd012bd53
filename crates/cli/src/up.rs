//! `dhow up`: build an app and serve it on this machine.

use std::{process::ExitCode, sync::Arc};

use dhow_capabilities::{Capabilities, VirtualTime};
use dhow_manifest::{App, Component, Instances as Lifetime, Limits, Name, Reuse};
use dhow_server::{Drained, HostSettings, Instances, Options, Server};
use dhow_telemetry::Exporter;
use tokio::sync::oneshot;

use crate::{
    app::{self, LocalApp},
    args::UpArgs,
    build, compile,
    error::CliError,
    folders,
    output::{self, Log, PrefixedOutput},
    signals::{Signals, bind_error},
    telemetry,
};

/// As shells report a process that was ended by a signal: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

pub(crate) async fn up(args: UpArgs, log: Log) -> Result<ExitCode, CliError> {
    let operator = app::operator(args.config.as_deref())?;
    let exporter = telemetry::start(&operator)?;
    output::init_log(log, exporter.as_ref().map(Exporter::layer));
    let local = LocalApp::read(&args.path)?;
    if !args.no_build {
        build::build(&local)?;
    }
    let artifacts = local.artifacts()?;
    let output = Arc::new(PrefixedOutput::start());
    let backends = app::backends(&operator, &local.folder)?;
    let capabilities = Capabilities::new(output.clone(), folders::environment_variable, backends)
        .at(args.virtual_time.map(VirtualTime::starting_at));
    let denials = capabilities.denials();
    let options = Options {
        code_cache: folders::code_cache(),
        instances: Instances::Pooled { instances: args.instances, parts: most_parts(&local.app) },
        compiler: compile::compiler(),
        long_step: Options::LONG_STEP,
    };
    let settings = HostSettings { code_budget: args.max_code.bytes(), ..HostSettings::default() };
    let host = dhow_server::host(&options, settings)
        .map_err(|error| CliError::failure(error.to_string()))?;
    let tenant = dhow_server::only_tenant(&host, capabilities, operator.limits);
    let linked = host.link(&tenant, local.app, &artifacts)?;
    let app = linked.app().clone();
    dhow_server::serve_everywhere(&host, linked);
    // From here on: until now Ctrl-C ends the process, as it should while things are compiled.
    let mut signals = Signals::new()?;
    let server = Server::bind(host, args.listen).map_err(|error| bind_error(&error))?;
    print_app(&app, &format!("http://{}", server.address()));

    // The first signal stops the server, the second the process.
    let (stop, stopped) = oneshot::channel();
    let two_signals = async {
        signals.next().await;
        output::progress("Stopping: requests under way may end. Ctrl-C again stops at once.");
        let _ = stop.send(());
        signals.next().await;
    };
    let stopped = async {
        let _ = stopped.await;
    };
    let ended = tokio::select! {
        drained = server.serve(stopped, args.grace) => match drained {
            Drained::Completely => Ok(ExitCode::SUCCESS),
            Drained::Stopped(count) => Err(CliError::failure(format!(
                "{count} requests were still under way after {}",
                humantime::format_duration(args.grace)
            ))),
        },
        () = two_signals => Ok(INTERRUPTED.into()),
    };
    for ((_, component, capability), count) in denials.counts() {
        output::progress(format_args!("{component} was denied {capability}: {count} calls"));
    }
    output.flush();
    telemetry::end(exporter).await;
    ended
}

/// Of how many components an instance of `app` is made at most.
fn most_parts(app: &App) -> u32 {
    let parts = app.entries().into_iter().map(|entry| app.parts(&entry).len());
    parts.max().and_then(|parts| u32::try_from(parts).ok()).unwrap_or(1)
}

/// A longer path pushes its component to the right.
const MAX_WIDTH: usize = 40;

fn print_app(app: &App, url: &str) {
    let version = app.version().map(|version| format!(" {version}")).unwrap_or_default();
    output::heading(format_args!("Serving {}{version} on {url}", app.name()));
    output::progress("");
    output::heading("Routes");
    let width = app.routes().iter().map(|route| route.path.as_str().len());
    let width = width.max().unwrap_or(0).min(MAX_WIDTH);
    for route in app.routes() {
        output::progress(format_args!("  {url}{:width$}  {}", route.path, route.entry));
    }
    output::progress("");
    output::heading("Components");
    for (name, component) in app.components() {
        print_component(name, component);
    }
    output::progress("");
}

fn print_component(name: &Name, Component { grants, limits, instances, uses, .. }: &Component) {
    let Limits { memory, time, concurrency } = limits;
    let time = humantime::format_duration(*time);
    output::progress(format_args!("  {name}"));
    for (interface, used) in uses {
        output::progress(format_args!("    uses     {used}, by {interface}"));
    }
    for line in grants.describe() {
        output::progress(format_args!("    may      {line}"));
    }
    output::progress(format_args!(
        "    limits   memory {memory}, time {time}, {concurrency} requests at once"
    ));
    if let Lifetime::Reused(Reuse { requests, idle, calls }) = instances {
        let idle = humantime::format_duration(*idle);
        output::progress(format_args!(
            "    reused   for {requests} requests, {calls} at a time, until idle for {idle}"
        ));
    }
}
