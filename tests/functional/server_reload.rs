//! What the operator changes while the server runs.

use dhow_tests::{Server, server::one};

const READ_AGAIN: &str = "The configuration was read again.";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_changes_counts_without_a_restart() {
    let server = Server::with("[tenant.acme]\nquota.apps = 1\n");
    let token = server.token("acme", "deploy");
    let deploy =
        |app: &str| server.try_deploy_as(&token, &one(app, "hello-p2", ""), &[]).code.unwrap();
    assert_eq!((deploy("shop"), deploy("cart")), (0, 4));
    assert_eq!(server.get("shop.example.com", "/").await.status, 404);

    let hosts = "hosts = { \"shop.example.com\" = \"shop\", \"cart.example.com\" = \"cart\" }";
    server.configure(&format!("[tenant.acme]\nquota.apps = 2\n{hosts}\n"));
    server.wait_for_lines(READ_AGAIN, 1);
    assert_eq!(server.get("shop.example.com", "/").await.status, 200);
    assert_eq!(server.get("cart.example.com", "/").await.status, 404);
    assert_eq!(deploy("cart"), 0);
    assert_eq!(server.get("cart.example.com", "/").await.status, 200);

    // What is wrong changes nothing.
    server.configure("[tenant.acme]\nquota.app = 1\n");
    server.wait_for_log("The configuration stays as it was.");
    assert!(server.log().contains("unknown key `app`"));
    assert_eq!(server.get("cart.example.com", "/").await.status, 200);
    assert_eq!(server.tenant("acme")["apps_quota"], 2);

    // A signal is faster than a look. Who has more than it may have keeps it.
    server.configure("[server]\ndomain = \"other.example\"\n[tenant.acme]\nquota.apps = 1\n");
    server.hang_up();
    server.wait_for_lines(READ_AGAIN, 2);
    server.wait_for_log("server.domain has changed: restart the server for that.");
    assert_eq!(server.get("cart.example.com", "/").await.status, 404);
    assert_eq!(server.get("cart.acme.localhost", "/").await.status, 200);
    assert_eq!((deploy("cart"), deploy("other")), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_changed_for_what_runs() {
    let server = Server::with("[quota]\nrequests = 1\n");
    server.deploy_guest("shop", "hello-p2");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(server.get("shop.localhost", "/").await.status.as_u16());
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    server.configure("[quota]\nrequests = 1000\n");
    server.hang_up();
    server.wait_for_log(READ_AGAIN);
    // It is asked again once more may come.
    let mut served = 0;
    for _ in 0..50 {
        served += u32::from(server.get("shop.localhost", "/").await.status == 200);
    }
    assert!(served > 40, "{served}");
}
