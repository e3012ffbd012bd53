//! Uses files as the path says, by the standard library and so WASI 0.2. In what it is given `:`
//! stands for `/`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
};

use wasip2::{
    filesystem::{
        preopens,
        types::{DescriptorFlags, OpenFlags, PathFlags, filesystem_error_code},
    },
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
    io::streams::StreamError,
};

struct Files;

wasip2::http::proxy::export!(Files);

impl wasip2::exports::http::incoming_handler::Guest for Files {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let words: Vec<_> =
            path.trim_start_matches('/').split('/').map(|word| word.replace(':', "/")).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let text =
            run(&words).unwrap_or_else(|error| format!("error: {:?}, {error}", error.kind()));
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(outparam, Ok(response));
        body.write().unwrap().blocking_write_and_flush(text.as_bytes()).unwrap();
        OutgoingBody::finish(body, None).unwrap();
    }
}

/// So many bytes.
fn bytes(count: &str) -> Vec<u8> {
    vec![b'x'; count.parse().unwrap()]
}

fn run(words: &[&str]) -> io::Result<String> {
    match words {
        ["create", path, count] => File::create(path)?.write_all(&bytes(count))?,
        // From an offset on, in what is there.
        ["write", path, offset, count] => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(offset.parse().unwrap()))?;
            file.write_all(&bytes(count))?;
        }
        ["append", path, count] => {
            OpenOptions::new().append(true).open(path)?.write_all(&bytes(count))?;
        }
        ["set-size", path, size] => {
            OpenOptions::new().write(true).open(path)?.set_len(size.parse().unwrap())?;
        }
        ["why", name, count] => return Ok(why(name, &bytes(count))),
        ["mkdir", path] => fs::create_dir(path)?,
        ["link", from, to] => fs::hard_link(from, to)?,
        ["rename", from, to] => fs::rename(from, to)?,
        ["remove", path] => fs::remove_file(path)?,
        // Removes a file and goes on writing to it.
        ["hoard", path, count] => {
            let mut file = File::create(path)?;
            file.write_all(&bytes(count))?;
            fs::remove_file(path)?;
            let result = run(&["create", path, count]);
            drop(file);
            return result;
        }
        ["read", path] => {
            let mut text = String::new();
            File::open(path)?.read_to_string(&mut text)?;
            return Ok(text);
        }
        ["size", path] => return Ok(fs::metadata(path)?.len().to_string()),
        ["list", path] => {
            let names =
                fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string().unwrap()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            return Ok(names.join(","));
        }
        _ => return Ok("what?".to_owned()),
    }
    Ok("done".to_owned())
}

/// Why a new file in the first folder can't be written: the C library knows only that it can't.
fn why(name: &str, bytes: &[u8]) -> String {
    let (folder, _) = preopens::get_directories().swap_remove(0);
    let file = folder
        .open_at(PathFlags::empty(), name, OpenFlags::CREATE, DescriptorFlags::WRITE)
        .unwrap();
    let output = file.write_via_stream(0).unwrap();
    for chunk in bytes.chunks(4096) {
        match output.blocking_write_and_flush(chunk) {
            Ok(()) => {}
            Err(StreamError::LastOperationFailed(error)) => {
                return format!("error: {:?}", filesystem_error_code(&error));
            }
            Err(StreamError::Closed) => return "closed".to_owned(),
        }
    }
    "done".to_owned()
}
