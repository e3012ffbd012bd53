//! The rig: starts the real binary with real guests, and talks to it over real sockets.

pub mod browser;
pub mod client;
pub mod collector;
pub mod dns;
pub mod guests;
mod process;
pub mod server;
pub mod servers;
pub mod upstream;

pub use process::{Dhow, Finished, Process, Up, app_folder, dhow, write_manifest};
pub use server::{Server, TOKEN};
