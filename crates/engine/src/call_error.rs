//! Why a guest did not do what it was called for.

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;
use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};
use wasmtime_wasi_http::{p2, p3};

use crate::{Budget, Refused};

/// Why a guest did not do what it was called for.
#[derive(Debug, Error)]
pub enum CallError {
    /// It trapped, or its instance could not be made. Shows the guest's backtrace.
    #[error("{}", Explained(.0))]
    Failed(wasmtime::Error),
    /// The same, after it had been refused memory.
    #[error("memory limit of {limit} bytes reached, {wanted} wanted: {}", Explained(.error))]
    Memory {
        /// What it may use, in bytes.
        limit: usize,
        /// What it would have used, in bytes.
        wanted: usize,
        /// The trap that followed.
        error: wasmtime::Error,
    },
    /// The same, after its account had been refused memory.
    #[error(
        "the memory of all instances together has reached its limit of {limit} bytes: {}",
        Explained(.error)
    )]
    AccountMemory {
        /// What all instances of the account may use together, in bytes.
        limit: u64,
        /// The trap that followed.
        error: wasmtime::Error,
    },
    /// There is no room for another instance now.
    #[error("all instances are in use")]
    NoRoom,
    /// It kept its caller waiting for longer than its time limit.
    #[error("time limit of {0:?} reached")]
    Deadline(Duration),
    /// The client sent nothing for as long, while the guest waited for the rest of the request.
    #[error("the client sent nothing for {0:?}")]
    SilentClient(Duration),
    /// A host call panicked; the message is on standard error.
    #[error("a host call panicked")]
    Panicked,
    /// It returned without setting a response.
    #[error("the handler returned no response")]
    NoResponse,
    /// Its instance ended while it answered several requests, for a reason that may be another's.
    #[error("the instance ended: {0}")]
    Instance(Arc<CallError>),
    /// It answered with an error code of `wasi:http`.
    #[error("the handler returned the error {0}")]
    ErrorCode(String),
}

/// The reason first, then what it is about, then the guest's backtrace. Not the host's, which
/// wasmtime shows as well where `RUST_BACKTRACE` is set.
struct Explained<'a>(&'a wasmtime::Error);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        write!(f, "{}", error.root_cause())?;
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        let is_backtrace = |text: &str| text.starts_with("error while executing at wasm backtrace");
        for context in error.chain().map(ToString::to_string).filter(|text| !is_backtrace(text)) {
            if context != error.root_cause().to_string() {
                write!(f, ": {context}")?;
            }
        }
        match backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

impl CallError {
    pub(crate) fn failed(error: wasmtime::Error, budget: &Budget) -> Self {
        if is_no_room(&error) {
            return Self::NoRoom;
        }
        match budget.refused() {
            Some(Refused::Own { wanted }) => {
                Self::Memory { limit: budget.memory_limit(), wanted, error }
            }
            Some(Refused::Account { limit }) => Self::AccountMemory { limit, error },
            None => Self::Failed(error),
        }
    }

    /// An error that came in the place of a response.
    pub(crate) fn answered(error: wasmtime::Error) -> Self {
        if let Some(code) = error.downcast_ref::<p3::bindings::http::types::ErrorCode>() {
            Self::ErrorCode(format!("{code:?}"))
        } else if let Some(code) = error.downcast_ref::<p2::bindings::http::types::ErrorCode>() {
            Self::ErrorCode(format!("{code:?}"))
        } else {
            Self::Failed(error)
        }
    }
}

/// Whether the pool of instances was empty.
pub(crate) fn is_no_room(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::*;
    use crate::{Account, AccountLimits};

    #[test]
    fn whose_limit_was_reached_is_told() {
        let account = Account::alone();
        account.set_limits(AccountLimits { memory: 100, ..AccountLimits::NONE });
        let mut budget = Budget::new(200, account);
        let failed = |budget: &Budget| CallError::failed(wasmtime::Error::msg("abort"), budget);
        assert_eq!(failed(&budget).to_string(), "abort");
        assert!(!budget.memory_growing(0, 150, None).unwrap());
        assert_eq!(
            failed(&budget).to_string(),
            "the memory of all instances together has reached its limit of 100 bytes: abort"
        );
        assert!(!budget.memory_growing(0, 300, None).unwrap());
        assert_eq!(
            failed(&budget).to_string(),
            "memory limit of 200 bytes reached, 300 wanted: abort"
        );
    }
}
