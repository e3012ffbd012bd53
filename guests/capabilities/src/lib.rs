//! Does the same thing often, for measurements: `/kv-get/N`, `/kv-set/N`, `/sql/N` (a query by its
//! key), `/rows/N` (the same, its rows as a stream), `/http/N?URL`. Answers with how often. `/points/N` makes
//! the table for the queries.

use sleeper::beside_a_sleeper;
use wasip3::{
    http::{
        client,
        types::{ErrorCode, Fields, Request, Response, Scheme},
    },
    wit_future, wit_stream,
};
use wit_bindgen::{StreamReader, StreamResult};

mod keyvalue {
    wit_bindgen::generate!({ path: "../../wit/keyvalue-draft2", world: "imports" });
}

mod sql {
    wit_bindgen::generate!({ path: "../../wit/sql", world: "imports" });
}

use keyvalue::wasi::keyvalue::store;
use sql::dhow::sql::{database::Connection, types::Value};

struct Capabilities;

wasip3::http::service::export!(Capabilities);

impl wasip3::exports::http::handler::Guest for Capabilities {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (path, url) = path.split_once('?').unwrap_or((&path, ""));
        let (what, count) = path.trim_start_matches('/').split_once('/').unwrap();
        beside_a_sleeper(run(what, count.parse().unwrap(), url)).await;
        let text = count.to_owned();
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

/// What is read of a body at a time. The reader's own `collect` begins with 8 bytes.
const PIECE: usize = 4 << 10;

async fn read_all(mut body: StreamReader<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(PIECE);
        let (result, read) = body.read(bytes).await;
        bytes = read;
        if !matches!(result, StreamResult::Complete(_)) {
            return bytes;
        }
    }
}

const QUERY: &str = "SELECT name FROM points WHERE id = $1";

async fn run(what: &str, count: i64, url: &str) {
    match what {
        "kv-get" => {
            let bucket = store::open("db").unwrap();
            for _ in 0..count {
                assert!(bucket.get("key").unwrap().is_some());
            }
        }
        "kv-set" => {
            let bucket = store::open("db").unwrap();
            for _ in 0..count {
                bucket.set("key", &[7; 100]).unwrap();
            }
        }
        "points" => {
            let connection = Connection::open("db".to_owned()).await.unwrap();
            let table = "CREATE TABLE IF NOT EXISTS points (id INTEGER PRIMARY KEY, name TEXT)";
            connection.execute(table.to_owned(), Vec::new()).await.unwrap();
            for number in 0..count {
                let row = "INSERT INTO points VALUES ($1, 'a name of some length') ON CONFLICT DO NOTHING";
                let parameters = vec![Value::Integer(number)];
                connection.execute(row.to_owned(), parameters).await.unwrap();
            }
        }
        "sql" => {
            let connection = Connection::open("db".to_owned()).await.unwrap();
            for number in 0..count {
                let parameters = vec![Value::Integer(number % 1000)];
                let (_, rows) = connection.fetch(QUERY.to_owned(), parameters).await.unwrap();
                assert_eq!(rows.len(), 1);
            }
        }
        "rows" => {
            let connection = Connection::open("db".to_owned()).await.unwrap();
            for number in 0..count {
                let statement = QUERY.to_owned();
                let parameters = vec![Value::Integer(number % 1000)];
                let (_, rows, ended) = connection.query(statement, parameters).await.unwrap();
                assert_eq!(rows.collect().await.len(), 1);
                ended.await.unwrap();
            }
        }
        "http" => {
            let (authority, path) = url.split_once('/').unwrap();
            for _ in 0..count {
                // Dropped at the end: a writer that is dropped writes, and waits until that is read.
                let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
                let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
                request.set_scheme(Some(&Scheme::Http)).unwrap();
                request.set_authority(Some(authority)).unwrap();
                request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
                let answer = client::send(request).await.unwrap();
                let (_received, received) = wit_future::new(|| Ok(()));
                let (body, _) = Response::consume_body(answer, received);
                assert!(!read_all(body).await.is_empty());
            }
        }
        _ => panic!("{what}"),
    }
}
