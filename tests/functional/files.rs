//! Folders of the host: the same requests to a guest of 0.3, and to one of 0.2 by Rust's standard
//! library.

use std::{fs, path::Path};

use dhow_tests::{Up, client, write_manifest};

const GUESTS: [&str; 2] = ["files", "files-p2"];

/// The guest with `/site`, which it can read, and `/data`, which it can write to.
struct Served {
    up: Up,
    folder: tempfile::TempDir,
}

fn served(guest: &str, quota: &str) -> Served {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("public/page.txt", "hello"), ("data/kept.txt", "kept"), ("secret", "no")]
    {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    write_manifest(
        folder.path(),
        &format!(
            "name = \"files\"\n[component.files]\nsource = \"{{{guest}}}\"\n[component.files.grants.files]\n\
             \"/site\" = \"public\"\n\"/data\" = {{ folder = \"data\", write = true, quota = \"{quota}\" }}\n"
        ),
    );
    let up = dhow_tests::dhow(["up".as_ref(), folder.path().as_os_str()]).up();
    Served { up, folder }
}

/// What the guest answers; `:` stands for `/` in what it is given.
async fn ask(up: &Up, path: &str) -> String {
    client::get(up.address, path).await.text
}

/// What is in the folder `data`, with what each entry counts besides its content.
fn usage(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder.join("data")).unwrap();
    entries.map(|entry| 4096 + entry.unwrap().metadata().unwrap().len()).sum()
}

/// Whether an answer is the interface's error for a quota, as Rust shows it; of a stream of 0.2 the
/// C library knows only that it has failed.
fn is_quota(answer: &str) -> bool {
    let answer = answer.to_lowercase();
    answer.starts_with("error: ") && (answer.contains("quota") || answer.contains("i/o error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_and_written() {
    for guest in GUESTS {
        let Served { up, folder } = served(guest, "1MiB");
        for (path, expected) in [
            ("/read/:site:page.txt", "hello"),
            ("/list/:data", "kept.txt"),
            ("/create/:data:new.txt/100000", "done"),
            ("/append/:data:new.txt/100000", "done"),
            ("/write/:data:new.txt/199990/20", "done"),
            ("/size/:data:new.txt", "200010"),
            ("/set-size/:data:new.txt/7", "done"),
            ("/read/:data:new.txt", "xxxxxxx"),
            ("/write/:data:kept.txt/1/2", "done"),
            ("/read/:data:kept.txt", "kxxt"),
            ("/mkdir/:data:sub", "done"),
            ("/rename/:data:new.txt/:data:sub:moved.txt", "done"),
            ("/list/:data:sub", "moved.txt"),
            ("/link/:data:sub:moved.txt/:data:also.txt", "done"),
            ("/remove/:data:sub:moved.txt", "done"),
            ("/read/:data:also.txt", "xxxxxxx"),
        ] {
            assert_eq!(ask(&up, path).await, expected, "{guest}: {path}");
        }
        assert_eq!(fs::read_to_string(folder.path().join("data/also.txt")).unwrap(), "xxxxxxx");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_whole_by_a_guest_that_has_ended() {
    let Served { up, folder } = served("files", "1MiB");
    let content = "what is in the file\n".repeat(100_000);
    fs::write(folder.path().join("public/large.txt"), &content).unwrap();
    for _ in 0..5 {
        let answer = ask(&up, "/send/:site:large.txt").await;
        assert_eq!(answer.len(), content.len());
        assert!(answer == content);
    }
    assert_eq!(ask(&up, "/send/:site:none").await, "error: ErrorCode::NoEntry");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leads_out_of_a_folder_and_what_is_for_reading_is_not_written() {
    for guest in GUESTS {
        let Served { up, folder } = served(guest, "1MiB");
        std::os::unix::fs::symlink("../secret", folder.path().join("public/link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("data/link")).unwrap();
        for path in [
            "/create/:site:new.txt/1",
            "/create/:site:page.txt/1",
            "/append/:site:page.txt/1",
            "/set-size/:site:page.txt/0",
            "/mkdir/:site:sub",
            "/remove/:site:page.txt",
            "/rename/:data:kept.txt/:site:kept.txt",
            "/read/:site:..:secret",
            "/read/:data:..:..:etc:passwd",
            "/read/:site:link",
            "/read/:data:link",
            "/create/:data:link/1",
        ] {
            let answer = ask(&up, path).await;
            // The last two: a link to leave by, and a move from one folder to another.
            let denials = ["PermissionDenied", "NotPermitted", "Loop", "Cross"];
            let is_denied = denials.iter().any(|denial| answer.contains(denial));
            assert!(is_denied, "{guest}: {path}: {answer}");
        }
        up.wait_for_log("denied: files \"new.txt\"");
        assert_eq!(fs::read_to_string(folder.path().join("public/page.txt")).unwrap(), "hello");
        assert!(folder.path().join("data/kept.txt").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_kept_and_what_was_there_stays_as_it_was() {
    const QUOTA: u64 = 256 << 10;
    for guest in GUESTS {
        let Served { up, folder } = served(guest, "256KiB");
        for (path, is_room) in [
            ("/create/:data:a/150000", true),
            ("/create/:data:b/150000", false),
            // All that grows.
            ("/append/:data:a/150000", false),
            ("/write/:data:a/149990/150000", false),
            ("/write/:data:a/1000000000/1", false),
            ("/set-size/:data:a/1000000", false),
            // What is written over does not.
            ("/write/:data:a/0/150000", true),
            ("/remove/:data:b", true),
            // What is removed makes room, once nobody has it open.
            ("/remove/:data:a", true),
            ("/hoard/:data:c/150000", false),
            ("/remove/:data:c", true),
            ("/create/:data:c/150000", true),
            ("/set-size/:data:c/0", true),
            ("/append/:data:c/150000", true),
        ] {
            let answer = ask(&up, path).await;
            assert_eq!(answer == "done", is_room, "{guest}: {path}: {answer}");
            assert!(is_room || is_quota(&answer), "{guest}: {path}: {answer}");
            let usage = usage(folder.path());
            assert!(usage <= QUOTA, "{guest}: {path}: {usage} bytes");
        }
        assert_eq!(ask(&up, "/read/:data:kept.txt").await, "kept");
        assert_eq!(ask(&up, "/size/:data:c").await, "150000");
        if guest == "files-p2" {
            assert!(ask(&up, "/why/d/150000").await.contains("\"quota\""));
            assert_eq!(ask(&up, "/remove/:data:d").await, "done");
        }
        // Empty ones count too.
        let mut made = 0;
        while ask(&up, &format!("/create/:data:empty{made}/0")).await == "done" {
            made += 1;
            assert!(made < 64, "{guest}");
        }
        assert!(is_quota(&ask(&up, "/mkdir/:data:more").await), "{guest}");
        assert_eq!(
            ask(&up, "/create/:data:empty0/0").await,
            "done",
            "{guest}: it is there already"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_stay_within_the_quota() {
    const QUOTA: u64 = 1 << 20;
    for guest in GUESTS {
        let Served { up, folder } = served(guest, "1MiB");
        let requests = (0..16).map(|number| {
            let path = format!("/create/:data:many{number}/200000");
            let up = &up;
            async move { ask(up, &path).await }
        });
        let answers = futures_util::future::join_all(requests).await;
        let done = answers.iter().filter(|answer| *answer == "done").count();
        // Perhaps none, where each has written a part.
        assert!(done <= 5, "{guest}: {answers:?}");
        assert!(usage(folder.path()) <= QUOTA, "{guest}: {}", usage(folder.path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_there_is_no_folder() {
    let up = Up::guest("files-p2", "");
    for path in ["/read/:etc:passwd", "/list/:", "/create/x/1", "/list/."] {
        let answer = ask(&up, path).await;
        assert!(answer.starts_with("error: "), "{path}: {answer}");
    }
    let up = Up::guest("files", "");
    assert_eq!(ask(&up, "/list/:").await, "error: ErrorCode::NoEntry");
}
