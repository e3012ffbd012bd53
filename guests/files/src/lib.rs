//! Uses files as the path says, by WASI 0.3. In what it is given `:` stands for `/`.

use wasip3::{
    filesystem::{
        preopens,
        types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags},
    },
    http::types::{ErrorCode as HttpErrorCode, Fields, Request, Response},
    wit_future, wit_stream,
};
use wit_bindgen::StreamReader;

struct Files;

wasip3::http::service::export!(Files);

impl wasip3::exports::http::handler::Guest for Files {
    async fn handle(request: Request) -> Result<Response, HttpErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let words: Vec<_> =
            path.trim_start_matches('/').split('/').map(|word| word.replace(':', "/")).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let body = match words[..] {
            ["send", path] => send(path).await,
            _ => run(&words).await.map(text),
        };
        let body = body.unwrap_or_else(|error| text(format!("error: {error:?}")));
        let (_, trailers) = wit_future::new(|| Ok(None));
        Ok(Response::new(Fields::new(), Some(body), trailers).0)
    }
}

fn text(text: String) -> StreamReader<u8> {
    let (mut body, stream) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    stream
}

/// The file as it comes, without a look at it: the guest has ended before it is read.
async fn send(path: &str) -> Result<StreamReader<u8>, ErrorCode> {
    let file = open(path, OpenFlags::empty(), DescriptorFlags::READ).await?;
    Ok(file.read_via_stream(0).0)
}

const CREATE: OpenFlags = OpenFlags::CREATE.union(OpenFlags::TRUNCATE);

/// The folder that `path` begins with, and the rest.
fn place(path: &str) -> Result<(Descriptor, String), ErrorCode> {
    let folders = preopens::get_directories().into_iter();
    let (folder, rest) = folders
        .filter_map(|(folder, name)| Some((folder, path.strip_prefix(&name)?.to_owned())))
        .next()
        .ok_or(ErrorCode::NoEntry)?;
    let rest = rest.trim_start_matches('/');
    Ok((folder, if rest.is_empty() { ".".to_owned() } else { rest.to_owned() }))
}

async fn open(
    path: &str,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    let (folder, path) = place(path)?;
    folder.open_at(PathFlags::empty(), path, open, flags).await
}

/// Writes so many bytes from `offset` on, or at the end.
async fn write(file: &Descriptor, offset: Option<u64>, count: &str) -> Result<(), ErrorCode> {
    let (mut sender, stream) = wit_stream::new();
    let written = match offset {
        Some(offset) => file.write_via_stream(stream, offset),
        None => file.append_via_stream(stream),
    };
    // What is not taken, the result says why.
    sender.write_all(vec![b'x'; count.parse().unwrap()]).await;
    drop(sender);
    written.await
}

async fn create(path: &str, count: &str) -> Result<Descriptor, ErrorCode> {
    let file = open(path, CREATE, DescriptorFlags::WRITE).await?;
    write(&file, Some(0), count).await?;
    Ok(file)
}

async fn remove(path: &str) -> Result<(), ErrorCode> {
    let (folder, path) = place(path)?;
    folder.unlink_file_at(path).await
}

async fn run(words: &[&str]) -> Result<String, ErrorCode> {
    match words {
        ["create", path, count] => drop(create(path, count).await?),
        // From an offset on, in what is there.
        ["write", path, offset, count] => {
            let file = open(path, OpenFlags::empty(), DescriptorFlags::WRITE).await?;
            write(&file, Some(offset.parse().unwrap()), count).await?;
        }
        ["append", path, count] => {
            let file = open(path, OpenFlags::empty(), DescriptorFlags::WRITE).await?;
            write(&file, None, count).await?;
        }
        ["set-size", path, size] => {
            let file = open(path, OpenFlags::empty(), DescriptorFlags::WRITE).await?;
            file.set_size(size.parse().unwrap()).await?;
        }
        ["mkdir", path] => {
            let (folder, path) = place(path)?;
            folder.create_directory_at(path).await?;
        }
        ["link", from, to] => {
            let ((old, from), (new, to)) = (place(from)?, place(to)?);
            old.link_at(PathFlags::empty(), from, &new, to).await?;
        }
        ["rename", from, to] => {
            let ((old, from), (new, to)) = (place(from)?, place(to)?);
            old.rename_at(from, &new, to).await?;
        }
        ["remove", path] => remove(path).await?,
        // Removes a file and goes on writing to it.
        ["hoard", path, count] => {
            let file = create(path, count).await?;
            remove(path).await?;
            let result = create(path, count).await;
            drop(file);
            result?;
        }
        ["read", path] => {
            let file = open(path, OpenFlags::empty(), DescriptorFlags::READ).await?;
            let (stream, ended) = file.read_via_stream(0);
            let bytes = stream.collect().await;
            ended.await?;
            return Ok(String::from_utf8(bytes).unwrap());
        }
        ["size", path] => {
            let (folder, path) = place(path)?;
            let stat = folder.stat_at(PathFlags::empty(), path).await?;
            return Ok(stat.size.to_string());
        }
        ["list", path] => {
            let folder = open(path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
            let (entries, ended) = folder.read_directory();
            let mut names: Vec<_> =
                entries.collect().await.into_iter().map(|entry| entry.name).collect();
            ended.await?;
            names.sort();
            return Ok(names.join(","));
        }
        _ => return Ok("what?".to_owned()),
    }
    Ok("done".to_owned())
}
