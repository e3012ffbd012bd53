//! `dhow inspect`.

use dhow_tests::{
    dhow,
    guests::{from_wat, guest},
};
use serde_json::Value;

fn inspect(path: &std::path::Path) -> Value {
    let finished = dhow(["inspect", "--output", "json", path.to_str().unwrap()]).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn json_says_what_a_component_is() {
    let path = guest("client");
    let report = inspect(&path);
    assert_eq!(report["schema"], "dhow.inspect/1");
    assert_eq!(report["path"], path.to_str().unwrap());
    assert_eq!(report["size"], std::fs::metadata(&path).unwrap().len());
    assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(report["runs_as"], serde_json::json!(["http"]));
    let languages = report["languages"].as_array().unwrap();
    assert!(languages.iter().any(|language| language["name"] == "Rust"), "{languages:?}");
    let tools = report["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "rustc"), "{tools:?}");
    let imports = report["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import["name"] == "wasi:http/client@0.3.2"));
    assert!(imports.iter().all(|import| import["served"] == true), "{imports:?}");
    assert_eq!(report["exports"], serde_json::json!(["wasi:http/handler@0.3.2"]));
    assert!(report["wit"].as_str().unwrap().contains("export wasi:http/handler@0.3.2;"));
}

#[test]
fn what_an_app_may_do_is_said_without_running_it() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "name = \"shop\"\n[component.cart]\nsource = \"not-built.wasm\"\n\
        grants.http = [\"https://api.example.com\"]\n\
        grants.sockets = { tcp = [\"10.0.0.0/8:5432\"] }\n\
        grants.sql = { orders = \"main\" }\ngrants.secrets = [\"jwt-key\"]\n";
    std::fs::write(folder.path().join("dhow.toml"), manifest).unwrap();
    let path = folder.path().to_str().unwrap();
    let finished = dhow(["inspect", "--grants", path]).finish();
    assert_eq!(
        finished.stdout,
        "cart\n  may send requests to https://api.example.com\n  may connect to 10.0.0.0/8:5432\n  \
         may open the database orders: main\n  may read the secrets jwt-key\n"
    );
    let finished = dhow(["inspect", "--grants", "--output", "json", path]).finish();
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["schema"], "dhow.grants/1");
    assert_eq!(report["may"]["cart"].as_array().unwrap().len(), 4);
}

#[test]
fn what_is_not_served_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = from_wat(
        folder.path(),
        "unserved",
        r#"(component
            (import "wasi:http/types@0.9.0" (instance (export "f" (func))))
            (import "acme:shop/orders@1.0.0" (instance (export "f" (func)))))"#,
    );
    let report = inspect(&path);
    let [orders, types] = &report["imports"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&orders["served"], &orders["nearest"]), (&false.into(), &Value::Null));
    assert_eq!(types["nearest"], "wasi:http/types@0.3.0");
    let finished = dhow(["inspect", path.to_str().unwrap()]).finish();
    assert!(
        finished.stdout.contains("NOT SERVED; the nearest is wasi:http/types@0.3.0"),
        "{}",
        finished.stdout
    );
}

#[test]
fn commands_are_told_apart() {
    for name in ["command", "command-p3"] {
        assert_eq!(inspect(&guest(name))["runs_as"], serde_json::json!(["command"]));
    }
}
