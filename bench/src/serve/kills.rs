//! A server that is killed while it changes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dhow_api::Deploy;
use tokio::time::sleep;

use super::{
    clients::get,
    program::{Hello, build_of, manifest},
    report::{Findings, median, millis, percentile},
    server::{Program, Server, data},
};

const KILLS: u32 = 200;
const HOST: &str = "app.localhost";

/// A deploy takes about as long.
const LONGEST: u64 = 200;

pub async fn measure(program: &Program) -> Result<Findings> {
    let folder = tempfile::tempdir()?;
    let mut run = Run::new()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut files = Vec::new();
    for build in 1..=KILLS + 1 {
        let server = program.start(folder.path(), "", &[])?;
        run.check(&server, build).await?;
        // The first has all the time that it needs.
        let time = if build == 1 { 5_000 } else { random.next() % LONGEST };
        run.deploy(server, build, Duration::from_millis(time)).await?;
        if build % 50 == 1 {
            files.push(count(&data(folder.path()))?);
        }
    }
    let server = program.start(folder.path(), "", &[])?;
    run.check(&server, KILLS + 2).await?;
    let mut findings = Findings::default();
    findings.add("kills at a random moment of a deploy", f64::from(KILLS), "");
    findings.add("of these after the deploy was acknowledged", f64::from(run.acknowledged), "");
    findings.add("of the others, deploys that were made all the same", f64::from(run.made), "");
    findings.goal("wrong or no answers after the start", f64::from(run.wrong), "", 0.0);
    findings.add("from start to listening, p50", median(&run.startups), "ms");
    findings.add("the longest", percentile(&run.startups, 100.0), "ms");
    findings.add("from start to the first answer, p50", median(&run.answers), "ms");
    findings.add("the longest", percentile(&run.answers, 100.0), "ms");
    for (index, (all, unfinished)) in files.into_iter().enumerate() {
        findings.add(format!("files in the data folder after {} kills", index * 50), all, "");
        findings.add("of these unfinished", unfinished, "");
    }
    Ok(findings)
}

struct Run {
    hello: Hello,
    /// The builds that may answer.
    allowed: Vec<u32>,
    acknowledged: u32,
    made: u32,
    wrong: u32,
    startups: Vec<f64>,
    answers: Vec<f64>,
}

impl Run {
    fn new() -> Result<Self> {
        Ok(Self {
            hello: Hello::read()?,
            allowed: Vec::new(),
            acknowledged: 0,
            made: 0,
            wrong: 0,
            startups: Vec::new(),
            answers: Vec::new(),
        })
    }

    /// Looks whether the right build answers, after a start.
    async fn check(&mut self, server: &Server, build: u32) -> Result<()> {
        if build == 1 {
            return Ok(());
        }
        let start = Instant::now();
        let answer = get(server.address, HOST, "/").await;
        let found = answer.as_ref().ok().and_then(|(_, text)| build_of(text));
        match found.filter(|found| self.allowed.contains(found)) {
            Some(found) => {
                if self.allowed.len() > 1 && self.allowed.last() == Some(&found) {
                    self.made += 1;
                }
                self.allowed = vec![found];
            }
            None => {
                eprintln!("  before {build}: {answer:?}, and not one of {:?}", self.allowed);
                self.wrong += 1;
            }
        }
        self.startups.push(millis(server.startup));
        self.answers.push(millis(server.startup + start.elapsed()));
        Ok(())
    }

    /// Deploys `build`, and kills the server after `time`.
    async fn deploy(&mut self, server: Server, build: u32, time: Duration) -> Result<()> {
        let mut api = server.api().await?;
        let component = self.hello.build(build)?;
        let deploy = async {
            let components = [("main".to_owned(), api.upload(component).await?)].into();
            let manifest = Some(manifest("app", "memory = \"16MiB\""));
            api.deploy("app", &Deploy { manifest, components, ..Deploy::default() }).await
        };
        let deploy = async {
            let deployed = deploy.await;
            if build > 1 {
                sleep(time).await; // It is killed at its time.
            }
            deployed
        };
        self.allowed.push(build);
        let mut deploy = std::pin::pin!(deploy);
        let is_acknowledged = tokio::select! {
            deployed = &mut deploy => deployed.map(|_| true)?,
            () = sleep(time) => false,
        };
        server.kill()?;
        if is_acknowledged {
            self.allowed = vec![build];
            self.acknowledged += 1;
        }
        Ok(())
    }
}

/// All files, and those that were not finished.
fn count(folder: &Path) -> Result<(f64, f64)> {
    let (mut all, mut unfinished) = (0.0, 0.0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (of_all, of_unfinished) = count(&entry.path())?;
            (all, unfinished) = (all + of_all, unfinished + of_unfinished);
        } else {
            all += 1.0;
            let name = entry.file_name();
            let name = name.to_str().context("a name of the server's own")?;
            unfinished += f64::from(name.starts_with('.') || name.ends_with(".tmp"));
        }
    }
    Ok((all, unfinished))
}

/// Marsaglia's xorshift: the same moments in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
