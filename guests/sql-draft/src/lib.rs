//! Runs statements on the database of a label, by `wasi:sql`: `/query/LABEL/PARAMETERS` and
//! `/exec/LABEL/PARAMETERS`. The statement is the body; parameters are texts.

use wasip3::{
    http::types::{ErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};

mod imports {
    wit_bindgen::generate!({ path: "../../wit/sql-draft", world: "imports" });
}

use imports::wasi::sql::{
    readwrite::{exec, query},
    types::{Connection, Error, Statement},
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
        let text = run(&words, &statement).unwrap_or_else(|error| error.trace());
        let (mut body, stream) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
        });
        Ok(Response::new(Fields::new(), Some(stream), trailers).0)
    }
}

fn run(words: &[&str], statement: &str) -> Result<String, Error> {
    let parameters: Vec<String> = words[2..].iter().map(|word| (*word).to_owned()).collect();
    let connection = Connection::open(words[1])?;
    let statement = Statement::prepare(statement, &parameters)?;
    Ok(match words[0] {
        "query" => {
            let values = query(&connection, &statement)?.into_iter();
            let values = values.map(|item| format!("{}: {:?}", item.field_name, item.value));
            values.collect::<Vec<_>>().join(", ")
        }
        _ => exec(&connection, &statement)?.to_string(),
    })
}
