//! What a new revision would be granted and the one before was not is allowed first.

use dhow_tests::{Server, server::one};
use serde_json::json;

/// The app `shop` with `grants` for its component.
fn shop(grants: &str) -> String {
    one("shop", "client", grants)
}

#[test]
fn new_grants_are_refused_until_they_are_allowed() {
    let server = Server::start();
    // Of the first revision everything is new.
    server.deploy(&shop(r#"grants.http = ["https://*.example.com"]"#), &[]);
    let more = r#"grants.http = ["https://*.example.com", "https://api.example.org"]"#;
    let finished = server.try_deploy(&shop(more), &[]);
    assert_eq!(finished.code, Some(4), "{finished:?}");
    for expected in [
        "client may now send requests to https://api.example.org",
        "help: look at it, and allow it: dhow deploy --allow-new-grants",
    ] {
        assert!(finished.stderr.contains(expected), "{expected}: {finished:?}");
    }
    assert!(!finished.stderr.contains("*.example.com"), "{finished:?}");
    // That it would be refused is found out before.
    assert_eq!(server.try_deploy(&shop(more), &["--dry-run"]).code, Some(4));
    assert_eq!(server.json(&["revisions", "shop"])["revisions"].as_array().unwrap().len(), 1);

    let deployed = server.deploy(&shop(more), &["--allow-new-grants"]);
    assert_eq!(deployed["revision"], 2);
    let what = "send requests to https://api.example.org";
    assert_eq!(
        deployed["changes"],
        json!([{ "component": "client", "gains": true, "what": what }])
    );
    // What is within what it had is nothing new.
    let less = server.deploy(&shop(r#"grants.http = ["https://api.example.com"]"#), &[]);
    assert_eq!(less["revision"], 3);
    let changes = less["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["gains"] == false), "{changes:?}");
    assert!(changes.iter().any(|change| change["what"] == what), "{changes:?}");
}

#[test]
fn what_a_new_component_may_do_is_new() {
    let server = Server::start();
    server.deploy(&shop(""), &[]);
    let both = r#"
        name = "shop"
        component.client.source = "{client}"
        [component.keyvalue]
        source = "{keyvalue}"
        grants.keyvalue = { db = "default" }
        [[http]]
        path = "/..."
        component = "client"
        [[http]]
        path = "/db/..."
        component = "keyvalue"
    "#;
    let finished = server.try_deploy(both, &[]);
    assert_eq!(finished.code, Some(4), "{finished:?}");
    assert!(finished.stderr.contains("keyvalue may now "), "{finished:?}");
    assert_eq!(server.try_deploy(both, &["--allow-new-grants"]).code, Some(0));
}
