//! The commands against a server that answers what it is told to.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread::JoinHandle,
};

use clap::Parser as _;
use dhow_api::{Deploy, Traffic};
use dhow_manifest::Name;
use tempfile::TempDir;

use super::{client::Client, deploy};
use crate::{
    args::{Args, Command},
    error::{CliError, Message},
};

const REVISIONS: &str = r#"{"app":"shop","url":"http://shop.localhost","is_rolling_out":false,
    "revisions":[{"number":12,"created":"2026-11-23T10:00:00Z","percent":100,"components":{},
    "preview_url":"http://r12.shop.localhost","requests":1,"errors":0}]}"#;
const DEPLOYED: &str = r#"{"app":"shop","revision":13,"url":"http://shop.localhost",
    "preview_url":null,"components":[],"changes":[],"percent":100,"link_ms":1}"#;
const NOT_FOUND: &str = r#"{"code":"not-found","message":"no app is called `shop`"}"#;
const NEW_GRANTS: &str = r#"{"code":"new-grants","message":"new grants","changes":[
    {"component":"cart","gains":true,"what":"connect to 10.0.0.0/8:5432"}]}"#;

/// What a server was asked.
struct Asked {
    /// As in `GET /v1/whoami`.
    what: String,
    head: String,
    body: Vec<u8>,
}

/// Answers one request after the other, each on a connection of its own, with status and body.
struct Fake {
    address: SocketAddr,
    folder: TempDir,
    thread: JoinHandle<Vec<Asked>>,
}

impl Fake {
    fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Vec<_> =
            answers.iter().map(|(status, body)| (*status, body.to_string())).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), "secret-token\n").unwrap();
        let thread = std::thread::spawn(move || {
            let answer = |(status, body)| answer(&listener.accept().unwrap().0, status, body);
            answers.into_iter().map(answer).collect()
        });
        Self { address, folder, thread }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `dhow` with `arguments` and those that name this server.
    async fn run(&self, arguments: &[&str]) -> Result<(), CliError> {
        self.run_on(&format!("http://{}", self.address), arguments).await
    }

    async fn run_on(&self, server: &str, arguments: &[&str]) -> Result<(), CliError> {
        let token = self.folder.path().join("token");
        let token = ["--server", server, "--token-file", token.to_str().unwrap()];
        let args = ["dhow"].into_iter().chain(arguments.iter().copied()).chain(token);
        match Args::try_parse_from(args).unwrap().command {
            Command::Remote(command) => super::run(command).await.map(drop),
            Command::Secret(command) => crate::secret::secret(command).await.map(drop),
            _ => panic!("no command that works on a server"),
        }
    }

    /// A client of this server, as tenant `acme`.
    fn client(&self) -> Client {
        let args = super::args::ServerArgs {
            server: super::args::ServerUrl::parse(&format!("http://{}", self.address)).ok(),
            token_file: Some(self.folder.path().join("token")),
            tenant: Name::new("acme").ok(),
        };
        Client::new(&args).ok().unwrap()
    }

    fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap()
    }
}

fn answer(mut stream: &TcpStream, status: u16, body: String) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| line != "\r\n") {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the request broke off");
        lines.push(line);
    }
    let head = lines.concat().to_ascii_lowercase();
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split_once('\r'));
    let mut sent = vec![0; length.map_or(0, |(length, _)| length.parse().unwrap())];
    reader.read_exact(&mut sent).unwrap();
    let (length, is_head) = (body.len(), head.starts_with("head "));
    let answer =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let body = if is_head { "" } else { &body };
    stream.write_all(format!("{answer}{body}").as_bytes()).unwrap();
    let what = lines[0].rsplit_once(' ').unwrap().0.to_owned();
    Asked { what, head, body: sent }
}

/// The exit code of an error, and the first of its messages.
fn plain(result: Result<impl Sized, CliError>) -> (u8, Message) {
    match result.err().unwrap() {
        CliError::Plain { mut messages, exit } => (exit, messages.swap_remove(0)),
        CliError::Manifest(_) => panic!("a manifest with faults"),
    }
}

#[tokio::test]
async fn what_a_server_refuses_has_its_exit_code() {
    for (status, body, exit, message) in [
        (409, r#"{"code":"conflict","message":"r13 is newer"}"#, 8, "r13 is newer"),
        (401, r#"{"code":"unauthorized","message":"who is it?"}"#, 6, "who is it?"),
        (404, NOT_FOUND, 5, "no app is called `shop`"),
        (200, "{\"app\":", 1, "can't be read: EOF while parsing"),
        (502, "<html>", 1, "answered 502 Bad Gateway, and not as Dhow"),
        (302, "", 1, "answered 302 Found, and not as Dhow"),
    ] {
        let fake = Fake::start(&[(status, body)]);
        let (found, Message { what, .. }) = plain(fake.run(&["rollback", "shop"]).await);
        assert_eq!(found, exit, "{body}");
        assert!(what.contains(message), "{what}");
        assert_eq!(fake.asked()[0].what, "POST /v1/apps/shop/rollback");
    }
}

#[tokio::test]
async fn nobody_answers() {
    let fake = Fake::start(&[]);
    let server = format!("http://{}", fake.address);
    // The thread has nothing to answer: its listener is closed when it has ended.
    while !fake.thread.is_finished() {
        tokio::task::yield_now().await;
    }
    let (exit, Message { what, help }) = plain(fake.run_on(&server, &["status"]).await);
    assert_eq!((exit, help.as_deref()), (1, Some("start a server: dhow serve --data ./data")));
    assert!(what.contains(&server) && what.contains("refused"), "{what}");
}

#[tokio::test]
async fn a_server_without_tls_is_there_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 16 << 10]).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let (exit, Message { help, .. }) = plain(Fake::start(&[]).run_on(&server, &["status"]).await);
    assert_eq!(exit, 1);
    assert!(help.is_some_and(|help| help.contains("where it has no TLS: --server http://")));
    answers.join().unwrap();
}

#[tokio::test]
async fn the_first_deployment_sends_the_file_and_a_manifest() {
    let fake = Fake::start(&[(404, NOT_FOUND), (404, ""), (201, ""), (201, DEPLOYED)]);
    let component = b"\0asm\x0d\0\x01\0 and so on".repeat(10_000);
    let file = fake.file("shop.wasm", &component);
    let result = fake.run(&["deploy", file.to_str().unwrap(), "--tenant", "acme"]).await;
    assert!(result.is_ok());
    let asked = fake.asked();
    let [base, has, upload, deploy] = &asked[..] else { panic!("{} requests", asked.len()) };
    assert_eq!(base.what, "GET /v1/apps/shop/revisions?tenant=acme");
    assert!(base.head.contains("authorization: bearer secret-token\r\n"));
    assert_eq!(has.what.replace("HEAD", "PUT"), upload.what);
    assert!(upload.what.starts_with("PUT /v1/blobs/sha256:"), "{}", upload.what);
    assert_eq!(upload.body, component);
    let sent: Deploy = serde_json::from_slice(&deploy.body).unwrap();
    assert_eq!(sent.base, Some(0));
    assert!(sent.manifest.unwrap().contains("component.shop.source = \"shop.wasm\""));
    assert!(upload.what.contains(&sent.components["shop"]));
}

#[tokio::test]
async fn one_component_is_replaced() {
    // The server has the file already.
    let fake = Fake::start(&[(200, REVISIONS), (200, ""), (201, DEPLOYED), (200, REVISIONS)]);
    let file = fake.file("new.wasm", b"\0asm\x0d\0\x01\0");
    let component = format!("cart={}", file.display());
    let result = fake.run(&["deploy", "--component", &component, "shop", "--wait"]).await;
    // The rollout has ended, and not with r13.
    assert_eq!(plain(result).0, 8);
    let asked = fake.asked();
    let sent: Deploy = serde_json::from_slice(&asked[2].body).unwrap();
    assert_eq!((sent.manifest, sent.base), (None, Some(12)));
    assert_eq!(sent.components.keys().collect::<Vec<_>>(), ["cart"]);
}

#[tokio::test]
async fn new_grants_are_asked_about() {
    let shop = Name::new("shop").unwrap();
    let fake = Fake::start(&[(403, NEW_GRANTS)]);
    let refused = deploy::send(&fake.client(), &shop, Deploy::default(), |_| Ok(false)).await;
    let (exit, Message { help, .. }) = plain(refused);
    assert_eq!((exit, help.as_deref()), (4, Some("dhow deploy --allow-new-grants")));

    let fake = Fake::start(&[(403, NEW_GRANTS), (201, DEPLOYED)]);
    let client = fake.client();
    let allowed = deploy::send(&client, &shop, Deploy::default(), |changes| {
        assert_eq!(changes[0].what, "connect to 10.0.0.0/8:5432");
        Ok(true)
    });
    assert_eq!(allowed.await.ok().and_then(|deployed| deployed.revision), Some(13));
    let asked = fake.asked();
    let allows =
        |asked: &Asked| serde_json::from_slice::<Deploy>(&asked.body).unwrap().allow_new_grants;
    assert_eq!(asked.iter().map(allows).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn what_each_command_asks_for() {
    let line = r#"{"number":1,"time":"2026-11-23T10:00:00Z","app":"shop","component":"cart",
        "stream":"stdout","text":"hello"}"#;
    let logs = line.replace('\n', "");
    let commands: [(&[&str], &str, &str); 8] = [
        (&["revisions", "shop"], REVISIONS, "GET /v1/apps/shop/revisions"),
        (&["traffic", "shop", "r12=90", "r13=10"], REVISIONS, "PUT /v1/apps/shop/traffic"),
        (&["delete", "shop", "--yes"], "", "DELETE /v1/apps/shop"),
        (
            &["logs", "shop", "-f", "--component", "cart", "--lines", "5"],
            &logs,
            "GET /v1/apps/shop/logs?lines=5&component=cart&follow=true",
        ),
        (&["secret", "list"], "[\"jwt-key\"]", "GET /v1/secrets"),
        (&["secret", "remove", "jwt-key"], "", "DELETE /v1/secrets/jwt-key"),
        (&["token", "list"], "[]", "GET /v1/tokens"),
        (&["token", "revoke", "t1"], "", "DELETE /v1/tokens/t1"),
    ];
    for (arguments, body, expected) in commands {
        let fake = Fake::start(&[(200, body)]);
        let result = fake.run(arguments).await;
        assert!(result.is_ok(), "{arguments:?}: {}", plain(result).1.what);
        let asked = fake.asked();
        assert_eq!(asked[0].what, expected);
        if arguments[0] == "traffic" {
            let traffic: Traffic = serde_json::from_slice(&asked[0].body).unwrap();
            assert_eq!(traffic.shares.into_iter().collect::<Vec<_>>(), [(12, 90), (13, 10)]);
        }
    }
}
