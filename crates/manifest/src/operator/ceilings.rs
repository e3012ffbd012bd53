//! The most that a manifest may ask for.

use std::time::Duration;

use crate::{
    Fault, Limits, LimitsError, MemorySize,
    raw::{self, Table, Value},
};

/// The most that the operator gives to a component, where that is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// For `limits.memory`.
    pub memory: Option<MemorySize>,
    /// For `limits.time`.
    pub time: Option<Duration>,
    /// For `limits.concurrency`.
    pub concurrency: Option<u32>,
    /// For the quota of each folder that can be written to.
    pub quota: Option<MemorySize>,
}

/// More than the operator gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it asks for {key} = {asked}, and the operator gives {given}")]
pub struct AboveCeiling {
    /// What was asked for, as in a manifest.
    pub key: &'static str,
    asked: String,
    given: String,
}

impl AboveCeiling {
    /// What to write instead.
    pub fn help(&self) -> String {
        format!("write: {} = {}", self.key, self.given)
    }
}

impl Ceilings {
    /// What of `limits`, and of the quotas of folders, is more than is given.
    pub fn exceeded(
        &self,
        limits: &Limits,
        quotas: impl Iterator<Item = MemorySize>,
    ) -> Vec<AboveCeiling> {
        let mut above = Vec::new();
        let mut check = |key, is_above: bool, asked: String, given: Option<String>| {
            if let (true, Some(given)) = (is_above, given) {
                above.push(AboveCeiling { key, asked, given });
            }
        };
        let size = |size: MemorySize| format!("{:?}", size.to_string());
        let time = |time| format!("{:?}", humantime::format_duration(time).to_string());
        let Limits { memory, time: asked, concurrency } = *limits;
        check(
            "limits.memory",
            self.memory.is_some_and(|given| memory > given),
            size(memory),
            self.memory.map(size),
        );
        check(
            "limits.time",
            self.time.is_some_and(|given| asked > given),
            time(asked),
            self.time.map(time),
        );
        check(
            "limits.concurrency",
            self.concurrency.is_some_and(|given| concurrency > given),
            concurrency.to_string(),
            self.concurrency.map(|given| given.to_string()),
        );
        for quota in quotas {
            let is_above = self.quota.is_some_and(|given| quota > given);
            check("quota", is_above, size(quota), self.quota.map(size));
        }
        above
    }
}

const EXAMPLE: &str =
    "[limits]\nmemory = \"256MiB\"\ntime = \"1min\"\nconcurrency = 500\nquota = \"10GiB\"";

pub(super) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> Ceilings {
    let Some(mut table) = raw::table(value, "limits", EXAMPLE, faults) else {
        return Ceilings::default();
    };
    let ceilings = Ceilings {
        memory: read_text(&mut table, "memory", faults, Limits::parse_memory),
        time: read_text(&mut table, "time", faults, Limits::parse_time),
        concurrency: table.get("concurrency").and_then(|value| {
            let number = raw::integer(value, EXAMPLE, faults)?;
            checked(value, Limits::check_concurrency(number), faults)
        }),
        quota: read_text(&mut table, "quota", faults, str::parse),
    };
    table.finish(faults);
    ceilings
}

fn read_text<T>(
    table: &mut Table<'_>,
    key: &'static str,
    faults: &mut Vec<Fault>,
    parse: impl Fn(&str) -> Result<T, LimitsError>,
) -> Option<T> {
    let value = table.get(key)?;
    let text = raw::string(value, EXAMPLE, faults)?;
    checked(value, parse(text), faults)
}

fn checked<T>(
    value: Value<'_>,
    result: Result<T, LimitsError>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    result
        .map_err(|error| {
            faults.push(
                Fault::new(value.span(), error.to_string()).help(format!("write: {EXAMPLE}")),
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_is_given() {
        let ceilings = Ceilings {
            memory: Some(MemorySize::from_bytes(64 << 20)),
            time: Some(Duration::from_secs(30)),
            quota: Some(MemorySize::from_bytes(1 << 20)),
            ..Ceilings::default()
        };
        let quotas = [1 << 20, 2 << 20].map(MemorySize::from_bytes);
        let above = ceilings.exceeded(&Limits::default(), quotas.into_iter());
        let said: Vec<_> = above.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "it asks for limits.memory = \"128MiB\", and the operator gives \"64MiB\"",
                "it asks for quota = \"2MiB\", and the operator gives \"1MiB\"",
            ]
        );
        assert_eq!(above[0].help(), "write: limits.memory = \"64MiB\"");
        assert!(Ceilings::default().exceeded(&Limits::default(), quotas.into_iter()).is_empty());
    }
}
