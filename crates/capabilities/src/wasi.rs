//! The interfaces of wasmtime-wasi by which a component has what others of its app have not:
//! environment, output, folders, sockets, requests. For a component by itself wasmtime-wasi adds
//! them all at once.

use wasmtime_wasi::{
    cli::WasiCli, filesystem::WasiFilesystem, p2::bindings::sockets::network::LinkOptions,
    sockets::WasiSockets,
};
use wasmtime_wasi_http::WasiHttp;

use crate::linking::{Linking, add};

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    cli_p2(to)?;
    cli_p3(to)?;
    filesystem_p2(to)?;
    filesystem_p3(to)?;
    sockets_p2(to)?;
    sockets_p3(to)?;
    http(to)
}

fn cli_p2(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::cli::{environment, stderr, stdin, stdout};
    add!(to, "wasi:cli/environment@0.2.12", environment, WasiCli, cli)?;
    add!(to, "wasi:cli/stdin@0.2.12", stdin, WasiCli, cli)?;
    add!(to, "wasi:cli/stdout@0.2.12", stdout, WasiCli, cli)?;
    add!(to, "wasi:cli/stderr@0.2.12", stderr, WasiCli, cli)
}

fn cli_p3(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::cli::{environment, stderr, stdin, stdout};
    add!(to, "wasi:cli/environment@0.3.0", environment, WasiCli, cli)?;
    add!(to, "wasi:cli/stdin@0.3.0", stdin, WasiCli, cli)?;
    add!(to, "wasi:cli/stdout@0.3.0", stdout, WasiCli, cli)?;
    add!(to, "wasi:cli/stderr@0.3.0", stderr, WasiCli, cli)
}

fn filesystem_p2(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
    add!(to, "wasi:filesystem/preopens@0.2.12", preopens, WasiFilesystem, filesystem)?;
    add!(to, "wasi:filesystem/types@0.2.12", types, WasiFilesystem, filesystem)
}

fn filesystem_p3(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};
    add!(to, "wasi:filesystem/preopens@0.3.0", preopens, WasiFilesystem, filesystem)?;
    add!(to, "wasi:filesystem/types@0.3.0", types, WasiFilesystem, filesystem)
}

/// But name lookup, which is our own.
fn sockets_p2(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::sockets::{
        instance_network, network, tcp, tcp_create_socket, udp, udp_create_socket,
    };
    to.add("wasi:sockets/network@0.2.12", |instance, views| {
        let options = LinkOptions::default();
        network::add_to_linker_instance::<_, WasiSockets>(instance, &options, views.sockets)
    })?;
    add!(to, "wasi:sockets/instance-network@0.2.12", instance_network, WasiSockets, sockets)?;
    add!(to, "wasi:sockets/tcp@0.2.12", tcp, WasiSockets, sockets)?;
    add!(to, "wasi:sockets/udp@0.2.12", udp, WasiSockets, sockets)?;
    add!(to, "wasi:sockets/tcp-create-socket@0.2.12", tcp_create_socket, WasiSockets, sockets)?;
    add!(to, "wasi:sockets/udp-create-socket@0.2.12", udp_create_socket, WasiSockets, sockets)
}

fn sockets_p3(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::sockets::types;
    add!(to, "wasi:sockets/types@0.3.0", types, WasiSockets, sockets)
}

fn http(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::{p2::bindings::http::outgoing_handler, p3::bindings::http::client};
    add!(to, "wasi:http/outgoing-handler@0.2.12", outgoing_handler, WasiHttp, http)?;
    add!(to, "wasi:http/client@0.3.0", client, WasiHttp, http)
}
