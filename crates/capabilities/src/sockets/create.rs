//! Sockets are made by wasmtime-wasi, which denies them silently where nothing is granted. Here it
//! is said in the log what was asked for.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    p2::{self, bindings::sockets as p2_sockets},
    p3::bindings::sockets::types as p3_types,
    sockets::{TcpSocket, UdpSocket, WasiSocketsView as _},
};

use super::Protocol;
use crate::State;

type P2ErrorCode = p2_sockets::network::ErrorCode;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance("wasi:sockets/tcp-create-socket@0.2.12")?
        .func_wrap("create-tcp-socket", create_tcp_p2)?;
    linker
        .instance("wasi:sockets/udp-create-socket@0.2.12")?
        .func_wrap_async("create-udp-socket", |store, parameters| {
            Box::new(create_udp_p2(store, parameters))
        })?;
    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    types.func_wrap("[static]tcp-socket.create", create_tcp_p3)?;
    types.func_wrap_async("[static]udp-socket.create", |store, parameters| {
        Box::new(create_udp_p3(store, parameters))
    })
}

type Created<T, E> = wasmtime::Result<(Result<Resource<T>, E>,)>;

fn create_tcp_p2(
    mut store: StoreContextMut<'_, State>,
    (family,): (p2_sockets::network::IpAddressFamily,),
) -> Created<p2::bindings::sockets::tcp::TcpSocket, P2ErrorCode> {
    use p2_sockets::tcp_create_socket::Host as _;
    let state = asked_for(&mut store, Protocol::Tcp);
    Ok((match state.sockets().create_tcp_socket(family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

async fn create_udp_p2(
    mut store: StoreContextMut<'_, State>,
    (family,): (p2_sockets::network::IpAddressFamily,),
) -> Created<p2::bindings::sockets::udp::UdpSocket, P2ErrorCode> {
    use p2_sockets::udp_create_socket::Host as _;
    let state = asked_for(&mut store, Protocol::Udp);
    Ok((match state.sockets().create_udp_socket(family).await {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

fn create_tcp_p3(
    mut store: StoreContextMut<'_, State>,
    (family,): (p3_types::IpAddressFamily,),
) -> Created<TcpSocket, p3_types::ErrorCode> {
    use p3_types::HostTcpSocket as _;
    let state = asked_for(&mut store, Protocol::Tcp);
    Ok((match state.sockets().create(family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

async fn create_udp_p3(
    mut store: StoreContextMut<'_, State>,
    (family,): (p3_types::IpAddressFamily,),
) -> Created<UdpSocket, p3_types::ErrorCode> {
    use p3_types::HostUdpSocket as _;
    let state = asked_for(&mut store, Protocol::Udp);
    Ok((match state.sockets().create(family).await {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

fn asked_for<'a>(store: &'a mut StoreContextMut<'_, State>, protocol: Protocol) -> &'a mut State {
    let state = store.data_mut();
    state.sockets.report_ungranted(protocol);
    state
}
