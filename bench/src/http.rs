//! End to end: each server in turn, alternating, under the same load, on the same machine.
//!
//! `bench-http RESULTS SERVER...` where a server is `NAME=COMMAND`; the command gets the address to
//! listen on in the place of `{address}`. Writes RESULTS.json and RESULTS.md. See `cargo xtask bench
//! http`.

mod load;
mod report;
mod server;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use load::{Layout, Measured};
use report::{AtRate, Report, Table};
use server::Server;

/// A round is one measurement of each server.
const MIN_ROUNDS: usize = 3;
const MAX_ROUNDS: usize = 5;
const DURATION: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 64;
/// Medians that move less than this with another round have settled.
const SETTLED: f64 = 0.02;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let results = arguments.next().context("usage: bench-http RESULTS NAME=COMMAND...")?;
    let servers = arguments.map(|text| Server::parse(&text)).collect::<Result<Vec<_>>>()?;
    ensure!(servers.len() > 1, "no server to measure");
    let mut tables = Vec::new();
    for layout in [Layout::OneCoreEach, Layout::Shared] {
        tables.push(Table::new(layout, measure(&servers, layout)?));
    }
    let rate = tables.first().and_then(|table| table.rate_of(1)).context("measured")? / 2.0;
    let latencies = at_rate(servers.get(..2).context("two")?, rate)?;
    let report = Report { tables, latencies };
    println!("{}", report.markdown());
    std::fs::write(format!("{results}.json"), serde_json::to_string_pretty(&report)?)?;
    std::fs::write(format!("{results}.md"), report.markdown())?;
    Ok(())
}

/// Alternates the servers until their medians settle.
fn measure(servers: &[Server], layout: Layout) -> Result<Vec<(String, Vec<Measured>)>> {
    let mut found: Vec<(String, Vec<Measured>)> =
        servers.iter().map(|server| (server.name.clone(), Vec::new())).collect();
    for round in 1..=MAX_ROUNDS {
        let before: Vec<f64> = found.iter().map(|(_, runs)| report::median_rate(runs)).collect();
        for (server, (_, runs)) in servers.iter().zip(&mut found) {
            let measured = load::measure(server, layout, CONNECTIONS, DURATION)?;
            eprintln!("{layout:?} round {round}: {:<28} {:>9.0}/s", server.name, measured.rate);
            runs.push(measured);
        }
        let settled = before.iter().zip(&found).all(|(before, (_, runs))| {
            let now = report::median_rate(runs);
            (now - before).abs() <= now * SETTLED
        });
        if round >= MIN_ROUNDS && settled {
            break;
        }
    }
    Ok(found)
}

/// The same rate for the first server and for the second, at half of what the second can do.
fn at_rate(servers: &[Server], rate: f64) -> Result<AtRate> {
    let mut found: Vec<_> =
        servers.iter().map(|server| (server.name.clone(), Vec::new())).collect();
    for _ in 0..MIN_ROUNDS {
        for (server, (_, runs)) in servers.iter().zip(&mut found) {
            runs.push(load::at_rate(server, CONNECTIONS, rate, DURATION)?);
        }
    }
    Ok(AtRate::new(rate, &found))
}
