//! Sockets: where they may lead, in WASI 0.3 and 0.2.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
};

use dhow_tests::{
    Up,
    client::get,
    dhow,
    guests::guest,
    servers::{PASSWORD, Redis},
};

const GUESTS: [&str; 2] = ["sockets", "sockets-p2"];

/// Sends each connection's first line back in capitals.
fn shouting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let _ = write!(&stream, "{}", line.to_uppercase());
        }
    });
    address
}

/// Sends each datagram back in capitals.
fn shouting_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length].to_ascii_uppercase(), from);
        }
    });
    address
}

fn granted(key: &str, endpoint: &str) -> String {
    format!("grants.sockets = {{ {key} = [\"{endpoint}\"] }}")
}

fn is_denied(text: &str) -> bool {
    text.contains("AccessDenied") || text.contains("Permission denied")
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_and_udp_lead_where_they_are_granted() {
    let (tcp, udp) = (shouting(), shouting_datagrams());
    for name in GUESTS {
        let port = tcp.port();
        for endpoint in [tcp.to_string(), "127.0.0.0/8:*".to_owned(), format!("localhost:{port}")] {
            let up = Up::guest(name, &granted("tcp", &endpoint));
            let host = if endpoint.starts_with("localhost") { "localhost" } else { "127.0.0.1" };
            let answer = get(up.address, &format!("/tcp/{host}:{port}/hello")).await;
            assert_eq!(answer.text.trim(), "HELLO", "{name} {endpoint}");
        }
        let up = Up::guest(name, &granted("udp", &udp.to_string()));
        let answer = get(up.address, &format!("/udp/{udp}/hello")).await;
        assert_eq!(answer.text, "HELLO", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let (tcp, udp) = (shouting(), shouting_datagrams());
    for name in GUESTS {
        // No grant at all; one for another port; one for the other protocol.
        for settings in
            [String::new(), granted("tcp", "127.0.0.1:9"), granted("udp", "127.0.0.1:*")]
        {
            let up = Up::guest(name, &settings);
            let answer = get(up.address, &format!("/tcp/{tcp}/hello")).await;
            assert!(is_denied(&answer.text), "{name} {settings}: {}", answer.text);
            up.wait_for_log("to allow it");
        }
        let up = Up::guest(name, &granted("udp", "127.0.0.1:9"));
        let answer = get(up.address, &format!("/udp/{udp}/hello")).await;
        assert!(is_denied(&answer.text), "{name}: {}", answer.text);
        up.wait_for_log(&format!("grants.sockets.udp = [\"{udp}\"]"));
        let up = Up::guest(name, &granted("tcp", "127.0.0.1:*"));
        let answer = get(up.address, "/listen/127.0.0.1:0").await;
        assert!(is_denied(&answer.text), "{name}: {}", answer.text);
        up.wait_for_log("grants.sockets.tcp-listen = [\"127.0.0.1:0\"]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_listened_for_where_it_is_granted() {
    for name in GUESTS {
        let up = Up::guest(name, &granted("udp-listen", "127.0.0.1:0"));
        let answer = get(up.address, "/udp-listen/127.0.0.1:0").await.text;
        assert!(answer.contains("127") && !answer.starts_with("error"), "{name}: {answer}");
        let log = up.log();
        assert!(!log.contains("denied"), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_where_they_are_granted() {
    for name in GUESTS {
        let up = Up::guest(name, &granted("tcp", "localhost:80"));
        let answer = get(up.address, "/lookup/localhost").await;
        assert!(answer.text.contains("127.0.0.1"), "{name}: {}", answer.text);
        let answer = get(up.address, "/lookup/example.com").await;
        assert!(is_denied(&answer.text), "{name}: {}", answer.text);
        up.wait_for_log("denied: looking up example.com");
        // An address is no name: nobody is asked.
        let answer = get(up.address, "/lookup/192.0.2.7").await;
        assert_eq!(answer.text, "192.0.2.7", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_native_programs_speaks_to_a_real_server() {
    let Some(redis) = Redis::start() else { return };
    let path = format!("/{}/{PASSWORD}", redis.address);
    let up = Up::guest("redis-client", &granted("tcp", &redis.address.to_string()));
    assert_eq!(get(up.address, &path).await.text, "hello 1 42");
    let up = Up::guest("redis-client", &granted("tcp", "127.0.0.1:9"));
    assert!(is_denied(&get(up.address, &path).await.text));
}

/// A command that listens, and where.
struct Listening {
    child: Child,
    address: SocketAddr,
}

fn listening(flag: &str, what: &str) -> Listening {
    let command = guest("command");
    let mut dhow: Command = dhow([
        "run".as_ref(),
        flag.as_ref(),
        "127.0.0.1:0".as_ref(),
        command.as_os_str(),
        what.as_ref(),
        "127.0.0.1:0".as_ref(),
    ])
    .0;
    let mut child = dhow.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect("it listens").parse().unwrap();
    Listening { child, address }
}

#[test]
fn a_command_serves_tcp() {
    let Listening { mut child, address } = listening("--tcp-listen", "tcp-echo");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"over and over").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over and over");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_command_serves_udp_and_answers_whom_it_has_heard() {
    let Listening { mut child, address } = listening("--udp-listen", "udp-echo");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"and out", address).unwrap();
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"and out");
    assert!(child.wait().unwrap().success());
}
