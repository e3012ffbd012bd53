//! Guests of another platform, unchanged: what Spin's users build with Spin's SDK. And drafts of WASI
//! that are served the same way.

use std::fs;

use dhow_tests::{
    Up,
    client::{Connection, answer, full},
    servers::{MariaDb, PASSWORD, Postgres, Redis},
};

/// The guest with `url` behind the labels that it has, one of which is an address.
fn sql(url: &str) -> Up {
    with(
        &format!(
            "name = \"spin\"\n[component.sql]\nsource = \"{{spin-sql}}\"\n\
             grants.sql = {{ default = \"main\", \"{ADDRESS}\" = \"main\" }}\n"
        ),
        &format!("[backend.main]\nsql = \"{url}\"\n"),
    )
}

const ADDRESS: &str = "postgres://shop:hush@db.example.com/shop";

/// Serves an app with the operator's configuration.
fn with(manifest: &str, operator: &str) -> Up {
    Up::app_with(manifest, |command| {
        let folder = command.get_args().last().map(std::path::PathBuf::from).unwrap();
        let config = folder.join("dhow-server.toml");
        fs::write(&config, operator).unwrap();
        command.arg("--config").arg(config);
        command.env("DB_PASSWORD", PASSWORD).env("REDIS_PASSWORD", PASSWORD);
    })
}

/// What the guest answers to `path` with `body`.
async fn ask(up: &Up, path: &str, body: &str) -> String {
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("POST", path, full(body.to_owned()));
    answer(connection.send(request).await.expect("an answer")).await.text
}

/// Has the guest run statements on one connection, and says what of the answers was not expected.
async fn all(up: &Up, path: &str, statements: &[(&str, &str)]) {
    let lines: Vec<_> = statements.iter().map(|(statement, _)| *statement).collect();
    let answer = ask(up, path, &lines.join("\n")).await;
    assert_eq!(answer.lines().count(), statements.len(), "{answer}");
    for (line, (statement, expected)) in answer.lines().zip(statements) {
        assert!(line.contains(expected), "{path}: {statement}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_as_spin_has_it() {
    let up = sql("sqlite");
    all(
        &up,
        "/sqlite/run?default",
        &[
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, at DATETIME, price DECIMAL)",
                ": []",
            ),
            ("!last", "0, 0"),
            // A column that is declared as a date gives what is stored all the same.
            ("INSERT INTO t (name, at) VALUES (?, :at)\ttone\tt2026-11-22T12:00:00", ": []"),
            ("INSERT INTO t (name, price) VALUES (?1, :a), (?1 || @b, :a)\tttwo\tf1.5\tt!", ": []"),
            ("!last", "3, 2"),
            (
                "SELECT name, at, price FROM t WHERE name <> '?' ORDER BY id -- ?",
                "name,at,price: [[Value::Text(\"one\"), Value::Text(\"2026-11-22T12:00:00\"), \
                 Value::Null], [Value::Text(\"two\"), Value::Null, Value::Real(1.5)], \
                 [Value::Text(\"two!\"), Value::Null, Value::Real(1.5)]]",
            ),
            ("SELECT x'00ff' AS b, ? AS n\tn", "b,n: [[Value::Blob([0, 255]), Value::Null]]"),
            ("BEGIN", ": []"),
            ("DELETE FROM t", ": []"),
            ("!last", "3, 3"),
            ("ROLLBACK;", ": []"),
            ("SELECT count(*) FROM t", "Value::Integer(3)"),
            ("SELEC 1", "Error::Io(\"near"),
            ("SELECT ?, ?\ti1", "takes 2 parameters, and was given 1"),
            ("SAVEPOINT s", "not authorized"),
            ("INSERT INTO t (id) VALUES (1)", "UNIQUE constraint failed"),
            ("BEGIN IMMEDIATE", ": []"),
            ("DELETE FROM t", ": []"),
        ],
    )
    .await;
    // What was begun and not ended is undone; what somebody else has inserted is not told.
    let again = [
        ("!last", "0, 0"),
        ("SELECT count(*) FROM t", "[[Value::Integer(3)]]"),
        ("!last", "0, 0"),
        ("INSERT INTO t (name) VALUES (?)\ttx", ": []"),
        ("!last", "4, 1"),
        ("DELETE FROM t WHERE id = :id\ti4", ": []"),
    ];
    all(&up, "/sqlite/sync?default", &again).await;
    all(&up, "/sqlite/run?default", &again).await;
    let first = ask(&up, "/sqlite/first?default", "SELECT name FROM t ORDER BY id").await;
    assert_eq!(first, "Some([Value::Text(\"one\")]), Ok(())");
    assert_eq!(ask(&up, "/sqlite/first?default", "DELETE FROM t").await, "None, Ok(())");
    assert_eq!(ask(&up, "/sqlite/run?none", "").await, "Error::AccessDenied");
    up.wait_for_log("grants.sql = { none = \"default\" }");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_as_spin_has_it() {
    let Some(server) = Postgres::start() else { return };
    let up = sql(&server.url());
    assert_eq!(ask(&up, "/pg/types?default", "").await, "all the same");
    all(
        &up,
        &format!("/pg/run?{ADDRESS}"),
        &[
            ("CREATE TABLE t (id int PRIMARY KEY, name text)", "Ok(0)"),
            ("INSERT INTO t VALUES ($1, $2)\ti1\ttone", "Ok(1)"),
            (
                "SELECT id, name FROM t WHERE id = $1\ti1",
                "id,name: [[DbValue::Int32(1), DbValue::Str(\"one\")]]",
            ),
            ("BEGIN", "Ok(0)"),
            ("INSERT INTO t VALUES (2, 'two')", "Ok(1)"),
            ("INSERT INTO t VALUES (2, 'two')", "Error::QueryFailed(QueryError::DbError(DbError"),
            ("SELECT 1", "code: \"25P02\""),
            ("ROLLBACK", "Ok(0)"),
            ("SELECT count(*) FROM t", "count: [[DbValue::Int64(1)]]"),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", "Ok(0)"),
            ("INSERT INTO t VALUES (2, $1)\tn", "Ok(1)"),
            ("COMMIT", "Ok(0)"),
            // It is one session.
            ("CREATE TEMP TABLE mine (id int)", "Ok(0)"),
            ("SELECT count(*) FROM mine", "DbValue::Int64(0)"),
            ("SELECT '(1,2)'::point", "DbValue::Unsupported(["),
            (
                "SELECT '1 mon'::interval, 'empty'::int4range",
                "Interval { micros: 0, days: 0, months: 1 }",
            ),
            ("SELECT $1::int\ttone", "code: \"22P02\""),
            ("SELECT $1::int", "Error::BadParameter"),
            ("BEGIN", "Ok(0)"),
            ("DELETE FROM t", "Ok(2)"),
        ],
    )
    .await;
    let after = [
        ("SELECT count(*) FROM t", "[[DbValue::Int64(2)]]"),
        ("SELECT count(*) FROM mine", "42P01"),
        ("UPDATE t SET name = $1\ttx", "Ok(2)"),
    ];
    all(&up, "/pg/sync?default", &after).await;
    let first = ask(&up, "/pg/first?default", "SELECT id FROM t ORDER BY id").await;
    assert_eq!(first, "Some([DbValue::Int32(1)]), Ok(())");
    let denied = ask(&up, "/pg/run?postgres://shop:hush@other/shop", "").await;
    assert!(denied.contains("Error::ConnectionFailed"), "{denied}");
    up.wait_for_log("grants.sql = { \"postgres://shop:…@other/shop\" = \"default\" }");
    drop(server);
    let gone = ask(&up, "/pg/run?default", "SELECT 1").await;
    assert!(gone.contains("Error::ConnectionFailed"), "{gone}");
    let log = up.log();
    assert!(!log.contains(PASSWORD) && !log.contains("hush"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_as_spin_has_it() {
    let Some(server) = MariaDb::start() else { return };
    let up = sql(&server.url());
    assert_eq!(ask(&up, "/mysql/types?default", "").await, "all the same");
    all(
        &up,
        "/mysql/run?default",
        &[
            ("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40))", "Ok(())"),
            ("INSERT INTO t (name) VALUES (?), (?)\ttone?\tn", "Ok(())"),
            ("SELECT last_insert_id() AS n", "nt64(1)]]"),
            ("SELECT name FROM t WHERE name = ? -- ?\ttone?", "name: [[DbValue::Str(\"one?\")]]"),
            ("SELECT '?' AS q, 1.50 AS d", "[[DbValue::Str(\"?\"), DbValue::Str(\"1.50\")]]"),
            ("SELECT CAST('2026-11-22' AS date) AS d", "DbValue::Str(\"2026-11-22\")"),
            ("START TRANSACTION", "Ok(())"),
            ("DELETE FROM t", "Ok(())"),
            ("ROLLBACK", "Ok(())"),
            ("SELECT count(*) AS n FROM t", "[[DbValue::Int64(2)]]"),
            ("INSERT INTO t (id) VALUES (1)", "Error::QueryFailed(\"Duplicate entry"),
            ("SELECT ?", "Error::BadParameter"),
            ("SELECT CAST('25:00:00' AS time) AS t", "Error::ValueConversionFailed"),
            ("START TRANSACTION", "Ok(())"),
            ("DELETE FROM t", "Ok(())"),
        ],
    )
    .await;
    let count = "SELECT count(*) AS n FROM t";
    let found = ask(&up, "/mysql/run?default", count).await;
    assert_eq!(found, "n: [[DbValue::Int64(2)]]");
    let first = ask(&up, "/mysql/first?default", "SELECT id FROM t ORDER BY id").await;
    assert_eq!(first, "Some([DbValue::Int32(1)]), Ok(())");
    let denied = ask(&up, "/mysql/run?none", count).await;
    assert!(denied.contains("Error::ConnectionFailed"), "{denied}");
}

/// What a guest takes for one database may be another.
#[tokio::test(flavor = "multi_thread")]
async fn any_interface_over_any_database() {
    let up = sql("sqlite");
    all(
        &up,
        &format!("/pg/run?{ADDRESS}"),
        &[
            ("CREATE TABLE t (id INTEGER, name TEXT, day DATE)", "Ok(0)"),
            ("INSERT INTO t VALUES ($1, $2, '2026-11-22')\ti1\ttone", "Ok(1)"),
            (
                "SELECT * FROM t",
                "[[DbValue::Int64(1), DbValue::Str(\"one\"), DbValue::Date((2026, 11, 22))]]",
            ),
        ],
    )
    .await;
    let statements = [
        ("INSERT INTO t (id, name) VALUES (?, ?)\ti2\tn", "Ok(())"),
        ("SELECT id, name FROM t WHERE id = ?\ti2", "[[DbValue::Int64(2), DbValue::DbNull]]"),
    ];
    all(&up, "/mysql/run?default", &statements).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draft_of_wasi_sql() {
    let up = Up::guest("sql-draft", "grants.sql = { db = \"default\" }");
    for (path, statement, expected) in [
        ("/exec/db", "CREATE TABLE t (id INTEGER, name TEXT, day DATE)", "0"),
        ("/exec/db/1/one/2026-11-22", "INSERT INTO t VALUES (?, ?, ?)", "1"),
        ("/exec/db/2/two", "INSERT INTO t (id, name) VALUES ($1, $2)", "1"),
        (
            "/query/db/1",
            "SELECT * FROM t WHERE id = ?",
            "id: DataType::Int64(1), name: DataType::Str(\"one\"), \
             day: DataType::Date(\"2026-11-22\")",
        ),
        (
            "/query/db",
            "SELECT day FROM t",
            "day: DataType::Date(\"2026-11-22\"), day: DataType::Null",
        ),
        ("/query/db", "SELEC 1", "near \"SELEC\": syntax error (1)"),
        ("/query/none", "SELECT 1", "no database of that name is granted"),
    ] {
        let answer = ask(&up, path, statement).await;
        assert!(answer.starts_with(expected), "{statement}: {answer}");
    }
    up.wait_for_log("grants.sql = { none = \"default\" }");
}

/// The guest with a Redis, a store and variables.
fn redis(url: &str) -> Up {
    with(
        "name = \"spin\"\n[component.guest]\nsource = \"{spin-redis}\"\n\
         grants.redis = { \"redis://cache\" = \"cache\" }\n\
         grants.keyvalue = { default = \"default\", cache = \"cache\" }\n\
         grants.config = { greeting = \"hello\" }\n\
         grants.secrets = [\"api-token\"]\n",
        &format!(
            "[backend.cache]\nredis = \"{url}\"\nkeyvalue = \"{url}\"\n\
             [secrets]\napi-token = \"${{REDIS_PASSWORD}}\"\n"
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_spin_has_it() {
    let Some(server) = Redis::start() else { return };
    let up = redis(&server.url());
    for (what, words, expected) in [
        ("get", "a", "nothing"),
        ("set", "a\tone", "()"),
        ("get", "a", "one"),
        ("incr", "n", "1"),
        ("incr", "n", "2"),
        ("incr", "a", "Error::TypeError"),
        ("sadd", "s\tx\ty\tx", "2"),
        ("sadd", "s", "0"),
        ("smembers", "s", "x,y"),
        ("smembers", "a", "Error::TypeError"),
        ("srem", "s\tx\tz", "1"),
        ("publish", "news\tword", "()"),
        ("execute", "hset\tth\ttf\ti5", "[RedisResult::Int64(1)]"),
        ("execute", "HGETALL\tth", "[RedisResult::Binary([102]), RedisResult::Binary([53])]"),
        ("execute", "SET\tta\tttwo", "[RedisResult::Status(\"OK\")]"),
        ("execute", "MGET\tta\ttnone", "[RedisResult::Binary([116, 119, 111]), RedisResult::Nil]"),
        ("execute", "EVAL\ttreturn {1, {2}}\ti0", "[RedisResult::Int64(1), RedisResult::Int64(2)]"),
        ("execute", "NOSUCH", "Error::Other(\"the command NOSUCH is not for guests\")"),
        // What would be there for the next request, or keep it waiting.
        ("execute", "SELECT\ti1", "is not for guests"),
        ("execute", "MULTI", "is not for guests"),
        ("execute", "BLPOP\ttl\ti0", "is not for guests"),
        ("execute", "XREAD\ttBLOCK\ti0\ttSTREAMS\ttx\tt$", "is not for guests"),
        ("execute", "CONFIG\ttGET\ttrequirepass", "is not for guests"),
        // An answer that is too large, and the connection afterwards.
        ("execute", "SETRANGE\ttbig\ti45000000\ttx", "[RedisResult::Int64(45000001)]"),
        ("get", "big", "Error::Other(\"the server can't be reached\")"),
        ("get", "a", "two"),
        ("del", "a\tbig\tnone", "2"),
    ] {
        let answer = ask(&up, &format!("/redis/{what}?redis://cache"), words).await;
        assert!(answer.contains(expected), "{what} {words}: {answer}");
    }
    let denied = ask(&up, "/redis/get?redis://:hush@other", "a").await;
    assert_eq!(denied, "Error::InvalidAddress");
    up.wait_for_log("grants.redis = { \"redis://:…@other\" = \"default\" }");
    drop(server);
    let gone = ask(&up, "/redis/get?redis://cache", "a").await;
    assert_eq!(gone, "Error::Other(\"the server can't be reached\")");
    let log = up.log();
    assert!(!log.contains(PASSWORD) && !log.contains("hush"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_redis_refuses_is_said_and_not_shown() {
    let Some(server) = Redis::start() else { return };
    let up = redis(&format!("redis://:bad-word@{}", server.address));
    for (path, message) in [
        ("/redis/get?redis://cache", "Redis refuses: "),
        ("/kv/get?cache", "the key-value store refuses: "),
    ] {
        let answer = ask(&up, path, "a").await;
        assert!(answer.starts_with("Error::Other("), "{path}: {answer}");
        let line = up.wait_for_log(message);
        assert!(line.contains("authentication failed"), "{line}");
        assert!(line.contains("backend=\"cache\""), "{line}");
        assert!(!answer.contains("bad-word"), "{path}: {answer}");
    }
    let log = up.log();
    assert!(!log.contains("bad-word"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_and_variables_as_spin_has_them() {
    let server = Redis::start();
    let url = server.as_ref().map_or("redis://localhost:1".to_owned(), Redis::url);
    let up = redis(&url);
    let labels = if server.is_some() { &["default", "cache"][..] } else { &["default"][..] };
    for label in labels {
        for (what, words, expected) in [
            ("get", "a", "nothing"),
            ("set", "a\tone", "()"),
            ("get", "a", "one"),
            ("exists", "a", "true"),
            ("set", "b\t", "()"),
            ("keys", "", "a,b"),
            ("delete", "a", "()"),
            ("exists", "a", "false"),
            ("many", "1010", "true, 1010"),
        ] {
            let answer = ask(&up, &format!("/kv/{what}?{label}"), words).await;
            assert_eq!(answer, expected, "{label}: {what} {words}");
        }
    }
    assert_eq!(ask(&up, "/kv/get?none", "a").await, "Error::AccessDenied");
    up.wait_for_log("grants.keyvalue = { none = \"default\" }");
    for (name, expected) in [
        ("greeting", "Ok(\"hello\")".to_owned()),
        ("api_token", format!("Ok(\"{PASSWORD}\")")),
        ("nothing", "Err(Error::Undefined(\"nothing\"))".to_owned()),
        ("No Name", "Err(Error::InvalidName(".to_owned()),
    ] {
        let answer = ask(&up, "/variable", name).await;
        assert!(answer.starts_with(&expected), "{name}: {answer}");
    }
}
