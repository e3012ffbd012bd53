//! SQL databases: the same guest, unchanged, on each of them.

use std::{any::Any, fs, time::Duration};

use dhow_tests::{
    Up,
    client::{Connection, answer, full},
    servers::{MariaDb, PASSWORD, Postgres},
};

/// The guest with SQLite, which needs nobody to say so.
fn sqlite() -> Up {
    Up::guest("sql", "grants.sql = { db = \"default\" }")
}

/// The guest with the database at `url`.
fn with(url: &str) -> Up {
    with_time(url, "30s")
}

fn with_time(url: &str, time: &str) -> Up {
    let manifest = format!(
        "name = \"sql\"\n[component.sql]\nsource = \"{{sql}}\"\n\
         grants.sql = {{ db = \"default\" }}\nlimits.time = \"{time}\"\n"
    );
    Up::app_with(&manifest, |command| {
        let folder = command.get_args().last().map(std::path::PathBuf::from).unwrap();
        let config = folder.join("dhow-server.toml");
        fs::write(&config, format!("[backend.default]\nsql = \"{url}\"")).unwrap();
        command.arg("--config").arg(config).env("DB_PASSWORD", PASSWORD);
    })
}

/// One of the databases that there are here, and the guest with it.
struct Served {
    name: &'static str,
    up: Up,
    /// Columns for values of every type that it has, as the guest reads them.
    types: String,
    _server: Option<Box<dyn Any>>,
}

fn each() -> Vec<Served> {
    let mut all =
        vec![Served { name: "SQLite", up: sqlite(), types: types(SQLITE_TYPES), _server: None }];
    if let Some(server) = Postgres::start() {
        let (up, types) = (with(&server.url()), types(POSTGRES_TYPES));
        all.push(Served { name: "Postgres", up, types, _server: Some(Box::new(server)) });
    }
    if let Some(server) = MariaDb::start() {
        let (up, types) = (with(&server.url()), types(MARIADB_TYPES));
        all.push(Served { name: "MariaDB", up, types, _server: Some(Box::new(server)) });
    }
    all
}

fn types(own: &str) -> String {
    [TYPES, own].concat()
}

const TYPES: &str = "boolean = true
boolean = false
smallint = least of 16
integer = most of 32
bigint = least
bigint = most
bigint = zero
bigint = null
double precision = float
decimal(20,3) = decimal
text = text
text = no text
text = null
date = date
time(6) = time
";

const SQLITE_TYPES: &str = "real = half
blob = bytes
timestamp(6) = timestamp
timestamptz = instant
uuid = uuid
json = json
";

const POSTGRES_TYPES: &str = "real = half
bytea = bytes
timestamp(6) = timestamp
timestamptz = instant
uuid = uuid
json = json
jsonb = json
boolean[] = booleans
bigint[] = integers
double precision[] = floats
text[] = texts
";

/// Its `json` is another word for `longtext`.
const MARIADB_TYPES: &str = "float = half
bigint unsigned = unsigned
bigint unsigned = most
varchar(40) = text
varbinary(8) = bytes
blob = bytes
datetime(6) = timestamp
timestamp(6) = instant
uuid = uuid
uuid = null
";

/// What the guest answers to `path` with `statement`.
async fn ask(up: &Up, path: &str, statement: &str) -> String {
    let mut connection = Connection::http1(up.address).await;
    let request = connection.request("POST", path, full(statement.to_owned()));
    answer(connection.send(request).await.expect("an answer")).await.text
}

impl Served {
    /// A statement that gives the numbers from 1.
    fn numbers(&self, count: u32) -> String {
        let words = "'a text of some length for each of them' AS words";
        match self.name {
            // Its recursions end after a thousand.
            "MariaDB" => format!("SELECT seq AS i, {words} FROM seq_1_to_{count}"),
            _ => format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
                 SELECT i, {words} FROM n"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_rows() {
    for Served { name, up, .. } in each() {
        statements(name, &up).await;
    }
}

async fn statements(name: &str, up: &Up) {
    for (path, statement, expected) in [
        (
            "/db/execute",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(40) UNIQUE NOT NULL)",
            "0",
        ),
        ("/db/execute/i1/tone", "INSERT INTO t VALUES ($1, $2)", "1"),
        // In any order, and more than once.
        ("/db/execute/ttwo/i2", "INSERT INTO t VALUES ($2, $1)", "1"),
        ("/db/execute", "UPDATE t SET name = concat(name, '!')", "2"),
        // What matches is counted, and not only what is another value than before.
        ("/db/execute/i1", "UPDATE t SET name = name WHERE id = $1", "1"),
        (
            "/db/query/i1",
            "SELECT * FROM t WHERE id >= $1 ORDER BY $1, id",
            "id,name: [[Value::Integer(1), Value::Text(\"one!\")], \
             [Value::Integer(2), Value::Text(\"two!\")]]",
        ),
        ("/db/query/n", "SELECT $1 AS blank", "blank: [[Value::Null]]"),
        ("/db/query/i7", "SELECT id FROM t WHERE name = '$1' AND id = $1 -- $1", "id: []"),
        ("/db/query", "SELECT id FROM t WHERE id = 9", "id: []"),
        ("/db/execute", "DELETE FROM t WHERE id = 2", "1"),
    ] {
        assert_eq!(ask(up, path, statement).await, expected, "{name}: {statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_given_at_once_where_they_are_few() {
    let one = "n: [[Value::Integer(1)]]";
    let too_many = "Error::Other(\"the rows have more than 1 MiB: query them\")";
    for served in each() {
        let Served { name, up, .. } = &served;
        assert_eq!(ask(up, "/db/fetch/i1", "SELECT $1 + 0 AS n").await, one, "{name}");
        assert_eq!(
            ask(up, "/db/fetch", "SELECT n FROM (SELECT 1 AS n) AS t WHERE n = 2").await,
            "n: []",
            "{name}"
        );
        let create = "CREATE TABLE f (id INTEGER PRIMARY KEY)";
        assert_eq!(ask(up, "/db/fetch", create).await, ": []", "{name}");
        let thousand = ask(up, "/db/fetch", &served.numbers(1_000)).await;
        assert_eq!(thousand.matches("Value::Integer").count(), 1_000, "{name}");
        // What is too much for it is no end of anything: again and again, more often than there are connections.
        for _ in 0..20 {
            assert_eq!(ask(up, "/db/fetch", &served.numbers(100_000)).await, too_many, "{name}");
        }
        assert!(ask(up, "/db/fetch", "nonsense").await.starts_with("Error::Statement("), "{name}");
        let together = format!(
            "INSERT INTO f VALUES (7)\n{}\nSELECT id FROM f",
            served.numbers(100_000).replace('\n', " ")
        );
        let fetched = ask(up, "/db/fetch-together", &together).await;
        assert_eq!(fetched, format!("[]; {too_many}; [[Value::Integer(7)]]"), "{name}");
        assert_eq!(ask(up, "/db/fetch", "SELECT 1 AS n").await, one, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_as_it_was() {
    for Served { name, up, types, .. } in each() {
        assert_eq!(ask(&up, "/db/types", &types).await, "all the same", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_up_to_64_kib() {
    const MOST: usize = 64 << 10;
    let statement = |length: usize| {
        let width = length - "SELECT1 AS n".len();
        format!("SELECT{:width$}1 AS n", "")
    };
    for Served { name, up, .. } in each() {
        let one = "n: [[Value::Integer(1)]]";
        assert_eq!(ask(&up, "/db/query", &statement(MOST)).await, one, "{name}");
        let expected = match name {
            // SQLITE_TOOBIG.
            "SQLite" => "Error::Statement(DatabaseError { code: \"18\"",
            _ => "Error::Other(\"a statement has at most 65536 bytes\")",
        };
        for path in ["/db/query", "/db/execute", "/db/together"] {
            let answer = ask(&up, path, &statement(MOST + 1)).await;
            assert!(answer.starts_with(expected), "{name} {path}: {answer}");
        }
        assert_eq!(ask(&up, "/db/query", "SELECT 1 AS n").await, one, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_for_an_integer_is_what_the_database_makes_of_it() {
    for Served { name, up, .. } in each() {
        texts(name, &up).await;
    }
}

async fn texts(name: &str, up: &Up) {
    const INSERT: &str = "INSERT INTO texts VALUES ($1, $2)";
    const SUM: &str = "SELECT $1 + 1 AS n";
    let create = "CREATE TABLE texts (id INTEGER PRIMARY KEY, n INTEGER)";
    assert_eq!(ask(up, "/db/execute", create).await, "0", "{name}");
    let own: &[(&str, &str, &str)] = match name {
        // It keeps whatever it is given, but where a key numbers the rows or the table is strict.
        "SQLite" => &[
            ("/db/execute/i2/tone", INSERT, "1"),
            ("/db/query", "SELECT n FROM texts WHERE id = 2", "n: [[Value::Text(\"one\")]]"),
            ("/db/query/tone", SUM, "n: [[Value::Integer(1)]]"),
            ("/db/execute/tone/i1", INSERT, "message: \"datatype mismatch\""),
            ("/db/execute", "CREATE TABLE strictly (n INTEGER) STRICT", "0"),
            ("/db/execute/tone", "INSERT INTO strictly VALUES ($1)", "Error::Constraint("),
        ],
        // The server reads the text, and says of what it can't read which one it is.
        "Postgres" => &[
            ("/db/execute/i2/tone", INSERT, "Error::Statement(DatabaseError { code: \"22P02\""),
            ("/db/execute/tone/i2", INSERT, "Error::Statement(DatabaseError { code: \"22P02\""),
            ("/db/query/tone", SUM, "Error::Statement(DatabaseError { code: \"22P02\""),
        ],
        // What is kept has to be a number, what is only reckoned with need not.
        _ => &[
            ("/db/execute/i2/tone", INSERT, "Incorrect integer value: 'one'"),
            ("/db/execute/tone/i2", INSERT, "Incorrect integer value: 'one'"),
            ("/db/query/tone", SUM, "n: [[Value::Float(1.0)]]"),
        ],
    };
    // What looks like an integer is one to all of them.
    let alike: &[(&str, &str, &str)] = &[
        ("/db/execute/i1/t2", INSERT, "1"),
        ("/db/query", "SELECT n FROM texts WHERE id = 1", "n: [[Value::Integer(2)]]"),
        ("/db/query/t1", "SELECT n FROM texts WHERE id = $1", "n: [[Value::Integer(2)]]"),
    ];
    for (path, statement, expected) in own.iter().chain(alike) {
        let answer = ask(up, path, statement).await;
        assert!(answer.contains(expected), "{name}: {statement}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlites_errors_are_typed_and_nothing_leads_beyond_its_file() {
    let up = sqlite();
    ask(&up, "/db/execute", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await;
    for (path, statement, expected) in [
        ("/db/query", "SELEC 1", "Error::Statement"),
        ("/db/query", "SELECT * FROM nowhere", "no such table: nowhere"),
        (
            "/db/query",
            "SELECT $1",
            "Error::ParameterCount(ParameterCount { given: 0, expected: 1 }",
        ),
        (
            "/db/query/i1/i2",
            "SELECT $1",
            "Error::ParameterCount(ParameterCount { given: 2, expected: 1 }",
        ),
        ("/db/execute/n", "INSERT INTO t VALUES (1, $1)", "Error::Constraint"),
        ("/db/query/i1", "SELECT ?", "parameters are written $1"),
        ("/db/execute", "SELECT 1; SELECT 2", "Error::"),
        // What would reach beyond the file.
        ("/db/execute", "ATTACH DATABASE '/tmp/other.sqlite' AS other", "Error::"),
        ("/db/execute", "VACUUM INTO '/tmp/copy.sqlite'", "Error::"),
        ("/db/query", "PRAGMA journal_mode = OFF", "Error::"),
        ("/db/query", "SELECT load_extension('/tmp/evil.so')", "Error::"),
        // Transactions of one's own would be those of the next request.
        ("/db/execute", "BEGIN", "not authorized"),
        ("/db/execute", "SAVEPOINT s", "not authorized"),
        // What is temporary would be there for the next request.
        ("/db/execute", "CREATE TEMP TABLE t2 (id INTEGER)", "not authorized"),
        ("/db/execute", "CREATE TEMP VIEW t AS SELECT 1", "not authorized"),
        ("/db/execute/tother", "ATTACH $1 AS x", "not authorized"),
        ("/none/execute", "SELECT 1", "Error::AccessDenied"),
    ] {
        let answer = ask(&up, path, statement).await;
        assert!(answer.contains(expected), "{statement}: {answer}");
    }
    up.wait_for_log("grants.sql = { none = \"default\" }");
    // And all is well afterwards.
    assert_eq!(
        ask(&up, "/db/query", "SELECT count(*) AS n FROM t").await,
        "n: [[Value::Integer(0)]]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_done_together_or_not_at_all() {
    for served in each() {
        transactions(&served).await;
    }
}

async fn transactions(served: &Served) {
    let Served { name, up, .. } = served;
    for statement in [
        "CREATE TABLE account (name VARCHAR(8) PRIMARY KEY, amount INTEGER)",
        "INSERT INTO account VALUES ('a', 10), ('b', 10)",
    ] {
        ask(up, "/db/execute", statement).await;
    }
    let mut moved = 0;
    for (how, is_kept) in
        [("commit", true), ("rollback", false), ("drop", false), ("trap", false), ("commit", true)]
    {
        ask(up, &format!("/db/move/{how}"), "").await;
        moved += i64::from(is_kept);
        let found = ask(up, "/db/query", "SELECT amount FROM account ORDER BY name").await;
        let expected =
            format!("amount: [[Value::Integer({})], [Value::Integer({})]]", 10 - moved, 10 + moved);
        assert_eq!(found, expected, "{name}: {how}");
    }
    let both = "UPDATE account SET amount = 0\nDELETE FROM account WHERE amount = 0";
    assert_eq!(ask(up, "/db/together", both).await, "2", "{name}");
    let wrong = "INSERT INTO account VALUES ('c', 1)\nINSERT INTO account VALUES ('c', 2)";
    let answer = ask(up, "/db/together", wrong).await;
    assert!(answer.contains("Error::Constraint"), "{name}: {answer}");
    let found = ask(up, "/db/query", "SELECT amount FROM account").await;
    assert_eq!(found, "amount: []", "{name}");
    let early = ask(up, "/db/unread", &served.numbers(100_000)).await;
    assert!(early.contains("have to be read"), "{early}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_are_streamed() {
    for served in each() {
        a_million(&served).await;
    }
}

async fn a_million(served: &Served) {
    let (Served { name, up, .. }, statement) = (served, served.numbers(1_000_000));
    let before = up.peak_memory();
    assert_eq!(ask(up, "/db/count", &statement).await, "1000000");
    let grown = up.peak_memory() - before;
    assert!(grown < 50 << 20, "{name}: {} MiB", grown >> 20);
    // Whoever wants one row does not wait for the others, and leaves nothing behind.
    for _ in 0..20 {
        let first = ask(up, "/db/first", &statement).await;
        assert!(first.contains("Value::Integer(1)"), "{name}: {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_given_up_with_its_request() {
    const FOREVER: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                           SELECT count(*) FROM n";
    let limit = "grants.sql = { db = \"default\" }\nlimits.time = \"300ms\"";
    let sqlite = Up::guest("sql", limit);
    let postgres = async {
        let Some(server) = Postgres::start() else { return };
        let up = with_time(&server.url(), "300ms");
        never_ends("Postgres", &up, FOREVER).await;
        nobody_works_on(
            &up,
            "pg_stat_activity WHERE state = 'active' AND query LIKE 'WITH RECURSIVE%'",
        )
        .await;
    };
    let mariadb = async {
        let Some(server) = MariaDb::start() else { return };
        let up = with_time(&server.url(), "300ms");
        let forever = "SELECT count(*) FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b";
        never_ends("MariaDB", &up, forever).await;
        let running = "information_schema.processlist WHERE id <> connection_id() AND info LIKE \
                       '%seq_1_to_1000000000 a%'";
        nobody_works_on(&up, running).await;
    };
    tokio::join!(never_ends("SQLite", &sqlite, FOREVER), postgres, mariadb);
}

/// Waits until the server has nothing of it left to do: soon, and where it was told so before it had
/// begun, when the time of the statement is over.
async fn nobody_works_on(up: &Up, running: &str) {
    as_many_work_on(up, 0, running).await;
}

async fn as_many_work_on(up: &Up, count: u32, running: &str) {
    let expected = format!("n: [[Value::Integer({count})]]");
    let mut found = String::new();
    for _ in 0..900 {
        found = ask(up, "/db/query", &format!("SELECT count(*) AS n FROM {running}")).await;
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{found}");
}

async fn never_ends(name: &str, up: &Up, forever: &str) {
    // More often than there are connections.
    for _ in 0..20 {
        let answer = ask(up, "/db/query", forever).await;
        assert!(answer.starts_with("timed out"), "{name}: {answer}");
    }
    let found = ask(up, "/db/query/i1", "SELECT $1 + 1 AS n").await;
    assert_eq!(found, "n: [[Value::Integer(2)]]", "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_whole_whoever_reads_its_rows() {
    let up = sqlite();
    ask(&up, "/db/execute", "CREATE TABLE t (id INTEGER)").await;
    let statement = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
                     INSERT INTO t SELECT i FROM n RETURNING id";
    let first = ask(&up, "/db/first", statement).await;
    assert!(first.contains("Value::Integer(1)"), "{first}");
    let count = ask(&up, "/db/query", "SELECT count(*) AS n FROM t").await;
    assert_eq!(count, "n: [[Value::Integer(5000)]]");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "name = \"sql\"\n[component.sql]\nsource = \"{sql}\"\n\
                    grants.sql = { db = \"default\" }\n";
    dhow_tests::write_manifest(folder.path(), manifest);
    let up = || dhow_tests::dhow(["up".as_ref(), folder.path().as_os_str()]).up();
    let first = up();
    ask(&first, "/db/execute", "CREATE TABLE t (id INTEGER)").await;
    ask(&first, "/db/execute/i7", "INSERT INTO t VALUES ($1)").await;
    drop(first); // SIGKILL.
    assert!(fs::exists(folder.path().join(".dhow/sql/default.sqlite")).unwrap());
    assert_eq!(ask(&up(), "/db/query", "SELECT id FROM t").await, "id: [[Value::Integer(7)]]");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_postgres_has_and_how_it_fails() {
    let Some(server) = Postgres::start() else { return };
    let up = with(&server.url());
    for (path, statement, expected) in [
        (
            "/db/query",
            "SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS id",
            "Value::Uuid(\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\")",
        ),
        ("/db/query", "SELECT '{\"a\": 1}'::jsonb", "Value::Json(\"{\\\"a\\\": 1}\")"),
        ("/db/query", "SELECT '{1,NULL,3}'::int[]", "IntegerArray([Some(1), None, Some(3)])"),
        ("/db/query", "SELECT '\\x00ff'::bytea", "Value::Bytes([0, 255])"),
        (
            "/db/query",
            "SELECT '2026-11-22 12:00:00+01'::timestamptz",
            "Instant { seconds: 1795345200, nanoseconds: 0 }",
        ),
        ("/db/query", "SELECT 1e30::numeric", "Decimal(\"1000000000000000000000000000000\")"),
        ("/db/query", "SELECT '(1,2)'::point", "Error::ColumnType"),
        ("/db/query", "SELEC 1", "code: \"42601\""),
        ("/db/query/tone", "SELECT $1::int", "22P02"),
        ("/db/query", "SELECT $1::int", "ParameterCount { given: 0, expected: 1 }"),
        ("/db/query/i1/i2", "SELECT $1::int", "ParameterCount { given: 2, expected: 1 }"),
        ("/db/execute/i1", "SELECT 1", "ParameterCount { given: 1, expected: 0 }"),
        // However it is written: it is of no consequence for the next request.
        ("/db/execute", ";BEGIN", "0"),
        ("/db/execute", "CREATE TABLE u (id int UNIQUE)", "0"),
        ("/db/execute", "INSERT INTO u VALUES (1), (2)", "2"),
        ("/db/execute", "INSERT INTO u VALUES (1)", "Error::Constraint"),
        // What one request sets, the next does not find.
        ("/db/execute", "SET search_path = nowhere", "0"),
        ("/db/query", "SELECT set_config('search_path', 'pg_temp', false)", "Value::Text"),
        ("/db/execute", "CREATE TEMP TABLE u (id int)", "0"),
        ("/db/query", "SELECT count(*) FROM u", "Value::Integer(2)"),
        // A statement that was prepared before its table changed.
        ("/db/query", "SELECT * FROM u", "[[Value::Integer(1)], [Value::Integer(2)]]"),
        ("/db/execute", "ALTER TABLE u ADD COLUMN more int", "0"),
        ("/db/query", "SELECT * FROM u", ""),
        ("/db/query", "SELECT * FROM u", "[Value::Integer(1), Value::Null]"),
    ] {
        let answer = ask(&up, path, statement).await;
        assert!(answer.contains(expected), "{statement}: {answer}");
    }
    drop(server);
    let answer = ask(&up, "/db/query", "SELECT 1").await;
    assert_eq!(answer, "Error::Unreachable");
    let log = up.log();
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_is_gone_is_an_error_and_works_again_when_it_is_back() {
    let Some(mut server) = Postgres::start() else { return };
    let up = with(&server.url());
    for (statement, expected) in
        [("CREATE TABLE kept (id int)", "0"), ("INSERT INTO kept VALUES (7)", "1")]
    {
        assert_eq!(ask(&up, "/db/execute", statement).await, expected, "{statement}");
    }
    // What is under way ends with the server, and not when somebody has waited long enough.
    let stopped = async {
        let running = "pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
        as_many_work_on(&up, 1, running).await;
        server.stop();
    };
    let (answer, ()) = tokio::join!(ask(&up, "/db/query", "SELECT pg_sleep(60)"), stopped);
    assert_eq!(answer, "Error::Unreachable");
    for path in ["/db/query", "/db/execute", "/db/together"] {
        assert_eq!(ask(&up, path, "SELECT 1").await, "Error::Unreachable", "{path}");
    }
    server.start_again();
    let found = ask(&up, "/db/query", "SELECT id FROM kept").await;
    assert_eq!(found, "id: [[Value::Integer(7)]]");
    let log = up.log();
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_with_the_servers_words() {
    let Some(server) = Postgres::start() else { return };
    let up = with(&server.url().replace("${DB_PASSWORD}", "wrong-word"));
    assert_eq!(ask(&up, "/db/query", "SELECT 1").await, "Error::Unreachable");
    let line = up.wait_for_log("the database can't be reached");
    assert!(line.contains("password authentication failed for user"), "{line}");
    assert!(line.contains("default") && !line.contains("wrong-word"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_mariadb_has_and_how_it_fails() {
    let Some(mut server) = MariaDb::start() else { return };
    let up = with(&server.url());
    for (path, statement, expected) in [
        (
            "/db/query",
            "SELECT CAST('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AS uuid) AS id",
            "Value::Uuid(\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\")",
        ),
        ("/db/query", "SELECT x'00ff'", "Value::Bytes([0, 255])"),
        ("/db/query", "SELECT CAST(18446744073709551615 AS unsigned)", "Unsigned(1844674407370955"),
        ("/db/query", "SELECT 1.50", "Value::Decimal(\"1.50\")"),
        // As text, which is all that it says of it.
        ("/db/query", "SELECT json_object('a', 1)", "Value::Text(\"{\\\"a\\\": 1}\")"),
        ("/db/query", "SELECT CAST('25:00:00' AS time)", "Error::ColumnType"),
        ("/db/query", "SELECT CAST('0000-00-00' AS date)", "Error::ColumnType"),
        ("/db/query", "SELEC 1", "code: \"42000\""),
        ("/db/query", "SELECT 1; SELECT 2", "code: \"42000\""),
        ("/db/query", "SELECT $1", "ParameterCount { given: 0, expected: 1 }"),
        ("/db/query/i1", "SELECT ?", "parameters are written $1"),
        ("/db/query/i1", "SELECT '$1'", "ParameterCount { given: 1, expected: 0 }"),
        // What the driver would take for a parameter of its own.
        ("/db/query", "SELECT 8/'2:a' AS n, ':a' AS t", "Float(4.0), Value::Text(\":a\")"),
        ("/db/execute", "CREATE TABLE u (id int UNIQUE, b bit(9), c tinyint(1))", "0"),
        ("/db/execute", "INSERT INTO u VALUES (1, b'100000001', 7), (2, NULL, TRUE)", "2"),
        ("/db/query", "SELECT b, c FROM u ORDER BY id", "Value::Integer(257), Value::Integer(7)"),
        ("/db/query", "SELECT b, c FROM u ORDER BY id", "[Value::Null, Value::Boolean(true)]"),
        ("/db/execute", "INSERT INTO u (id) VALUES (1)", "Error::Constraint"),
        ("/db/execute", "CREATE TABLE files (line text)", "0"),
        ("/db/execute", "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE files", "Error::"),
        ("/db/query", "SELECT count(*) FROM files", "Value::Integer(0)"),
        // What one request has begun, set or locked, the next does not find.
        ("/db/execute", "BEGIN", "0"),
        ("/db/execute", "INSERT INTO u (id) VALUES (3)", "1"),
        ("/db/query", "SELECT count(*) FROM u", "Value::Integer(3)"),
        ("/db/execute", "SET time_zone = '+05:00', @left = 1", "0"),
        ("/db/query", "SELECT @@time_zone, @left", "[Value::Text(\"+00:00\"), Value::Null]"),
        ("/db/execute", "USE information_schema", "0"),
        ("/db/query", "SELECT database()", "Value::Text(\"shop\")"),
        ("/db/execute", "CREATE TEMPORARY TABLE u (id int)", "0"),
        ("/db/query", "SELECT count(*) FROM u", "Value::Integer(3)"),
        ("/db/query", "SELECT get_lock('shop', 0) AS n", "Value::Integer(1)"),
        ("/db/query", "SELECT get_lock('shop', 5) AS n", "Value::Integer(1)"),
        ("/db/execute", "LOCK TABLES u WRITE", "0"),
        ("/db/execute", "UPDATE u SET c = 0 WHERE id = 3", "1"),
        // A statement that was prepared before its table changed.
        ("/db/execute", "ALTER TABLE u ADD COLUMN more int", "0"),
        ("/db/query", "SELECT * FROM u WHERE id = 3", "Value::Boolean(false), Value::Null]"),
    ] {
        let answer = ask(&up, path, statement).await;
        assert!(answer.contains(expected), "{statement}: {answer}");
    }
    // It commits where tables are changed, and what would follow is not done.
    let ended = "CREATE TABLE v (id int)\nINSERT INTO v VALUES (1)";
    let answer = ask(&up, "/db/together", ended).await;
    assert!(answer.contains("the transaction has ended"), "{answer}");
    let count = ask(&up, "/db/query", "SELECT count(*) AS n FROM v").await;
    assert_eq!(count, "n: [[Value::Integer(0)]]");
    server.stop();
    assert_eq!(ask(&up, "/db/query", "SELECT 1").await, "Error::Unreachable");
    server.start_again();
    assert_eq!(ask(&up, "/db/query", "SELECT 1 AS n").await, "n: [[Value::Integer(1)]]");
    let log = up.log();
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_for_mariadb_is_said_with_its_words() {
    let Some(server) = MariaDb::start() else { return };
    let up = with(&server.url().replace("${DB_PASSWORD}", "wrong-word"));
    assert_eq!(ask(&up, "/db/query", "SELECT 1").await, "Error::Unreachable");
    let line = up.wait_for_log("the database can't be reached");
    assert!(line.contains("Access denied for user"), "{line}");
    assert!(line.contains("default") && !line.contains("wrong-word"), "{line}");
}
