//! Objects: the same guests, unchanged, on each kind of store.

use std::{fs, path::Path};

use dhow_tests::{
    Up,
    client::{Connection, PATIENCE, answer, full, get},
    dhow,
    servers::{PASSWORD, S3},
    write_manifest,
};
use tempfile::TempDir;

const MANIFEST: &str = "name = \"blobs\"\n\
    [component.blobstore]\nsource = \"{blobstore}\"\ngrants.blobstore = { db = \"default\" }\n\
    [component.draft]\nsource = \"{blobstore-draft}\"\n\
    grants.blobstore = { old = \"default\", other = \"second\" }\n\
    [[http]]\npath = \"/db/...\"\ncomponent = \"blobstore\"\n\
    [[http]]\npath = \"/ungranted/...\"\ncomponent = \"blobstore\"\n\
    [[http]]\npath = \"/...\"\ncomponent = \"draft\"\n";

/// The guests, served in `folder` with the operator's text for `blobstore`.
fn serve(folder: &Path, blobstore: &str) -> Up {
    write_manifest(folder, MANIFEST);
    let config = folder.join("dhow-server.toml");
    let text = format!(
        "[backend.default]\nblobstore = {blobstore}\n[backend.second]\nblobstore = \"memory\"\n"
    );
    fs::write(&config, text).unwrap();
    let mut dhow =
        dhow(["up".as_ref(), folder.as_os_str(), "--config".as_ref(), config.as_os_str()]);
    dhow.0.env("S3_KEY", "the-key").env("S3_SECRET", PASSWORD);
    dhow.up()
}

/// One of the stores that there are here, and the guests with it.
struct Served {
    name: &'static str,
    up: Up,
    server: Option<S3>,
    folder: TempDir,
}

impl Served {
    fn new(name: &'static str, blobstore: &str, server: Option<S3>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let up = serve(folder.path(), blobstore);
        Self { name, up, server, folder }
    }

    async fn ask(&self, path: &str) -> String {
        get(self.up.address, path).await.text
    }

    async fn send(&self, path: &str, body: &str) -> String {
        let mut connection = Connection::http1(self.up.address).await;
        let request = connection.request("POST", path, full(body.to_owned()));
        answer(connection.send(request).await.expect("an answer")).await.text
    }

    /// The files of the store in the folder, those that are being written too.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().join(".dhow/blobstore")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        files
    }

    /// Waits until nothing is left of what was begun and not ended: that is taken back by itself.
    async fn wait_for_nothing(&self) {
        let nothing = async {
            loop {
                self.ask("/db/list/").await;
                let uploads = match &self.server {
                    Some(server) => server.uploads().await,
                    None => String::new(),
                };
                if !uploads.contains("<Upload>") && self.files().is_empty() {
                    return;
                }
            }
        };
        let is_gone = tokio::time::timeout(PATIENCE, nothing).await.is_ok();
        assert!(is_gone, "{}: {:?}", self.name, self.files());
    }
}

async fn each() -> Vec<Served> {
    let mut all =
        vec![Served::new("folder", "\"folder\"", None), Served::new("memory", "\"memory\"", None)];
    if let Some(server) = S3::start().await {
        all.push(Served::new("S3", &server.backend(), Some(server)));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn objects() {
    for served in each().await {
        objects_of(&served).await;
    }
}

async fn objects_of(served: &Served) {
    for (path, body, expected) in [
        ("/db/get/a", "", "Error::NotFound"),
        ("/db/head/a", "", "Error::NotFound"),
        ("/db/put/a", "hello", "etag true"),
        ("/db/get/a", "", "hello of 5"),
        ("/db/head/a", "", "5 bytes, true, true"),
        ("/db/put/a", "hello, world", "etag true"),
        ("/db/get/a", "", "hello, world of 12"),
        // Ranges: what is beyond the end is not there.
        ("/db/get/a/7", "", "world of 12"),
        ("/db/get/a/7/3", "", "wor of 12"),
        ("/db/get/a/7/300", "", "world of 12"),
        ("/db/get/a/0/12", "", "hello, world of 12"),
        ("/db/get/a/3/0", "", " of 12"),
        ("/db/get/a/12", "", " of 12"),
        ("/db/get/a/500/10", "", " of 12"),
        ("/db/get/b/500/10", "", "Error::NotFound"),
        ("/db/put/empty", "", "etag true"),
        ("/db/get/empty", "", " of 0"),
        ("/db/get/empty/0/1", "", " of 0"),
        // Names.
        ("/db/put/in+some+folder", "1", "etag true"),
        ("/db/put/in+some+Ordner%20&=é", "22", "etag true"),
        ("/db/put/in+something", "333", "etag true"),
        ("/db/get/in+some+Ordner%20&=é", "", "22 of 2"),
        ("/db/list/", "", "a=12,empty=0,in/some/Ordner%20&=é=2,in/some/folder=1,in/something=3"),
        ("/db/list/in+some", "", "in/some/Ordner%20&=é=2,in/some/folder=1,in/something=3"),
        ("/db/list/in+some+", "", "in/some/Ordner%20&=é=2,in/some/folder=1"),
        ("/db/list/nothing", "", ""),
        ("/db/list/nothing+here", "", ""),
        // Copies are objects of their own.
        ("/db/copy/a/b", "", "()"),
        ("/db/copy/a/b", "", "()"),
        ("/db/copy/a/a", "", "()"),
        ("/db/copy/nothing/b", "", "Error::NotFound"),
        ("/db/put/a", "changed", "etag true"),
        ("/db/get/b", "", "hello, world of 12"),
        // Conditions.
        ("/db/absent/a", "no", "Error::ConditionFailed"),
        ("/db/stale/a", "no", "Error::ConditionFailed"),
        ("/db/stale/nothing", "no", "Error::ConditionFailed"),
        ("/db/absent/new", "yes", "etag true"),
        ("/db/over/a", "yes", "etag true"),
        ("/db/get/a", "", "yes of 3"),
        ("/db/get/new", "", "yes of 3"),
        ("/db/fill/large/6000000/absent", "", "Error::TooLarge"),
        // Lengths.
        ("/db/put/short/10", "too short", "Error::WrongLength"),
        ("/db/put/short/8", "too short", "Error::WrongLength"),
        ("/db/get/short", "", "Error::NotFound"),
        ("/db/put/short/9", "too short", "etag true"),
        ("/db/send/short", "", "too short"),
        ("/db/delete/short", "", "()"),
        ("/db/delete/short", "", "()"),
        ("/db/get/short", "", "Error::NotFound"),
    ] {
        // As they are sent: a guest sees the path as it is.
        let path = path.replace('é', "%C3%A9");
        let expected = expected.replace('é', "%C3%A9");
        assert_eq!(served.send(&path, body).await, expected, "{}: {path}", served.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_elsewhere_are_refused() {
    for served in each().await {
        let long = "n".repeat(1_025);
        for name in ["", "..", ".", "+a", "a+", "a++b", "..+a", "a+..+b", "a+.", "a!b", &long] {
            for way in ["put", "get", "head", "delete"] {
                let text = served.send(&format!("/db/{way}/{name}"), "x").await;
                assert!(text.starts_with("Error::InvalidName"), "{}: {way} {name}", served.name);
            }
        }
        assert_eq!(served.ask("/db/list/").await, "", "{}", served.name);
        let text = served.ask("/db/list/..+").await;
        assert!(text.starts_with("Error::InvalidName"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_refuses_what_it_can_not_tell_apart() {
    let served = Served::new("folder", "\"folder\"", None);
    for (path, expected) in [
        ("/db/put/a+b", "etag true"),
        ("/db/put/a", "Error::InvalidName"),
        ("/db/put/a+b+c", "Error::InvalidName"),
        ("/db/absent/a+b+c", "Error::InvalidName"),
        ("/db/put/a+b*1", "Error::InvalidName"),
        ("/db/put/a+b*c", "etag true"),
        ("/db/get/a", "Error::NotFound"),
        ("/db/get/a+b+c", "Error::NotFound"),
        ("/db/delete/a", "()"),
        ("/db/list/", "a/b#c=1,a/b=1"),
    ] {
        let text = served.send(path, "x").await;
        assert!(text.starts_with(expected), "{path}: {text}");
    }
    let long = "n".repeat(241);
    assert!(served.send(&format!("/db/put/{long}"), "x").await.starts_with("Error::InvalidName"));
    let long = "n".repeat(240);
    assert_eq!(served.send(&format!("/db/put/{long}"), "x").await, "etag true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_is_streamed() {
    const BYTES: u64 = 160 << 20;
    for served in each().await {
        served.ask("/db/fill/warm/1000").await;
        let before = served.up.peak_memory();
        assert_eq!(served.ask(&format!("/db/fill/large/{BYTES}")).await, "etag true");
        let expected = format!("{BYTES} bytes, true");
        assert_eq!(served.ask("/db/drain/large").await, expected, "{}", served.name);
        let grown = served.up.peak_memory() - before;
        let is_kept = served.name == "memory";
        // Two parts are sent at a time, and a few pieces are on their way.
        assert!(is_kept || grown < 80 << 20, "{}: {} MiB", served.name, grown >> 20);
        assert_eq!(served.ask("/db/list/").await, format!("large={BYTES},warm=1000"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_leaves_nothing() {
    for served in each().await {
        for bytes in [1_000, 12 << 20] {
            let text = served.ask(&format!("/db/cut/a/{bytes}")).await;
            assert!(text.starts_with("internal error"), "{}: {text}", served.name);
            let text = served.ask(&format!("/db/cancel/a/{bytes}")).await;
            assert_eq!(text, "over false", "{}", served.name);
            served.wait_for_nothing().await;
            assert_eq!(served.ask("/db/get/a").await, "Error::NotFound", "{}", served.name);
            assert_eq!(served.ask("/db/list/").await, "", "{}", served.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draft() {
    for served in each().await {
        draft_of(&served).await;
    }
}

async fn draft_of(served: &Served) {
    for (path, expected) in [
        ("/old/get/a", "error: not found: there is no such object"),
        ("/old/write/a", "()"),
        ("/old/get/a", "/old/write/a"),
        ("/old/late/b", "()"),
        ("/old/get/b", "/old/late/b"),
        ("/old/part/a/1/3", "old of 3"),
        ("/old/part/a/5/500", "write/a of 7"),
        ("/old/unsaid", "Err(\"the value was not written to an object\")"),
        ("/old/unfinished/c", "left"),
        ("/old/has/c", "false"),
        ("/old/overfull/300000", "true"),
        ("/old/has/overfull", "false"),
        ("/old/fill/large/16777216", "()"),
        ("/old/drain/large", "16777216 of 16777216"),
        ("/old/info/large", "large in old: 16777216 bytes"),
        ("/old/has/large", "true"),
        ("/old/delete/large", "()"),
        ("/old/delete/large", "()"),
        ("/old/has/large", "false"),
        // The other interface sees the same.
        ("/db/get/b", "/old/late/b of 11"),
        ("/old/copy/a/old/x+y", "()"),
        ("/old/list", "a,b,x/y"),
        ("/old/pages", "a,b,x/y"),
        ("/old/move/a/old/z", "()"),
        ("/old/move/b/other/b", "()"),
        ("/old/move/z/old/z", "()"),
        ("/old/list", "x/y,z"),
        ("/other/list", "b"),
        ("/other/get/b", "/old/late/b"),
        ("/old/copy/z/ungranted/z", "error: access denied: no container of that name is granted"),
        (
            "/old/write/..",
            "error: invalid name: the parts of a name are not empty, and neither `.` nor `..`",
        ),
        ("/old/clear", "()"),
        ("/old/list", ""),
        ("/other/list", "b"),
    ] {
        assert_eq!(served.ask(path).await, expected, "{}: {path}", served.name);
    }
    let text = served.ask("/old/containers").await;
    for line in ["exists Ok(true)", "create Err(\"the container old exists", "name Ok(\"old\")"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("delete Err(\"access denied: containers are the operator's"), "{text}");
    let text = served.ask("/nobody/containers").await;
    assert!(text.contains("exists Ok(false)") && text.contains("create Err(\"access denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let served = Served::new("memory", "\"memory\"", None);
    assert_eq!(served.ask("/ungranted/get/a").await, "Error::AccessDenied");
    served.up.wait_for_log("grants.blobstore = { ungranted = \"default\" }");
    let text = served.ask("/nobody/list").await;
    assert_eq!(text, "error: access denied: no container of that name is granted");
    served.up.wait_for_log("grants.blobstore = { nobody = \"default\" }");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = serve(folder.path(), "\"folder\"");
    assert_eq!(get(first.address, "/db/fill/a+b/6000000").await.text, "etag true");
    drop(first); // SIGKILL.
    assert!(folder.path().join(".dhow/blobstore/default/a/b").exists());
    let second = serve(folder.path(), "\"folder\"");
    assert_eq!(get(second.address, "/db/drain/a+b").await.text, "6000000 bytes, true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_an_error_and_works_again_when_it_is_back() {
    let Some(server) = S3::start().await else { return };
    let address = server.address;
    let mut served = Served::new("S3", &server.backend(), Some(server));
    assert_eq!(served.send("/db/put/a", "hello").await, "etag true");
    served.server = None;
    for path in ["/db/get/a", "/db/put/a", "/db/list/", "/db/delete/a", "/db/fill/a/6000000"] {
        assert_eq!(served.ask(path).await, "Error::Unreachable", "{path}");
    }
    assert_eq!(served.ask("/old/list").await, "error: the store can't be reached");
    let line = served.up.wait_for_log("the blob store can't be reached");
    assert!(line.contains("default") && line.contains("refused"), "{line}");
    served.server = S3::start_at(address).await;
    assert_eq!(served.ask("/db/get/a").await, "Error::NotFound");
    assert_eq!(served.send("/db/put/a", "hello").await, "etag true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_said_with_the_servers_words() {
    let Some(server) = S3::start().await else { return };
    server.refuse().await;
    let served = Served::new("S3", &server.backend(), Some(server));
    let refused = "Error::Other(\"the store refuses: InvalidAccessKeyId\")";
    for path in ["/db/get/a", "/db/put/a", "/db/list/", "/db/fill/a/6000000"] {
        assert_eq!(served.ask(path).await, refused, "{path}");
    }
    let line = served.up.wait_for_log("the blob store refuses");
    assert!(line.contains("The AWS Access Key Id you provided does not exist"), "{line}");
    let log = served.up.log();
    assert!(!log.contains(PASSWORD) && !log.contains("the-key"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_not_an_object_that_is_not_there() {
    let Some(server) = S3::start().await else { return };
    let backend = server.backend().replace("\"objects\"", "\"nothing\"");
    let served = Served::new("S3", &backend, Some(server));
    for path in ["/db/get/a", "/db/put/a", "/db/list/"] {
        let text = served.ask(path).await;
        assert_eq!(text, "Error::Other(\"the store refuses: NoSuchBucket\")", "{path}");
    }
}

#[test]
fn bad_backends_are_refused_together() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), MANIFEST);
    let config = folder.path().join("dhow-server.toml");
    let bucket = |name: &str, rest: &str| {
        format!(
            "[backend.{name}]\nblobstore = {{ bucket = \"b\", access-key = \"k\", \
             secret-key = \"hush\", {rest} }}\n"
        )
    };
    let text = [
        bucket("default", "prefix = \"${NOT_SET}\""),
        bucket("second", "endpoint = \"s3.example.com\""),
        bucket("third", "prefix = \"../up\""),
        bucket("fourth", "region = \"us/east\""),
    ];
    fs::write(&config, text.concat()).unwrap();
    let arguments =
        ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
    let finished = dhow(arguments).finish();
    assert_eq!(finished.code, Some(1));
    for text in [
        "the backend `default`: the environment variable `NOT_SET` is not set",
        "the backend `second`: write endpoint = ",
        "the backend `third`: the prefix is no name of an object",
        "the backend `fourth`: a region has letters, digits and dashes",
    ] {
        assert!(finished.stderr.contains(text), "{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("hush"), "{}", finished.stderr);
}

#[test]
fn grants_and_imports_are_held_against_each_other() {
    let up = |name: &str, grants: &str| {
        let folder = tempfile::tempdir().unwrap();
        let manifest = format!("name = \"a\"\n[component.a]\nsource = \"{{{name}}}\"\n{grants}\n");
        write_manifest(folder.path(), &manifest);
        dhow(["up".as_ref(), folder.path().as_os_str()]).finish()
    };
    for (name, grants, message, help) in [
        (
            "blobstore",
            "",
            "it imports `dhow:blobstore/",
            "write: grants.blobstore = { default = \"default\" }",
        ),
        (
            "blobstore-draft",
            "",
            "it imports `wasi:blobstore/",
            "write: grants.blobstore = { default = \"default\" }",
        ),
        (
            "hello-p2",
            "grants.blobstore = { a = \"b\" }",
            "it has grants.blobstore, and imports nothing of dhow:blobstore",
            "remove grants.blobstore",
        ),
    ] {
        let finished = up(name, grants);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
        assert!(finished.stderr.contains(help), "{}", finished.stderr);
    }
}
