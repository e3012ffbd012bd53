//! Talks to a Redis over TLS: `/HOST:PORT/PASSWORD` sets a key and reads it back. `tls-p2` does the
//! same in WASI 0.2.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    sockets::{
        ip_name_lookup,
        types::{IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket},
    },
    wit_future, wit_stream,
};

mod imports {
    wit_bindgen::generate!({ path: "../../wit/tls", world: "imports" });
}

use imports::wasi::tls::client::Connector;

struct Tls;

wasip3::http::service::export!(Tls);

impl wasip3::exports::http::handler::Guest for Tls {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = match words[..] {
            [endpoint, password] => {
                run(endpoint, password).await.unwrap_or_else(|error| format!("error: {error}"))
            }
            _ => "what?".to_owned(),
        };
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

async fn run(endpoint: &str, password: &str) -> Result<String, String> {
    let (host, port) = endpoint.rsplit_once(':').ok_or("no port")?;
    let found = ip_name_lookup::resolve_addresses(host.to_owned()).await;
    let addresses = found.map_err(|error| format!("{error:?}"))?;
    let port = port.parse().map_err(|_| "no port")?;
    let mut addresses = addresses.into_iter().filter_map(|address| match address {
        IpAddress::Ipv4(address) => {
            Some(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
        }
        IpAddress::Ipv6(_) => None,
    });
    let address = addresses.next().ok_or("no IPv4 address")?;
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.connect(address).await.map_err(|error| format!("{error:?}"))?;

    let connector = Connector::new();
    let (mut writer, cleartext) = wit_stream::new();
    let (ciphertext, _) = connector.send(cleartext);
    let _sent = socket.send(ciphertext);
    let (ciphertext, _) = socket.receive();
    let (mut cleartext, _) = connector.receive(ciphertext);
    Connector::connect(connector, host.to_owned())
        .await
        .map_err(|error| error.to_debug_string())?;

    writer.write_all(commands(password)).await;
    let mut received = Vec::new();
    loop {
        if let Some(value) = answer(&received) {
            return Ok(value);
        }
        match cleartext.next().await {
            Some(byte) => received.push(byte),
            None => return Err("the server has hung up".to_owned()),
        }
    }
}

fn commands(password: &str) -> Vec<u8> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("AUTH").arg(password).cmd("SET").arg("greeting").arg("hello");
    pipeline.cmd("GET").arg("greeting").get_packed_pipeline()
}

/// The third answer, once all of it is there.
fn answer(mut received: &[u8]) -> Option<String> {
    let (mut parser, mut last) = (redis::Parser::new(), None);
    for _ in 0..3 {
        last = Some(parser.parse_value(&mut received).ok()?);
    }
    redis::from_redis_value(last?).ok()
}
