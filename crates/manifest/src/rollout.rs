//! How a new revision takes the place of the one before: the app's `rollout`.

use std::{fmt, time::Duration};

use crate::{
    Fault, Limits,
    raw::{self, Table, Value},
};

/// How a new revision takes the place of the one before: it gets a part of the requests for a time,
/// and the rest when it kept within the bounds. It has one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The part of the requests that it gets at first, in percent: 1 to 99.
    pub canary: u8,
    /// For how long.
    pub time: Duration,
    /// The most of its responses that may have a status of 5xx.
    pub errors: Option<Percent>,
    /// The longest that 99 of 100 of its responses may take until their head.
    pub latency: Option<Duration>,
}

impl Rollout {
    /// Enough to see a fault that many requests have, and nine in ten clients see nothing of it.
    pub const DEFAULT_CANARY: u8 = 10;
    /// As long as an operator watches.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(60);
    /// Less is no time to count in.
    pub const MIN_TIME: Duration = Duration::from_secs(1);
    /// Longer than a day, a revision is no trial.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
}

/// A part of a whole, in thousandths of a percent: 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// The whole.
    pub const WHOLE: Self = Self(100_000);

    /// So many thousandths of a percent, where they are no more than the whole.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        Some(Self(thousandths)).filter(|percent| *percent <= Self::WHOLE)
    }

    /// The thousandths of a percent.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// Whether `part` is more of `whole` than this.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::WHOLE.0) > u128::from(whole) * u128::from(self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        raw::fmt_thousandths(self.0, f)?;
        f.write_str("%")
    }
}

const EXAMPLE: &str = "[rollout]\ncanary = 10\ntime = \"1min\"\nerrors = 1.0\nlatency = \"500ms\"";

/// Reads the value of `rollout`.
pub(crate) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Rollout> {
    let mut table = raw::table(value, "a rollout", EXAMPLE, faults)?;
    let canary = table
        .get("canary")
        .map_or(Some(Rollout::DEFAULT_CANARY), |value| read_canary(value, faults));
    let time =
        table.get("time").map_or(Some(Rollout::DEFAULT_TIME), |value| read_time(value, faults));
    let is_bounded = has_bound(&mut table);
    let errors = table.get("errors").and_then(|value| read_errors(value, faults));
    let latency = table
        .get("latency")
        .and_then(|value| raw::parsed(value, r#"latency = "500ms""#, faults, Limits::parse_time));
    table.finish(faults);
    if !is_bounded {
        faults.push(
            Fault::new(value.span(), "the rollout has no bound: every revision would keep to it")
                .help(r#"write: errors = 1.0, or latency = "500ms", or both"#),
        );
    }
    Some(Rollout { canary: canary?, time: time?, errors, latency })
}

/// By what is written: one that has a fault of its own is a bound all the same.
fn has_bound(table: &mut Table<'_>) -> bool {
    ["errors", "latency"].into_iter().any(|key| table.get(key).is_some())
}

fn read_canary(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<u8> {
    const EXAMPLE: &str = "canary = 10";
    let number = raw::integer(value, EXAMPLE, faults)?;
    let canary = u8::try_from(number).ok().filter(|percent| (1..=99).contains(percent));
    if canary.is_none() {
        faults.push(
            Fault::new(value.span(), "canary is at least 1 and at most 99 percent")
                .help(format!("write: {EXAMPLE}")),
        );
    }
    canary
}

fn read_time(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Duration> {
    raw::parsed(value, r#"time = "1min""#, faults, |text| {
        let (min, max) = (Rollout::MIN_TIME, Rollout::MAX_TIME);
        let time = humantime::parse_duration(text).ok();
        time.filter(|time| (min..=max).contains(time)).ok_or_else(|| {
            let [min, max] = [min, max].map(humantime::format_duration);
            format!("time is at least {min} and at most {max}")
        })
    })
}

fn read_errors(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Percent> {
    const EXAMPLE: &str = "errors = 1.0";
    let thousandths = raw::thousandths(value, EXAMPLE, faults)?;
    let errors = u32::try_from(thousandths).ok().and_then(Percent::from_thousandths);
    if errors.is_none() {
        faults.push(
            Fault::new(value.span(), "errors is at least 0 and at most 100 percent")
                .help(format!("write: {EXAMPLE}")),
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::App;

    fn parse(rollout: &str) -> Result<Rollout, String> {
        let text =
            format!("name = \"a\"\nrollout = {rollout}\n[component.a]\nsource = \"a.wasm\"\n");
        let app = App::parse("dhow.toml", &text).map_err(|faults| {
            faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; ")
        })?;
        Ok(app.rollout().unwrap().clone())
    }

    #[test]
    fn rollouts() {
        let rollout = Rollout {
            canary: 10,
            time: Duration::from_secs(60),
            errors: Some(Percent(1_500)),
            latency: None,
        };
        assert_eq!(parse("{ errors = 1.5 }"), Ok(rollout));
        let rollout = Rollout {
            canary: 99,
            time: Duration::from_secs(1),
            errors: Some(Percent(0)),
            latency: Some(Duration::from_millis(500)),
        };
        let text = r#"{ canary = 99, time = "1s", errors = 0, latency = "500ms" }"#;
        assert_eq!(parse(text), Ok(rollout));
        assert_eq!(parse("{ errors = 100 }").unwrap().errors, Some(Percent::WHOLE));
    }

    #[test]
    fn what_is_no_rollout() {
        let errors = "errors is at least 0 and at most 100 percent";
        let no_bound = "the rollout has no bound: every revision would keep to it";
        for (text, message) in [
            ("1", "expected a table, found an integer"),
            ("{}", no_bound),
            ("{ time = \"30s\" }", no_bound),
            ("{ errors = -0.0001 }", errors),
            ("{ errors = 100.1 }", errors),
            ("{ errors = nan }", errors),
            ("{ errors = \"1%\" }", "expected a number, found a string"),
            ("{ errors = 1, canary = 0 }", "canary is at least 1 and at most 99 percent"),
            ("{ errors = 1, canary = 100 }", "canary is at least 1 and at most 99 percent"),
            ("{ errors = 1, canary = 1.5 }", "expected an integer, found a float"),
            ("{ errors = 1, time = \"500ms\" }", "`500ms`: time is at least 1s and at most 1day"),
            ("{ errors = 1, time = \"2days\" }", "`2days`: time is at least 1s and at most 1day"),
            ("{ latency = \"fast\" }", "`fast`: a time is a number with a unit: ms, s or min"),
            ("{ error = 1, latency = \"1s\" }", "unknown key `error` in a rollout"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_more_than_a_part() {
        for (thousandths, part, whole, expected) in [
            (1_000, 1, 100, false),
            (1_000, 2, 100, true),
            (0, 1, u64::MAX, true),
            (0, 0, 0, false),
            (100_000, u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(Percent(thousandths).is_exceeded_by(part, whole), expected);
        }
        assert_eq!(Percent(1_500).to_string(), "1.5%");
    }
}
