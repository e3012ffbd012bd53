//! Everything that is printed: data on standard output, the rest on standard error. Colours are
//! left out where nobody sees them, or NO_COLOR is set.

use std::{fmt::Display, io::Write as _, time::SystemTime};

use annotate_snippets::{AnnotationKind, Group, Renderer, Snippet};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use dhow_capabilities::{GuestOutput, Stream};
use dhow_manifest::{Fault, Faults, Name};
use tracing::{
    Level,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::error::{CliError, Message};

const BOLD: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const GUEST: Style = AnsiColor::Blue.on_default();
const GUEST_ERROR: Style = AnsiColor::Yellow.on_default();

/// Data, on standard output. A reader that has gone away is no error.
pub(crate) fn data(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Progress, on standard error.
pub(crate) fn progress(text: impl Display) {
    anstream::eprintln!("{text}");
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
    anstream::eprintln!("{ERROR}error{ERROR:#}: {what}");
    for (index, line) in help.iter().flat_map(|help| help.lines()).enumerate() {
        let label = if index == 0 { "help:" } else { "     " };
        anstream::eprintln!("  {HELP}{label}{HELP:#} {line}");
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

/// The log goes to standard error.
pub(crate) fn init_log(verbose: bool, quiet: bool) {
    let level = match (verbose, quiet) {
        (true, _) => LevelFilter::DEBUG,
        (_, true) => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    // Other crates' chatter is for those who work on them.
    let ours = Targets::new().with_default(LevelFilter::ERROR).with_targets(
        ["dhow_capabilities", "dhow_engine", "dhow_host", "dhow_server", "dhow_triggers"]
            .map(|target| (target, level)),
    );
    let colours = AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours).event_format(LogLine);
    tracing_subscriber::registry().with(ours).with(lines).init();
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
            Level::WARN => AnsiColor::Yellow.on_default().bold(),
            _ => Style::new(),
        };
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let time = time.get("2026-11-22T".len()..).unwrap_or(&time).trim_end_matches('Z');
        if writer.has_ansi_escapes() {
            write!(writer, "{time} {style}{level:<5}{style:#}")?;
        } else {
            write!(writer, "{time} {level:<5}")?;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        for text in [&fields.component, &fields.id, &fields.message, &fields.others] {
            if !text.is_empty() {
                write!(writer, " {text}")?;
            }
        }
        writeln!(writer)
    }
}

#[derive(Default)]
struct Fields {
    component: String,
    id: String,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "component" => self.component = format!("{value:?}"),
            "id" => self.id = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            name => {
                let separator = if self.others.is_empty() { "" } else { " " };
                self.others.push_str(&format!("{separator}{name}={value:?}"));
            }
        }
    }
}

/// Prints what guests write, with the component's name before each line.
pub(crate) struct PrefixedOutput;

impl GuestOutput for PrefixedOutput {
    fn line(&self, component: &Name, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match stream {
            Stream::Stdout => {
                let _ = writeln!(anstream::stdout(), "{GUEST}{component} |{GUEST:#} {text}");
            }
            Stream::Stderr => {
                let _ = writeln!(
                    anstream::stderr(),
                    "{GUEST_ERROR}{component} |{GUEST_ERROR:#} {text}"
                );
            }
        }
    }
}
