//! As `tls`, by the draft of WASI and its 0.2.

use wasip2::{
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::streams::{InputStream, OutputStream, StreamError},
    sockets::{
        instance_network::instance_network,
        ip_name_lookup::resolve_addresses,
        network::{IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress},
        tcp::TcpSocket,
        tcp_create_socket::create_tcp_socket,
    },
};

mod imports {
    wit_bindgen::generate!({
        path: "wit",
        world: "imports",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
        },
    });
}

use imports::wasi::tls::types::ClientHandshake;

struct Tls;

wasip2::http::proxy::export!(Tls);

impl wasip2::exports::http::incoming_handler::Guest for Tls {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = match words[..] {
            [endpoint, password] => {
                run(endpoint, password).unwrap_or_else(|error| format!("error: {error}"))
            }
            _ => "what?".to_owned(),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// A socket, and both of its directions.
type Connected = (TcpSocket, InputStream, OutputStream);

fn connect(host: &str, port: u16) -> Result<Connected, String> {
    let network = instance_network();
    let found = resolve_addresses(&network, host).map_err(|error| format!("{error:?}"))?;
    let address = loop {
        found.subscribe().block();
        match found.resolve_next_address().map_err(|error| format!("{error:?}"))? {
            Some(IpAddress::Ipv4(address)) => break address,
            Some(IpAddress::Ipv6(_)) => {}
            None => return Err("no IPv4 address".to_owned()),
        }
    };
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address });
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(|error| format!("{error:?}"))?;
    socket.start_connect(&network, address).map_err(|error| format!("{error:?}"))?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(|error| format!("{error:?}"))?;
    Ok((socket, input, output))
}

fn run(endpoint: &str, password: &str) -> Result<String, String> {
    let (host, port) = endpoint.rsplit_once(':').ok_or("no port")?;
    let (_socket, input, output) = connect(host, port.parse().map_err(|_| "no port")?)?;
    let shaking = ClientHandshake::finish(ClientHandshake::new(host, input, output));
    shaking.subscribe().block();
    let shaken = shaking.get().expect("it was waited for").expect("it was not taken yet");
    let (_connection, input, output) = shaken.map_err(|error| error.to_debug_string())?;

    let failed = |error: StreamError| format!("{error:?}");
    output.blocking_write_and_flush(&commands(password)).map_err(failed)?;
    let mut received = Vec::new();
    loop {
        received.extend(input.blocking_read(4096).map_err(failed)?);
        if let Some(value) = answer(&received) {
            return Ok(value);
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
