//! What starts an invocation: HTTP requests.

pub mod http;
