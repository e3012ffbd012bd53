//! Whatever was being deployed when the server was killed: what was acknowledged is there, and nothing
//! is half there.

use std::{fs, net::SocketAddr, time::Duration};

use dhow_package::Digest;
use dhow_tests::{
    Server, TOKEN,
    client::{Connection, full},
    guests::{example, guest},
    server::api_request,
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;

/// How often the server is killed.
const ROUNDS: usize = 40;
/// A deploy of what was compiled before takes less.
const LONGEST_DELAY: Duration = Duration::from_millis(60);

/// Two components, each with what its answers begin with. Revision N is of the one at N % 2.
struct Components([(Vec<u8>, &'static str); 2]);

impl Components {
    fn read() -> Self {
        let read = |path| fs::read(path).unwrap();
        Self([
            (read(example("hello")), "Hello from a component!"),
            (read(guest("hello-p2")), "Hello of 0.2"),
        ])
    }

    fn of(&self, revision: u64) -> &(Vec<u8>, &'static str) {
        &self.0[(revision % 2) as usize]
    }

    /// Uploads and deploys `revision`; `None` where the server has gone.
    async fn deploy(&self, admin: SocketAddr, revision: u64) -> Option<u64> {
        let bytes = &self.of(revision).0;
        let digest = Digest::of(bytes).to_string();
        let mut connection = Connection::try_http1(admin).await.ok()?;
        let upload = api_request(TOKEN, "PUT", &format!("/v1/blobs/{digest}"), full(bytes.clone()));
        let response = connection.send(upload).await.ok()?;
        assert_eq!(response.status(), 201);
        response.into_body().collect().await.ok()?;
        let deploy = json!({
            "manifest": "name = \"shop\"\ncomponent.a.source = \"a.wasm\"\n",
            "components": { "a": digest },
        });
        let deploy =
            api_request(TOKEN, "POST", "/v1/apps/shop/revisions", full(deploy.to_string()));
        let response = connection.send(deploy).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        let deployed: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 201, "{deployed}");
        deployed["revision"].as_u64()
    }
}

/// Numbers that are others each time, and the same in each run (Marsaglia, "Xorshift RNGs").
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        for (left, shift) in [(true, 13), (false, 7), (true, 17)] {
            self.0 ^= if left { self.0 << shift } else { self.0 >> shift };
        }
        self.0
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.next() % LONGEST_DELAY.as_micros() as u64)
    }
}

/// The newest revision, and the only one that has traffic.
async fn newest(server: &Server) -> u64 {
    let (status, answer) = server.ask("GET", "/v1/apps/shop/revisions", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let revisions = answer["revisions"].as_array().unwrap();
    let percents: Vec<_> = revisions.iter().map(|it| it["percent"].as_u64().unwrap()).collect();
    assert_eq!((percents[0], percents.iter().sum()), (100, 100), "{answer}");
    revisions[0]["number"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_during_deploys_loses_nothing_that_was_acknowledged() {
    let components = std::sync::Arc::new(Components::read());
    let mut server = Server::start();
    let mut acknowledged = 0;
    for _ in 0..2 {
        acknowledged = components.deploy(server.admin, acknowledged + 1).await.unwrap();
    }
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut in_flight = 0;
    for round in 0..ROUNDS {
        let (sender, mut told) = watch::channel(acknowledged);
        let (admin, components_of) = (server.admin, components.clone());
        let deploys = tokio::spawn(async move {
            let mut next = *sender.borrow() + 1;
            while let Some(revision) = components_of.deploy(admin, next).await {
                assert_eq!(revision, next);
                sender.send_replace(revision);
                next += 1;
            }
        });
        // What is random about it is where in a deploy it is killed.
        tokio::time::sleep(numbers.delay()).await;
        server.kill();
        deploys.await.unwrap();
        acknowledged = *told.borrow_and_update();

        server.start_again();
        let found = newest(&server).await;
        // What was in flight may have been done; nobody was told.
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "round {round}: r{found} after r{acknowledged}"
        );
        in_flight += found - acknowledged;
        acknowledged = found;
        let blobs = server.blobs();
        assert!(blobs.len() == 2 && blobs.iter().all(|it| it.starts_with("sha256-")), "{blobs:?}");
        let answer = server.get("shop.localhost", "/").await;
        let (_, begin) = components.of(acknowledged);
        assert!(answer.text.starts_with(begin), "round {round}, r{found}: {answer:?}");
    }
    eprintln!("{acknowledged} revisions, {in_flight} of which nobody was told");
    assert!(acknowledged > ROUNDS as u64 / 4, "hardly anything was deployed: {acknowledged}");
}
