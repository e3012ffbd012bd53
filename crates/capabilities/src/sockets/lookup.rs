//! Name lookup: `wasi:sockets/ip-name-lookup`, for the names that are granted.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    vec,
};

use url::Host;
use wasmtime::{
    StoreContextMut,
    component::{Accessor, HasData, Resource, ResourceType},
};
use wasmtime_wasi::{
    p2::{
        DynPollable, Pollable,
        bindings::sockets::network::{ErrorCode as P2ErrorCode, IpAddress as P2IpAddress, Network},
        subscribe,
    },
    p3::bindings::sockets::{
        ip_name_lookup::{self, ErrorCode},
        types::IpAddress,
    },
};

use super::{Opened, Policy};
use crate::{
    State,
    egress::EgressError,
    linking::{Linking, add},
    operate::operate,
    parts::{Caller, Views},
};

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "wasi:sockets/ip-name-lookup@0.3.0", ip_name_lookup, Lookup, lookup)?;
    to.add("wasi:sockets/ip-name-lookup@0.2.12", |p2, views| {
        let addresses = ResourceType::host::<Addresses>();
        p2.resource("resolve-address-stream", addresses, |mut store, rep| {
            store.data_mut().table.delete(Resource::<Addresses>::new_own(rep))?;
            Ok(())
        })?;
        p2.func_wrap("resolve-addresses", move |store, parameters| {
            resolve_addresses(store, views, parameters)
        })?;
        p2.func_wrap("[method]resolve-address-stream.resolve-next-address", resolve_next_address)?;
        p2.func_wrap("[method]resolve-address-stream.subscribe", subscribe_addresses)
    })
}

/// A lookup by one instance.
type Resolving = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + Send>>;

/// Why a guest gets no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LookupError {
    NotGranted,
    NoName,
    NotFound,
}

impl Opened {
    /// The addresses of `name`: an address as it is; a name if it is granted. What it leads to may
    /// be connected to from then on.
    fn resolve(&self, name: &str) -> Resolving {
        let found = match parse(name) {
            Some(Host::Ipv4(address)) => Ok(vec![address.into()]),
            Some(Host::Ipv6(address)) => Ok(vec![address.into()]),
            Some(Host::Domain(name)) => {
                if self.endpoints_of(&name).next().is_some() {
                    let resolving = self.clone().resolve_granted(name);
                    return Box::pin(operate("sockets", "lookup", resolving));
                }
                self.policy.audit.deny(
                    "sockets",
                    format_args!("looking up {name}"),
                    format_args!(
                        "to allow it, say with which port: grants.sockets.tcp = [\"{name}:443\"]"
                    ),
                );
                Err(LookupError::NotGranted)
            }
            None => Err(LookupError::NoName),
        };
        Box::pin(std::future::ready(found))
    }

    async fn resolve_granted(self, name: String) -> Result<Vec<IpAddr>, LookupError> {
        let Policy { audit, egress, .. } = &*self.policy;
        let ports: Vec<_> = self.endpoints_of(&name).map(|(_, endpoint)| endpoint.port).collect();
        let addresses = egress.addresses(&name, &ports).await.map_err(|error| match error {
            EgressError::NotPublic(address) => {
                audit.deny(
                    "sockets",
                    format_args!("the name {name} leads to {address}, which is not public"),
                    "to allow it, grant the address itself",
                );
                LookupError::NotGranted
            }
            EgressError::Denied(address) => {
                audit.deny(
                    "sockets",
                    format_args!("the name {name}, which leads to {address}"),
                    "the operator's rules for egress don't allow it",
                );
                LookupError::NotGranted
            }
            EgressError::NotFound | EgressError::TooMany | EgressError::Connect(_) => {
                LookupError::NotFound
            }
        })?;
        self.found(&name, &addresses);
        // In order, so that those of one address stand together.
        let mut addresses: Vec<_> = addresses.into_iter().map(|(address, _)| address).collect();
        addresses.dedup();
        Ok(addresses)
    }
}

/// A name as DNS has it, or an address in any of its spellings (WHATWG URL, "host parsing").
fn parse(name: &str) -> Option<Host> {
    let v6 = || name.parse().ok().map(Host::Ipv6);
    Host::parse(name).ok().or_else(v6)
}

impl From<LookupError> for ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotGranted => Self::AccessDenied,
            LookupError::NoName => Self::InvalidArgument,
            LookupError::NotFound => Self::NameUnresolvable,
        }
    }
}

impl From<LookupError> for P2ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotGranted => Self::AccessDenied,
            LookupError::NoName => Self::InvalidArgument,
            LookupError::NotFound => Self::NameUnresolvable,
        }
    }
}

/// What the interface of 0.3 is implemented for.
struct Lookup;

impl HasData for Lookup {
    type Data<'a> = &'a mut Opened;
}

impl ip_name_lookup::Host for &mut Opened {}

impl<T> ip_name_lookup::HostWithStore<T> for Lookup {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ErrorCode>> {
        let resolving = store.with(|mut store| store.get().resolve(&name));
        Ok(match resolving.await {
            Ok(addresses) => Ok(addresses.into_iter().map(IpAddress::from).collect()),
            Err(error) => Err(error.into()),
        })
    }
}

/// The `resolve-address-stream` of 0.2.
enum Addresses {
    Resolving(Resolving),
    Resolved(Result<vec::IntoIter<IpAddr>, LookupError>),
}

impl Addresses {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Resolving(resolving) = self {
            let Poll::Ready(result) = resolving.as_mut().poll(context) else {
                return Poll::Pending;
            };
            *self = Self::Resolved(result.map(Vec::into_iter));
        }
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

fn resolve_addresses(
    mut store: StoreContextMut<'_, State>,
    views: &'static Views,
    (network, name): (Resource<Network>, String),
) -> wasmtime::Result<(Result<Resource<Addresses>, P2ErrorCode>,)> {
    let Caller { part, table, .. } = store.data_mut().caller(views.part);
    table.get(&network)?;
    let addresses = Addresses::Resolving(part.sockets.resolve(&name));
    Ok((Ok(table.push(addresses)?),))
}

fn resolve_next_address(
    mut store: StoreContextMut<'_, State>,
    (stream,): (Resource<Addresses>,),
) -> wasmtime::Result<(Result<Option<P2IpAddress>, P2ErrorCode>,)> {
    let addresses = store.data_mut().table.get_mut(&stream)?;
    let _ = addresses.poll(&mut Context::from_waker(Waker::noop()));
    Ok((match addresses {
        Addresses::Resolving(_) => Err(P2ErrorCode::WouldBlock),
        Addresses::Resolved(Ok(addresses)) => Ok(addresses.next().map(P2IpAddress::from)),
        Addresses::Resolved(Err(error)) => Err((*error).into()),
    },))
}

fn subscribe_addresses(
    mut store: StoreContextMut<'_, State>,
    (stream,): (Resource<Addresses>,),
) -> wasmtime::Result<(Resource<DynPollable>,)> {
    Ok((subscribe(&mut store.data_mut().table, stream)?,))
}
