//! What keeps the components of an app from being joined, and what is said about it; and what is
//! said and written of those that fit.

use std::{fs, path::Path};

use dhow_tests::{
    Finished, client::get, dhow, guests::from_wat, servers::WasmtimeServe, write_manifest,
};
use serde_json::{Value, json};

/// `dhow up` with `manifest`, in a folder in which each of `components` is a file: its name, and its
/// text.
fn up(manifest: &str, components: &[(&str, &str)]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in components {
        from_wat(folder.path(), name, text);
    }
    write_manifest(folder.path(), manifest);
    dhow(["up".as_ref(), folder.path().as_os_str()]).finish()
}

/// An app in which `cart`, which answers requests, uses `shop:data/orders` of `data`.
const SHOP: &str = "name = \"shop\"\n\
    [component.cart]\nsource = \"cart.wasm\"\nuses = { \"shop:data/orders\" = \"data\" }\n\
    [component.data]\nsource = \"data.wasm\"\n\
    [[http]]\npath = \"/...\"\ncomponent = \"cart\"\n";

/// A component that imports `shop:data/orders` with `function`.
fn importer(version: &str, function: &str) -> String {
    format!(
        "(component (import \"shop:data/orders{version}\" (instance {function}))
            (instance $handler) (export \"wasi:http/handler@0.3.0\" (instance $handler)))"
    )
}

/// A component that exports `interface` with a function `get` of the type `core`, lifted as `ty`.
fn exporter(interface: &str, core: &str, ty: &str) -> String {
    format!(
        "(component
            (core module $m (func (export \"get\") {core} unreachable))
            (core instance $i (instantiate $m))
            (func $get {ty} (canon lift (core func $i \"get\")))
            (instance $orders (export \"get\" (func $get)))
            (export \"{interface}\" (instance $orders)))"
    )
}

#[test]
fn types_that_differ_are_shown_side_by_side() {
    let importer = importer("@0.1.0", "(export \"get\" (func (param \"id\" u64) (result u32)))");
    let exporter = exporter(
        "shop:data/orders@0.1.0",
        "(param i32) (result i32)",
        "(param \"id\" u32) (result u32)",
    );
    let finished = up(SHOP, &[("cart", &importer), ("data", &exporter)]);
    assert_eq!(finished.code, Some(1));
    for expected in
        ["cart", "data", "shop:data/orders", "func(id: u64) -> u32", "func(id: u32) -> u32"]
    {
        assert!(finished.stderr.contains(expected), "{expected}: {}", finished.stderr);
    }
    assert!(finished.stderr.contains("help: build both against the same WIT"), "{finished:?}");
}

#[test]
fn versions_and_names_that_do_not_fit_are_named() {
    let wants = importer("@0.2.0", "(export \"get\" (func))");
    let (core, ty) = ("", "");
    let finished =
        up(SHOP, &[("cart", &wants), ("data", &exporter("shop:data/orders@0.1.0", core, ty))]);
    assert!(
        finished.stderr.contains(
            "component `cart` imports `shop:data/orders@0.2.0`, and `data` exports \
             `shop:data/orders@0.1.0`, which is another version"
        ),
        "{}",
        finished.stderr
    );
    let finished =
        up(SHOP, &[("cart", &wants), ("data", &exporter("shop:data/order@0.2.0", core, ty))]);
    assert!(
        finished.stderr.contains(
            "component `data` does not export `shop:data/orders@0.2.0`, which `cart` imports: it \
             exports shop:data/order@0.2.0"
        ) && finished.stderr.contains("help: `shop:data/order@0.2.0` is similar"),
        "{}",
        finished.stderr
    );
    let nothing = "(component (instance $h) (export \"wasi:http/handler@0.3.0\" (instance $h)))";
    let finished =
        up(SHOP, &[("cart", nothing), ("data", &exporter("shop:data/orders@0.1.0", core, ty))]);
    assert!(
        finished
            .stderr
            .contains("component `cart` uses `shop:data/orders` of `data`, and does not import it"),
        "{}",
        finished.stderr
    );
}

#[test]
fn who_could_serve_an_import_is_suggested() {
    let manifest = SHOP.replace("uses = { \"shop:data/orders\" = \"data\" }\n", "")
        + "[[http]]\npath = \"/data/...\"\ncomponent = \"data\"\n";
    let finished = up(
        &manifest,
        &[
            ("cart", &importer("@0.1.0", "(export \"get\" (func))")),
            ("data", &exporter("shop:data/orders@0.1.0", "", "")),
        ],
    );
    assert!(
        finished.stderr.contains(
            "error: component `cart` imports `shop:data/orders@0.1.0`, which nobody serves\n  \
             help: write: uses = { \"shop:data/orders\" = \"data\" }\n"
        ),
        "{}",
        finished.stderr
    );
}

#[test]
fn circles_are_shown_as_paths() {
    let manifest = "name = \"a\"\n\
        [component.one]\nsource = \"1.wasm\"\nuses = { \"a:b/c\" = \"two\" }\n\
        [component.two]\nsource = \"2.wasm\"\nuses = { \"a:b/d\" = \"three\" }\n\
        [component.three]\nsource = \"3.wasm\"\nuses = { \"a:b/e\" = \"one\" }\n\
        [[http]]\npath = \"/...\"\ncomponent = \"one\"\n";
    let finished = up(manifest, &[]);
    assert_eq!(finished.code, Some(2));
    let circle = "these components use each other in a circle: one -> two -> three -> one";
    assert_eq!(finished.stderr.matches(circle).count(), 1, "{}", finished.stderr);
    // What stands behind middleware can't use it.
    let manifest = "name = \"a\"\n\
        [component.auth]\nsource = \"1.wasm\"\n\
        [component.cart]\nsource = \"2.wasm\"\nuses = { \"a:b/d\" = \"auth\" }\n\
        [[http]]\npath = \"/...\"\nmiddleware = [\"auth\"]\ncomponent = \"cart\"\n";
    let finished = up(manifest, &[]);
    assert!(finished.stderr.contains("in a circle: auth -> cart -> auth"), "{}", finished.stderr);
}

#[test]
fn wiring_is_checked_in_the_manifest() {
    let manifest = "name = \"a\"\n\
        [component.cart]\nsource = \"1.wasm\"\n\
        uses = { \"shop:data/orders\" = \"date\", \"orders\" = \"data\" }\n\
        grants.http = [\"http://mail.internal\"]\n\
        [component.data]\nsource = \"2.wasm\"\n\
        [[http]]\npath = \"/...\"\nmiddleware = [\"auht\", \"data\", \"data\"]\ncomponent = \"cart\"\n";
    let finished = up(manifest, &[]);
    assert_eq!(finished.code, Some(2));
    for expected in [
        "error: no component is called `date`",
        "help: did you mean `data`?",
        "error: `orders` is no interface: an interface is `namespace:package/interface`",
        "error: `http://mail.internal` is a call within the app, which has no `mail`",
        "say its port: \"http://mail.internal:80\"",
        "error: no component is called `auht`",
        "error: `data` stands twice in front of the same route",
    ] {
        assert!(finished.stderr.contains(expected), "{expected}: {}", finished.stderr);
    }
}

#[test]
fn a_component_that_hands_nothing_on_is_no_middleware() {
    let manifest = "name = \"a\"\n\
        [component.auth]\nsource = \"{hello-p2}\"\n[component.cart]\nsource = \"{echo}\"\n\
        [[http]]\npath = \"/...\"\nmiddleware = [\"auth\"]\ncomponent = \"cart\"\n";
    let finished = up(manifest, &[]);
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains(
            "component `auth` uses `wasi:http/handler` of `cart`, and does not import it"
        ),
        "{}",
        finished.stderr
    );
}

/// An app of guests: middleware, a component, and one that it uses.
const JOINED: &str = "name = \"joined\"\nversion = \"1.0.0\"\n\
    [component.auth]\nsource = \"{probe-middleware}\"\n\
    grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }\n\
    grants.http = [\"http://hello.internal\"]\n\
    [component.calls]\nsource = \"{calls}\"\nuses = { \"dhow:calls/calls\" = \"callee\" }\n\
    [component.callee]\nsource = \"{callee}\"\n\
    [component.hello]\nsource = \"{hello-p2}\"\n\
    [[http]]\npath = \"/...\"\nmiddleware = [\"auth\"]\ncomponent = \"calls\"\n";

fn joined() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), JOINED);
    folder
}

fn inspect(folder: &Path, output: &str) -> String {
    let finished =
        dhow(["inspect".as_ref(), folder.as_os_str(), "--output".as_ref(), output.as_ref()])
            .finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

#[test]
fn an_app_is_shown_as_a_graph() {
    let folder = joined();
    let graph: Value = serde_json::from_str(&inspect(folder.path(), "json")).unwrap();
    assert_eq!(graph["schema"], "dhow.app/1");
    assert_eq!(
        graph["routes"],
        json!([{"path": "/...", "middleware": ["auth"], "component": "calls"}])
    );
    assert_eq!(
        graph["edges"],
        json!([
            {"from": "auth", "to": "calls", "how": "middleware", "by": "wasi:http/handler"},
            {"from": "auth", "to": "hello", "how": "calls", "by": "http://hello.internal"},
            {"from": "calls", "to": "callee", "how": "uses", "by": "dhow:calls/calls@0.1.0"},
        ])
    );
    let names: Vec<_> =
        graph["components"].as_array().unwrap().iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["auth", "callee", "calls", "hello"]);
    let text = inspect(folder.path(), "text");
    for expected in [
        "  /...  auth > calls\n",
        "    uses    callee, by dhow:calls/calls@0.1.0\n",
        "    calls   hello, by http://hello.internal\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let mermaid = inspect(folder.path(), "mermaid");
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("c-calls -->|\"dhow:calls/calls@0.1.0\"| c-callee"), "{mermaid}");
}

#[test]
fn an_app_is_written_as_one_component() {
    let folder = joined();
    let out = folder.path().join("out.wasm");
    let compose = |keep: bool| {
        let keep = keep.then_some("--keep-names");
        let words = ["compose", folder.path().to_str().unwrap(), "-o", out.to_str().unwrap()];
        let finished = dhow(words.into_iter().chain(keep)).finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stderr.contains("of auth, calls, callee"), "{}", finished.stderr);
        let words = ["inspect", out.to_str().unwrap(), "--output", "json"];
        let report: Value = serde_json::from_str(&dhow(words).finish().stdout).unwrap();
        let imports = report["imports"].as_array().unwrap().iter();
        imports.map(|import| import["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let merged = compose(false);
    assert!(merged.contains(&"wasi:cli/stderr@0.2.12".to_owned()), "{merged:?}");
    assert!(merged.iter().all(|import| !import.starts_with("auth:")), "{merged:?}");
    let kept = compose(true);
    assert!(kept.iter().any(|import| import.starts_with("auth:wasi-cli/stderr@")), "{kept:?}");
    assert!(kept.iter().any(|import| import.starts_with("callee:wasi-cli/stderr@")), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_runs_under_wasmtime_serve() {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(
        folder.path(),
        "name = \"test\"\n\
         [component.calls]\nsource = \"{calls}\"\nuses = { \"dhow:calls/calls\" = \"callee\" }\n\
         [component.callee]\nsource = \"{callee}\"\n\
         [[http]]\npath = \"/...\"\ncomponent = \"calls\"\n",
    );
    let out = folder.path().join("out.wasm");
    let words = ["compose", folder.path().to_str().unwrap(), "-o", out.to_str().unwrap()];
    assert_eq!(dhow(words).finish().code, Some(0));
    let Some(serve) = WasmtimeServe::start(&out) else { return };
    assert_eq!(get(serve.address, "/entries/1000").await.text, "499500 1000");
    assert_eq!(get(serve.address, "/bytes/1001").await.text, "as they are");
}

#[test]
fn a_tool_that_is_missing_is_named_with_how_to_install_it() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |command: &str| {
        let text = format!(
            "name = \"a\"\n[component.a]\nsource = \"a.wasm\"\nbuild.command = \"{command}\"\n"
        );
        fs::write(folder.path().join("dhow.toml"), text).unwrap();
        let mut dhow = dhow(["build".as_ref(), folder.path().as_os_str()]);
        dhow.0.env("PATH", "/usr/bin:/bin");
        dhow.finish()
    };
    let install = "help: install componentize-py: pip install componentize-py";
    let finished = manifest("componentize-py -d wit componentize app -o a.wasm");
    assert_eq!(finished.code, Some(3));
    assert!(finished.stderr.contains(install), "{}", finished.stderr);
    fs::write(folder.path().join("build.sh"), "set -e\ncomponentize-py --version\n").unwrap();
    let finished = manifest("sh build.sh");
    assert!(finished.stderr.contains(install), "{}", finished.stderr);
    // The project's own comes first.
    let bin = folder.path().join(".toolchains/bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("componentize-py")).unwrap();
    from_wat(folder.path(), "a", "(component)");
    let finished = manifest("componentize-py");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.starts_with("a ") && finished.stdout.contains("sha256:"));
}

#[test]
fn what_only_shows_when_components_are_joined_is_found_before_they_are() {
    const STORES: &str =
        "grants.keyvalue = { a = \"default\" }\ngrants.sql = { a = \"default\" }\n";
    // Middleware with nothing behind it.
    let manifest = format!(
        "name = \"a\"\n[component.auth]\nsource = \"{{probe-middleware}}\"\n{STORES}\
         [component.echo]\nsource = \"{{echo}}\"\n\
         [[http]]\npath = \"/...\"\nmiddleware = [\"auth\"]\ncomponent = \"echo\"\n\
         [[http]]\npath = \"/login\"\ncomponent = \"auth\"\n"
    );
    let finished = up(&manifest, &[]);
    assert!(
        finished.stderr.contains(
            "error: component `auth` hands requests on, and in `auth` there is nobody behind it"
        ),
        "{}",
        finished.stderr
    );
    // How deep a call is can't be told among several requests of one instance.
    let manifest = format!(
        "name = \"a\"\n[component.web]\nsource = \"{{probe}}\"\n{STORES}\
         grants.http = [\"http://web.internal\"]\ninstances = {{ calls = 2 }}\n"
    );
    let finished = up(&manifest, &[]);
    assert!(finished.stderr.contains("call themselves by name"), "{}", finished.stderr);
    assert!(finished.stderr.contains("help: write: instances = { calls = 1 }"), "{finished:?}");
    // What the parts may have together is more than the operator allows.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dhow-server.toml");
    fs::write(&config, "limits.memory = \"200MiB\"\n").unwrap();
    write_manifest(folder.path(), JOINED);
    let words = ["up".as_ref(), folder.path().as_os_str(), "--config".as_ref(), config.as_os_str()];
    let finished = dhow(words).finish();
    assert!(
        finished.stderr.contains("error: the components of `auth > calls` together: "),
        "{}",
        finished.stderr
    );
}

#[test]
fn so_many_components_can_be_joined_and_no_more() {
    let mut manifest = "name = \"a\"\n[component.web]\nsource = \"w.wasm\"\n\
        grants.http = [\"http://big.internal\"]\n[[http]]\npath = \"/...\"\ncomponent = \"web\"\n\
        [component.big]\nsource = \"b.wasm\"\nuses = { "
        .to_owned();
    let uses: Vec<_> = (0..16).map(|part| format!("\"a:b/c{part}\" = \"p{part}\"")).collect();
    manifest += &format!("{} }}\n", uses.join(", "));
    for part in 0..16 {
        manifest += &format!("[component.p{part}]\nsource = \"p.wasm\"\n");
    }
    let finished = up(&manifest, &[]);
    assert_eq!(finished.code, Some(2));
    let expected = "error: `big` is made of 17 components, and 16 can be joined";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}
