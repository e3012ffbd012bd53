//! What is wrong with a manifest, where, and what to write instead.

use std::{fmt, ops::Range};

/// One fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes of the text it is about.
    pub span: Range<usize>,
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// What to do about it, as text to paste where that is possible.
    pub help: Option<String>,
}

impl Fault {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Every fault of one manifest, in the order of the text, with the text itself.
#[derive(Debug, Clone)]
pub struct Faults {
    file: String,
    text: String,
    faults: Vec<Fault>,
}

/// A place in a text; both numbers begin at 1, and the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Faults {
    pub(crate) fn new(file: &str, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        faults.dedup();
        Self { file: file.to_owned(), text: text.to_owned(), faults }
    }

    /// The manifest's file name, as it was given to [`App::parse`](crate::App::parse).
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The manifest's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The faults; never empty.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.faults.iter()
    }

    /// Where `fault` begins.
    pub fn position(&self, fault: &Fault) -> Position {
        let before = self.text.get(..fault.span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let Position { line, column } = self.position(fault);
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{line}:{column}: {}", self.file, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
