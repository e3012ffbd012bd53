//! Two who change the same app: one of them is told.

use dhow_tests::{Server, TOKEN, app_folder, server::one};
use serde_json::json;

/// An app whose health takes some seconds to tell.
fn slow(app: &str) -> String {
    format!("health = \"/before/4000\"\n{}", one(app, "slow", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deploys_at_once_one_is_refused() {
    let server = Server::start();
    for round in 1..=2 {
        let folder = app_folder(&slow("shop"));
        let first = server.dhow_as(TOKEN, ["deploy".as_ref(), folder.path().as_os_str()]);
        let first = tokio::task::spawn_blocking(|| first.finish());
        server.wait_for_lines("begin /before/4000", round);
        let second = server.try_deploy(&one("shop", "slow", ""), &[]);
        assert_eq!(second.code, Some(8), "{second:?}");
        assert!(second.stderr.contains("`shop` is being changed by somebody else"), "{second:?}");
        if round == 2 {
            // Nor is anything else of it changed, and what is there answers.
            assert_eq!(server.dhow(["traffic", "shop", "r1=100"]).code, Some(8));
            assert_eq!(server.dhow(["delete", "shop", "--yes"]).code, Some(8));
            assert_eq!(server.get("shop.localhost", "/").await.status, 200);
            // Other apps are no part of this.
            server.deploy(&one("cart", "slow", ""), &[]);
        }
        let first = first.await.unwrap();
        assert_eq!(first.code, Some(0), "{first:?}");
        let revisions = server.json(&["revisions", "shop"]);
        assert_eq!(revisions["revisions"].as_array().unwrap().len(), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_upon_a_revision_that_is_not_the_newest_any_more_is_refused() {
    let server = Server::start();
    let deployed = server.deploy_guest("shop", "hello-p2");
    let digest = deployed["components"][0]["digest"].as_str().unwrap();
    let with_base = |base: u32| {
        let manifest = "name = \"shop\"\ncomponent.hello-p2.source = \"x.wasm\"\n";
        json!({ "manifest": manifest, "components": { "hello-p2": digest }, "base": base })
    };
    let path = "/v1/apps/shop/revisions";
    let (status, answer) = server.ask("POST", path, &with_base(1)).await;
    assert_eq!((status, &answer["revision"]), (201, &json!(2)));
    let (status, answer) = server.ask("POST", path, &with_base(0)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("is there by now, with the revision r2"));
    for base in [1, 3] {
        let (status, answer) = server.ask("POST", path, &with_base(base)).await;
        assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(&format!("has the revision r2 by now, and not r{base}")));
    }
    assert_eq!(server.dhow(["delete", "shop", "--yes"]).code, Some(0));
    let (status, answer) = server.ask("POST", path, &with_base(2)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
    assert_eq!(server.get("shop.localhost", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_whose_client_goes_away_leaves_nothing() {
    let server = Server::start();
    let folder = app_folder(&slow("shop"));
    let deploy = server.dhow_as(TOKEN, ["deploy".as_ref(), folder.path().as_os_str()]).start();
    server.wait_for_log("begin /before/4000");
    drop(deploy); // SIGKILL.
    server.wait_for_log("end /before/4000");
    let status = server.json(&["status"]);
    assert_eq!((&status["apps_total"], &status["apps"]), (&json!(0), &json!([])));
    for command in [&["revisions", "shop"], &["logs", "shop"], &["rollback", "shop"]] {
        assert_eq!(server.dhow(command).code, Some(5), "{command:?}");
    }
    assert_eq!(server.get("shop.localhost", "/").await.status, 404);
    // Nobody holds it.
    assert_eq!(server.deploy(&one("shop", "slow", ""), &[])["revision"], 1);
}
