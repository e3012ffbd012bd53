//! A revision that is not well gets no traffic.

use dhow_tests::{Server, server::one};

const HOST: &str = "shop.localhost";

/// The app `shop` of the guest that fails as it is asked to.
fn shop(health: &str) -> String {
    format!("health = \"{health}\"\n{}", one("shop", "trap", "limits.time = \"500ms\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_not_well_changes_nothing() {
    let server = Server::start();
    for (path, why) in [
        ("/trap", "GET /trap of the new revision fails: "),
        ("/error", "GET /error of the new revision fails: "),
        ("/loop", "GET /loop of the new revision fails: "),
    ] {
        let finished = server.try_deploy(&shop(path), &[]);
        assert_eq!(finished.code, Some(7), "{finished:?}");
        assert!(finished.stderr.contains(why), "{finished:?}");
        assert!(finished.stderr.contains("nothing was changed"), "{finished:?}");
        assert_eq!(server.dhow(["revisions", "shop"]).code, Some(5));
        assert_eq!(server.get(HOST, "/").await.status, 404);
    }
    assert_eq!(server.json(&["status"])["apps_total"], 0);
    assert_eq!(server.deploy(&shop("/"), &[])["revision"], 1);
    for extra in [&[][..], &["--dry-run"], &["--no-traffic"]] {
        assert_eq!(server.try_deploy(&shop("/trap"), extra).code, Some(7), "{extra:?}");
        assert_eq!(server.get(HOST, "/").await.text, "begun\n");
    }
    assert_eq!(server.get("r2--shop.localhost", "/").await.status, 404);
    assert_eq!(server.deploy(&shop("/"), &[])["revision"], 2);
}
