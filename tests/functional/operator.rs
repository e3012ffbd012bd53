//! What the operator lets apps reach and have, whatever they are granted.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use dhow_tests::{
    Up,
    client::{Connection, answer, full, get},
    dhow,
    dns::NameServer,
    servers::{MariaDb, PASSWORD, Postgres, Redis},
    upstream::Upstream,
    write_manifest,
};

/// An app of the guest `name` with `grants`, for an operator who says `rules`.
fn operated(name: &str, grants: &str, rules: &str) -> Up {
    let manifest =
        format!("name = \"test\"\n[component.{name}]\nsource = \"{{{name}}}\"\n{grants}\n");
    Up::app_with(&manifest, |command| {
        let folder = command.get_args().last().map(PathBuf::from).unwrap();
        let config = folder.join("dhow-server.toml");
        fs::write(&config, rules).unwrap();
        command.arg("--config").arg(config);
        command.env("DB_PASSWORD", PASSWORD).env("REDIS_PASSWORD", PASSWORD);
    })
}

const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_bound_anew_leads_nowhere() {
    let names = NameServer::start(PUBLIC).await;
    let rules = format!("egress.dns = [\"{}\"]", names.address);
    for name in ["sockets", "sockets-p2"] {
        names.rebind(PUBLIC);
        let up = operated(name, "grants.sockets = { tcp = [\"rebind.test:9\"] }", &rules);
        assert_eq!(get(up.address, "/lookup/rebind.test").await.text, PUBLIC.to_string());
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254)] {
            names.rebind(address);
            let answer = get(up.address, "/lookup/rebind.test").await.text;
            assert!(answer.starts_with("error: "), "{name}: {answer}");
            up.wait_for_log(&format!(
                "the name rebind.test leads to {address}, which is not public"
            ));
            // Nor by its address, which no name has led to.
            let answer = get(up.address, &format!("/tcp/{address}:9/x")).await.text;
            assert!(answer.starts_with("error: "), "{name}: {answer}");
        }
        // Whoever may not ask, does not.
        let asked = names.asked();
        assert!(get(up.address, "/lookup/other.test").await.text.starts_with("error: "));
        assert_eq!(names.asked(), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_no_name_into_a_private_network_unless_the_operator_says_so() {
    let upstream = Upstream::start().await;
    let names = NameServer::start(Ipv4Addr::LOCALHOST).await;
    let port = upstream.address.port();
    let origin = format!("http://rebind.test:{port}");
    let grants = format!("grants.http = [\"{origin}\"]");
    let dns = format!("egress.dns = [\"{}\"]\n", names.address);
    for client in ["client", "client-p2"] {
        let up = operated(client, &grants, &dns);
        let answer = get(up.address, &format!("/?{origin}/x")).await.text;
        assert_eq!(answer, "ErrorCode::DestinationIpProhibited\n", "{client}");
        // The hosts file comes first: a name that stands there is not asked for.
        let asked = names.asked();
        let local = format!("grants.http = [\"http://localhost:{port}\"]");
        let up = operated(client, &local, &dns);
        let answer = get(up.address, &format!("/?http://localhost:{port}/x")).await.text;
        assert_eq!(answer, "GET HTTP/1.1 /x \n", "{client}");
        assert_eq!(names.asked(), asked);
        let rules = format!("{dns}egress.allow = [\"rebind.test:{port}\", \"127.0.0.0/8:{port}\"]");
        let up = operated(client, &grants, &rules);
        let answer = get(up.address, &format!("/?{origin}/x")).await.text;
        assert_eq!(answer, "GET HTTP/1.1 /x \n", "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_not_reached_though_it_is_granted() {
    let upstream = Upstream::start().await;
    let port = upstream.address.port();
    // The grant is for more than the rule is.
    let grants = format!(
        "grants.http = [\"http://127.0.0.1:{port}\", \"http://localhost:{port}\"]\n\
         grants.sockets = {{ tcp = [\"127.0.0.0/8:{port}\"] }}"
    );
    let denied = format!("egress.deny = [\"127.0.0.0/30:{port}\"]");
    for name in ["sockets", "sockets-p2"] {
        let only = grants.split_once('\n').unwrap().1;
        let up = operated(name, only, &denied);
        let answer = get(up.address, &format!("/tcp/127.0.0.1:{port}/x")).await.text;
        assert!(answer.starts_with("error: "), "{name}: {answer}");
        up.wait_for_log(&format!("denied: tcp 127.0.0.1:{port}"));
    }
    let only = format!("grants.http = [\"http://localhost:{port}\"]");
    for client in ["client", "client-p2"] {
        let up = operated(client, &only, &denied);
        let answer = get(up.address, &format!("/?http://localhost:{port}/x")).await.text;
        assert_eq!(answer, "ErrorCode::DestinationIpProhibited\n", "{client}");
        up.terminate();
        // What was denied is counted, and said in the end.
        let log = up.wait_for_end();
        assert!(log.contains(&format!("{client} was denied http: 1 calls")), "{log}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn more_than_the_operator_gives_is_said_all_together_before_the_first_request() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    write_manifest(
        folder.path(),
        "name = \"test\"\n[component.client]\nsource = \"{client}\"\n\
         grants.http = [\"https://api.example.com\", \"https://evil.example.com\", \
         \"http://api.example.com\"]\n\
         grants.files = { \"/data\" = { folder = \"data\", write = true, quota = \"2GiB\" } }\n\
         limits = { memory = \"256MiB\", time = \"1min\", concurrency = 1000 }\n",
    );
    let config = folder.path().join("dhow-server.toml");
    fs::write(
        &config,
        "[egress]\nallow = [\"*.example.com:443\"]\ndeny = [\"evil.example.com:*\"]\n\
         [limits]\nmemory = \"64MiB\"\ntime = \"30s\"\nconcurrency = 100\nquota = \"1GiB\"\n",
    )
    .unwrap();
    let arguments =
        ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
    let finished = dhow(arguments).finish();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    for line in [
        "it may reach evil.example.com:443, which the operator denies",
        "it may reach api.example.com:80, which the operator does not allow",
        "egress.allow = [\"api.example.com:80\"]",
        "it asks for limits.memory = \"256MiB\", and the operator gives \"64MiB\"",
        "write: limits.memory = \"64MiB\"",
        "it asks for limits.time = \"1m\", and the operator gives \"30s\"",
        "it asks for limits.concurrency = 1000, and the operator gives 100",
        "it asks for quota = \"2GiB\", and the operator gives \"1GiB\"",
    ] {
        assert!(finished.stderr.contains(line), "{line}\n{}", finished.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_an_authority_that_is_missing_is_said_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(
        folder.path(),
        "name = \"test\"\n[component.sql]\nsource = \"{sql}\"\ngrants.sql = { db = \"main\" }\n",
    );
    let config = folder.path().join("dhow-server.toml");
    fs::write(
        &config,
        "[backend.main]\nsql = \"postgres://shop:hush@localhost/shop\"\nca = \"missing.pem\"\n",
    )
    .unwrap();
    let arguments =
        ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
    let finished = dhow(arguments).finish();
    assert_ne!(finished.code, Some(0));
    let said = finished.stderr;
    assert!(said.contains("the backend `main`: the certificates in missing.pem"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_speak_tls_with_whom_their_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let query = ("sql", "/db/query", "SELECT 1 AS n", "n: [[Value::Integer(1)]]");
    if let Some(server) = Postgres::start_tls(&path("postgres.pem")) {
        let url = format!("{}?sslmode=require", server.url());
        vouched_for(query, &format!("sql = \"{url}\""), &path("postgres.pem")).await;
    }
    if let Some(server) = MariaDb::start_tls(&path("mariadb.pem")) {
        let url = format!("{}?ssl-mode=required", server.url());
        vouched_for(query, &format!("sql = \"{url}\""), &path("mariadb.pem")).await;
    }
    if let Some(server) = Redis::start_tls(&path("redis.pem")) {
        let url = server.url().replace("redis://", "rediss://");
        let get = ("keyvalue", "/db/get/nothing", "", "nothing");
        vouched_for(get, &format!("keyvalue = \"{url}\""), &path("redis.pem")).await;
    }
}

/// Asks a guest whose backend is `line`, once with the authority and once without.
async fn vouched_for(
    (guest, path, body, expected): (&str, &str, &'static str, &str),
    line: &str,
    authority: &Path,
) {
    let line = line.replace("127.0.0.1", "localhost");
    let grants = format!("grants.{guest} = {{ db = \"default\" }}");
    for ca in [Some(authority), None] {
        let ca = ca.map(|ca| format!("ca = {ca:?}")).unwrap_or_default();
        let up = operated(guest, &grants, &format!("[backend.default]\n{line}\n{ca}"));
        let mut connection = Connection::http1(up.address).await;
        let request = connection.request("POST", path, full(body));
        let answer = answer(connection.send(request).await.unwrap()).await.text;
        assert_eq!(answer == expected, !ca.is_empty(), "{line}: {answer}");
        assert!(!up.log().contains(PASSWORD));
    }
}
