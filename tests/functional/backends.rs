//! What the operator binds names to, where it is not as it should be: texts that lead nowhere, and
//! servers that say nothing.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use dhow_tests::{
    Finished, Up,
    client::{Connection, answer, full},
    dhow,
    servers::{PASSWORD, silent},
    write_manifest,
};

/// What is said to an operator who has written this.
fn refused(operator: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), "name = \"a\"\ncomponent.a.source = \"{hello-p2}\"\n");
    let config = folder.path().join("dhow-server.toml");
    fs::write(&config, operator).unwrap();
    let arguments =
        ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
    let finished = dhow(arguments).finish();
    assert!(!finished.stderr.contains("Serving"), "{finished:?}");
    finished
}

const POSTGRES: &str = "write postgres://USER:PASSWORD@HOST[:PORT]/DATABASE";
const MYSQL: &str = "write mysql://USER:PASSWORD@HOST[:PORT]/DATABASE";
const REDIS: &str = "write redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]";

/// Each line is refused by its backend's name, all of them at once, and no password is shown.
fn all_refused(backends: &[(&str, &str)]) {
    let name = |number: usize| format!("wrong-{number}");
    let lines = backends.iter().enumerate();
    let operator: String =
        lines.map(|(number, (line, _))| format!("[backend.{}]\n{line}\n", name(number))).collect();
    let finished = refused(&operator);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for (number, (line, message)) in backends.iter().enumerate() {
        let expected = format!("error: the backend `{}`: {message}", name(number));
        assert!(finished.stderr.contains(&expected), "{line}\n{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
}

#[test]
fn what_is_no_address_of_a_server_is_refused_by_its_backends_name_and_not_shown() {
    all_refused(&[
        ("sql = \"postgres://\"", POSTGRES),
        ("sql = \"postgres://shop:hush@/shop\"", POSTGRES),
        ("sql = \"postgres://shop:hush@localhost:many/shop\"", POSTGRES),
        ("sql = \"postgresql://shop:hush@localhost:99999/shop\"", POSTGRES),
        ("sql = \"postgres://shop:hush@one,two/shop\"", POSTGRES),
        ("sql = \"postgres://shop:hush@%2Frun%2Fpostgresql/shop\"", POSTGRES),
        ("sql = \"postgres://shop:hush@localhost/shop?sslmode=perhaps\"", POSTGRES),
        ("sql = \"mysql://\"", MYSQL),
        ("sql = \"mysql:///nothing\"", MYSQL),
        ("sql = \"mysql://shop:hush@/shop\"", MYSQL),
        ("sql = \"mysql://shop:hush@localhost\"", MYSQL),
        ("sql = \"mysql://shop:hush@localhost:many/shop\"", MYSQL),
        ("sql = \"mariadb://shop:hush@localhost:99999/shop\"", MYSQL),
        ("sql = \"mysql://shop:hush@localhost/shop?ssl-mode=perhaps\"", MYSQL),
        ("keyvalue = \"redis://\"", REDIS),
        ("keyvalue = \"redis://:hush@\"", REDIS),
        ("keyvalue = \"redis://:hush@localhost:many\"", REDIS),
        ("keyvalue = \"rediss://:hush@localhost/many\"", REDIS),
        ("redis = \"redis://:hush@local host\"", REDIS),
        ("redis = \"rediss://:hush@localhost:99999\"", REDIS),
    ]);
}

/// The operator's line for a bucket of which something is wrong.
fn bucket(wrong: &str) -> String {
    let mut table = String::new();
    for (key, text) in [
        ("bucket", "images"),
        ("endpoint", "http://localhost:9000"),
        ("access-key", "hush-id"),
        ("secret-key", "hush"),
    ] {
        if !wrong.starts_with(&format!("{key} = ")) {
            table += &format!("{key} = \"{text}\", ");
        }
    }
    format!("blobstore = {{ {table}{wrong} }}")
}

#[test]
fn what_is_no_bucket_is_refused_by_its_backends_name_and_no_key_is_shown() {
    let backends = [
        ("bucket = \"two words\"", "a bucket has letters, digits, dots, dashes and underscores"),
        ("region = \"eu west\"", "a region has letters, digits and dashes"),
        ("endpoint = \"s3.example.com\"", "write endpoint = \"https://HOST[:PORT]\", or http://"),
        ("endpoint = \"http://id:hush@localhost\"", "write endpoint = "),
        ("endpoint = \"http://localhost/path\"", "write endpoint = "),
        ("prefix = \"../other\"", "the prefix is no name of an object"),
        ("access-key = \"\"", "a key is not empty, and has no spaces or line ends"),
        ("secret-key = \"hush hush\"", "a key is not empty, and has no spaces or line ends"),
    ];
    let lines = backends.map(|(wrong, message)| (bucket(wrong), message));
    let lines: Vec<_> = lines.iter().map(|(line, message)| (&line[..], *message)).collect();
    all_refused(&lines);
}

#[test]
fn a_bucket_is_at_a_port_that_there_is() {
    let [none, many] =
        ["99999", "many"].map(|port| bucket(&format!("endpoint = \"http://localhost:{port}\"")));
    all_refused(&[
        // It is refused whatever comes of the others, and the command comes to its end.
        ("sql = \"postgres://\"", POSTGRES),
        (&none, "write endpoint = "),
        (&many, "write endpoint = "),
    ]);
}

#[test]
fn what_is_of_no_kind_is_refused_in_its_line_and_not_shown() {
    for (line, message) in [
        ("sql = \"mysql:/nothing\"", "no SQL database is called that"),
        ("sql = \"mysql:/shop:hush@localhost/shop\"", "no SQL database is called that"),
        ("sql = \"postgres:shop:hush@localhost/shop\"", "no SQL database is called that"),
        ("keyvalue = \"redis:/:hush@localhost\"", "no key-value store is called that"),
        ("redis = \":hush@localhost:6379\"", "that is no URL of Redis"),
        ("blobstore = \"s3://id:hush@images\"", "no store of objects is called that"),
    ] {
        let finished = refused(&format!("[backend.wrong]\n{line}\n"));
        assert_eq!(finished.code, Some(2), "{finished:?}");
        for said in [message, "dhow-server.toml:2:"] {
            assert!(finished.stderr.contains(said), "{line}\n{}", finished.stderr);
        }
        assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
    }
}

/// How long a server of each kind may take to be reached: `CONNECT_TIMEOUT` beside its client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An app with each kind of backend, all of which are at `address`. No two components have the same
/// one, so that neither waits for the other.
fn served_by(address: SocketAddr) -> Up {
    let mut manifest = "name = \"silent\"\n\
        [component.postgres]\nsource = \"{sql}\"\ngrants.sql = { postgres = \"postgres\" }\n\
        [component.mariadb]\nsource = \"{sql}\"\ngrants.sql = { mariadb = \"mariadb\" }\n\
        [component.own]\nsource = \"{keyvalue-own}\"\ngrants.keyvalue = { own = \"own\" }\n\
        [component.draft]\nsource = \"{keyvalue}\"\ngrants.keyvalue = { draft = \"draft\" }\n\
        [component.spin]\nsource = \"{spin-redis}\"\n\
        grants.keyvalue = { default = \"spin\" }\n\
        grants.redis = { \"redis://cache\" = \"cache\" }\n"
        .to_owned();
    for (path, component) in [
        ("postgres", "postgres"),
        ("mariadb", "mariadb"),
        ("own", "own"),
        ("draft", "draft"),
        ("kv", "spin"),
        ("redis", "spin"),
    ] {
        manifest += &format!("[[http]]\npath = \"/{path}/...\"\ncomponent = \"{component}\"\n");
    }
    let redis = format!("redis://:${{REDIS_PASSWORD}}@{address}");
    let operator = format!(
        "[backend.postgres]\nsql = \"postgres://shop:${{DB_PASSWORD}}@{address}/shop\"\n\
         [backend.mariadb]\nsql = \"mysql://shop:${{DB_PASSWORD}}@{address}/shop\"\n\
         [backend.own]\nkeyvalue = \"{redis}\"\n\
         [backend.draft]\nkeyvalue = \"{redis}\"\n\
         [backend.spin]\nkeyvalue = \"{redis}\"\n\
         [backend.cache]\nredis = \"{redis}\"\n"
    );
    Up::app_with(&manifest, |command| {
        let folder = command.get_args().last().map(PathBuf::from).unwrap();
        let config = folder.join("dhow-server.toml");
        fs::write(&config, operator).unwrap();
        command.arg("--config").arg(config);
        command.env("DB_PASSWORD", PASSWORD).env("REDIS_PASSWORD", PASSWORD);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let up = served_by(silent());
    let asked = [
        ("/postgres/query", "SELECT 1", "Error::Unreachable"),
        ("/mariadb/query", "SELECT 1", "Error::Unreachable"),
        ("/own/get/a", "", "Error::Unreachable"),
        ("/draft/get/a", "", "Error::Other(\"the store can't be reached\")"),
        ("/kv/get?default", "a", "Error::Other(\"the store can't be reached\")"),
        ("/redis/get?redis://cache", "a", "Error::Other(\"the server can't be reached\")"),
    ];
    let asking = asked.map(|(path, body, expected)| {
        let address = up.address;
        async move {
            let start = Instant::now();
            let mut connection = Connection::http1(address).await;
            let request = connection.request("POST", path, full(body));
            let said = answer(connection.send(request).await.unwrap()).await.text;
            assert_eq!(said, expected, "{path}");
            let time = start.elapsed();
            assert!(time < 2 * CONNECT_TIMEOUT, "{path}: {time:?}");
        }
    });
    futures_util::future::join_all(asking).await;
    for backend in ["postgres", "mariadb", "own", "draft", "spin", "cache"] {
        let line = up.wait_for_log(&format!("backend={backend:?}"));
        assert!(line.contains("can't be reached"), "{line}");
    }
    let log = up.log();
    assert!(!log.contains(PASSWORD), "{log}");
}
