//! As `blobstore`, for the draft of WASI and its 0.2; in names `+` stands for `/`. `/LABEL/write/NAME`
//! (the path is the content; says first where it goes), `late/NAME` (says so last), `unsaid` (never
//! does), `unfinished/NAME` (leaves it at that), `fill/NAME/BYTES`, `overfull/BYTES` (says it too
//! late), `get/NAME`, `drain/NAME`, `part/NAME/START/END`, `list`, `pages` (two names at a time),
//! `info/NAME`, `has/NAME`, `delete/NAME`, `clear`, `copy/FROM/LABEL/TO`, `move/FROM/LABEL/TO`,
//! `containers` (what can be done with those themselves).

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

mod imports {
    wit_bindgen::generate!({
        path: "../../wit/blobstore-draft",
        world: "imports",
        generate_all,
    });
}

use imports::wasi::{
    blobstore::{
        blobstore,
        container::Container,
        types::{IncomingValue, ObjectId, OutgoingValue},
    },
    io::streams::StreamError,
};

struct Blobstore;

wasip2::http::proxy::export!(Blobstore);

impl wasip2::exports::http::incoming_handler::Guest for Blobstore {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<String> =
            path.trim_start_matches('/').split('/').map(|word| word.replace('+', "/")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = run(&words, &path).unwrap_or_else(|error| format!("error: {error}"));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn run(words: &[&str], path: &str) -> Result<String, String> {
    let label = words[0];
    if let ["containers"] = words[1..] {
        return Ok(containers(label));
    }
    let container = blobstore::get_container(label)?;
    Ok(match words[1..] {
        ["write", name] => format!("{:?}", write(&container, name, path.as_bytes())?),
        ["late", name] => format!("{:?}", late(&container, name, path.as_bytes())?),
        ["overfull", bytes] => {
            let result = late(&container, "overfull", &vec![7; bytes.parse().unwrap()]);
            format!("{:?}", result.is_err())
        }
        ["unsaid"] => format!("{:?}", OutgoingValue::finish(OutgoingValue::new_outgoing_value())),
        ["unfinished", name] => {
            let value = OutgoingValue::new_outgoing_value();
            container.write_data(name, &value)?;
            send(&value, path.as_bytes())?;
            "left".to_owned()
        }
        ["fill", name, bytes] => {
            format!("{:?}", write(&container, name, &vec![7; bytes.parse().unwrap()])?)
        }
        ["get", name] => {
            let value = container.get_data(name, 0, u64::MAX)?;
            text(IncomingValue::incoming_value_consume_sync(value)?)
        }
        ["part", name, start, end] => {
            let value = container.get_data(name, start.parse().unwrap(), end.parse().unwrap())?;
            let size = value.size();
            let bytes = IncomingValue::incoming_value_consume_sync(value)?;
            format!("{} of {size}", text(bytes))
        }
        ["drain", name] => drain(&container, name)?,
        ["list"] => list(&container, 100)?,
        ["pages"] => list(&container, 2)?,
        ["info", name] => {
            let info = container.object_info(name)?;
            format!("{} in {}: {} bytes", info.name, info.container, info.size)
        }
        ["has", name] => container.has_object(name)?.to_string(),
        ["delete", name] => format!("{:?}", container.delete_objects(&[name.to_owned()])?),
        ["clear"] => format!("{:?}", container.clear()?),
        ["copy", from, to, name] => {
            format!("{:?}", blobstore::copy_object(&id(label, from), &id(to, name))?)
        }
        ["move", from, to, name] => {
            format!("{:?}", blobstore::move_object(&id(label, from), &id(to, name))?)
        }
        _ => "what?".to_owned(),
    })
}

fn id(container: &str, object: &str) -> ObjectId {
    ObjectId { container: container.to_owned(), object: object.to_owned() }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn containers(label: &str) -> String {
    [
        format!("exists {:?}", blobstore::container_exists(label)),
        format!("create {:?}", blobstore::create_container(label).map(drop)),
        format!("delete {:?}", blobstore::delete_container(label)),
        format!(
            "name {:?}",
            blobstore::get_container(label).and_then(|container| container.name())
        ),
    ]
    .join("\n")
}

fn send(value: &OutgoingValue, bytes: &[u8]) -> Result<(), String> {
    let body = value.outgoing_value_write_body().map_err(|()| "it was taken before".to_owned())?;
    assert!(value.outgoing_value_write_body().is_err());
    for piece in bytes.chunks(4_096) {
        body.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

fn write(container: &Container, name: &str, bytes: &[u8]) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    container.write_data(name, &value)?;
    send(&value, bytes)?;
    OutgoingValue::finish(value)
}

fn late(container: &Container, name: &str, bytes: &[u8]) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    send(&value, bytes)?;
    container.write_data(name, &value)?;
    OutgoingValue::finish(value)
}

fn drain(container: &Container, name: &str) -> Result<String, String> {
    let value = container.get_data(name, 0, u64::MAX)?;
    let size = value.size();
    let stream = IncomingValue::incoming_value_consume_async(value)?;
    let mut count = 0;
    loop {
        match stream.blocking_read(1 << 20) {
            Ok(bytes) => count += bytes.len(),
            Err(StreamError::Closed) => return Ok(format!("{count} of {size}")),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn list(container: &Container, at_a_time: u64) -> Result<String, String> {
    let names = container.list_objects()?;
    let mut all = Vec::new();
    loop {
        let (some, is_end) = names.read_stream_object_names(at_a_time)?;
        all.extend(some);
        if is_end {
            all.sort();
            return Ok(all.join(","));
        }
    }
}
