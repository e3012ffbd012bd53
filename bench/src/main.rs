//! End to end: each server in turn, alternating, under the same load, on the same machine.
//!
//! `bench-http RESULTS.json SERVER...` where a server is `NAME=COMMAND`; the command gets the
//! address to listen on in the place of `{address}`. See `cargo xtask bench http`.

mod load;
mod report;
mod server;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use load::{Layout, Measured};
use server::Server;

/// A round is one measurement of each server.
const MIN_ROUNDS: usize = 3;
const MAX_ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;
/// Medians that move less than this with another round have settled.
const SETTLED: f64 = 0.02;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let results = arguments.next().context("usage: bench-http RESULTS.json NAME=COMMAND...")?;
    let servers = arguments.map(|text| Server::parse(&text)).collect::<Result<Vec<_>>>()?;
    ensure!(!servers.is_empty(), "no server to measure");
    let mut tables = Vec::new();
    for layout in [Layout::OneCoreEach, Layout::Shared] {
        tables.push(report::Table::new(layout, measure(&servers, layout)?));
    }
    for table in &tables {
        println!("{}", table.markdown());
    }
    std::fs::write(&results, serde_json::to_string_pretty(&tables)?)?;
    println!("written: {results}");
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
