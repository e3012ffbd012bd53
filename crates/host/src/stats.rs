//! What is counted of a revision's requests: all of them, and how the last minute was.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::StatusCode;

/// Counts requests by their outcome and by their time until the head of the response.
#[derive(Default)]
pub struct Stats {
    requests: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    /// Only of what was ever called: a hundred thousand may wait.
    recent: OnceLock<Box<Recent>>,
    all: OnceLock<Box<All>>,
}

/// The times of all requests.
#[derive(Default)]
struct All {
    counts: [AtomicU64; BOUNDS.len()],
    /// In microseconds.
    sum: AtomicU64,
}

/// Up to how many milliseconds requests are counted together, as Prometheus' own clients do; more is beyond
/// all of them.
const BOUNDS: [u64; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// How long requests took, since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// A bound in seconds, and how many were at or below it and above the one before.
    pub buckets: Vec<(f64, u64)>,
    /// All of them together, in seconds.
    pub sum: f64,
}

/// Parts of the last minute, which are used in turn.
const PARTS: u64 = 6;
const PART: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Recent([Slice; PARTS as usize]);

/// What was counted in one part of the time.
struct Slice {
    /// Which part since the process began, from 1; 0 for none yet.
    part: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    times: [AtomicU32; BUCKETS],
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            part: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            times: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

/// Four to each doubling, from a microsecond to a minute: a percentile is known to a tenth.
const BUCKETS: usize = 4 * 26;

/// How a time was.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The requests that were answered.
    pub requests: u64,
    /// Those of them that came to a 5xx.
    pub errors: u64,
    times: Vec<u64>,
}

/// Since when parts of the time are counted.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    elapsed.as_secs() / PART.as_secs() + 1
}

impl Stats {
    /// Counts a request that came to `status` after `time`.
    pub fn record(&self, status: StatusCode, time: Duration) {
        let is_error = status.is_server_error();
        self.requests.fetch_add(1, Relaxed);
        if is_error {
            self.errors.fetch_add(1, Relaxed);
        }
        let all = self.all.get_or_init(Box::default);
        let millis = u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        all.sum.fetch_add(micros, Relaxed);
        let bucket = BOUNDS.iter().position(|bound| millis <= *bound);
        if let Some(count) = bucket.and_then(|bucket| all.counts.get(bucket)) {
            count.fetch_add(1, Relaxed);
        }
        let part = now();
        let recent = self.recent.get_or_init(Box::default);
        if let Some(slice) = recent.0.get((part % PARTS) as usize) {
            slice.record(part, is_error, time);
        }
    }

    /// Counts a request that was refused for want of room: that says nothing about who would have answered.
    pub fn record_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The requests that were refused since the process began.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The requests since the process began.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Those of them that came to a 5xx.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Adds how long all requests took to `histogram`.
    pub fn add_to_histogram(&self, histogram: &mut Histogram) {
        if histogram.buckets.is_empty() {
            histogram.buckets = BOUNDS.iter().map(|millis| (*millis as f64 / 1e3, 0)).collect();
        }
        let Some(all) = self.all.get() else { return };
        histogram.sum += all.sum.load(Relaxed) as f64 / 1e6;
        for ((_, sum), count) in histogram.buckets.iter_mut().zip(&all.counts) {
            *sum += count.load(Relaxed);
        }
    }

    /// Adds how the last minute was to `summary`.
    pub fn add_to(&self, summary: &mut Summary) {
        let Some(recent) = self.recent.get() else { return };
        let oldest = now().saturating_sub(PARTS - 1);
        for slice in recent.0.iter().filter(|slice| slice.part.load(Relaxed) >= oldest) {
            summary.requests += slice.requests.load(Relaxed);
            summary.errors += slice.errors.load(Relaxed);
            summary.times.resize(BUCKETS, 0);
            for (sum, count) in summary.times.iter_mut().zip(&slice.times) {
                *sum += u64::from(count.load(Relaxed));
            }
        }
    }
}

impl Slice {
    fn record(&self, part: u64, is_error: bool, time: Duration) {
        let before = self.part.load(Relaxed);
        // Whoever comes first clears it; what others count meanwhile may be lost, which is little.
        if before != part && self.part.compare_exchange(before, part, Relaxed, Relaxed).is_ok() {
            self.requests.store(0, Relaxed);
            self.errors.store(0, Relaxed);
            self.times.iter().for_each(|count| count.store(0, Relaxed));
        }
        self.requests.fetch_add(1, Relaxed);
        if is_error {
            self.errors.fetch_add(1, Relaxed);
        }
        if let Some(count) = self.times.get(bucket(time)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// The bucket of a time: its power of two in microseconds, and the next two bits.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = micros.ilog2();
    let quarter = ((micros << 2) >> power) & 3;
    (4 * power as usize + quarter as usize).min(BUCKETS - 1)
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: usize) -> f64 {
    let power = f64::from(u32::try_from(bucket / 4).unwrap_or(u32::MAX));
    let quarter = [1.125, 1.375, 1.625, 1.875].get(bucket % 4).copied().unwrap_or(1.0);
    power.exp2() * quarter
}

impl Summary {
    /// The time that so many of all requests did not exceed, `part` from 0 to 1; none where there was no
    /// request.
    pub fn percentile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.times.iter().sum();
        let rank = ((all as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.times.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_secs_f64(middle(bucket) / 1e6));
            }
        }
        None
    }

    /// The requests for each second of the minute.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / (PART * PARTS as u32).as_secs_f64()
    }

    /// The part of them that came to a 5xx, from 0 to 1.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_known_to_a_tenth() {
        let stats = Stats::default();
        for micros in 1..=10_000 {
            stats.record(StatusCode::OK, Duration::from_micros(micros));
        }
        stats.record(StatusCode::BAD_GATEWAY, Duration::from_secs(1_000_000));
        let mut summary = Summary::default();
        stats.add_to(&mut summary);
        assert_eq!((summary.requests, summary.errors), (10_001, 1));
        for (part, micros) in [(0.01, 100.0), (0.5, 5_000.0), (0.99, 9_900.0)] {
            let found = summary.percentile(part).unwrap().as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.15, "{part}: {found}");
        }
        let mut histogram = Histogram::default();
        stats.add_to_histogram(&mut histogram);
        let counts: Vec<_> = histogram.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1_000, 4_000, 5_000, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!((histogram.sum - 1_000_050.005).abs() < 1e-6, "{}", histogram.sum);
        assert!(summary.percentile(1.0).unwrap() > Duration::from_secs(60));
        assert_eq!(Summary::default().percentile(0.5), None);
    }
}
