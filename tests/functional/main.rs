//! What a user would notice, feature by feature.

mod bad_input;
mod build;
mod faults;
mod http;
mod inspect;
mod lifecycle;
mod outbound;
mod run;
mod streaming;
