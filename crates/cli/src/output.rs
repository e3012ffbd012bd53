//! Everything that is printed: data on standard output, the rest on standard error. Colours are
//! left out where nobody sees them, or NO_COLOR is set.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::{fmt::Display, io::Write as _};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use dhow_capabilities::{GuestOutput, Stream};
use dhow_manifest::{Fault, Faults, Name};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

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
    let group = Level::ERROR.primary_title(&*fault.message).element(snippet);
    vec![match &fault.help {
        Some(help) => group.element(Level::HELP.message(&**help)),
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
    let colours = AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // Other crates' chatter is for those who work on them.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(
            ["dhow_capabilities", "dhow_engine", "dhow_host", "dhow_server", "dhow_triggers"]
                .map(|target| (target, level)),
        );
    use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .compact();
    tracing_subscriber::registry().with(ours).with(lines).init();
}

/// Prints what guests write, with the component's name before each line.
pub(crate) struct PrefixedOutput;

impl GuestOutput for PrefixedOutput {
    fn line(&self, component: &Name, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match stream {
            Stream::Stdout => {
                let _ =
                    writeln!(anstream::stdout(), "{GUEST}{component} |{GUEST:#} {text}");
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
