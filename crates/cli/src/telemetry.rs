//! Where traces and metrics of this process go.

use dhow_capabilities::expand_in;
use dhow_manifest::{Operator, Telemetry};
use dhow_telemetry::{Collector, Exporter};
use tokio::task::spawn_blocking;

use crate::{error::CliError, folders};

/// What sends them, as the operator says, or else the environment; none where nobody does.
pub(crate) fn start(operator: &Operator) -> Result<Option<Exporter>, CliError> {
    let by_environment = || folders::otlp_endpoint().map(|endpoint| Telemetry::to(&endpoint));
    let Some(telemetry) = operator.telemetry.clone().or_else(by_environment) else {
        return Ok(None);
    };
    let Telemetry { otlp, headers, sample, interval } = telemetry;
    let expand = |key: &str, text: &str| {
        let expanded = expand_in("telemetry", key, text, &folders::environment_variable);
        expanded.map_err(|error| CliError::failure(error.to_string()))
    };
    let headers = headers.iter().map(|(name, value)| {
        Ok((name.clone(), expand(&format!("headers.{name}"), value.expose())?))
    });
    let collector = Collector {
        endpoint: expand("otlp", otlp.expose())?,
        headers: headers.collect::<Result<_, CliError>>()?,
        sample: f64::from(sample) / f64::from(Telemetry::ALL),
        interval,
    };
    let exporter = Exporter::start(&collector, env!("CARGO_PKG_VERSION"));
    exporter.map(Some).map_err(|error| {
        let help = "write in dhow-server.toml: [telemetry] otlp = \"http://localhost:4318\"";
        CliError::failure_with_help(error.to_string(), help)
    })
}

/// Sends what is left.
pub(crate) async fn end(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        // It waits, and for requests that this runtime sends.
        let _ = spawn_blocking(|| exporter.end()).await;
    }
}
