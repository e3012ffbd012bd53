//! The examples, as their pages say that they work.

use std::fs;

use bytes::Bytes;
use dhow_tests::{
    Up,
    browser::Browser,
    client::{Answer, Connection, answer, by_hand, empty, full, get, next_data},
    dhow,
    guests::example_app,
    servers::{PASSWORD, Postgres},
};
use http::{HeaderName, Method};
use http_body::Frame;
use serde_json::{Value, json};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn javascript_and_c_answer_the_same() {
    for name in ["javascript", "c"] {
        let Some(folder) = example_app(name) else { continue };
        let up = Up::serve(folder.path());
        assert_eq!(
            get(up.address, "/greetings/Ada").await.json(),
            json!({"greeting": "Hello, Ada!"})
        );
        let mut connection = Connection::http1(up.address).await;
        let request = connection.request("POST", "/statistics", full("one two\nthree\n"));
        let counted = answer(connection.send(request).await.unwrap()).await;
        assert_eq!(counted.json(), json!({"bytes": 14, "words": 3, "lines": 2}), "{name}");
    }
}

/// The shop at work, with a secret, and perhaps more lines of the operator's.
struct Shop {
    up: Up,
    _folder: TempDir,
}

impl Shop {
    fn open(operator: &str) -> Option<Self> {
        let folder = example_app("shop")?;
        let config = folder.path().join("dhow-server.toml");
        fs::write(&config, format!("secrets.jwt-key = \"${{JWT_KEY}}\"\n{operator}")).unwrap();
        let up = Up::serve_with(folder.path(), |dhow| {
            dhow.arg("--config").arg(&config);
            dhow.env("JWT_KEY", "only for this test, and longer than 32 bytes")
                .env("DB_PASSWORD", PASSWORD);
        });
        Some(Self { up, _folder: folder })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut connection = Connection::http1(self.up.address).await;
        let body = body.map_or_else(empty, |body| full(body.to_string()));
        let mut request = connection.request(method.as_str(), path, body);
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        answer(connection.send(request).await.unwrap()).await
    }

    /// Logs in, orders, and reads the order back; gives the header of who has logged in.
    async fn buy(&self) -> String {
        let login = json!({"user": "ada", "password": "analytical"});
        let logged_in = self.ask(Method::POST, "/login", &[], Some(login)).await;
        assert_eq!(logged_in.status, 200, "{}", logged_in.text);
        let token = format!("Bearer {}", logged_in.json()["token"].as_str().unwrap());
        let me = [("authorization", &token[..])];
        let order = json!([{"product": "rope", "quantity": 2}]);
        let placed = self.ask(Method::POST, "/api/orders", &me, Some(order.clone())).await;
        assert_eq!((placed.status.as_u16(), &placed.json()["lines"]), (201, &order));
        let orders = self.ask(Method::GET, "/api/orders", &me, None).await.json();
        assert_eq!(orders["user"], "ada");
        assert_eq!(orders["orders"], json!([placed.json()]));
        token
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_shop_one_logs_in_orders_and_reads_back() {
    let Some(shop) = Shop::open("") else { return };
    let token = shop.buy().await;
    let me = [("authorization", &token[..])];
    // Somebody else sees other orders.
    let login = json!({"user": "grace", "password": "compiler"});
    let other = shop.ask(Method::POST, "/login", &[], Some(login)).await.json();
    let other = format!("Bearer {}", other["token"].as_str().unwrap());
    let orders = shop.ask(Method::GET, "/api/orders", &[("authorization", &other)], None).await;
    assert_eq!(orders.json(), json!({"user": "grace", "orders": []}));
    // After logging out the token is worth nothing.
    assert_eq!(shop.ask(Method::POST, "/logout", &me, None).await.status, 200);
    assert_eq!(shop.ask(Method::GET, "/api/orders", &me, None).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_refuses_who_has_no_token_or_a_wrong_one() {
    let Some(shop) = Shop::open("") else { return };
    let forged = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
    for headers in [
        &[][..],
        &[("authorization", "Bearer nonsense")],
        &[("authorization", forged)],
        // Who says who he is without a token is not believed.
        &[("x-user", "ada")],
    ] {
        for (method, body) in [(Method::GET, None), (Method::POST, Some(json!([])))] {
            let answer = shop.ask(method, "/api/orders", headers, body).await;
            assert_eq!(answer.status, 401, "{headers:?}: {}", answer.text);
        }
    }
    let login = json!({"user": "ada", "password": "wrong"});
    assert_eq!(shop.ask(Method::POST, "/login", &[], Some(login)).await.status, 401);
    assert_eq!(shop.ask(Method::GET, "/", &[], None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_keeps_its_orders_in_postgres_by_a_line_of_the_operators() {
    let Some(postgres) = Postgres::start() else { return };
    let line = format!("[backend.default]\nsql = \"{}\"\n", postgres.url());
    let Some(shop) = Shop::open(&line) else { return };
    shop.buy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_works_in_a_browser() {
    let Some(shop) = Shop::open("") else { return };
    let Some(browser) = Browser::start().await else { return };
    let page = browser.open(&format!("http://{}/", shop.up.address)).await;
    page.fill("#log-in [name=user]", "ada").await;
    page.fill("#log-in [name=password]", "analytical").await;
    page.click("#log-in button").await;
    page.wait_for_text("#user", "ada").await;
    page.wait_for_text("#orders", "None yet.").await;
    page.fill("#order [name=rope]", "3").await;
    page.click("#order button").await;
    page.wait_for_text("#orders", "3 × ").await;
    page.click("#log-out").await;
    page.wait_for_text("#entrance-title", "Come aboard").await;
    browser.close().await;
}

#[test]
fn each_part_of_the_shop_has_its_own_grants() {
    let Some(folder) = example_app("shop") else { return };
    let words =
        ["inspect".as_ref(), folder.path().as_os_str(), "--output".as_ref(), "json".as_ref()];
    let graph: Value = serde_json::from_str(&dhow(words).finish().stdout).unwrap();
    let about = |name: &str| {
        let components = graph["components"].as_array().unwrap();
        components.iter().find(|component| component["name"] == name).unwrap().clone()
    };
    for (name, language, may) in [
        ("auth", "Rust", json!(["open the store sessions: default", "read the secrets jwt-key"])),
        ("cart", "Python", json!(["answer, and nothing else"])),
        ("data", "Go", json!(["open the database orders: default"])),
    ] {
        let component = about(name);
        assert_eq!(component["language"], language, "{name}");
        assert_eq!(component["may"], may, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_hands_on_more_than_its_components_may_hold() {
    const LINE: &str = "7 1795420060 Error: timeout, and so much more that it is a long line\n";
    const MEBIBYTES: usize = 16;
    let Some(folder) = example_app("pipeline") else { return };
    let up = Up::serve(folder.path());
    let mut connection = Connection::http1(up.address).await;
    let (sender, body) = by_hand();
    let request = connection.request("POST", "/", body);
    let piece = Bytes::from(LINE.repeat(1000));
    let pieces = (MEBIBYTES << 20) / piece.len();
    sender.send(Frame::data(piece.clone())).await.unwrap();
    // The response begins before the request ends.
    let mut response = connection.send(request).await.unwrap().into_body();
    let mut scores = Vec::from(next_data(&mut response).await.unwrap().unwrap());
    let send = async {
        for _ in 1..pieces {
            sender.send(Frame::data(piece.clone())).await.unwrap();
        }
        drop(sender);
    };
    let receive = async {
        while let Some(data) = next_data(&mut response).await {
            scores.extend_from_slice(&data.unwrap());
        }
    };
    tokio::join!(send, receive);
    let scores = String::from_utf8(scores).unwrap();
    assert_eq!(scores.lines().count(), pieces * 1000);
    let expected = json!({"id": 7, "timestamp": 1_795_420_060, "score": 1.2});
    for line in scores.lines().step_by(997) {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap(), expected);
    }
}
