//! What was acknowledged is there, whenever the process is killed.

use dhow_tests::{
    client::{Connection, full},
    dhow, write_manifest,
};
use http_body_util::BodyExt as _;
use tokio::sync::watch;

/// How often the process is killed.
const ROUNDS: usize = 200;

const MANIFEST: &str = "name = \"durable\"\n\
    [component.keyvalue]\nsource = \"{keyvalue}\"\ngrants.keyvalue = { db = \"default\" }\n\
    [component.sql]\nsource = \"{sql}\"\ngrants.sql = { sql = \"default\" }\n\
    [[http]]\npath = \"/db/...\"\ncomponent = \"keyvalue\"\n\
    [[http]]\npath = \"/sql/...\"\ncomponent = \"sql\"\n";

/// A store that counts: what is asked of it, and where in its answer the count is.
#[derive(Clone, Copy)]
struct Counter {
    read: (&'static str, &'static str),
    count: (&'static str, &'static str),
}

const COUNTERS: [Counter; 2] = [
    Counter { read: ("/db/increment/n/0", ""), count: ("/db/increment/n/1", "") },
    Counter {
        read: ("/sql/query", "SELECT n FROM counter"),
        count: ("/sql/query", "UPDATE counter SET n = n + 1 RETURNING n"),
    },
];

/// What is answered to a POST of `statement`; none where the server has gone.
async fn ask(
    connection: &mut Connection,
    (path, statement): (&'static str, &'static str),
) -> Option<String> {
    let request = connection.request("POST", path, full(statement));
    let body = connection.send(request).await.ok()?.into_body().collect().await.ok()?;
    String::from_utf8(body.to_bytes().to_vec()).ok()
}

fn number(text: &str) -> Option<u64> {
    let digits = |c: char| !c.is_ascii_digit();
    text.rsplit(digits).find(|word| !word.is_empty())?.parse().ok()
}

/// Counts until the server has gone, and tells each number that was acknowledged.
async fn count_up(mut connection: Connection, counter: Counter, told: watch::Sender<u64>) {
    while let Some(text) = ask(&mut connection, counter.count).await {
        let counted = number(&text).unwrap_or_else(|| panic!("{text}"));
        told.send_replace(counted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), MANIFEST);
    let mut acknowledged = [0; COUNTERS.len()];
    for round in 0..ROUNDS {
        let server = dhow(["up".as_ref(), "--quiet".as_ref(), folder.path().as_os_str()]).up();
        let mut connection = Connection::http1(server.address).await;
        if round == 0 {
            for statement in ["CREATE TABLE counter (n INTEGER)", "INSERT INTO counter VALUES (0)"]
            {
                ask(&mut connection, ("/sql/execute", statement)).await.unwrap();
            }
        }
        let mut writers = Vec::new();
        for (counter, last) in COUNTERS.into_iter().zip(acknowledged) {
            let found = ask(&mut connection, counter.read).await.unwrap();
            let found = number(&found).unwrap_or_else(|| panic!("{found}"));
            // What was under way may have been written; nobody was told.
            assert!(found == last || found == last + 1, "round {round}: {found} after {last}");
            let (sender, told) = watch::channel(found);
            let own = Connection::http1(server.address).await;
            let writer = tokio::spawn(count_up(own, counter, sender));
            writers.push((found, told, writer));
        }
        // At another moment each time.
        let wanted = round as u64 % 7;
        for (found, told, _) in &mut writers {
            told.wait_for(|counted| *counted >= *found + wanted).await.unwrap();
        }
        drop(server); // SIGKILL.
        for ((_, told, writer), last) in writers.into_iter().zip(&mut acknowledged) {
            writer.await.unwrap();
            *last = *told.borrow();
        }
    }
    assert!(acknowledged.iter().all(|counted| *counted > ROUNDS as u64), "{acknowledged:?}");
}
