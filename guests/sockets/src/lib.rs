//! Uses sockets as the path says: `/lookup/NAME`, `/tcp/ADDRESS/TEXT` and `/udp/ADDRESS/TEXT` (sends
//! a line and answers with the line that comes back), `/listen/ADDRESS` and `/udp-listen/ADDRESS`
//! (answer with where it listens). `sockets-p2` does the same in WASI 0.2.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use wasip3::{
    http::types::{self, Fields, Request, Response},
    sockets::{
        ip_name_lookup,
        types::{
            ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket,
            UdpSocket,
        },
    },
    wit_future, wit_stream,
};

struct Sockets;

wasip3::http::service::export!(Sockets);

impl wasip3::exports::http::handler::Guest for Sockets {
    async fn handle(request: Request) -> Result<Response, types::ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).await.unwrap_or_else(|error| format!("error: {error}"));
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wasip3::wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

async fn run(words: &[&str]) -> Result<String, String> {
    let named = |error: ErrorCode| format!("{error:?}");
    match words {
        ["lookup", name] => {
            let found = ip_name_lookup::resolve_addresses((*name).to_owned()).await;
            let addresses = found.map_err(|error| format!("{error:?}"))?;
            Ok(addresses.iter().map(text_of).collect::<Vec<_>>().join(","))
        }
        ["tcp", address, text] => {
            let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(named)?;
            socket.connect(resolved(address).await?).await.map_err(named)?;
            let (mut writer, outgoing) = wit_stream::new();
            let sent = socket.send(outgoing);
            writer.write_all(format!("{text}\n").into_bytes()).await;
            drop(writer);
            sent.await.map_err(named)?;
            let (incoming, _) = socket.receive();
            let bytes = incoming.collect().await;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        ["udp", address, text] => {
            let socket = UdpSocket::create(IpAddressFamily::Ipv4).map_err(named)?;
            let to = Some(address_of(address));
            socket.send(text.as_bytes().to_vec(), to).await.map_err(named)?;
            let (bytes, _) = socket.receive().await.map_err(named)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        ["listen", address] => {
            let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(named)?;
            socket.bind(address_of(address)).map_err(named)?;
            let _connections = socket.listen().map_err(named)?;
            Ok(format!("{:?}", socket.get_local_address().map_err(named)?))
        }
        ["udp-listen", address] => {
            let socket = UdpSocket::create(IpAddressFamily::Ipv4).map_err(named)?;
            socket.bind(address_of(address)).map_err(named)?;
            Ok(format!("{:?}", socket.get_local_address().map_err(named)?))
        }
        _ => Ok("what?".to_owned()),
    }
}

/// The address of `HOST:PORT`.
async fn resolved(endpoint: &str) -> Result<IpSocketAddress, String> {
    let Some((host, port)) = endpoint.rsplit_once(':') else { return Err("no port".to_owned()) };
    let found = ip_name_lookup::resolve_addresses(host.to_owned()).await;
    let addresses = found.map_err(|error| format!("{error:?}"))?;
    let port = port.parse().map_err(|_| "no port")?;
    let mut addresses = addresses.into_iter().filter_map(|address| match address {
        IpAddress::Ipv4(address) => {
            Some(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
        }
        IpAddress::Ipv6(_) => None,
    });
    addresses.next().ok_or_else(|| "no IPv4 address".to_owned())
}

fn text_of(address: &IpAddress) -> String {
    match *address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).to_string(),
        IpAddress::Ipv6(_) => format!("{address:?}"),
    }
}

fn address_of(text: &str) -> IpSocketAddress {
    let Ok(SocketAddr::V4(address)) = text.parse() else { panic!("{text} is no IPv4 address") };
    let [a, b, c, d] = SocketAddrV4::ip(&address).octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}
