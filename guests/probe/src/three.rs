//! By WASI 0.3, and our own interfaces, which are asynchronous as it is.

use std::net::SocketAddr;

use wasip3::{
    cli::environment,
    filesystem::{
        preopens,
        types::{DescriptorFlags, OpenFlags, PathFlags},
    },
    http::{
        client,
        types::{Fields, Request, Response, Scheme},
    },
    random::random::get_random_bytes,
    sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket},
    wit_future,
};

mod keyvalue_bindings {
    wit_bindgen::generate!({ path: "../../wit/keyvalue", world: "imports" });
}

mod sql_bindings {
    wit_bindgen::generate!({ path: "../../wit/sql", world: "imports" });
}

use keyvalue_bindings::dhow::keyvalue::store::Store;
use sql_bindings::dhow::sql::database::Connection;

pub fn env(name: &str) -> Result<String, ()> {
    let mut variables = environment::get_environment().into_iter();
    variables.find(|(other, _)| other == name).map(|(_, value)| value).ok_or(())
}

/// The status and the body of the answer to a request for `authority`, with `path`.
pub async fn http(authority: &str, path: &str) -> Result<(u16, String), String> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let answer = client::send(request).await.map_err(|error| format!("{error:?}"))?;
    let status = answer.get_status_code();
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, _) = Response::consume_body(answer, done);
    Ok((status, String::from_utf8(body.collect().await).unwrap()))
}

pub async fn tcp(address: &str) -> Result<(), String> {
    let SocketAddr::V4(address) = address.parse().unwrap() else { panic!("no IPv4 address") };
    let [a, b, c, d] = address.ip().octets();
    let remote = Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) };
    let named = |error| format!("{error:?}");
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(named)?;
    socket.connect(IpSocketAddress::Ipv4(remote)).await.map_err(named)
}

pub async fn file(path: &str) -> Result<usize, String> {
    let folders = preopens::get_directories().into_iter();
    let found = folders
        .filter_map(|(folder, name)| {
            Some((folder, path.strip_prefix(&name)?.trim_start_matches('/').to_owned()))
        })
        .next();
    let (folder, path) = found.ok_or("no folder")?;
    let (flags, read) = (PathFlags::empty(), DescriptorFlags::READ);
    let opened = folder.open_at(flags, path, OpenFlags::empty(), read).await;
    let file = opened.map_err(|error| format!("{error:?}"))?;
    Ok(file.read_via_stream(0).0.collect().await.len())
}

pub async fn keyvalue(label: &str) -> Result<bool, String> {
    let store = Store::open(label.to_owned()).await.map_err(|error| format!("{error:?}"))?;
    store.exists("key".to_owned()).await.map_err(|error| format!("{error:?}"))
}

pub async fn sql(label: &str) -> Result<u64, String> {
    let opened = Connection::open(label.to_owned()).await;
    let database = opened.map_err(|error| format!("{error:?}"))?;
    let statement = "CREATE TABLE IF NOT EXISTS t (i INTEGER)".to_owned();
    database.execute(statement, Vec::new()).await.map_err(|error| format!("{error:?}"))
}

/// How many random bytes come of asking for `count`.
pub fn random(count: u64) -> usize {
    get_random_bytes(count).len()
}
