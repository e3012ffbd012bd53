//! The rig: starts the real binary with real guests, and talks to it over real sockets.

pub mod browser;
pub mod client;
pub mod dns;
pub mod guests;
mod process;
pub mod servers;
pub mod upstream;

pub use process::{Dhow, Finished, Up, dhow, write_manifest};
