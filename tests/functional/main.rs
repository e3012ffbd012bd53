//! What a user would notice, feature by feature.

mod bad_input;
mod blobstore;
mod build;
mod code_cache;
mod durability;
mod faults;
mod files;
mod http;
mod idle;
mod inspect;
mod instances;
mod keyvalue;
mod lifecycle;
mod outbound;
mod run;
mod settings;
mod sockets;
mod spin;
mod sql;
mod streaming;
mod tls;
