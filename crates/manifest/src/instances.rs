//! How much of one request may be left for the next: a component's `instances`.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    Fault,
    raw::{self, Value},
};

/// How long an instance of a component lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instances {
    /// For one request: nothing of one request is left for the next.
    #[default]
    Fresh,
    /// For several, which see what earlier ones left in memory.
    Reused(Reuse),
}

/// The bounds within which an instance is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// The requests that one instance answers at most.
    pub requests: NonZeroU32,
    /// How long one is kept without a request.
    pub idle: Duration,
    /// The requests that one answers at the same time. Those that it answers together fail
    /// together: a trap in one ends the instance.
    pub calls: NonZeroU32,
}

const EXAMPLE: &str =
    r#"instances = "fresh", "reused", or { requests = 1000, idle = "10s", calls = 1 }"#;

impl Reuse {
    /// So many that making an instance is no part of the cost, and few enough that a guest that
    /// leaks is replaced before it hurts.
    pub const DEFAULT_REQUESTS: u32 = 1_000;
    /// Longer than the gaps between the requests of a component that is in use.
    pub const DEFAULT_IDLE: Duration = Duration::from_secs(10);
    /// More would be for nothing: a guest leaks handles and memory until it ends.
    pub const MAX_REQUESTS: u32 = 1_000_000;
    /// Longer is for good, and nothing is.
    pub const MAX_IDLE: Duration = Duration::from_secs(60 * 60);
    /// Each call has handles, of which an instance has a limited number.
    pub const MAX_CALLS: u32 = 128;
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            requests: NonZeroU32::new(Self::DEFAULT_REQUESTS).unwrap_or(NonZeroU32::MIN),
            idle: Self::DEFAULT_IDLE,
            calls: NonZeroU32::MIN,
        }
    }
}

/// Reads the value of `instances`.
pub(crate) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Instances> {
    match value.get_ref().as_str() {
        Some("fresh") => return Some(Instances::Fresh),
        Some("reused") => return Some(Instances::Reused(Reuse::default())),
        Some(other) => {
            faults.push(
                Fault::new(value.span(), format!("instances can't be `{}`", other.escape_debug()))
                    .help(format!("write: {EXAMPLE}")),
            );
            return None;
        }
        None => {}
    }
    let default = Reuse::default();
    let mut table = raw::table(value, "instances", EXAMPLE, faults)?;
    let requests = table.get("requests").map_or(Some(default.requests), |value| {
        number(value, "requests", Reuse::MAX_REQUESTS, faults)
    });
    let idle = table.get("idle").map_or(Some(default.idle), |value| idle(value, faults));
    let calls = table
        .get("calls")
        .map_or(Some(default.calls), |value| number(value, "calls", Reuse::MAX_CALLS, faults));
    table.finish(faults);
    Some(Instances::Reused(Reuse { requests: requests?, idle: idle?, calls: calls? }))
}

fn number(value: Value<'_>, what: &str, max: u32, faults: &mut Vec<Fault>) -> Option<NonZeroU32> {
    let number = raw::integer(value, EXAMPLE, faults)?;
    let found = u32::try_from(number).ok().filter(|number| *number <= max);
    let found = found.and_then(NonZeroU32::new);
    if found.is_none() {
        faults.push(
            Fault::new(value.span(), format!("{what} is at least 1 and at most {max}"))
                .help(format!("write: {EXAMPLE}")),
        );
    }
    found
}

fn idle(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Duration> {
    let text = raw::string(value, EXAMPLE, faults)?;
    let time = humantime::parse_duration(text).ok().filter(|time| *time <= Reuse::MAX_IDLE);
    if time.is_none() {
        let max = humantime::format_duration(Reuse::MAX_IDLE);
        faults.push(
            Fault::new(value.span(), format!("idle is a time of at most {max}"))
                .help(format!("write: {EXAMPLE}")),
        );
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::App;

    fn parse(instances: &str) -> Result<Instances, String> {
        let text =
            format!("name = \"a\"\n[component.a]\nsource = \"a.wasm\"\ninstances = {instances}\n");
        let app = App::parse("dhow.toml", &text).map_err(|faults| {
            faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; ")
        })?;
        Ok(app.components().values().next().unwrap().instances)
    }

    #[test]
    fn instances_are_fresh_or_reused_within_bounds() {
        assert_eq!(parse("\"fresh\""), Ok(Instances::Fresh));
        assert_eq!(parse("\"reused\""), Ok(Instances::Reused(Reuse::default())));
        let reuse = Reuse {
            requests: NonZeroU32::new(5).unwrap(),
            idle: Duration::from_secs(2),
            calls: NonZeroU32::new(3).unwrap(),
        };
        let text = r#"{ requests = 5, idle = "2s", calls = 3 }"#;
        assert_eq!(parse(text), Ok(Instances::Reused(reuse)));
    }

    #[test]
    fn what_is_out_of_bounds_is_a_fault() {
        for (text, message) in [
            ("\"always\"", "instances can't be `always`"),
            ("{ requests = 0 }", "requests is at least 1 and at most 1000000"),
            ("{ calls = 129 }", "calls is at least 1 and at most 128"),
            ("{ idle = \"1day\" }", "idle is a time of at most 1h"),
            ("{ idle = 5 }", "expected a string, found an integer"),
            ("{ request = 1 }", "unknown key `request` in instances"),
            ("7", "expected a table, found an integer"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
