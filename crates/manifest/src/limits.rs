//! What one component may use at most. Every limit here is enforced.

use std::{fmt, time::Duration};

use thiserror::Error;

/// The limits of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory and tables of one instance in total, over all of its memories.
    pub memory: MemorySize,
    /// The longest that one invocation may keep its caller waiting: for the head of the response,
    /// then for each further piece of its body, then for what it does after the response.
    pub time: Duration,
    /// Invocations of the component at the same time; more are refused at once.
    pub concurrency: u32,
}

impl Limits {
    /// Enough for a guest of a garbage-collected language to start and answer.
    pub const DEFAULT_MEMORY: MemorySize = MemorySize(128 << 20);
    /// As long as most clients and proxies wait.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(30);
    /// More than a small machine can run at once, and few enough to hold in memory.
    pub const DEFAULT_CONCURRENCY: u32 = 1_000;

    /// One page of WebAssembly memory: nothing runs with less.
    pub const MIN_MEMORY: MemorySize = MemorySize(64 << 10);
    /// A 32-bit memory has 4 GiB, and a component may have several.
    pub const MAX_MEMORY: MemorySize = MemorySize(16 << 30);
    /// Below the resolution with which deadlines are kept.
    pub const MIN_TIME: Duration = Duration::from_millis(1);
    /// Longer work is no answer to a request.
    pub const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
    /// Above what one process can hold in instances.
    pub const MAX_CONCURRENCY: u32 = 100_000;

    pub(crate) fn parse_memory(text: &str) -> Result<MemorySize, LimitsError> {
        let size: MemorySize = text.parse()?;
        if (Self::MIN_MEMORY..=Self::MAX_MEMORY).contains(&size) {
            Ok(size)
        } else {
            Err(LimitsError::MemoryRange)
        }
    }

    pub(crate) fn parse_time(text: &str) -> Result<Duration, LimitsError> {
        let time = humantime::parse_duration(text).map_err(|_| LimitsError::TimeSyntax)?;
        if (Self::MIN_TIME..=Self::MAX_TIME).contains(&time) {
            Ok(time)
        } else {
            Err(LimitsError::TimeRange)
        }
    }

    pub(crate) fn check_concurrency(number: i64) -> Result<u32, LimitsError> {
        u32::try_from(number)
            .ok()
            .filter(|number| (1..=Self::MAX_CONCURRENCY).contains(number))
            .ok_or(LimitsError::ConcurrencyRange)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Self::DEFAULT_MEMORY,
            time: Self::DEFAULT_TIME,
            concurrency: Self::DEFAULT_CONCURRENCY,
        }
    }
}

/// A number of bytes that is written with a unit: `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(u64);

impl MemorySize {
    /// A size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

impl std::str::FromStr for MemorySize {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), *bytes)))
            .ok_or(LimitsError::MemorySyntax)?;
        // `u64::from_str` takes a leading `+`, which is no part of a size.
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(LimitsError::MemorySyntax);
        }
        let number: u64 = number.parse().map_err(|_| LimitsError::MemorySyntax)?;
        number.checked_mul(unit).map(Self).ok_or(LimitsError::MemoryRange)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, bytes) = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes))
            .unwrap_or((" bytes", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

/// A limit that can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LimitsError {
    /// Not a number with a unit.
    #[error("a size is a whole number with a unit: KiB, MiB or GiB")]
    MemorySyntax,
    /// Out of range.
    #[error("memory is at least {} and at most {}", Limits::MIN_MEMORY, Limits::MAX_MEMORY)]
    MemoryRange,
    /// Not a duration.
    #[error("a time is a number with a unit: ms, s or min")]
    TimeSyntax,
    /// Out of range.
    #[error(
        "time is at least {} and at most {}",
        humantime::format_duration(Limits::MIN_TIME),
        humantime::format_duration(Limits::MAX_TIME)
    )]
    TimeRange,
    /// Out of range.
    #[error("concurrency is at least 1 and at most {}", Limits::MAX_CONCURRENCY)]
    ConcurrencyRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_print_as_they_are_written() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("64 KiB", 64 << 10)] {
            let size: MemorySize = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string(), text.replace(' ', ""));
        }
        assert_eq!("10MB".parse(), Ok(MemorySize(10_000_000)));
        for bad in ["", "64", "MiB", "-1MiB", "+1MiB", "1.5GiB", "64mb", "1TiB"] {
            assert_eq!(bad.parse::<MemorySize>(), Err(LimitsError::MemorySyntax), "{bad}");
        }
        assert_eq!("99999999999GiB".parse::<MemorySize>(), Err(LimitsError::MemoryRange));
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(Limits::parse_memory("1KiB"), Err(LimitsError::MemoryRange));
        assert_eq!(Limits::parse_memory("17GiB"), Err(LimitsError::MemoryRange));
        assert_eq!(Limits::parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(Limits::parse_time("500"), Err(LimitsError::TimeSyntax));
        assert_eq!(Limits::parse_time("0s"), Err(LimitsError::TimeRange));
        assert_eq!(Limits::parse_time("2days"), Err(LimitsError::TimeRange));
        assert_eq!(Limits::check_concurrency(0), Err(LimitsError::ConcurrencyRange));
        assert_eq!(Limits::check_concurrency(-1), Err(LimitsError::ConcurrencyRange));
        assert_eq!(Limits::check_concurrency(64), Ok(64));
    }
}
