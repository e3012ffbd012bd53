//! What guests write, for whoever looks: the last of each tenant, in memory, and in files for the next process.

mod disk;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    num::NonZeroU64,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use dhow_api::LogLine;
use dhow_capabilities::{Author, GuestOutput, LogLevel, Stream};
use dhow_engine::{Bucket, Rate};
use dhow_manifest::{MemorySize, Name};
use tokio::sync::{Notify, futures::Notified};

use crate::{clock, data::DataFolder};
use disk::Writer;

/// The logs of all tenants.
pub(crate) struct Logs {
    by_tenant: Mutex<BTreeMap<Name, Arc<TenantLog>>>,
    next: AtomicU64,
    /// Where they are written, besides.
    disk: Option<(Arc<DataFolder>, Writer)>,
    /// Where every line goes as well: the server's own output.
    console: Arc<dyn GuestOutput>,
}

/// What is kept for each tenant: some ten thousand lines.
const MAX_BYTES: usize = 2 << 20;

/// A component that starts, or fails, says more than it does otherwise.
const BURST_SECONDS: u64 = 4;

/// What a line takes besides its text.
const LINE_BYTES: usize = 200;

/// The last lines of one tenant's components.
pub(crate) struct TenantLog {
    lines: Mutex<Lines>,
    changed: Notify,
    /// Of bytes.
    rate: Bucket,
    dropped: AtomicU64,
    folder: Option<Arc<Path>>,
}

impl Default for TenantLog {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            changed: Notify::new(),
            rate: Bucket::new(None),
            dropped: AtomicU64::new(0),
            folder: None,
        }
    }
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
}

/// Which lines are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) app: Name,
    pub(crate) component: Option<Name>,
}

impl Wanted {
    fn is(&self, line: &LogLine) -> bool {
        line.app == self.app.as_str()
            && self.component.as_ref().is_none_or(|name| line.component == name.as_str())
    }
}

impl Logs {
    /// Logs that are gone with the process.
    #[cfg(test)]
    fn in_memory(console: Arc<dyn GuestOutput>) -> Arc<Self> {
        let next = AtomicU64::new(1);
        Arc::new(Self { by_tenant: Mutex::default(), next, disk: None, console })
    }

    /// Logs that begin with what is in `data`.
    ///
    /// # Errors
    /// When the thread that writes them does not start.
    pub(crate) fn open(
        data: &Arc<DataFolder>,
        console: Arc<dyn GuestOutput>,
    ) -> io::Result<Arc<Self>> {
        let (next, disk) = (AtomicU64::new(1), Some((data.clone(), Writer::start()?)));
        Ok(Arc::new(Self { by_tenant: Mutex::default(), next, disk, console }))
    }

    /// Where the components of `tenant` write to.
    /// What is more than `per_second` is dropped.
    pub(crate) fn of_tenant(
        self: &Arc<Self>,
        tenant: &Name,
        per_second: MemorySize,
    ) -> TenantOutput {
        let log = self.log(tenant);
        log.set_rate(per_second);
        TenantOutput { logs: self.clone(), log }
    }

    /// What the components of `tenant` have written.
    pub(crate) fn log(&self, tenant: &Name) -> Arc<TenantLog> {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let log = by_tenant.entry(tenant.clone());
        log.or_insert_with(|| Arc::new(self.read(tenant))).clone()
    }

    /// What was written before this process.
    fn read(&self, tenant: &Name) -> TenantLog {
        let Some((data, _)) = &self.disk else { return TenantLog::default() };
        let folder = disk::folder(data.tenant(tenant));
        let mut lines = Lines::default();
        for line in disk::read(&folder) {
            self.next.fetch_max(line.number.saturating_add(1), Relaxed);
            lines.push(Arc::new(line));
        }
        TenantLog { lines: Mutex::new(lines), folder: Some(folder), ..TenantLog::default() }
    }

    fn push(&self, log: &TenantLog, author: &Author, stream: Stream, text: &[u8]) {
        let line = log.push(&self.next, author, stream, text);
        if let (Some((_, writer)), Some(folder)) = (&self.disk, &log.folder)
            && !writer.write(folder, &line)
        {
            log.dropped.fetch_add(line.text.len() as u64 + 1, Relaxed);
        }
    }
}

impl TenantLog {
    /// The last lines that are wanted, at most so many, after the one with the number `after`.
    pub(crate) fn last(&self, wanted: &Wanted, after: u64, most: usize) -> Vec<Arc<LogLine>> {
        let log = self.lines();
        let newest_first = log.lines.iter().rev().take_while(|line| line.number > after);
        let mut found: Vec<_> =
            newest_first.filter(|line| wanted.is(line)).take(most).cloned().collect();
        found.reverse();
        found
    }

    /// The first lines that are wanted, at most so many, after the one with the number `after`.
    pub(crate) fn next(&self, wanted: &Wanted, after: u64, most: usize) -> Vec<Arc<LogLine>> {
        let log = self.lines();
        // They stand in the order of their numbers.
        let start = log.lines.partition_point(|line| line.number <= after);
        let later = log.lines.range(start..);
        later.filter(|line| wanted.is(line)).take(most).cloned().collect()
    }

    /// Completes when there is something new since this was called.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Changes how many bytes are kept for each second; those of some seconds may come at once.
    pub(crate) fn set_rate(&self, per_second: MemorySize) {
        let rate = NonZeroU64::new(per_second.bytes());
        self.rate.set_rate(rate.map(|per_second| Rate {
            per_second,
            burst: per_second.get().saturating_mul(BURST_SECONDS),
        }));
    }

    /// Whether `line` is to be kept; if not, its bytes are counted.
    fn takes(&self, line: &[u8]) -> bool {
        let bytes = line.len() as u64 + LINE_BYTES as u64;
        let takes = self.rate.try_take(bytes, Instant::now()).is_ok();
        if !takes {
            // With its end: an empty line is one byte.
            self.dropped.fetch_add(line.len() as u64 + 1, Relaxed);
        }
        takes
    }

    /// The bytes that were not kept, since there were too many at a time.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, next: &AtomicU64, author: &Author, stream: Stream, text: &[u8]) -> Arc<LogLine> {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut log = self.lines();
        // Counted under the lock, so that numbers go up.
        let line = LogLine {
            number: next.fetch_add(1, Relaxed),
            time: clock::rfc3339_now(),
            app: author.app.to_string(),
            component: author.component.to_string(),
            stream: name_of(stream).to_owned(),
            text,
        };
        let line = Arc::new(line);
        log.push(line.clone());
        drop(log);
        self.changed.notify_waiters();
        line
    }
}

impl Lines {
    /// Adds a line; the oldest go.
    fn push(&mut self, line: Arc<LogLine>) {
        self.bytes += line.text.len() + LINE_BYTES;
        self.lines.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.text.len() + LINE_BYTES);
        }
    }
}

fn name_of(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Log(LogLevel::Trace) => "trace",
        Stream::Log(LogLevel::Debug) => "debug",
        Stream::Log(LogLevel::Info) => "info",
        Stream::Log(LogLevel::Warn) => "warn",
        Stream::Log(LogLevel::Error) => "error",
        Stream::Log(LogLevel::Critical) => "critical",
    }
}

/// Where the components of one tenant write to.
pub(crate) struct TenantOutput {
    logs: Arc<Logs>,
    log: Arc<TenantLog>,
}

impl GuestOutput for TenantOutput {
    fn line(&self, author: &Author, stream: Stream, line: &[u8]) {
        if self.log.takes(line) {
            self.logs.push(&self.log, author, stream, line);
            self.logs.console.line(author, stream, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl GuestOutput for Nowhere {
        fn line(&self, _: &Author, _: Stream, _: &[u8]) {}
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn the_last_lines_are_kept_for_each_tenant() {
        let logs = Logs::in_memory(Arc::new(Nowhere));
        let write = |tenant: &str, app: &str, component: &str, text: &str| {
            let author = Author { app: name(app), component: name(component) };
            logs.of_tenant(&name(tenant), MemorySize::from_bytes(1 << 30)).line(
                &author,
                Stream::Stdout,
                text.as_bytes(),
            );
        };
        let read = |tenant: &str, component: Option<&str>, after, most| -> Vec<(u64, String)> {
            let wanted = Wanted { app: name("shop"), component: component.map(name) };
            let lines = logs.log(&name(tenant)).last(&wanted, after, most);
            lines.iter().map(|line| (line.number, line.text.clone())).collect()
        };
        write("a", "shop", "cart", "one");
        write("a", "shop", "data", "two");
        write("a", "blog", "cart", "of another app");
        write("b", "shop", "cart", "of another tenant");
        write("a", "shop", "cart", "three");
        let texts =
            |lines: Vec<(u64, String)>| lines.into_iter().map(|(_, t)| t).collect::<Vec<_>>();
        assert_eq!(texts(read("a", None, 0, 10)), ["one", "two", "three"]);
        assert_eq!(texts(read("a", None, 0, 2)), ["two", "three"]);
        assert_eq!(texts(read("a", Some("cart"), 0, 10)), ["one", "three"]);
        let two = read("a", Some("data"), 0, 1)[0].0;
        assert_eq!(texts(read("a", None, two, 10)), ["three"]);
        let wanted = Wanted { app: name("shop"), component: None };
        let next = logs.log(&name("a")).next(&wanted, two, 1);
        assert_eq!(next.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["three"]);
        let first = logs.log(&name("a")).next(&wanted, 0, 2);
        assert_eq!(first.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["one", "two"]);
        let long = "x".repeat(8 << 10);
        (0..1_000).for_each(|_| write("a", "shop", "cart", &long));
        let kept = read("a", None, 0, usize::MAX).len();
        assert!((200..300).contains(&kept), "{kept}");
        assert_eq!(texts(read("b", None, 0, 10)), ["of another tenant"]);
    }
}
