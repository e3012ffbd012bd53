//! A guest as Spin's users write it, with Spin's own SDK. Each line of the body is a statement, with its
//! parameters after tabs (`i5`, `ttext`, `n`): `/sqlite/run`, `/mysql/run` and `/pg/run` run them on one
//! connection to the database that the query of the URL names, and say what each gives. The line
//! `!last` asks SQLite for the latest rowid and how many rows were changed.
//!
//! `/INTERFACE/first` reads one row and asks how it has ended; `/sqlite/sync` and `/pg/sync` are `run` by
//! the functions that are not async; `/mysql/types` and `/pg/types` put a value of each type into a
//! table and read it again.

use spin_sdk::{
    http::{IntoResponse, Request, body::IncomingBodyExt as _},
    http_service, mysql, pg, sqlite,
};

#[http_service]
async fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let (head, body) = request.into_parts();
    let label = head.uri.query().unwrap_or_default().to_owned();
    let statements = String::from_utf8(body.bytes().await?.to_vec())?;
    Ok(match head.uri.path() {
        "/sqlite/run" => run_sqlite(&label, &statements).await,
        "/sqlite/sync" => run_sqlite_sync(&label, &statements),
        "/sqlite/first" => first_of_sqlite(&label, &statements).await,
        "/mysql/run" => run_mysql(&label, &statements).await,
        "/mysql/first" => first_of_mysql(&label, &statements).await,
        "/mysql/types" => types_of_mysql(&label).await,
        "/pg/run" => run_pg(&label, &statements).await,
        "/pg/sync" => run_pg_sync(&label, &statements),
        "/pg/first" => first_of_pg(&label, &statements).await,
        "/pg/types" => types_of_pg(&label).await,
        _ => "what?".to_owned(),
    })
}

/// The statement of a line, and its parameters, each made by its kind.
fn parse<P>(line: &str, parameter: impl Fn(&str, &str) -> P) -> (String, Vec<P>) {
    let mut parts = line.split('\t');
    let statement = parts.next().unwrap_or_default().to_owned();
    let parameters = parts.map(|part| {
        let (kind, text) = part.split_at(1);
        parameter(kind, text)
    });
    (statement, parameters.collect())
}

fn sqlite_value(kind: &str, text: &str) -> sqlite::Value {
    match kind {
        "i" => sqlite::Value::Integer(text.parse().unwrap()),
        "f" => sqlite::Value::Real(text.parse().unwrap()),
        "t" => sqlite::Value::Text(text.to_owned()),
        "b" => sqlite::Value::Blob(text.as_bytes().to_vec()),
        _ => sqlite::Value::Null,
    }
}

async fn run_sqlite(label: &str, statements: &str) -> String {
    let connection = match sqlite::Connection::open(label).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for line in statements.lines() {
        if line == "!last" {
            let rowid = connection.last_insert_rowid().await;
            said.push(format!("{rowid}, {}", connection.changes().await));
            continue;
        }
        let (statement, parameters) = parse(line, sqlite_value);
        said.push(match connection.execute(statement, parameters).await {
            Ok(result) => {
                let columns = result.columns().join(",");
                match result.collect().await {
                    Ok(rows) => {
                        let rows: Vec<_> = rows.into_iter().map(|row| row.values).collect();
                        format!("{columns}: {rows:?}")
                    }
                    Err(error) => format!("{error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        });
    }
    said.join("\n")
}

fn run_sqlite_sync(label: &str, statements: &str) -> String {
    use sqlite::wit::sqlite::Connection;
    let connection = match Connection::open(label) {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for line in statements.lines() {
        if line == "!last" {
            said.push(format!("{}, {}", connection.last_insert_rowid(), connection.changes()));
            continue;
        }
        let (statement, parameters) = parse(line, sqlite_value);
        said.push(match connection.execute(&statement, &parameters) {
            Ok(result) => {
                let rows: Vec<_> = result.rows.into_iter().map(|row| row.values).collect();
                format!("{}: {rows:?}", result.columns.join(","))
            }
            Err(error) => format!("{error:?}"),
        });
    }
    said.join("\n")
}

async fn first_of_sqlite(label: &str, statement: &str) -> String {
    let connection = sqlite::Connection::open(label).await.unwrap();
    let mut result = connection.execute(statement, []).await.unwrap();
    let first = result.next().await.map(|row| row.values);
    format!("{first:?}, {:?}", result.result().await)
}

fn mysql_value(kind: &str, text: &str) -> mysql::ParameterValue {
    match kind {
        "i" => mysql::ParameterValue::Int64(text.parse().unwrap()),
        "t" => mysql::ParameterValue::Str(text.to_owned()),
        _ => mysql::ParameterValue::DbNull,
    }
}

async fn run_mysql(label: &str, statements: &str) -> String {
    let connection = match mysql::Connection::open(label).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for line in statements.lines() {
        let (statement, parameters) = parse(line, mysql_value);
        if !statement.starts_with("SELECT") {
            said.push(format!("{:?}", connection.execute(statement, parameters).await));
            continue;
        }
        said.push(match connection.query(statement, parameters).await {
            Ok(result) => {
                let names: Vec<_> = result.columns().iter().map(|it| it.name.clone()).collect();
                let (_, rows, ended) = result.into_inner();
                let rows = rows.collect().await;
                match ended.await {
                    Ok(()) => format!("{}: {rows:?}", names.join(",")),
                    Err(error) => format!("{error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        });
    }
    said.join("\n")
}

async fn first_of_mysql(label: &str, statement: &str) -> String {
    let connection = mysql::Connection::open(label).await.unwrap();
    let mut result = connection.query(statement, Vec::new()).await.unwrap();
    let first = result.rows().next().await;
    format!("{first:?}, {:?}", result.result().await)
}

async fn types_of_mysql(label: &str) -> String {
    use mysql::ParameterValue as P;
    let connection = mysql::Connection::open(label).await.unwrap();
    let columns = [
        ("boolean", P::Int8(1)),
        ("tinyint", P::Int8(-128)),
        ("smallint", P::Int16(-32768)),
        ("int", P::Int32(i32::MIN)),
        ("bigint", P::Int64(i64::MIN)),
        ("tinyint unsigned", P::Uint8(255)),
        ("smallint unsigned", P::Uint16(65535)),
        ("int unsigned", P::Uint32(u32::MAX)),
        ("bigint unsigned", P::Uint64(u64::MAX)),
        ("bigint unsigned", P::Uint64(1)),
        ("float", P::Floating32(0.5)),
        ("double", P::Floating64(-0.1e-200)),
        ("text", P::Str("grüße '\\\"".to_owned())),
        ("varbinary(8)", P::Binary(vec![0, 255, 39, 92])),
        ("int", P::DbNull),
    ];
    let definitions: Vec<_> =
        columns.iter().enumerate().map(|(n, (kind, _))| format!("c{n} {kind} NULL")).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let create = format!("CREATE OR REPLACE TABLE kinds ({})", definitions.join(", "));
    connection.execute(create, Vec::new()).await.unwrap();
    let given: Vec<_> = columns.iter().map(|(_, value)| value.clone()).collect();
    connection.execute(format!("INSERT INTO kinds VALUES ({places})"), given).await.unwrap();
    let mut result = connection.query("SELECT * FROM kinds", Vec::new()).await.unwrap();
    let row = result.rows().next().await.unwrap();
    let found = row.iter().map(|value| format!("{value:?}").replace("DbValue", ""));
    let given = columns
        .iter()
        .map(|(kind, value)| (*kind, format!("{value:?}").replace("ParameterValue", "")));
    differences(given, found)
}

/// What came back otherwise than it was given.
fn differences<'a>(
    given: impl Iterator<Item = (&'a str, String)>,
    found: impl Iterator<Item = String>,
) -> String {
    let differences: Vec<_> = given
        .zip(found)
        .filter(|((_, given), found)| given != found)
        .map(|((kind, given), found)| format!("{kind}: {given} became {found}"))
        .collect();
    if differences.is_empty() { "all the same".to_owned() } else { differences.join("; ") }
}

fn pg_value(kind: &str, text: &str) -> pg::ParameterValue {
    match kind {
        "i" => pg::ParameterValue::Int64(text.parse().unwrap()),
        "t" => pg::ParameterValue::Str(text.to_owned()),
        _ => pg::ParameterValue::DbNull,
    }
}

async fn run_pg(label: &str, statements: &str) -> String {
    let connection = match pg::Connection::open(label).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for line in statements.lines() {
        let (statement, parameters) = parse(line, pg_value);
        if !statement.starts_with("SELECT") {
            said.push(format!("{:?}", connection.execute(statement, parameters).await));
            continue;
        }
        said.push(match connection.query(statement, parameters).await {
            Ok(result) => {
                let (columns, rows, ended) = result.into_inner();
                let rows = rows.collect().await;
                let columns: Vec<_> = columns.into_iter().map(|column| column.name).collect();
                match ended.await {
                    Ok(()) => format!("{}: {rows:?}", columns.join(",")),
                    Err(error) => format!("{error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        });
    }
    said.join("\n")
}

fn run_pg_sync(label: &str, statements: &str) -> String {
    use pg::wit::postgres::ConnectionBuilder;
    let builder = ConnectionBuilder::new(label);
    builder.set_ca_root("none").unwrap();
    let connection = match builder.build() {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for line in statements.lines() {
        let (statement, parameters) = parse(line, pg_value);
        said.push(if statement.starts_with("SELECT") {
            match connection.query(&statement, &parameters) {
                Ok(set) => format!("{:?}", set.rows),
                Err(error) => format!("{error:?}"),
            }
        } else {
            format!("{:?}", connection.execute(&statement, &parameters))
        });
    }
    said.join("\n")
}

async fn first_of_pg(label: &str, statement: &str) -> String {
    let connection = pg::Connection::open(label).await.unwrap();
    let mut result = connection.query(statement, Vec::new()).await.unwrap();
    let first = result.rows().next().await;
    format!("{first:?}, {:?}", result.result().await)
}

async fn types_of_pg(label: &str) -> String {
    use pg::{Interval, ParameterValue as P, RangeBoundKind::*};
    let connection = pg::Connection::open(label).await.unwrap();
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned();
    let decimals = (Some(("1.5".to_owned(), Inclusive)), Some(("2.50".to_owned(), Exclusive)));
    let columns = [
        ("boolean", P::Boolean(true)),
        ("smallint", P::Int16(i16::MIN)),
        ("int", P::Int32(i32::MAX)),
        ("bigint", P::Int64(i64::MIN)),
        ("real", P::Floating32(0.1)),
        ("double precision", P::Floating64(-0.1e-200)),
        ("text", P::Str("grüße '\\\"".to_owned())),
        ("varchar(8)", P::Str(String::new())),
        ("bytea", P::Binary(vec![0, 255, 39, 92])),
        ("date", P::Date((2026, 11, 22))),
        ("time", P::Time((23, 59, 58, 123_456_000))),
        ("timestamp", P::Datetime((2026, 11, 22, 23, 59, 58, 5_000))),
        ("timestamptz", P::Datetime((2026, 11, 22, 23, 59, 58, 0))),
        ("uuid", P::Uuid(uuid)),
        ("jsonb", P::Jsonb(b"{\"a\": [1, null]}".to_vec())),
        ("numeric", P::Decimal("-12345.6780".to_owned())),
        ("int4range", P::RangeInt32((Some((1, Inclusive)), Some((5, Exclusive))))),
        ("int4range", P::RangeInt32((None, Some((5, Exclusive))))),
        ("int8range", P::RangeInt64((Some((i64::MIN, Inclusive)), None))),
        ("numrange", P::RangeDecimal(decimals)),
        ("int[]", P::ArrayInt32(vec![Some(1), None])),
        ("bigint[]", P::ArrayInt64(vec![None, Some(i64::MAX)])),
        ("numeric[]", P::ArrayDecimal(vec![Some("1.50".to_owned()), None])),
        ("text[]", P::ArrayStr(vec![Some("a\"b\\,{}".to_owned()), None])),
        ("interval", P::Interval(Interval { micros: -5, days: 2, months: 14 })),
        ("int", P::DbNull),
    ];
    let definitions: Vec<_> =
        columns.iter().enumerate().map(|(n, (kind, _))| format!("c{n} {kind} NULL")).collect();
    let places: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let create = format!("CREATE TABLE kinds ({})", definitions.join(", "));
    connection.execute(create, Vec::new()).await.unwrap();
    let insert = format!("INSERT INTO kinds VALUES ({})", places.join(", "));
    let given: Vec<_> = columns.iter().map(|(_, value)| value.clone()).collect();
    connection.execute(insert, given).await.unwrap();
    let mut result = connection.query("SELECT * FROM kinds", Vec::new()).await.unwrap();
    let row = result.rows().next().await.unwrap();
    let found = row.iter().map(|value| format!("{value:?}").replace("DbValue", ""));
    let given = columns
        .iter()
        .map(|(kind, value)| (*kind, format!("{value:?}").replace("ParameterValue", "")));
    differences(given, found)
}
