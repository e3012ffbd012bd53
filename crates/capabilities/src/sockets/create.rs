//! Sockets are made by wasmtime-wasi, which denies them silently where nothing is granted. Here it
//! is said in the log what was asked for.

use wasmtime::{StoreContextMut, component::Resource};
use wasmtime_wasi::{
    p2::{self, bindings::sockets as p2_sockets},
    p3::bindings::sockets::types as p3_types,
    sockets::{TcpSocket, UdpSocket},
};

use super::Protocol;
use crate::{
    State,
    linking::Linking,
    parts::{Caller, Views},
};

type P2ErrorCode = p2_sockets::network::ErrorCode;

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    to.add("wasi:sockets/tcp-create-socket@0.2.12", |instance, views| {
        instance.func_wrap("create-tcp-socket", move |store, parameters| {
            create_tcp_p2(store, views, parameters)
        })
    })?;
    to.add("wasi:sockets/udp-create-socket@0.2.12", |instance, views| {
        instance.func_wrap_async("create-udp-socket", move |store, parameters| {
            Box::new(create_udp_p2(store, views, parameters))
        })
    })?;
    to.add("wasi:sockets/types@0.3.0", |types, views| {
        types.func_wrap("[static]tcp-socket.create", move |store, parameters| {
            create_tcp_p3(store, views, parameters)
        })?;
        types.func_wrap_async("[static]udp-socket.create", move |store, parameters| {
            Box::new(create_udp_p3(store, views, parameters))
        })
    })
}

type Created<T, E> = wasmtime::Result<(Result<Resource<T>, E>,)>;

fn create_tcp_p2(
    mut store: StoreContextMut<'_, State>,
    views: &'static Views,
    (family,): (p2_sockets::network::IpAddressFamily,),
) -> Created<p2::bindings::sockets::tcp::TcpSocket, P2ErrorCode> {
    use p2_sockets::tcp_create_socket::Host as _;
    let mut caller = asked_for(&mut store, views, Protocol::Tcp);
    Ok((match caller.sockets().create_tcp_socket(family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

async fn create_udp_p2(
    mut store: StoreContextMut<'_, State>,
    views: &'static Views,
    (family,): (p2_sockets::network::IpAddressFamily,),
) -> Created<p2::bindings::sockets::udp::UdpSocket, P2ErrorCode> {
    use p2_sockets::udp_create_socket::Host as _;
    let mut caller = asked_for(&mut store, views, Protocol::Udp);
    Ok((match caller.sockets().create_udp_socket(family).await {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

fn create_tcp_p3(
    mut store: StoreContextMut<'_, State>,
    views: &'static Views,
    (family,): (p3_types::IpAddressFamily,),
) -> Created<TcpSocket, p3_types::ErrorCode> {
    use p3_types::HostTcpSocket as _;
    let mut caller = asked_for(&mut store, views, Protocol::Tcp);
    Ok((match caller.sockets().create(family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

async fn create_udp_p3(
    mut store: StoreContextMut<'_, State>,
    views: &'static Views,
    (family,): (p3_types::IpAddressFamily,),
) -> Created<UdpSocket, p3_types::ErrorCode> {
    use p3_types::HostUdpSocket as _;
    let mut caller = asked_for(&mut store, views, Protocol::Udp);
    Ok((match caller.sockets().create(family).await {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}

fn asked_for<'a>(
    store: &'a mut StoreContextMut<'_, State>,
    views: &Views,
    protocol: Protocol,
) -> Caller<'a> {
    let caller = store.data_mut().caller(views.part);
    caller.part.sockets.report_ungranted(protocol);
    caller
}
