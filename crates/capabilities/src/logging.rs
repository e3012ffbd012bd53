//! Logging: `wasi:logging`, for every component. What it says goes where its output goes.

use std::sync::Arc;

use wasmtime::component::HasData;

use crate::{
    Author, GuestOutput, LogLevel, Stream,
    linking::{Linking, add},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/logging",
        world: "imports",
        imports: { default: trappable },
    });
}

use bindings::wasi::logging::logging::{self, Level};

/// The longest message that is kept whole, in bytes, its context included.
const MAX_MESSAGE: usize = 8 << 10;

/// Who logs, and where to.
pub(crate) struct Log {
    author: Arc<Author>,
    output: Arc<dyn GuestOutput>,
}

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "wasi:logging/logging@0.1.0-draft", logging, Logging, log)
}

pub(crate) fn open(author: &Arc<Author>, output: &Arc<dyn GuestOutput>) -> Log {
    Log { author: author.clone(), output: output.clone() }
}

struct Logging;

impl HasData for Logging {
    type Data<'a> = &'a mut Log;
}

impl logging::Host for &mut Log {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        };
        let mut text = if context.is_empty() { message } else { format!("{context}: {message}") };
        let end = (0..=MAX_MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        self.output.line(&self.author, Stream::Log(level), text.as_bytes());
        Ok(())
    }
}
