//! Where traces and metrics go.

use std::{collections::BTreeMap, time::Duration};

use super::Hidden;
use crate::{
    Fault,
    raw::{self, Table, Value},
};

/// Where traces and metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The URL of an OpenTelemetry collector: OTLP over HTTP.
    pub otlp: Hidden,
    /// What is sent along with everything, such as a token.
    pub headers: BTreeMap<String, Hidden>,
    /// How many of a thousand traces that begin here are collected.
    pub sample: u32,
    /// How often metrics are sent.
    pub interval: Duration,
}

impl Telemetry {
    /// The usual (OpenTelemetry, "Periodic exporting MetricReader").
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
    /// All of them.
    pub const ALL: u32 = 1_000;

    /// All traces, and metrics each minute, to the collector at the URL `otlp`.
    pub fn to(otlp: &str) -> Self {
        Self {
            otlp: Hidden(otlp.to_owned()),
            headers: BTreeMap::new(),
            sample: Self::ALL,
            interval: Self::DEFAULT_INTERVAL,
        }
    }
}

const EXAMPLE: &str = "[telemetry]\notlp = \"http://localhost:4318\"";
const HEADERS_EXAMPLE: &str = r#"headers = { authorization = "Bearer ${OTLP_TOKEN}" }"#;

pub(super) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Telemetry> {
    let mut table = raw::table(value, "the telemetry", EXAMPLE, faults)?;
    let otlp = match table.get("otlp") {
        Some(value) => read_url(value, faults),
        None => {
            let fault = Fault::new(value.span(), "the telemetry has no `otlp` to go to");
            faults.push(fault.help(format!("write: {EXAMPLE}")));
            None
        }
    };
    let headers = table.get("headers").map(|value| read_headers(value, faults));
    let sample = read_sample(&mut table, faults);
    let interval = table.get("interval").and_then(|value| {
        let interval = raw::parsed(value, r#"interval = "15s""#, faults, humantime::parse_duration);
        interval.filter(|interval| {
            let is_some = *interval >= Duration::from_secs(1);
            if !is_some {
                let fault = Fault::new(value.span(), "interval is at least a second");
                faults.push(fault.help(r#"write: interval = "15s""#));
            }
            is_some
        })
    });
    table.finish(faults);
    Some(Telemetry {
        otlp: otlp?,
        headers: headers.unwrap_or_default(),
        sample: sample.unwrap_or(Telemetry::ALL),
        interval: interval.unwrap_or(Telemetry::DEFAULT_INTERVAL),
    })
}

fn read_url(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Hidden> {
    let url = raw::string(value, EXAMPLE, faults)?;
    if url.starts_with("http://") || url.starts_with("https://") {
        return Some(Hidden(url.to_owned()));
    }
    faults.push(
        Fault::new(value.span(), "that is no URL of http or https")
            .help(format!("write: {EXAMPLE}")),
    );
    None
}

fn read_headers(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, Hidden> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", HEADERS_EXAMPLE));
        return BTreeMap::new();
    };
    let headers = entries.iter().filter_map(|(name, value)| {
        let text = raw::string(value, HEADERS_EXAMPLE, faults)?;
        Some((name.get_ref().to_string(), Hidden(text.to_owned())))
    });
    headers.collect()
}

fn read_sample(table: &mut Table<'_>, faults: &mut Vec<Fault>) -> Option<u32> {
    let value = table.get("sample")?;
    let thousandths = raw::thousandths(value, "sample = 0.1", faults)?;
    let sample = u32::try_from(thousandths).ok().filter(|sample| *sample <= Telemetry::ALL);
    if sample.is_none() {
        faults.push(
            Fault::new(value.span(), "sample is a part of all traces, from 0 to 1")
                .help("write: sample = 0.1"),
        );
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::{super::tests::messages, *};
    use crate::Operator;

    #[test]
    fn where_telemetry_goes() {
        let text = "[telemetry]\notlp = 'http://localhost:4318'\nsample = 0.25\n\
                    headers = { authorization = 'Bearer hush' }\ninterval = '5s'";
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        assert!(!format!("{operator:?}").contains("hush"));
        let telemetry = operator.telemetry.unwrap();
        assert_eq!((telemetry.sample, telemetry.interval), (250, Duration::from_secs(5)));
        assert_eq!(telemetry.headers["authorization"].expose(), "Bearer hush");
        let least = Operator::parse("dhow-server.toml", "[telemetry]\notlp = 'https://o.example'");
        assert_eq!(least.unwrap().telemetry, Some(Telemetry::to("https://o.example")));
    }

    #[test]
    fn what_is_no_telemetry() {
        let of = |lines: &str| messages(&format!("[telemetry]\n{lines}"));
        assert_eq!(of("sample = 1"), "the telemetry has no `otlp` to go to");
        assert_eq!(of("otlp = 'localhost:4317'"), "that is no URL of http or https");
        let url = "otlp = 'http://o'\n";
        for (line, message) in [
            ("sample = 2", "sample is a part of all traces, from 0 to 1"),
            ("interval = '1ms'", "interval is at least a second"),
            ("headers = 'a'", "expected a table, found a string"),
            ("protocol = 'grpc'", "unknown key `protocol` in the telemetry"),
        ] {
            assert_eq!(of(&format!("{url}{line}")), message);
        }
    }
}
