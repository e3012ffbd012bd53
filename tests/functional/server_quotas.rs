//! What a tenant may use is what it gets: more is refused, and others do not notice.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use dhow_package::Digest;
use dhow_tests::{
    Server,
    client::Answer,
    guests::guest,
    server::{get_at, one},
};
use tokio::task::JoinHandle;

/// A server on which tenant `acme` has `quota`, and its token.
fn server(quota: &str) -> (Server, String) {
    let server = Server::with(&format!("[tenant.acme.quota]\n{quota}\n"));
    let token = server.token("acme", "deploy");
    (server, token)
}

/// A server on which tenant `acme` has `quota` and an app `shop` of the guest `guest`, and where tenant
/// `default` has one, too.
fn server_with(quota: &str, guest: &str, settings: &str) -> Server {
    let (server, token) = server(quota);
    let finished = server.try_deploy_as(&token, &one("shop", guest, settings), &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    server.deploy_guest("other", "hello-p2");
    server
}

const HOST: &str = "shop.acme.localhost";

/// Begins a request.
fn begin(server: &Server, path: &'static str) -> JoinHandle<Answer> {
    let address = server.address;
    tokio::spawn(async move { get_at(address, HOST, path).await })
}

async fn is_served(server: &Server) {
    let answer = server.get("other.localhost", "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn apps_are_counted() {
    let (server, token) = server("apps = 2");
    for (app, code) in [("a", 0), ("b", 0), ("c", 4), ("a", 0)] {
        let finished = server.try_deploy_as(&token, &one(app, "hello-p2", ""), &[]);
        assert_eq!(finished.code, Some(code), "{app}: {finished:?}");
        if code == 4 {
            assert!(finished.stderr.contains("tenant `acme` has 2 apps"), "{finished:?}");
        }
    }
    let deleted = server.dhow_as(&token, ["delete", "a", "--yes"]).finish();
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    let finished = server.try_deploy_as(&token, &one("c", "hello-p2", ""), &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let acme = server.tenant("acme");
    assert_eq!((&acme["apps"], &acme["apps_quota"]), (&2.into(), &2.into()));
    server.deploy_guest("c", "hello-p2");
}

#[test]
fn stored_bytes_are_counted() {
    // The first is of 118 KiB, the second of 160.
    let (server, token) = server("stored = \"200KiB\"");
    let first = server.try_deploy_as(&token, &one("a", "hello-p2", ""), &[]);
    assert_eq!(first.code, Some(0), "{first:?}");
    for _ in 0..2 {
        let second = server.try_deploy_as(&token, &one("a", "trap", ""), &[]);
        assert_eq!(second.code, Some(4), "{second:?}");
        assert!(second.stderr.contains("the tenant may store "), "{second:?}");
    }
    // The same file again takes no more.
    let again = server.try_deploy_as(&token, &one("b", "hello-p2", ""), &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let stored = server.tenant("acme")["stored_bytes"].as_u64().unwrap();
    assert!((100 << 10..200 << 10).contains(&stored), "{stored}");
    assert_eq!(server.blobs().len(), 1);
    server.deploy_guest("a", "trap");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_the_same_time_are_counted_together() {
    let (server, token) = server("stored = \"200KiB\"");
    let uploads = ["hello-p2", "trap"].map(|name| {
        let bytes = fs::read(guest(name)).unwrap();
        let mut stream = TcpStream::connect(server.admin).unwrap();
        let head = format!(
            "PUT /v1/blobs/{} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            Digest::of(&bytes),
            bytes.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&bytes[..1_000]).unwrap();
        (stream, bytes)
    });
    while server.blobs().len() < 2 {
        thread::yield_now();
    }
    let statuses = uploads.map(|(mut stream, bytes)| {
        stream.write_all(&bytes[1_000..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    });
    assert_eq!(statuses, ["201", "403"]);
    assert_eq!(server.blobs().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_counted() {
    let server = server_with("concurrency = 2", "slow", "");
    let both = [begin(&server, "/before/3001"), begin(&server, "/before/3002")];
    for path in ["/before/3001", "/before/3002"] {
        server.wait_for_log(&format!("begin {path}"));
    }
    assert_eq!(server.tenant("acme")["in_flight"], 2);
    let third = server.get(HOST, "/").await;
    assert_eq!(
        (third.status.as_u16(), &third.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    server.wait_for_log("tenant `acme` has 2 requests under way, and may not have more");
    is_served(&server).await;
    for request in both {
        assert_eq!(request.await.unwrap().status, 200);
    }
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_second_are_counted() {
    let server = server_with("requests = 5", "hello-p2", "");
    let mut statuses = BTreeMap::<u16, u32>::new();
    let start = Instant::now();
    for _ in 0..40 {
        let answer = server.get(HOST, "/").await;
        if answer.status == 429 {
            assert_eq!(answer.headers["retry-after"], "1");
        }
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        is_served(&server).await;
    }
    let most = 5 + 5 * (start.elapsed().as_secs() as u32 + 1);
    assert!((5..=most).contains(&statuses[&200]) && statuses[&429] > 0, "{statuses:?}");
    // It is soon as before.
    let mut answer = server.get(HOST, "/").await;
    while answer.status == 429 {
        assert!(start.elapsed() < Duration::from_secs(30));
        answer = server.get(HOST, "/").await;
    }
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_all_instances_is_counted() {
    // Each instance could have all of it.
    let server = server_with("memory = \"32MiB\"", "trap", "limits.memory = \"64MiB\"");
    let answer = server.get(HOST, "/memory").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.headers["retry-after"], "1");
    let used = || server.tenant("acme")["memory_bytes"].as_u64().unwrap();
    assert!(used() <= 32 << 20);
    // What it had is given back.
    assert_eq!(server.get(HOST, "/").await.text, "begun\n");
    is_served(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_are_no_way_around_the_memory() {
    // An instance of this guest takes a little more than 1 MiB.
    let server = server_with("memory = \"4MiB\"", "slow", "");
    let all: Vec<_> = (0..10).map(|_| begin(&server, "/before/1000")).collect();
    let mut statuses = BTreeMap::<u16, u32>::new();
    for request in all {
        *statuses.entry(request.await.unwrap().status.as_u16()).or_default() += 1;
    }
    assert!(statuses[&200] >= 1 && statuses[&503] >= 1 && statuses.len() == 2, "{statuses:?}");
    is_served(&server).await;
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_beyond_the_quota_is_dropped_and_counted() {
    let server = server_with("log = \"1KiB\"", "settings", "");
    for number in 0..60 {
        assert_eq!(server.get(HOST, &format!("/log/warn/line-{number}-")).await.status, 200);
    }
    let dropped = server.tenant("acme")["log_bytes_dropped"].as_u64().unwrap();
    assert!(dropped > 0, "{dropped}");
    let kept = server.dhow(["logs", "shop", "--tenant", "acme"]).stdout.lines().count();
    assert!((5..60).contains(&kept), "{kept}");
    assert_eq!(server.tenant("default")["log_bytes_dropped"], 0);
    // One who does nothing else is no trouble to others.
    let token = server.token("acme", "deploy");
    let flood = one("flood", "trap", "limits.time = \"1s\"");
    let finished = server.try_deploy_as(&token, &flood, &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let address = server.address;
    let request = async move { get_at(address, "flood.acme.localhost", "/flood").await };
    let flooding = tokio::spawn(request);
    let mut served = 0;
    while !flooding.is_finished() {
        is_served(&server).await;
        served += 1;
    }
    assert_eq!(flooding.await.unwrap().status, 504);
    assert!(served > 10, "{served}");
    // What it floods with is nothing but ends of lines.
    let after = server.tenant("acme")["log_bytes_dropped"].as_u64().unwrap();
    assert!(after > dropped + 1_000, "{after}");
    assert!(server.log().len() < 1 << 20, "{}", server.log().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_shared_out() {
    let server = server_with("cpu = 0.2", "trap", "limits.time = \"3s\"");
    let used = || server.tenant("acme")["cpu_seconds"].as_f64().unwrap();
    let before = used();
    let start = Instant::now();
    let loops: Vec<_> = (0..4).map(|_| begin(&server, "/loop")).collect();
    let mut served = 0;
    while start.elapsed() < Duration::from_secs(2) {
        is_served(&server).await;
        served += 1;
    }
    let (used, seconds) = (used() - before, start.elapsed().as_secs_f64());
    assert!(used > 0.1, "{used} s in {seconds}");
    assert!(used / seconds < 0.35, "{used} s in {seconds}");
    assert!(served > 20, "{served}");
    for request in loops {
        assert_eq!(request.await.unwrap().status, 504);
    }
}
