//! Everything that is printed: data on standard output, the rest on standard error. Colours are
//! left out where nobody sees them, or NO_COLOR is set.

use std::{
    fmt::{Display, Write as _},
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use annotate_snippets::{AnnotationKind, Group, Renderer, Snippet};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use dhow_capabilities::{Author, GuestOutput, LogLevel, Stream};
use dhow_manifest::{Fault, Faults, Name};
use dhow_telemetry::span::TARGET;
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use tracing::{
    Level,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    error::{CliError, Message},
    folders,
};

const BOLD: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const GUEST: Style = AnsiColor::Blue.on_default();
const GUEST_ERROR: Style = AnsiColor::Yellow.on_default();

/// Data, on standard output. A reader that has gone away is no error.
pub(crate) fn data(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// The same as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::failure(error.to_string()))?;
    data(json);
    Ok(())
}

/// Data in which others have a word, line by line, made harmless.
pub(crate) fn text(text: &str) {
    text.lines().for_each(|line| data(Visible(line)));
}

/// A word of others, made harmless.
pub(crate) fn visible(text: &str) -> impl Display {
    Visible(text)
}

/// Progress, on standard error.
pub(crate) fn progress(text: impl Display) {
    anstream::eprintln!("{text}");
}

/// A question, on standard error: what is answered stands behind it.
pub(crate) fn question(text: impl Display) {
    anstream::eprint!("{text} ");
}

/// Progress that begins a paragraph.
pub(crate) fn heading(text: impl Display) {
    anstream::eprintln!("{BOLD}{text}{BOLD:#}");
}

pub(crate) fn print_error(error: &CliError) {
    match error {
        CliError::Manifest(faults) => print_faults(faults),
        CliError::Plain { messages, .. } => messages.iter().for_each(print_message),
    }
}

fn print_message(Message { what, help }: &Message) {
    anstream::eprintln!("{ERROR}error{ERROR:#}: {}", Visible(what));
    for (index, line) in help.iter().flat_map(|help| help.lines()).enumerate() {
        let label = if index == 0 { "help:" } else { "     " };
        anstream::eprintln!("  {HELP}{label}{HELP:#} {}", Visible(line));
    }
}

/// Each fault with its line, as compilers show it.
fn print_faults(faults: &Faults) {
    let renderer = Renderer::styled();
    for fault in faults.iter() {
        let report = report(faults, fault);
        anstream::eprintln!("{}\n", renderer.render(&report));
    }
    let count = faults.iter().len();
    let noun = if count == 1 { "fault" } else { "faults" };
    anstream::eprintln!("{ERROR}error{ERROR:#}: {} has {count} {noun}", faults.file());
}

fn report<'a>(faults: &'a Faults, fault: &'a Fault) -> Vec<Group<'a>> {
    let snippet = Snippet::source(faults.text())
        .path(faults.file())
        .annotation(AnnotationKind::Primary.span(fault.span.clone()));
    let group = annotate_snippets::Level::ERROR.primary_title(&*fault.message).element(snippet);
    vec![match &fault.help {
        Some(help) => group.element(annotate_snippets::Level::HELP.message(&**help)),
        None => group,
    }]
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: a JSON object in each line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    pub(crate) verbose: bool,
    pub(crate) quiet: bool,
    pub(crate) format: LogFormat,
}

/// By which spans reach whoever collects them.
pub(crate) type Traces = Box<dyn Layer<Registry> + Send + Sync>;

/// The log goes to standard error, and spans to `traces`.
pub(crate) fn init_log(Log { verbose, quiet, format }: Log, traces: Option<Traces>) {
    let level = match (verbose, quiet) {
        (true, _) => LevelFilter::DEBUG,
        (_, true) => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    // Other crates' chatter is for those who work on them.
    let ours = Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_target("dhow", level)
        .with_target(TARGET, LevelFilter::OFF);
    let colours = AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => lines.event_format(LogLine).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    match traces {
        // For all at once: spans that nobody wants are not even begun.
        None => tracing_subscriber::registry().with(lines).with(ours).init(),
        Some(traces) => {
            // Both see the registry only, each what it wants of it.
            let both: Vec<Traces> = vec![traces, lines.with_filter(ours).boxed()];
            tracing_subscriber::registry().with(both).init();
        }
    }
}

/// `17:04:05.123 ERROR hello 192d9e8b9d386ba8 timed out`: time (UTC), level, the component and
/// the id of the request where there are any, then the message, which may have several lines.
struct LogLine;

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let level = *event.metadata().level();
        let style = match level {
            Level::ERROR => ERROR,
            Level::WARN => WARN,
            _ => Style::new(),
        };
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let time = time.get("2026-11-22T".len()..).unwrap_or(&time).trim_end_matches('Z');
        if writer.has_ansi_escapes() {
            write!(writer, "{time} {style}{level:<5}{style:#}")?;
        } else {
            write!(writer, "{time} {level:<5}")?;
        }
        // What a request's line has as fields stands in its text.
        let is_access = event.metadata().target() == "dhow_access";
        let mut fields = Fields { skips_others: is_access, ..Fields::default() };
        event.record(&mut fields);
        for text in [&fields.component, &fields.id, &fields.message, &fields.others] {
            if !text.is_empty() {
                write!(writer, " {}", Visible(text))?;
            }
        }
        writeln!(writer)
    }
}

/// Text of a guest's or a client's, made harmless: nothing in it moves the cursor, changes colours
/// or the direction of writing. Lines after the first are indented, so that none passes for a line
/// of the log.
struct Visible<'a>(&'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        for character in self.0.trim_end().chars() {
            match character {
                '\n' => f.write_str("\n    ")?,
                '\t' => f.write_char(character)?,
                // Controls, line separators, and marks and overrides of direction.
                '\u{0}'..='\u{1f}'
                | '\u{7f}'..='\u{9f}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Fields {
    component: String,
    id: String,
    message: String,
    others: String,
    skips_others: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "component" => self.component = format!("{value:?}"),
            "id" => self.id = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            _ if self.skips_others => {}
            name => {
                let separator = if self.others.is_empty() { "" } else { " " };
                self.others.push_str(&format!("{separator}{name}={value:?}"));
            }
        }
    }
}

/// Prints what guests write, with the component's name before each line, from a thread of its own:
/// a terminal that is slow or stopped holds up no guest. What it can't keep up with is dropped, and
/// said.
pub(crate) struct PrefixedOutput {
    queue: SyncSender<Queued>,
    dropped: Arc<AtomicU64>,
}

enum Queued {
    Line(Line),
    /// To be answered when everything before it was printed.
    Flush(SyncSender<()>),
}

struct Line {
    component: Name,
    stream: Stream,
    text: Vec<u8>,
}

/// Lines that wait to be printed: at 8 KiB for the longest, 8 MiB.
const MAX_WAITING: usize = 1_024;

/// How often it is said that lines were dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl PrefixedOutput {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let (queue, waiting) = sync_channel(MAX_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        std::thread::spawn({
            let dropped = dropped.clone();
            move || print_lines(&waiting, &dropped)
        });
        Self { queue, dropped }
    }

    /// Waits until everything is printed, but not for long: nobody may be reading.
    pub(crate) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Queued::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(REPORT_INTERVAL);
        }
    }
}

impl GuestOutput for PrefixedOutput {
    fn line(&self, author: &Author, stream: Stream, line: &[u8]) {
        let line = Line { component: author.component.clone(), stream, text: line.to_vec() };
        if self.queue.try_send(Queued::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn print_lines(waiting: &Receiver<Queued>, dropped: &AtomicU64) {
    let mut reported = Instant::now();
    loop {
        match waiting.recv_timeout(REPORT_INTERVAL) {
            Ok(Queued::Line(line)) => print_line(line),
            Ok(Queued::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            let dropped = dropped.swap(0, Relaxed);
            if dropped > 0 {
                tracing::warn!("{dropped} lines of guests were dropped: nobody reads so fast");
            }
        }
    }
}

fn print_line(Line { component, stream, text }: Line) {
    let text = String::from_utf8_lossy(&text);
    let text = Visible(&text);
    let _ = match stream {
        Stream::Stdout => {
            writeln!(anstream::stdout(), "{GUEST}{component} |{GUEST:#} {text}")
        }
        Stream::Stderr => {
            writeln!(anstream::stderr(), "{GUEST_ERROR}{component} |{GUEST_ERROR:#} {text}")
        }
        Stream::Log(level) => {
            let (style, name) = level_of(level);
            writeln!(
                anstream::stderr(),
                "{GUEST}{component} |{GUEST:#} {style}{name:<5}{style:#} {text}"
            )
        }
    };
}

fn level_of(level: LogLevel) -> (Style, &'static str) {
    match level {
        LogLevel::Trace => (Style::new(), "TRACE"),
        LogLevel::Debug => (Style::new(), "DEBUG"),
        LogLevel::Info => (Style::new(), "INFO"),
        LogLevel::Warn => (WARN, "WARN"),
        LogLevel::Error => (ERROR, "ERROR"),
        LogLevel::Critical => (ERROR, "CRITICAL"),
    }
}

/// A line of a server's log, as it would stand in that of `dhow up`, on standard output. An error
/// means that nobody reads any more.
pub(crate) fn server_line(line: &dhow_api::LogLine) -> io::Result<()> {
    let (time, component) = (Visible(&line.time), Visible(&line.component));
    let text = Visible(&line.text);
    let (style, level) = match line.stream.as_str() {
        "stdout" => (GUEST, String::new()),
        "stderr" => (GUEST_ERROR, String::new()),
        level => (GUEST, format!("{:<5} ", Visible(level).to_string().to_uppercase())),
    };
    writeln!(anstream::stdout(), "{time} {style}{component} |{style:#} {level}{text}")
}

/// Data as it came, on standard output. An error means that nobody reads any more.
pub(crate) fn raw_line(line: &str) -> io::Result<()> {
    writeln!(anstream::stdout(), "{line}")
}

/// How far the upload of a file is, on standard error: a bar on a terminal, otherwise a line.
pub(crate) struct Upload(ProgressBar);

impl Upload {
    pub(crate) fn start(name: &Name, length: u64) -> Self {
        let bar = ProgressBar::new(length).with_message(name.to_string());
        if bar.is_hidden() {
            progress(format_args!("Uploading {name}: {}", BinaryBytes(length)));
        }
        if let Ok(style) = ProgressStyle::with_template(UPLOAD) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const UPLOAD: &str =
    "Uploading {msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";

/// The whole terminal, given back when this is dropped.
///
/// What moves the cursor is written as it is: NO_COLOR is about colours.
pub(crate) struct Screen(());

impl Screen {
    /// The terminal, if standard output is one that can do it.
    pub(crate) fn take() -> Option<Self> {
        let can = io::stdout().is_terminal() && folders::has_screen();
        can.then(|| {
            // Another screen, no wrapping of long lines, no cursor.
            control("\x1b[?1049h\x1b[?7l\x1b[?25l");
            Self(())
        })
    }

    /// Shows as much of `text` as there is room for.
    pub(crate) fn show(&self, text: &str) {
        let rows = tcgetwinsize(io::stdout()).map_or(usize::MAX, |size| size.ws_row.into());
        let mut frame = String::from("\x1b[H");
        for (index, line) in text.lines().take(rows).enumerate() {
            let end = if index == 0 { "" } else { "\r\n" };
            let _ = write!(frame, "{end}{}\x1b[K", Visible(line));
        }
        frame.push_str("\x1b[J");
        control(&frame);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        control("\x1b[?25h\x1b[?7h\x1b[?1049l");
    }
}

fn control(sequence: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(sequence.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_made_visible() {
        for (text, visible) in [
            ("plain ü\t|", "plain ü\t|"),
            ("a\r\u{1b}[2Kb", "a\\u{d}\\u{1b}[2Kb"),
            ("a\u{9b}31m", "a\\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("one\ntwo\n", "one\n    two"),
        ] {
            assert_eq!(Visible(text).to_string(), visible);
        }
    }
}
