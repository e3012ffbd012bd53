//! Uses sockets as the path says, by the standard library and so WASI 0.2: `/lookup/NAME`,
//! `/tcp/ADDRESS/TEXT` and `/udp/ADDRESS/TEXT` (sends a line and answers with the line that comes
//! back), `/listen/ADDRESS` and `/udp-listen/ADDRESS` (answer with where it listens).

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
};

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Sockets;

wasip2::http::proxy::export!(Sockets);

impl wasip2::exports::http::incoming_handler::Guest for Sockets {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words).unwrap_or_else(|error| format!("error: {error}"));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn run(words: &[&str]) -> io::Result<String> {
    Ok(match words {
        ["lookup", name] => {
            let addresses = (*name, 0).to_socket_addrs()?;
            addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(",")
        }
        ["tcp", address, text] => {
            let mut stream = TcpStream::connect(address)?;
            writeln!(stream, "{text}")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            line
        }
        ["udp", address, text] => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(text.as_bytes(), address)?;
            let mut buffer = [0; 1024];
            let (length, _) = socket.recv_from(&mut buffer)?;
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
        ["listen", address] => TcpListener::bind(address)?.local_addr()?.to_string(),
        ["udp-listen", address] => UdpSocket::bind(address)?.local_addr()?.to_string(),
        _ => "what?".to_owned(),
    })
}
