//! Apps of several components: who serves whom, streams among them, middleware, and what each may do.

use bytes::Bytes;
use dhow_tests::{
    Up,
    client::{Connection, by_hand, full, get, next_data},
    dhow,
    upstream::Upstream,
    write_manifest,
};
use http_body::Frame;

const CALLS: &str = "name = \"test\"\n\
    [component.calls]\nsource = \"{calls}\"\nuses = { \"dhow:calls/calls\" = \"callee\" }\n\
    [component.callee]\nsource = \"{callee}\"\n\
    [[http]]\npath = \"/...\"\ncomponent = \"calls\"\n";

/// `auth` as middleware in front of `cart`, both the guest that tries what it may do: paths below
/// `/next` reach `cart`.
fn probes(auth: &str, cart: &str) -> String {
    format!(
        "name = \"test\"\n\
         [component.auth]\nsource = \"{{probe-middleware}}\"\n{auth}\n\
         [component.cart]\nsource = \"{{probe}}\"\n{cart}\n\
         [[http]]\npath = \"/...\"\nmiddleware = [\"auth\"]\ncomponent = \"cart\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn components_call_each_other() {
    let up = Up::app(CALLS);
    for (path, expected) in [
        ("/add/10", "45"),
        ("/add-later/10", "45"),
        ("/length/3/65536", "196608"),
        ("/after/3/65536", "196608"),
        ("/inside/add/10", "45"),
        ("/inside/length/3/65536", "196608"),
    ] {
        assert_eq!(get(up.address, path).await.text, expected, "{path}");
    }
}

/// Bytes are passed as text where that is faster (`crates/compose/src/bytes.rs`).
#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_as_they_are_from_one_component_to_the_other() {
    let up = Up::app(CALLS);
    for size in [0, 1, 2, 63, 64, 65, 1000, 65_536, 1_000_001] {
        let answer = get(up.address, &format!("/bytes/{size}")).await;
        assert_eq!(answer.text, "as they are", "{size}: {}", up.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_from_one_component_to_the_other() {
    let up = Up::app(CALLS);
    assert_eq!(get(up.address, "/count/1000").await.text, "1000");
    let before = up.forget_peak_memory();
    for (path, expected) in [
        ("/count/0", "0"),
        ("/count/100000000", "100000000"),
        ("/produce/100000000/65536", "100000000"),
        // With room for several pieces at a time; the last one is short.
        ("/produce/10000001/65536/262144", "10000001"),
        // As many were taken as were written.
        ("/entries/1000", "499500 1000"),
    ] {
        assert_eq!(get(up.address, path).await.text, expected, "{path}");
    }
    let grown = (up.peak_memory() - before) >> 20;
    assert!(grown < 50, "nothing is kept of what was on its way: {grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_more_is_noticed_by_who_writes() {
    let up = Up::app(CALLS);
    // The component that is called writes, and the one that calls reads; then the other way round.
    let written = get(up.address, "/entries/1000000/100").await.text;
    assert!((100..=200).contains(&written.parse::<u64>().unwrap()), "{written}");
    assert_eq!(get(up.address, "/some/1000000/100").await.text, "100 100");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_has_its_own_grants_and_not_the_others() {
    let upstream = Upstream::start().await.address;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "here").unwrap();
    let grants = format!(
        "grants.env = {{ WHO = \"me\" }}\ngrants.config = {{ key = \"mine\" }}\n\
         grants.http = [\"http://{upstream}\"]\ngrants.sockets.tcp = [\"{upstream}\"]\n\
         grants.files = {{ \"/data\" = {:?} }}\n\
         grants.keyvalue = {{ mine = \"default\" }}\ngrants.sql = {{ mine = \"default\" }}",
        folder.path()
    );
    // Without a store at all a component that imports one is refused.
    let none = "grants.keyvalue = { other = \"default\" }\ngrants.sql = { other = \"default\" }";
    for (auth, cart, may, may_not) in
        [(&grants[..], none, "", "/next"), (none, &grants[..], "/next", "")]
    {
        let up = Up::app(&probes(auth, cart));
        for (what, expected) in [
            ("env/WHO", "Ok(\"me\")"),
            ("env2/WHO", "Ok(\"me\")"),
            ("config/key", "Ok(Some(\"mine\"))"),
            (&format!("http/{upstream}"), "Ok((200, "),
            (&format!("http2/{upstream}"), "Ok(200)"),
            (&format!("tcp/{upstream}"), "Ok(())"),
            (&format!("tcp2/{upstream}"), "Ok(())"),
            ("file/:data:a", "Ok(4)"),
            ("file2/:data:a", "Ok(4)"),
            ("keyvalue/mine", "Ok(false)"),
            ("keyvalue2/mine", "Ok(false)"),
            ("sql/mine", "Ok(0)"),
            ("sql2/mine", "Ok(())"),
        ] {
            let granted = get(up.address, &format!("{may}/{what}")).await.text;
            assert!(granted.starts_with(expected), "{may}/{what}: {granted}");
            let denied = get(up.address, &format!("{may_not}/{what}")).await.text;
            let is_nothing = denied == "Ok(None)";
            assert!(denied.starts_with("Err(") || is_nothing, "{may_not}/{what}: {denied}");
        }
        let denied = if may_not.is_empty() { "auth denied: " } else { "cart denied: " };
        let log = up.log();
        assert_eq!(log.matches(denied).count(), log.matches(" denied: ").count(), "{log}");
        assert!(log.contains(denied));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_by_whom_it_is_granted_and_not_by_its_neighbour() {
    const STORES: &str = "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }";
    let granted = format!("{STORES}\ngrants.secrets = [\"jwt-key\"]");
    // What the other calls so is its own.
    let same_name = format!("{STORES}\ngrants.config = {{ jwt-key = \"no secret\" }}");
    for (other, expected) in [(STORES, "Ok(None)"), (&same_name[..], "Ok(Some(\"no secret\"))")] {
        for (auth, cart, may, may_not) in
            [(&granted[..], other, "", "/next"), (other, &granted[..], "/next", "")]
        {
            let up = Up::app_with(&probes(auth, cart), |command| {
                let folder = command.get_args().last().map(std::path::PathBuf::from).unwrap();
                let config = folder.join("dhow-server.toml");
                std::fs::write(&config, "[secrets]\njwt-key = \"x${JWT_KEY}y\"\n").unwrap();
                command.arg("--config").arg(config).env("JWT_KEY", "open");
            });
            let read = get(up.address, &format!("{may}/config/jwt-key")).await.text;
            assert_eq!(read, "Ok(Some(\"xopeny\"))", "{auth} {cart}");
            let read = get(up.address, &format!("{may_not}/config/jwt-key")).await.text;
            assert_eq!(read, expected, "{auth} {cart}");
            let log = up.log();
            assert!(!log.contains("xopeny"), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_wrote_a_line() {
    let grants = "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }";
    let up = Up::app(&probes(grants, grants));
    assert_eq!(get(up.address, "/log/one").await.text, "Ok(())");
    assert_eq!(get(up.address, "/next/log/other").await.text, "Ok(())");
    assert!(up.wait_for_log("| one").starts_with("auth | "));
    assert!(up.wait_for_log("| other").starts_with("cart | "));
}

/// The echo behind middleware.
const ECHO: &str = "name = \"test\"\n\
    [component.auth]\nsource = \"{probe-middleware}\"\n\
    grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }\n\
    [component.twice]\nsource = \"{probe-middleware}\"\n\
    grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }\n\
    [component.echo]\nsource = \"{echo}\"\n\
    [[http]]\npath = \"/...\"\nmiddleware = [\"auth\", \"twice\"]\ncomponent = \"echo\"\n\
    [[http]]\npath = \"/plain/...\"\ncomponent = \"echo\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_through_middleware() {
    const PIECE: usize = 256 << 10;
    const MEBIBYTES: usize = 256;
    let up = Up::app(ECHO);
    assert_eq!(get(up.address, "/next/next/").await.status, 200);
    let before = up.forget_peak_memory();
    for mut connection in Connection::both(up.address).await {
        let (sender, body) = by_hand();
        let request = connection.request("POST", "/next/next/", body);
        let piece = Bytes::from(vec![7; PIECE]);
        // The response begins before the request ends.
        sender.send(Frame::data(piece.clone())).await.unwrap();
        let response = connection.send(request).await.unwrap();
        assert_eq!(response.headers().get_all("passed-by").iter().count(), 2);
        let mut body = response.into_body();
        let send = async {
            for _ in 1..MEBIBYTES * (1 << 20) / PIECE {
                sender.send(Frame::data(piece.clone())).await.unwrap();
            }
            drop(sender);
        };
        let receive = async {
            let mut bytes = 0;
            while let Some(data) = next_data(&mut body).await {
                bytes += data.unwrap().len();
            }
            bytes
        };
        let ((), bytes) = tokio::join!(send, receive);
        assert_eq!(bytes, MEBIBYTES << 20);
    }
    let grown = (up.peak_memory() - before) >> 20;
    assert!(grown < 50, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn middleware_stands_where_its_route_says() {
    let up = Up::app(ECHO);
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("POST", "/plain/", full("x"));
    let response = connection.send(request).await.unwrap();
    assert_eq!(response.headers().get("passed-by"), None);
    // It may answer by itself.
    assert_eq!(get(up.address, "/log/here").await.text, "Ok(())");
    assert_eq!(get(up.address, "/next/log/here").await.text, "Ok(())");
    up.wait_for_log("auth | here");
    up.wait_for_log("twice | here");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_several_components_are_used_again() {
    for settings in ["instances = { requests = 100 }", "instances = { calls = 4 }"] {
        let cart = format!(
            "{settings}\ngrants.keyvalue = {{ b = \"default\" }}\ngrants.sql = {{ b = \"default\" }}"
        );
        let auth = format!(
            "{settings}\ngrants.keyvalue = {{ a = \"default\" }}\ngrants.sql = {{ a = \"default\" }}"
        );
        let up = Up::app(&probes(&auth, &cart));
        for _ in 0..20 {
            let (one, two) =
                tokio::join!(get(up.address, "/keyvalue/a"), get(up.address, "/next/keyvalue/b"));
            assert_eq!((&one.text[..], &two.text[..]), ("Ok(false)", "Ok(false)"));
            let denied = get(up.address, "/next/keyvalue/a").await;
            assert_eq!(denied.text, "Err(\"Error::AccessDenied\")");
        }
    }
}

#[test]
fn joined_code_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), CALLS);
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        let mut dhow = dhow(["up".as_ref(), folder.path().as_os_str()]);
        dhow.0.env("XDG_CACHE_HOME", cache.path());
        let up = dhow.up();
        up.terminate();
        up.wait_for_end()
    };
    start();
    let kept = || {
        let files = walk(cache.path());
        assert!(!files.is_empty());
        files
    };
    let first = kept();
    start();
    assert_eq!(first, kept(), "nothing was compiled again");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}
