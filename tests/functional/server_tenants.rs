//! Those who share a server do not see each other.

use std::fs::{self, File};

use dhow_tests::{Finished, Server, TOKEN, server::one};
use serde_json::Value;

/// The app `shop` with a store, configuration and a secret.
const SHOP: &str = r#"
    name = "shop"
    [component.keyvalue]
    source = "{keyvalue}"
    grants.keyvalue = { db = "default" }
    [component.settings]
    source = "{settings}"
    grants.secrets = ["word"]
    [[http]]
    path = "/..."
    component = "settings"
    [[http]]
    path = "/db/..."
    component = "keyvalue"
"#;

/// Sets the secret `word` of whoever has `token`.
fn set_secret(server: &Server, token: &str, value: &str) -> Finished {
    let url = format!("http://{}", server.admin);
    let mut set = server.dhow_as(token, ["secret", "set", "word", "--server", &url]);
    let input = server.folder.path().join("input");
    fs::write(&input, value).unwrap();
    set.0.stdin(File::open(&input).unwrap());
    let finished = set.finish();
    fs::remove_file(input).unwrap();
    finished
}

const HOSTS: [&str; 3] = ["shop.acme.localhost", "shop.umbrella.localhost", "shop.localhost"];

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_apps_data_and_secrets_of_their_own() {
    let mut server = Server::with(
        "[tenant.acme]\nhosts = { \"shop.example.com\" = \"shop\" }\n[tenant.acme.secrets]\n\
         other = \"operators-word\"\n",
    );
    let tokens = [server.token("acme", "deploy"), server.token("umbrella", "deploy"), TOKEN.into()];
    let refused = server.try_deploy_as(&tokens[0], SHOP, &[]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("no secret is called `word`"), "{refused:?}");
    for (token, word) in tokens.iter().zip(["acmes-word", "umbrellas-word", "our-word"]) {
        let finished = set_secret(&server, token, word);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let finished = server.try_deploy_as(token, SHOP, &[]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    for host in HOSTS {
        assert_eq!(server.get(host, "/db/get/who").await.text, "nothing", "{host}");
        assert_eq!(server.get(host, &format!("/db/set/who/{host}")).await.text, "()");
    }
    for round in 0..2 {
        for (host, word) in HOSTS.iter().zip(["acmes-word", "umbrellas-word", "our-word"]) {
            assert_eq!(server.get(host, "/db/get/who").await.text, *host, "round {round}");
            let text = server.get(host, "/get/word").await.text;
            assert_eq!(text, format!("Ok(Some({word:?}))"), "{host}, round {round}");
        }
        // A host of its own that the operator has given.
        let text = server.get("shop.example.com", "/db/get/who").await.text;
        assert_eq!(text, "shop.acme.localhost");
        for host in ["shop.other.localhost", "shop.shop.localhost", "acme.localhost"] {
            assert_eq!(server.get(host, "/").await.status, 404, "{host}");
        }
        server.kill();
        server.start_again();
    }
    // Nobody gets what is another's by its name.
    let taken = SHOP.replace("\"word\"", "\"word\", \"other\"");
    let finished = server.try_deploy_as(&tokens[1], &taken, &["--allow-new-grants"]);
    assert_eq!(finished.code, Some(4), "{finished:?}");
    assert!(finished.stderr.contains("no secret is called `other`"), "{finished:?}");
    let finished = server.try_deploy_as(&tokens[0], &taken, &["--allow-new-grants"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!server.log().contains("-word"), "{}", server.log());

    // One of them goes; the others do not notice.
    let delete = server.dhow_as(&tokens[0], ["delete", "shop", "--yes"]).finish();
    assert_eq!(delete.code, Some(0), "{delete:?}");
    assert_eq!(server.get("shop.acme.localhost", "/").await.status, 404);
    assert_eq!(server.get("shop.example.com", "/").await.status, 404);
    assert_eq!(server.get("shop.umbrella.localhost", "/all").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_sees_what_is_its_tenants() {
    let server = Server::start();
    let [acme, umbrella] = ["acme", "umbrella"].map(|tenant| server.token(tenant, "deploy"));
    for (token, app) in [(&acme, "shop"), (&acme, "cart"), (&umbrella, "shop")] {
        let finished = server.try_deploy_as(token, &one(app, "settings", ""), &[]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    server.get("shop.acme.localhost", "/log/warn/acmes-line").await;
    server.get("shop.umbrella.localhost", "/log/warn/umbrellas-line").await;
    let names = |status: &Value, list: &str, name: &str| -> Vec<String> {
        let all = status[list].as_array().unwrap().iter();
        let mut names: Vec<_> = all.map(|it| it[name].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let status = |token: &str, more: &[&str]| {
        let arguments = [&["status", "--output", "json"], more].concat();
        server.dhow_as(token, arguments).finish().json()
    };
    let own = status(&acme, &[]);
    assert_eq!(names(&own, "apps", "app"), ["cart", "shop"]);
    assert_eq!(names(&own, "tenants", "tenant"), ["acme"]);
    assert_eq!(own["apps_total"], 2);
    let all = status(TOKEN, &[]);
    assert_eq!(names(&all, "apps", "tenant"), ["acme", "acme", "umbrella"]);
    assert_eq!(names(&status(TOKEN, &["--tenant", "umbrella"]), "apps", "tenant"), ["umbrella"]);
    // The operator acts for a tenant by its name.
    let finished = server.dhow(["revisions", "cart", "--tenant", "acme"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(server.dhow(["revisions", "cart"]).code, Some(5));

    let logs = |token: &str| server.dhow_as(token, ["logs", "shop"]).finish().stdout;
    assert!(logs(&acme).contains("acmes-line") && !logs(&acme).contains("umbrellas-line"));
    assert!(logs(&umbrella).contains("umbrellas-line"));
    let set = set_secret(&server, &acme, "x");
    assert_eq!(set.code, Some(0), "{set:?}");
    let url = format!("http://{}", server.admin);
    let list = |token: &str| {
        let listed = server.dhow_as(token, ["secret", "list", "--server", &url]).finish();
        assert_eq!(listed.code, Some(0), "{listed:?}");
        listed.stdout
    };
    assert_eq!((&*list(&acme), &*list(&umbrella), &*list(TOKEN)), ("word\n", "", ""));
}

/// An app that sees the folder `folder`, which it can write to.
fn files(folder: &str) -> String {
    let grants = format!(
        "grants.files = {{ \"/data\" = {{ folder = \"{folder}\", write = true, quota = \"1MiB\" }} }}"
    );
    one("files", "files", &grants)
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_the_tenants_own() {
    let server = Server::start();
    let tokens = ["acme", "umbrella"].map(|tenant| server.token(tenant, "deploy"));
    for folder in ["/etc", "..", "../umbrella/files/data", "a/../../b", "data/inner", "."] {
        let finished = server.try_deploy_as(&tokens[0], &files(folder), &[]);
        assert_eq!(finished.code, Some(4), "{folder}: {finished:?}");
        assert!(finished.stderr.contains("on a server folders are the tenant's own"));
    }
    for token in &tokens {
        let finished = server.try_deploy_as(token, &files("data"), &[]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
    let created = server.get("files.acme.localhost", "/create/:data:own.txt/5").await.text;
    assert!(!created.starts_with("error"), "{created}");
    let list = async |host| server.get(host, "/list/:data").await.text;
    assert_eq!(list("files.acme.localhost").await, "own.txt");
    assert_eq!(list("files.umbrella.localhost").await, "");
    for path in ["/read/:data:..:own.txt", "/list/:data:..", "/read/:etc:passwd"] {
        let text = server.get("files.umbrella.localhost", path).await.text;
        assert!(text.starts_with("error: "), "{path}: {text}");
    }
    let file = server.data.join("tenants/acme/files/data/own.txt");
    assert_eq!(fs::read_to_string(file).unwrap(), "xxxxx");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_servers_environment_is_a_tenants() {
    let server = Server::start();
    let granted = one("shop", "hello-p2", "grants.env = [\"DHOW_ADMIN_TOKEN\"]");
    let finished = server.try_deploy(&granted, &[]);
    assert_eq!(finished.code, Some(4), "{finished:?}");
    assert!(
        finished.stderr.contains("the environment variable `DHOW_ADMIN_TOKEN` is granted"),
        "{finished:?}"
    );
    assert!(!finished.stderr.contains(TOKEN), "{finished:?}");
    // What the manifest itself says is no part of that.
    server.deploy(&one("shop", "hello-p2", "grants.env = { GREETING = \"Hi\" }"), &[]);
    assert_eq!(server.get("shop.localhost", "/").await.text, "Hi of 0.2: shop.localhost /\n");
    // Nor are the machine's ports and files.
    for grants in [
        "grants.sockets = { tcp-listen = [\"127.0.0.1:0\"] }",
        "grants.ca = \"/etc/ssl/certs/ca-certificates.crt\"",
    ] {
        let finished = server.try_deploy(&one("shop", "sockets", grants), &["--allow-new-grants"]);
        assert_ne!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.contains("on a server none can be"), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_his_own_tenant_gets_no_other_and_who_asks_for_none_all() {
    let server = Server::start();
    let token = server.token("acme", "deploy");
    let finished = server.try_deploy_as(&token, &one("blog", "hello-p2", ""), &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    server.deploy_guest("shop", "hello-p2");
    let apps = |arguments: &[&str]| {
        let status = server.json(arguments);
        let apps = status["apps"].as_array().unwrap().iter();
        let mut names: Vec<_> = apps.map(|app| app["app"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(apps(&["status"]), ["blog", "shop"]);
    assert_eq!(apps(&["status", "--tenant", "default"]), ["shop"]);
    assert_eq!(apps(&["status", "--tenant", "acme"]), ["blog"]);
}
