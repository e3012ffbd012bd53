//! What a server refuses: nothing of it is kept, and what runs goes on.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use dhow_package::Digest;
use dhow_tests::{
    Server, TOKEN, app_folder,
    client::{empty, full},
    guests::{from_wat, guest},
    server::{SmallDisk, one},
};
use serde_json::{Value, json};

const HOST: &str = "shop.localhost";

fn hello() -> String {
    one("shop", "hello-p2", "")
}

/// The bytes of a file, and where the API has it.
fn blob(bytes: &[u8]) -> String {
    format!("/v1/blobs/{}", Digest::of(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_link_changes_nothing() {
    let server = Server::start();
    server.deploy(&hello(), &[]);
    let folder = tempfile::tempdir().unwrap();
    let unknown = from_wat(
        folder.path(),
        "cart",
        r#"(component
            (import "acme:shop/orders@1.0.0" (instance (export "f" (func))))
            (instance $handler)
            (export "wasi:http/handler@0.3.0" (instance $handler)))"#,
    );
    let nothing = from_wat(folder.path(), "nothing", "(component)");
    for (file, message) in [
        (&unknown, "component `hello-p2` imports `acme:shop/orders@1.0.0`, which nobody serves"),
        (&nothing, "component `hello-p2` has no HTTP handler: it exports nothing"),
    ] {
        let manifest = hello().replace("{hello-p2}", file.to_str().unwrap());
        let finished = server.try_deploy(&manifest, &[]);
        assert_eq!(finished.code, Some(4), "{finished:?}");
        assert!(finished.stderr.contains("the components do not fit"), "{finished:?}");
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
    // The client would not send it.
    for bytes in [&b"hello there"[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\xff\xff", b"\0"] {
        let path = blob(bytes);
        assert_eq!(server.api(TOKEN, "PUT", &path, full(bytes)).await.0, 201);
        let deploy = deploy(&path);
        let (status, problem) = server.ask("POST", "/v1/apps/shop/revisions", &deploy).await;
        assert_eq!((status, &problem["code"]), (422, &json!("unlinkable")), "{problem}");
    }
    assert_eq!(server.json(&["revisions", "shop"])["revisions"].as_array().unwrap().len(), 1);
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

/// The request for a revision of `shop` of one component.
fn deploy(blob: &str) -> Value {
    let digest = blob.rsplit('/').next().unwrap();
    json!({
        "manifest": "name = \"shop\"\ncomponent.a.source = \"a.wasm\"\n",
        "components": { "a": digest },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_another_digest_is_not_kept() {
    let server = Server::start();
    let bytes = fs::read(guest("hello-p2")).unwrap();
    let path = blob(&bytes);
    let (status, problem) = server.api(TOKEN, "PUT", &path, full(bytes[1..].to_vec())).await;
    assert_eq!((status, &problem["code"]), (422, &json!("digest-mismatch")), "{problem}");
    let (status, problem) = server.api(TOKEN, "PUT", &path, empty()).await;
    assert_eq!((status, &problem["code"]), (422, &json!("digest-mismatch")), "{problem}");
    assert_eq!(server.blobs(), [""; 0]);
    assert_eq!(server.api(TOKEN, "HEAD", &path, empty()).await.0, 404);
    for digest in ["sha256:00", "md5:0", "..%2f..%2fregistry.redb", &"0".repeat(64)] {
        let path = format!("/v1/blobs/{digest}");
        let (status, problem) = server.api(TOKEN, "PUT", &path, full("x")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid")), "{digest}: {problem}");
    }
    // What it refers to has to be there.
    let (status, problem) = server.ask("POST", "/v1/apps/shop/revisions", &deploy(&path)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("missing-blobs")), "{problem}");
    assert!(path.ends_with(problem["details"][0]["message"].as_str().unwrap()), "{problem}");
    assert_eq!(server.dhow(["revisions", "shop"]).code, Some(5));
    assert_eq!(server.api(TOKEN, "PUT", &path, full(bytes)).await.0, 201);
    assert_eq!(server.ask("POST", "/v1/apps/shop/revisions", &deploy(&path)).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let mut server = Server::start();
    let bytes = fs::read(guest("hello-p2")).unwrap();
    let path = blob(&bytes);
    let begin = |server: &Server| {
        let mut stream = TcpStream::connect(server.admin).unwrap();
        let length = bytes.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&bytes[..length / 2]).unwrap();
        // It has begun.
        while server.blobs().is_empty() {
            std::thread::yield_now();
        }
        assert!(server.blobs()[0].starts_with(".unfinished-"), "{:?}", server.blobs());
        stream
    };
    let mut stream = begin(&server);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    while !server.blobs().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(server.api(TOKEN, "HEAD", &path, empty()).await.0, 404);
    // And if the server breaks off.
    let _stream = begin(&server);
    server.kill();
    assert_eq!(server.blobs().len(), 1);
    server.start_again();
    assert_eq!(server.blobs(), [""; 0]);
    assert_eq!(server.api(TOKEN, "HEAD", &path, empty()).await.0, 404);
    server.deploy(&hello(), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so() {
    let server = Server::start();
    server.deploy(&hello(), &[]);
    let acme = server.token("acme", "deploy");
    let reader = server.token("default", "read");
    let folder = app_folder(&hello());
    let path = folder.path().to_str().unwrap();
    let deploy = |token: &str, more: &[&str]| {
        server.dhow_as(token, [&["deploy", path], more].concat()).finish()
    };
    for (finished, message) in [
        (deploy("", &[]), "there is no token"),
        (deploy("dhow_0123", &[]), "the token is not known, or not any more"),
        (deploy(&acme, &["--tenant", "default"]), "the token is not for tenant `default`"),
        (deploy(&acme, &["--tenant", "other"]), "the token is not for tenant `other`"),
        (deploy(&reader, &[]), "403 Forbidden"),
        (server.dhow_as(&reader, ["rollback", "shop"]).finish(), "it needs the scope deploy"),
        (server.dhow_as(&reader, ["delete", "shop", "--yes"]).finish(), "the scope deploy"),
        (server.dhow_as(&acme, ["token", "list"]).finish(), "it needs the scope admin"),
        (
            server
                .dhow_as(&acme, ["token", "create", "--tenant", "acme", "--scope", "admin"])
                .finish(),
            "it needs the scope admin",
        ),
    ] {
        assert_eq!(finished.code, Some(6), "{finished:?}");
        assert!(finished.stderr.contains(message), "{message}: {finished:?}");
    }
    assert_eq!(server.dhow_as(&reader, ["revisions", "shop"]).finish().code, Some(0));
    for token in ["", "x", &acme] {
        let (status, problem) =
            server.api(token, "GET", "/v1/status?tenant=default", empty()).await;
        let expected = if token == acme { (403, "forbidden") } else { (401, "unauthorized") };
        assert_eq!((status, problem["code"].as_str().unwrap()), expected);
    }
    // Of another tenant's app it is not said whether it is there.
    let finished = server.dhow_as(&acme, ["revisions", "shop"]).finish();
    assert_eq!(finished.code, Some(5), "{finished:?}");
    // A token that was revoked is none any more, also after a restart.
    let all = server.json(&["token", "list"]);
    let id = all["tokens"].as_array().unwrap().iter().find(|it| it["tenant"] == "acme").unwrap();
    assert_eq!(server.dhow(["token", "revoke", id["id"].as_str().unwrap()]).code, Some(0));
    assert_eq!(server.dhow_as(&acme, ["status"]).finish().code, Some(6));
    // No token is shown or written anywhere.
    let listed = server.dhow(["token", "list"]).stdout + &server.log();
    assert!(!listed.contains(&acme) && !listed.contains(&reader) && !listed.contains(TOKEN));
    assert_eq!(server.get(HOST, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_manifests_with_faults_are_refused() {
    let server = Server::start();
    let body = json!({ "manifest": "name = \"shop\"\n[component.a]\nsorce = 1\nlimits = 5\n" });
    let (status, problem) = server.ask("POST", "/v1/apps/shop/revisions", &body).await;
    assert_eq!((status, &problem["code"]), (422, &json!("manifest")), "{problem}");
    let details: Vec<_> = problem["details"].as_array().unwrap().iter().collect();
    let said: Vec<_> = details.iter().map(|it| it["message"].as_str().unwrap()).collect();
    assert!(said.contains(&"dhow.toml:3:1: unknown key `sorce` in a component"), "{said:?}");
    assert!(said.len() > 2 && said.iter().all(|it| it.starts_with("dhow.toml:")), "{said:?}");
    assert_eq!(details.iter().filter(|it| it["help"] == "did you mean `source`?").count(), 1);

    for name in ["My-Shop", "shop.cart", "-shop", "shop%2f..", "%F0%9F%9B%92", &"a".repeat(64)] {
        for (method, path) in [("POST", "revisions"), ("GET", "revisions"), ("GET", "logs")] {
            let path = format!("/v1/apps/{name}/{path}");
            let (status, problem) = server.ask(method, &path, &body).await;
            assert_eq!((status, &problem["code"]), (400, &json!("invalid")), "{name}: {problem}");
        }
    }
    let (status, problem) = server.ask("GET", "/v1/status?tenant=A%20B", &Value::Null).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid")), "{problem}");
    for (body, expected) in [
        (json!({ "manifest": "name = \"My Shop\"" }), (422, "manifest")),
        (json!({ "manifest": "name = \"cart\"\ncomponent.a.source = \"a\"" }), (400, "invalid")),
        (json!({ "manifest": "[".repeat(100_000) }), (422, "manifest")),
        (json!({ "manifest": "x".repeat(3 << 20) }), (413, "too-large")),
        (json!({ "manifests": "" }), (400, "invalid")),
        (json!("x"), (400, "invalid")),
        (json!({}), (404, "not-found")),
        (json!({ "manifest": "name = \"shop\"\ncomponent.a.source = \"a\"" }), (400, "invalid")),
    ] {
        let (status, problem) = server.ask("POST", "/v1/apps/shop/revisions", &body).await;
        let found = (status, problem["code"].as_str().unwrap_or_default());
        assert_eq!(found, expected, "{problem}");
    }
    // An app whose host would be that of a revision.
    let (status, problem) = server
        .ask("POST", "/v1/apps/r1--shop/revisions", &json!({ "manifest": "name = \"r1--shop\"" }))
        .await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid")), "{problem}");
    let finished = server.try_deploy("name = \"My Shop\"\ncomponent.a.source = \"{echo}\"", &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert_eq!(server.dhow(["revisions", "My-Shop"]).code, Some(2));
    for command in [&["revisions"][..], &["logs"], &["rollback"], &["status"], &["traffic"]] {
        let finished = server.dhow([command, &["nobody"]].concat());
        assert_eq!(finished.code, Some(5), "{finished:?}");
        assert!(finished.stderr.contains("no app is called `nobody`"), "{finished:?}");
    }
    assert_eq!(server.json(&["status"])["apps_total"], 0);
    let (status, problem) = server.ask("GET", "/v2/status", &Value::Null).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not-found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_is_there() {
    let Some(disk) = SmallDisk::mount(6 << 20) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder, disk.path().join("data"), "");
    server.deploy(&hello(), &[]);
    let filler = disk.path().join("filler");
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    let left = (free.f_bavail * free.f_frsize).saturating_sub(64 << 10);
    fs::write(&filler, vec![1; left as usize]).unwrap();

    let large = vec![0; 1 << 20];
    let (status, problem) = server.api(TOKEN, "PUT", &blob(&large), full(large.clone())).await;
    assert_eq!((status, &problem["code"]), (507, &json!("disk-full")), "{problem}");
    let finished = server.try_deploy(&one("shop", "trap", ""), &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the server's disk is full"), "{finished:?}");
    assert_eq!(server.blobs().len(), 1, "{:?}", server.blobs());
    assert_eq!(server.get(HOST, "/").await.status, 200);
    // To the last byte.
    let mut more = fs::File::options().append(true).open(&filler).unwrap();
    while more.write_all(&[1; 512]).is_ok() {}
    drop(more);
    for manifest in [one("shop", "trap", ""), hello()] {
        let finished = server.try_deploy(&manifest, &[]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("the server's disk is full"), "{finished:?}");
        assert_eq!(server.get(HOST, "/").await.status, 200);
    }
    let revisions = server.json(&["revisions", "shop"]);
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 1);
    let token = json!({ "tenant": "acme", "scopes": ["deploy"] });
    for (method, path, body) in [
        ("POST", "/v1/tokens", token),
        ("PUT", "/v1/apps/shop/traffic", json!({ "shares": { "1": 100 } })),
        ("PUT", "/v1/secrets/word", json!({ "value": "a".repeat(8 << 10) })),
    ] {
        let (status, problem) = server.ask(method, path, &body).await;
        assert_eq!((status, &problem["code"]), (507, &json!("disk-full")), "{path}: {problem}");
    }

    fs::remove_file(&filler).unwrap();
    assert_eq!(server.deploy(&one("shop", "trap", ""), &[])["revision"], 2);
    assert_eq!(server.get(HOST, "/").await.text, "begun\n");
}
