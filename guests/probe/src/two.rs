//! By WASI 0.2: through Rust's standard library where that is what it uses.

use std::{fs, net::TcpStream};

use wasip2::{
    http::{
        outgoing_handler,
        types::{Fields, OutgoingRequest, Scheme},
    },
    random::random::get_random_bytes,
};

mod keyvalue_bindings {
    wit_bindgen::generate!({ path: "../../wit/keyvalue-draft2", world: "imports" });
}

mod sql_bindings {
    wit_bindgen::generate!({ path: "../../wit/sql-draft", world: "imports" });
}

use keyvalue_bindings::wasi::keyvalue::store;
use sql_bindings::wasi::sql::types::Connection;

pub fn env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| error.to_string())
}

pub fn http(authority: &str) -> Result<u16, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let named = |error| format!("{error:?}");
    let future = outgoing_handler::handle(request, None).map_err(named)?;
    future.subscribe().block();
    let answer = future.get().unwrap().unwrap().map_err(named)?;
    Ok(answer.status())
}

pub fn tcp(address: &str) -> Result<(), String> {
    TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
}

pub fn file(path: &str) -> Result<usize, String> {
    fs::read(path).map(|bytes| bytes.len()).map_err(|error| error.to_string())
}

pub fn keyvalue(label: &str) -> Result<bool, String> {
    let bucket = store::open(label).map_err(|error| format!("{error:?}"))?;
    bucket.exists("key").map_err(|error| format!("{error:?}"))
}

pub fn sql(label: &str) -> Result<(), String> {
    Connection::open(label).map(drop).map_err(|error| error.trace())
}

/// How many random bytes come of asking for `count`.
pub fn random(count: u64) -> usize {
    get_random_bytes(count).len()
}
