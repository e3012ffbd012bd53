//! Does with the database of a label what the path says: `/LABEL/execute/PARAMETERS` and
//! `/LABEL/query/PARAMETERS` run the statement in the request's body, and so does `/LABEL/fetch/PARAMETERS`,
//! which has all rows at once; a parameter is `i5`, `ttext` or `n`. `/LABEL/types` (puts a value of each type into a table and reads it again; the body says
//! of each column its type and the value, as `bigint = least`), `/LABEL/count` (reads a query's
//! rows and counts them), `/LABEL/first` (reads one and drops the rest), `/LABEL/move/HOW` (a
//! transaction that ends so: commit, rollback, drop, trap), `/LABEL/together` (each line of the
//! body is a statement of one transaction; says how many rows the last has changed),
//! `/LABEL/fetch-together` (likewise, and says the rows of each),
//! `/LABEL/unread` (a second statement before the first's rows were read).

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};
use wit_bindgen::StreamResult;

mod imports {
    wit_bindgen::generate!({ path: "../../wit/sql", world: "imports" });
}

use imports::dhow::sql::{
    database::{Connection, Transaction},
    types::{Date, Error, Instant, Time, Timestamp, Value},
};

struct Sql;

wasip3::http::service::export!(Sql);

impl wasip3::exports::http::handler::Guest for Sql {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (_received, received) = wit_future::new(|| Ok(()));
        let (body, _) = Request::consume_body(request, received);
        let statement = String::from_utf8(body.collect().await).unwrap();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let text = run(&words, statement).await.unwrap_or_else(|error| format!("{error:?}"));
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

async fn run(words: &[&str], statement: String) -> Result<String, Error> {
    let connection = Connection::open(words[0].to_owned()).await?;
    let parameters = words.iter().skip(2).map(|word| parameter(word)).collect();
    Ok(match &words[1..] {
        ["execute", ..] => connection.execute(statement, parameters).await?.to_string(),
        ["query", ..] => {
            let (columns, rows, ended) = connection.query(statement, parameters).await?;
            let names: Vec<_> = columns.into_iter().map(|column| column.name).collect();
            let rows = rows.collect().await;
            ended.await?;
            format!("{}: {rows:?}", names.join(","))
        }
        ["fetch", ..] => {
            let (columns, rows) = connection.fetch(statement, parameters).await?;
            let names: Vec<_> = columns.into_iter().map(|column| column.name).collect();
            format!("{}: {rows:?}", names.join(","))
        }
        ["fetch-together"] => {
            let transaction = connection.begin().await?;
            let mut fetched = Vec::new();
            for statement in statement.lines() {
                fetched.push(match transaction.fetch(statement.to_owned(), Vec::new()).await {
                    Ok((_, rows)) => format!("{rows:?}"),
                    Err(error) => format!("{error:?}"),
                });
            }
            Transaction::commit(transaction).await?;
            fetched.join("; ")
        }
        ["types"] => types(&connection, &statement).await?,
        ["count"] => {
            let (_, mut rows, ended) = connection.query(statement, parameters).await?;
            let mut count = 0;
            let mut buffer = Vec::with_capacity(256);
            loop {
                let (result, mut read) = rows.read(buffer).await;
                count += read.len();
                read.clear();
                buffer = read;
                if let StreamResult::Dropped = result {
                    break;
                }
            }
            ended.await?;
            count.to_string()
        }
        ["first"] => {
            let (_, mut rows, _) = connection.query(statement, parameters).await?;
            format!("{:?}", rows.next().await)
        }
        ["move", how] => move_one(&connection, how).await?,
        ["together"] => {
            let transaction = connection.begin().await?;
            let mut changed = 0;
            for statement in statement.lines() {
                changed = transaction.execute(statement.to_owned(), Vec::new()).await?;
            }
            Transaction::commit(transaction).await?;
            changed.to_string()
        }
        ["unread"] => {
            let transaction = connection.begin().await?;
            let (_, rows, _) = transaction.query(statement.clone(), Vec::new()).await?;
            let early = transaction.execute(statement, Vec::new()).await;
            drop(rows);
            format!("{early:?}")
        }
        _ => "what?".to_owned(),
    })
}

fn parameter(word: &str) -> Value {
    match word.split_at(1) {
        ("i", number) => Value::Integer(number.parse().unwrap()),
        ("t", text) => Value::Text(text.to_owned()),
        _ => Value::Null,
    }
}

/// Takes one from the account `a` and gives it to `b`.
async fn move_one(connection: &Connection, how: &str) -> Result<String, Error> {
    let transaction = connection.begin().await?;
    for (delta, name) in [(-1, "a"), (1, "b")] {
        let statement = "UPDATE account SET amount = amount + $1 WHERE name = $2".to_owned();
        let parameters = vec![Value::Integer(delta), Value::Text(name.to_owned())];
        transaction.execute(statement, parameters).await?;
    }
    match how {
        "commit" => Transaction::commit(transaction).await?,
        "rollback" => Transaction::rollback(transaction).await?,
        "drop" => drop(transaction),
        _ => panic!("as asked"),
    }
    Ok(how.to_owned())
}

/// What the body calls so.
fn value(name: &str) -> Value {
    let date = Date { year: 2026, month: 11, day: 22 };
    let time = Time { hour: 23, minute: 59, second: 58, nanosecond: 123_456_000 };
    match name {
        "null" => Value::Null,
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        "zero" => Value::Integer(0),
        "least of 16" => Value::Integer(i16::MIN.into()),
        "most of 32" => Value::Integer(i32::MAX.into()),
        "least" => Value::Integer(i64::MIN),
        "most" => Value::Integer(i64::MAX),
        "unsigned" => Value::Unsigned(u64::MAX),
        "half" => Value::Float(0.5),
        "float" => Value::Float(-0.1e-200),
        "decimal" => Value::Decimal("-12345.678".to_owned()),
        "text" => Value::Text("grüße, 世界 '\\\"\n".to_owned()),
        "no text" => Value::Text(String::new()),
        "bytes" => Value::Bytes(vec![0, 255, 39, 92]),
        "date" => Value::Date(date),
        "time" => Value::Time(time),
        "timestamp" => Value::Timestamp(Timestamp { date, time }),
        "instant" => Value::Instant(Instant { seconds: 1_795_345_200, nanoseconds: 5_000 }),
        "uuid" => Value::Uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned()),
        "json" => Value::Json("{\"a\": [1, null]}".to_owned()),
        "booleans" => Value::BooleanArray(vec![Some(true), None, Some(false)]),
        "integers" => Value::IntegerArray(vec![Some(i64::MIN), None, Some(3)]),
        "floats" => Value::FloatArray(vec![Some(0.1), None]),
        "texts" => Value::TextArray(vec![Some("a\"b\\,{}".to_owned()), None]),
        _ => panic!("no value is called {name}"),
    }
}

/// Puts a value into a column of each of the types, and says which of them come back as something
/// else.
async fn types(connection: &Connection, columns: &str) -> Result<String, Error> {
    let columns = columns.lines().filter_map(|line| line.split_once(" = "));
    let values: Vec<_> = columns.map(|(kind, name)| (kind, value(name))).collect();
    let definitions: Vec<_> =
        values.iter().enumerate().map(|(n, (kind, _))| format!("c{n} {kind} NULL")).collect();
    let places: Vec<_> = (1..=values.len()).map(|n| format!("${n}")).collect();
    for statement in [
        "DROP TABLE IF EXISTS kinds".to_owned(),
        format!("CREATE TABLE kinds ({})", definitions.join(", ")),
    ] {
        connection.execute(statement, Vec::new()).await?;
    }
    let statement = format!("INSERT INTO kinds VALUES ({})", places.join(", "));
    let given: Vec<_> = values.iter().map(|(_, value)| value.clone()).collect();
    connection.execute(statement, given).await?;
    let statement = "SELECT * FROM kinds".to_owned();
    let (_, rows, ended) = connection.query(statement, Vec::new()).await?;
    let row = rows.collect().await.pop().unwrap();
    ended.await?;
    let differences: Vec<_> = values
        .iter()
        .zip(row)
        .filter(|((_, value), found)| format!("{value:?}") != format!("{found:?}"))
        .map(|((kind, value), found)| format!("{kind}: {value:?} became {found:?}"))
        .collect();
    Ok(if differences.is_empty() { "all the same".to_owned() } else { differences.join("; ") })
}
