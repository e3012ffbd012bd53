//! Revisions that change under load, and who answered what.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dhow_api::{Deploy, Deployed};
use http::StatusCode;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    api::Api,
    clients::{Client, get},
    load::{Load, Protocol, Sent, now},
    program::{Hello, build_of, guest},
    report::{Findings, median, millis, percentile},
    server::{Memory, Program, Server},
};

const APP: &str = "shop";
const HOST: &str = "shop.localhost";
const MANIFEST: &str = r#"
name = "shop"
version = "0.1.0"
[component.hello]
source = "hello.wasm"
limits = { memory = "16MiB", time = "5s" }
[component.slow]
source = "slow.wasm"
limits = { memory = "16MiB", time = "1min" }
[[http]]
path = "/ticks/..."
component = "slow"
[[http]]
path = "/..."
component = "hello"
"#;

const ROUNDS: usize = 4;
const SWAPS: usize = 25;
const PACE: Duration = Duration::from_millis(400);
const QUIET: Duration = Duration::from_secs(8);
/// Longer than a round takes.
const LOAD: Duration = Duration::from_secs(40);
const RATE: u32 = 600;
const STREAMS: usize = 10;
/// How long a canary sings.
const CANARY: Duration = Duration::from_millis(100);

pub async fn measure(program: &Program) -> Result<Findings> {
    let folder = tempfile::tempdir()?;
    let server = program.start(folder.path(), "", &[])?;
    let mut bench = Bench::new(&server).await?;
    let watched = Watched::start(&server);
    let mut rounds = Vec::new();
    let mut memory = vec![server.memory()?];
    for round in 1..=ROUNDS {
        let found = bench.round().await?;
        let Latencies { quiet, swaps, canaries } = found.latencies()?;
        eprintln!("  {round}: p99 {quiet:.2}, swaps {swaps:.2}, canaries {canaries:.2} ms");
        rounds.push(found);
        memory.push(server.memory()?);
    }
    let streams = watched.stop().await?;
    sleep(Duration::from_secs(5)).await;
    memory.push(server.memory()?);
    let mut findings = Findings::default();
    report(&mut findings, &rounds, &streams)?;
    report_swaps(&mut findings, &bench);
    report_memory(&mut findings, &memory);
    files(&mut findings, folder.path())?;
    Ok(findings)
}

/// The app, and what has been done with it.
struct Bench {
    address: SocketAddr,
    api: Api,
    hello: Hello,
    /// The newest build, and the one that has all traffic.
    builds: u32,
    shown: u32,
    history: Vec<Step>,
    /// In milliseconds: from the beginning of the deploy to the first answer, and what the server says of
    /// compiling and linking.
    until_answered: Vec<f64>,
    link: Vec<f64>,
}

/// From when on which builds may answer.
struct Step {
    asked: Instant,
    acknowledged: Instant,
    builds: Vec<u32>,
}

/// An answer, and when it was asked for and was there.
struct Answer {
    asked: Instant,
    answered: Instant,
    build: Option<u32>,
}

struct Round {
    sent: Vec<Sent>,
    /// When the quiet, the swaps and the canaries began, and when those ended.
    times: [f64; 4],
    answers: Vec<Answer>,
    /// Those that no revision with traffic could have given.
    wrong: usize,
}

struct Latencies {
    quiet: f64,
    swaps: f64,
    canaries: f64,
}

impl Bench {
    async fn new(server: &Server) -> Result<Self> {
        let mut bench = Self {
            address: server.address,
            api: server.api().await?,
            hello: Hello::read()?,
            builds: 1,
            shown: 1,
            history: Vec::new(),
            until_answered: Vec::new(),
            link: Vec::new(),
        };
        let hello = bench.api.upload(bench.hello.build(1)?).await?;
        let slow = bench.api.upload(guest("slow")?).await?;
        let components = [("hello".to_owned(), hello), ("slow".to_owned(), slow)].into();
        let manifest = Some(MANIFEST.to_owned());
        let asked = Instant::now();
        bench.api.deploy(APP, &Deploy { manifest, components, ..Deploy::default() }).await?;
        bench.remember(asked, vec![1]);
        let (_, text) = get(server.address, HOST, "/").await?;
        ensure!(build_of(&text) == Some(1), "{text}");
        Ok(bench)
    }

    fn remember(&mut self, asked: Instant, builds: Vec<u32>) {
        self.history.push(Step { asked, acknowledged: Instant::now(), builds });
    }

    async fn round(&mut self) -> Result<Round> {
        let target = (self.address, HOST);
        let loads = [
            Load::start(Protocol::Http1, target, 6, RATE, LOAD)?,
            Load::start(Protocol::Http2, target, 3, RATE, LOAD)?,
        ];
        let checker = Checker::start(self.address);
        sleep(Duration::from_secs(1)).await;
        let mut times = [now(), 0.0, 0.0, 0.0];
        sleep(QUIET).await;
        times[1] = now();
        for _ in 0..SWAPS {
            let next = Instant::now() + PACE;
            self.swap().await?;
            tokio::time::sleep_until(next.into()).await;
        }
        times[2] = now();
        for _ in 0..SWAPS {
            let next = Instant::now() + PACE;
            self.canary().await?;
            tokio::time::sleep_until(next.into()).await;
        }
        times[3] = now();
        let answers = checker.stop().await?;
        let finish = move || loads.into_iter().map(Load::finish).collect::<Result<Vec<_>>>();
        let sent = tokio::task::spawn_blocking(finish).await??;
        let sent = sent.into_iter().flatten().collect();
        let wrong = answers.iter().filter(|answer| !self.is_right(answer)).count();
        Ok(Round { sent, times, answers, wrong })
    }

    async fn deploy(&mut self, no_traffic: bool) -> Result<Deployed> {
        self.builds += 1;
        let digest = self.api.upload(self.hello.build(self.builds)?).await?;
        let components = [("hello".to_owned(), digest)].into();
        self.api.deploy(APP, &Deploy { components, no_traffic, ..Deploy::default() }).await
    }

    /// Another build gets all the traffic.
    async fn swap(&mut self) -> Result<()> {
        let build = self.builds + 1;
        let digest = self.api.upload(self.hello.build(build)?).await?;
        let components = [("hello".to_owned(), digest)].into();
        let asked = Instant::now();
        let probe = tokio::spawn(until_answered(self.address, build));
        let deployed = self.api.deploy(APP, &Deploy { components, ..Deploy::default() }).await?;
        self.remember(asked, vec![build]);
        (self.builds, self.shown) = (build, build);
        let answered = probe.await??;
        self.until_answered.push(millis(answered.duration_since(asked)));
        self.link.push(deployed.link_ms as f64);
        Ok(())
    }

    /// Another build gets a part of the traffic for a while.
    async fn canary(&mut self) -> Result<()> {
        let revision = self.deploy(true).await?.revision.context("a revision")?;
        let before = self.api.get(&format!("/v1/apps/{APP}/revisions")).await?;
        let before: dhow_api::Revisions = serde_json::from_slice(&before)?;
        let whole = before.revisions.iter().find(|it| it.percent == 100).context("one has it")?;
        let asked = Instant::now();
        self.api.share(APP, &[(whole.number, 90), (revision, 10)]).await?;
        self.remember(asked, vec![self.shown, self.builds]);
        sleep(CANARY).await;
        let asked = Instant::now();
        self.api.roll_back(APP).await?;
        self.remember(asked, vec![self.shown]);
        Ok(())
    }

    /// Whether a revision that had traffic while it was asked for has given the answer.
    fn is_right(&self, answer: &Answer) -> bool {
        let Some(build) = answer.build else { return false };
        self.history.iter().enumerate().any(|(index, step)| {
            let next = self.history.get(index + 1);
            let is_over = next.is_some_and(|next| next.acknowledged < answer.asked);
            step.builds.contains(&build) && step.asked <= answer.answered && !is_over
        })
    }
}

/// When `build` first answers.
async fn until_answered(address: SocketAddr, build: u32) -> Result<Instant> {
    let mut client = Client::connect(address, HOST).await?;
    loop {
        let (_, text) = client.get("/").await?;
        if build_of(&text) == Some(build) {
            return Ok(Instant::now());
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Asks some hundred times a second, and remembers the answers.
struct Checker {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Answer>>,
}

impl Checker {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut answers = Vec::new();
            let mut client = None;
            while !stopped.load(Relaxed) {
                let asked = Instant::now();
                if client.is_none() {
                    client = Client::connect(address, HOST).await.ok();
                }
                let answer = match &mut client {
                    Some(client) => client.get("/").await.ok(),
                    None => None,
                };
                let build = answer.and_then(|(_, text)| build_of(&text));
                if build.is_none() {
                    client = None;
                }
                answers.push(Answer { asked, answered: Instant::now(), build });
                sleep(Duration::from_millis(3)).await;
            }
            answers
        });
        Self { stop, task }
    }

    async fn stop(self) -> Result<Vec<Answer>> {
        self.stop.store(true, Relaxed);
        Ok(self.task.await?)
    }
}

/// Responses that are under way all the time.
struct Watched {
    stop: Arc<AtomicBool>,
    counts: Arc<Streams>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Streams {
    whole: AtomicU64,
    broken: AtomicU64,
}

impl Watched {
    fn start(server: &Server) -> Self {
        let (stop, counts) = (Arc::<AtomicBool>::default(), Arc::<Streams>::default());
        let address = server.address;
        let task = |_| {
            let (stop, counts) = (stop.clone(), counts.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    let answer = get(address, HOST, "/ticks/200").await;
                    let is_whole = answer.is_ok_and(|(status, text)| {
                        status == StatusCode::OK && text.lines().count() == 10
                    });
                    let count = if is_whole { &counts.whole } else { &counts.broken };
                    count.fetch_add(1, Relaxed);
                }
            })
        };
        let tasks = (0..STREAMS).map(task).collect();
        Self { stop, counts, tasks }
    }

    async fn stop(self) -> Result<Arc<Streams>> {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(self.counts)
    }
}

impl Round {
    /// The 99th percentiles, in milliseconds.
    fn latencies(&self) -> Result<Latencies> {
        let [quiet, swaps, canaries, end] = self.times;
        let between = |from: f64, to: f64| {
            let sent = self.sent.iter().filter(|sent| (from..to).contains(&sent.at));
            percentile(&sent.map(|sent| sent.took).collect::<Vec<_>>(), 99.0)
        };
        ensure!(self.sent.iter().any(|sent| sent.at > end), "the load came to its end too early");
        Ok(Latencies {
            quiet: between(quiet, swaps),
            swaps: between(swaps, canaries),
            canaries: between(canaries, end),
        })
    }
}

fn report(findings: &mut Findings, rounds: &[Round], streams: &Streams) -> Result<()> {
    let all = || rounds.iter().flat_map(|round| &round.sent);
    let answers = || rounds.iter().flat_map(|round| &round.answers);
    findings.add("swaps, and as many canaries", (ROUNDS * SWAPS) as f64, "");
    findings.add("requests by HTTP/1.1 and HTTP/2 meanwhile", all().count() as f64, "");
    let failed = all().filter(|sent| !sent.is_answered).count();
    findings.goal("of these failed", failed as f64, "", 0.0);
    findings.add("answers that were looked at", answers().count() as f64, "");
    let unanswered = answers().filter(|answer| answer.build.is_none()).count();
    findings.goal("of these failed", unanswered as f64, "", 0.0);
    let wrong: usize = rounds.iter().map(|round| round.wrong).sum();
    let what = "of these came from a revision without traffic";
    findings.goal(what, wrong.saturating_sub(unanswered) as f64, "", 0.0);
    findings.add("streams of 2 s that came whole", streams.whole.load(Relaxed) as f64, "");
    findings.goal("of these broke off", streams.broken.load(Relaxed) as f64, "", 0.0);
    let latencies = rounds.iter().map(Round::latencies).collect::<Result<Vec<_>>>()?;
    let of = |value: fn(&Latencies) -> f64| -> Vec<f64> { latencies.iter().map(value).collect() };
    let quiet = of(|it| it.quiet);
    findings.add("p99 without changes, median of rounds", median(&quiet), "ms");
    let spread = percentile(&quiet, 100.0) / percentile(&quiet, 0.0);
    findings.add("noise: the largest of these for the smallest", spread, "x");
    findings.add("p99 with 2.5 swaps a second", median(&of(|it| it.swaps)), "ms");
    let ratio = median(&of(|it| it.swaps / it.quiet));
    findings.goal("ratio within a round, median", ratio, "x", 2.0);
    findings.add("p99 with 2.5 canaries a second", median(&of(|it| it.canaries)), "ms");
    let ratio = median(&of(|it| it.canaries / it.quiet));
    findings.goal("ratio within a round, median", ratio, "x", 2.0);
    Ok(())
}

fn report_swaps(findings: &mut Findings, bench: &Bench) {
    let Bench { until_answered, link, .. } = bench;
    let what = "from POST to the first answer of a component compiled anew, p50";
    findings.goal(what, median(until_answered), "ms", 150.0);
    findings.add("the same, p99", percentile(until_answered, 99.0), "ms");
    findings.add("of it compiling and linking, p50", median(link), "ms");
    let rest: Vec<f64> = until_answered.iter().zip(link).map(|(all, link)| all - link).collect();
    findings.goal("the rest, p50", median(&rest), "ms", 50.0);
    findings.goal("the rest, p99", percentile(&rest, 99.0), "ms", 50.0);
}

fn report_memory(findings: &mut Findings, memory: &[Memory]) {
    let mib = |memory: &Memory| memory.resident / f64::from(1 << 20);
    let mut add = |what: &str, memory: Option<&Memory>| {
        if let Some(memory) = memory {
            let anonymous = memory.anonymous / f64::from(1 << 20);
            findings.add(format!("memory {what}"), mib(memory), "MiB");
            findings.add("of it not of files", anonymous, "MiB");
        }
    };
    add("before", memory.first());
    for (index, round) in memory.iter().enumerate().skip(1).take(ROUNDS) {
        add(&format!("after round {index}"), Some(round));
    }
    add("5 s later", memory.last());
}

fn files(findings: &mut Findings, folder: &Path) -> Result<()> {
    let data = super::server::data(folder);
    let count =
        |name: &str| -> Result<f64> { Ok(std::fs::read_dir(data.join(name))?.count() as f64) };
    findings.add("files of components", count("blobs")?, "");
    findings.add("files of code", count("code")?, "");
    Ok(())
}
