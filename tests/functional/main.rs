//! What a user would notice, feature by feature.

mod bad_input;
mod blobstore;
mod build;
mod code_cache;
mod denials;
mod durability;
mod faults;
mod files;
mod http;
mod idle;
mod inspect;
mod instances;
mod joined;
mod keyvalue;
mod keyvalue_own;
mod lifecycle;
mod neighbours;
mod operator;
mod outbound;
mod run;
mod settings;
mod sockets;
mod spin;
mod sql;
mod streaming;
mod tls;
