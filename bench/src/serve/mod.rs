//! The production server under what it is made for: changes while it answers, many apps, tenants who mean
//! ill, and its own sudden end.
//!
//! Each measurement starts a server of its own, as a process, and speaks to it by sockets only.

mod api;
mod apps;
mod clients;
mod hostile;
mod instances;
mod kills;
mod load;
mod program;
mod report;
mod server;
mod swaps;

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;

use report::Report;
use server::Program;

pub use clients::witness;

/// What is measured where nothing is said.
const ALL: [&str; 5] = ["swaps", "kills", "hostile", "apps", "instances"];

/// Measures what `names` say, or everything, of the server `dhow`, and writes RESULTS.json and
/// RESULTS.md. What is not measured again stays there as it was.
pub fn run(results: &str, dhow: &str, names: &[&str]) -> Result<()> {
    let mut report = Report::read(results)?;
    let program = Program(Path::new(dhow).canonicalize().with_context(|| dhow.to_owned())?);
    let names = if names.is_empty() { &ALL[..] } else { names };
    for name in names {
        eprintln!("{name}");
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let found = runtime.block_on(async {
            match *name {
                "swaps" => swaps::measure(&program).await,
                "kills" => kills::measure(&program).await,
                "hostile" => hostile::measure(&program).await,
                "apps" => apps::measure(&program).await,
                "instances" => instances::measure(&program).await,
                _ => anyhow::bail!("no such measurement: {name}; there are {ALL:?}"),
            }
        })?;
        // What clients still wait for is of no interest any more.
        runtime.shutdown_background();
        report.replace(name, found);
        report.write(results)?;
        println!("{}", report.markdown(Some(name)));
    }
    Ok(())
}
