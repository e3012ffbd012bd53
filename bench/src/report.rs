//! What the runs came to, as a table.

use std::fmt::Write as _;

use serde::Serialize;

use crate::load::{Latencies, Layout, Measured};

/// All that was measured.
#[derive(Serialize)]
pub struct Report {
    pub tables: Vec<Table>,
    pub latencies: AtRate,
}

/// Latencies at a fixed rate, for each server the medians of its runs.
#[derive(Serialize)]
pub struct AtRate {
    rate: f64,
    rows: Vec<(String, Latencies)>,
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut text: String = self.tables.iter().map(|table| table.markdown() + "\n").collect();
        text.push_str(&self.latencies.markdown());
        text
    }
}

impl AtRate {
    pub fn new(rate: f64, found: &[(String, Vec<Latencies>)]) -> Self {
        let median = |runs: &[Latencies], value: fn(&Latencies) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let row = |(name, runs): &(String, Vec<Latencies>)| {
            let latencies = Latencies {
                p50: median(runs, |run| run.p50),
                p99: median(runs, |run| run.p99),
                p999: median(runs, |run| run.p999),
            };
            (name.clone(), latencies)
        };
        Self { rate, rows: found.iter().map(row).collect() }
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "Latency at {:.0} requests/s, half of what the second can do on one core\n\n\
             | server | p50 | p99 | p99.9 | p99 of the first |\n|---|---:|---:|---:|---:|\n",
            self.rate
        );
        let first = self.rows.first().map_or(f64::NAN, |(_, latencies)| latencies.p99);
        for (name, Latencies { p50, p99, p999 }) in &self.rows {
            let of_first = p99 / first;
            let _ = writeln!(
                text,
                "| {name} | {p50:.0} us | {p99:.0} us | {p999:.0} us | {of_first:.1} |"
            );
        }
        text
    }
}

/// The servers in one layout. The first is what the others are compared with.
#[derive(Serialize)]
pub struct Table {
    layout: Layout,
    rows: Vec<Row>,
}

/// The medians of one server's runs.
#[derive(Serialize)]
struct Row {
    name: String,
    median: Measured,
    /// The part of the first server's rate.
    of_first: f64,
    /// How far the runs lay apart: (maximum - minimum) / median of the rate.
    noise: f64,
    runs: Vec<Measured>,
}

impl Table {
    pub fn new(layout: Layout, found: Vec<(String, Vec<Measured>)>) -> Self {
        let first = found.first().map_or(f64::NAN, |(_, runs)| median_rate(runs));
        let rows = found
            .into_iter()
            .map(|(name, runs)| {
                let rate = median_rate(&runs);
                let rates = || runs.iter().map(|run| run.rate);
                let spread = rates().fold(f64::MIN, f64::max) - rates().fold(f64::MAX, f64::min);
                Row {
                    name,
                    median: median(&runs),
                    of_first: rate / first,
                    noise: spread / rate,
                    runs,
                }
            })
            .collect();
        Self { layout, rows }
    }

    /// The median rate of the server in this row.
    pub fn rate_of(&self, row: usize) -> Option<f64> {
        self.rows.get(row).map(|row| row.median.rate)
    }

    fn markdown(&self) -> String {
        let title = match self.layout {
            Layout::OneCoreEach => "One core for the server, one for the load",
            Layout::Shared => "Both cores shared by server and load",
        };
        let mut text = format!(
            "{title}\n\n\
             | server | requests/s | of the first | p50 | p99 | p99.9 | CPU per request | RSS | noise |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        );
        for Row { name, median, of_first, noise, runs } in &self.rows {
            let Measured { rate, p50, p99, p999, cpu, memory } = median;
            let _ = writeln!(
                text,
                "| {name} | {rate:.0} | {of_first:.2} | {p50:.0} us | {p99:.0} us | {p999:.0} us \
                 | {cpu:.1} us | {memory:.0} MiB | {:.0} % of {} runs |",
                noise * 100.0,
                runs.len()
            );
        }
        text
    }
}

/// The median of the rates; 0 where there are none yet.
pub fn median_rate(runs: &[Measured]) -> f64 {
    median_of(runs, |run| run.rate)
}

fn median(runs: &[Measured]) -> Measured {
    Measured {
        rate: median_of(runs, |run| run.rate),
        p50: median_of(runs, |run| run.p50),
        p99: median_of(runs, |run| run.p99),
        p999: median_of(runs, |run| run.p999),
        cpu: median_of(runs, |run| run.cpu),
        memory: median_of(runs, |run| run.memory),
    }
}

fn median_of(runs: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
