//! A command of WASI 0.2, by the standard library. The first argument says what to do.

use std::{
    env, fs,
    io::{Read, Write, stdin},
    net::{TcpListener, UdpSocket},
    process::exit,
    thread::sleep,
    time::{Duration, Instant, UNIX_EPOCH},
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["args", rest @ ..] => println!("{}", rest.join("|")),
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["upper"] => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).unwrap();
            std::io::stdout().write_all(text.to_uppercase().as_bytes()).unwrap();
        }
        ["read", path] => print(fs::read_to_string(path)),
        ["write", path, text] => print(fs::write(path, text).map(|()| "written".to_owned())),
        ["sleep", seconds] => {
            let now = || UNIX_EPOCH.elapsed().unwrap().as_secs();
            let (start, clock) = (now(), Instant::now());
            sleep(Duration::from_secs(seconds.parse().unwrap()));
            println!("{start} {} {}", now(), clock.elapsed().as_secs());
        }
        ["udp-echo", address] => echo_datagram(address).unwrap_or_else(|error| fail(&error)),
        ["tcp-echo", address] => echo_connection(address).unwrap_or_else(|error| fail(&error)),
        // The standard library passes on only whether it was 0.
        ["exit", code] => wasip2::cli::exit::exit_with_code(code.parse().unwrap()),
        ["trap"] => panic!("as asked"),
        _ => {
            eprintln!("what?");
            exit(2);
        }
    }
}

fn print(result: std::io::Result<String>) {
    match result {
        Ok(text) => println!("{text}"),
        Err(error) => fail(&error),
    }
}

fn fail(error: &std::io::Error) {
    eprintln!("{error}");
    exit(1);
}

/// Says where it listens, and sends one datagram back.
fn echo_datagram(address: &str) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = [0; 1024];
    let (length, from) = socket.recv_from(&mut buffer)?;
    socket.send_to(&buffer[..length], from)?;
    Ok(())
}

/// Says where it listens, and sends what one connection brings back.
fn echo_connection(address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    std::io::copy(&mut &stream, &mut &stream)?;
    Ok(())
}
