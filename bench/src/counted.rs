//! The hot path, for counting its instructions: runs one case so many times inside of [`measured`],
//! which is where callgrind is told to look.

use anyhow::{Context as _, Result, bail};
use tokio::runtime::{Builder, Runtime};

use crate::{
    capabilities,
    live::{FRESH, HELLO_P2, HELLO_P3, Live, REUSED, SHARED},
};

/// What is run before counting begins: caches are warm then.
const WARM_UP: usize = 20;

#[derive(Clone, Copy)]
enum Case<'a> {
    Instantiate,
    /// For this path.
    Request(&'a str),
}

/// Runs `case`, which is WHAT-p2 or WHAT-p3, a request that calls another component by name, the path of any request to
/// an app of several components, or p2:ADDRESS or p3:ADDRESS, where a hundred requests are sent to.
pub fn run_case(case: &str, count: &str) -> Result<()> {
    let count: usize = count.parse().context("COUNT")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let sent;
    let (live, case) = match case {
        "call-by-name" => (Live::joined()?, Case::Request("/by-name/1/hello")),
        path if path.starts_with('/') => (Live::joined()?, Case::Request(path)),
        _ => match case.split_once(':') {
            Some((version, address)) => {
                sent = format!("/http/100?{address}/x");
                (capabilities::requests(version, address)?, Case::Request(&sent))
            }
            None => of_hello(case)?,
        },
    };
    run(&runtime, &live, case, WARM_UP);
    measured(&runtime, &live, case, count);
    Ok(())
}

fn of_hello(case: &str) -> Result<(Live, Case<'static>)> {
    let (what, version) = case.split_once('-').context("CASE is WHAT-p2 or WHAT-p3")?;
    let (case, instances) = match what {
        "instantiate" => (Case::Instantiate, FRESH),
        "cold" => (Case::Request("/"), FRESH),
        "warm" => (Case::Request("/"), REUSED),
        "shared" => (Case::Request("/"), SHARED),
        _ => bail!("no such case"),
    };
    let path = if version == "p2" { HELLO_P2 } else { HELLO_P3 };
    Ok((Live::new(path, instances)?, case))
}

#[inline(never)]
fn measured(runtime: &Runtime, live: &Live, case: Case<'_>, count: usize) {
    run(runtime, live, case, count);
}

fn run(runtime: &Runtime, live: &Live, case: Case<'_>, count: usize) {
    runtime.block_on(async {
        for _ in 0..count {
            match case {
                Case::Instantiate => live.instantiate().await,
                Case::Request(path) => {
                    live.request(path).await;
                }
            }
        }
    });
}
