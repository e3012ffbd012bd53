//! Mistakes, and what is said of them. Nothing ever listens after one, and no backtrace is shown.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use dhow_tests::{
    Finished, dhow,
    guests::{from_wat, guest},
    write_manifest,
};

fn up(path: &Path) -> Finished {
    // Quiet, since compiling for the first time is logged.
    let finished = dhow(["up".as_ref(), "--quiet".as_ref(), path.as_os_str()]).finish();
    assert_eq!(finished.stdout, "");
    assert!(!finished.stderr.contains("Serving"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("backtrace"), "{}", finished.stderr);
    finished
}

fn up_file(name: &str, content: impl AsRef<[u8]>) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let mut finished = up(&path);
    finished.stderr = finished.stderr.replace(&format!("{}/", folder.path().display()), "");
    finished
}

fn up_manifest(manifest: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), manifest);
    let mut finished = up(folder.path());
    finished.stderr = finished.stderr.replace(&format!("{}/", folder.path().display()), "");
    finished
}

#[test]
fn what_is_no_component_is_said_to_be_what_it_is() {
    let component = fs::read(guest("hello-p2")).unwrap();
    let module = wat(r#"(module)"#);
    let preview1 = wat(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#);
    for (content, message) in [
        (
            &b""[..],
            "error: component `x`: x.wasm: an empty file, not a component\n  help: build it again\n",
        ),
        (
            &module,
            "error: component `x`: x.wasm: a core WebAssembly module, not a component\n  \
             help: build for the target wasm32-wasip2, or make a component of it:\n        \
             wasm-tools component new x.wasm -o component.wasm\n",
        ),
        (
            &preview1,
            "error: component `x`: x.wasm: a core WebAssembly module, not a component\n  \
             help: build for the target wasm32-wasip2, or make a component of it:\n        \
             wasm-tools component new x.wasm --adapt wasi_snapshot_preview1.reactor.wasm \
             -o component.wasm\n",
        ),
        (
            b"(component)",
            "error: component `x`: x.wasm: WebAssembly text, not a component in binary form\n  \
             help: translate it: wasm-tools parse x.wasm -o component.wasm\n",
        ),
        (b"hello there", "error: component `x`: x.wasm: not WebAssembly\n"),
        (
            &component[..6],
            "error: component `x`: x.wasm: cut off within its first eight bytes\n  help: build it again\n",
        ),
    ] {
        let finished = up_file("x.wasm", content);
        assert_eq!((finished.code, &*finished.stderr), (Some(1), message));
    }
    let truncated = up_file("x.wasm", &component[..component.len() / 2]);
    assert_eq!(truncated.code, Some(1));
    assert!(truncated.stderr.starts_with("error: component `x` is damaged: "), "{truncated:?}");
    assert!(truncated.stderr.ends_with("(x.wasm)\n  help: build it again\n"), "{truncated:?}");
}

#[test]
fn what_is_not_there_is_said() {
    let finished = up(Path::new("/does/not/exist.wasm"));
    let message = "error: /does/not/exist.wasm: no such file\n";
    assert_eq!(
        (finished.code, &*finished.stderr),
        (Some(1), "error: component `exist`: /does/not/exist.wasm: no such file\n")
    );
    let folder = tempfile::tempdir().unwrap();
    let finished = up(folder.path());
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with("error: no dhow.toml in "), "{finished:?}");
    assert!(finished.stderr.contains("component.hello.source = \"hello.wasm\""), "{finished:?}");
    for command in ["run", "inspect"] {
        let finished = dhow([command, "/does/not/exist.wasm"]).finish();
        assert_eq!((finished.code, &*finished.stderr), (Some(1), message));
    }
}

#[test]
fn an_import_that_nobody_serves_is_named_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let component = from_wat(
        folder.path(),
        "cart",
        r#"(component
            (import "wasi:http/types@0.9.0" (instance (export "f" (func))))
            (import "acme:shop/orders@1.0.0" (instance (export "f" (func))))
            (instance $handler)
            (export "wasi:http/handler@0.3.0" (instance $handler)))"#,
    );
    let finished = up(&component);
    assert_eq!(finished.code, Some(1));
    assert_eq!(
        finished.stderr,
        "error: component `cart` imports `wasi:http/types@0.9.0`, which nobody serves\n  \
         help: the nearest that is served: wasi:http/types@0.3.0\n\
         error: component `cart` imports `acme:shop/orders@1.0.0`, which nobody serves\n  \
         help: Dhow serves wasi:cli, clocks, filesystem, http, io, random and sockets, \
         in versions 0.2 and 0.3; wasi:blobstore, config, keyvalue, logging, sql and tls; \
         dhow:blobstore, keyvalue and sql; and Spin's\n"
    );
}

#[test]
fn an_import_of_another_type_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let component = from_wat(
        folder.path(),
        "cart",
        r#"(component
            (import "wasi:cli/environment@0.2.0"
                (instance (export "get-arguments" (func (result u32)))))
            (instance $handler)
            (export "wasi:http/handler@0.3.0" (instance $handler)))"#,
    );
    let finished = up(&component);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with("error: component `cart` does not fit: "), "{finished:?}");
    assert!(finished.stderr.contains("wasi:cli/environment@0.2.0"), "{finished:?}");
    assert!(finished.stderr.contains("get-arguments"), "{finished:?}");
}

#[test]
fn a_component_without_a_handler_is_refused_with_what_it_exports() {
    let finished = up(&guest("command"));
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.starts_with(
            "error: component `command` has no HTTP handler: it exports wasi:cli/run@0.2."
        ),
        "{finished:?}"
    );
    assert!(finished.stderr.ends_with("help: it is a command: run it with `dhow run`\n"));
    let finished = up_file("nothing.wasm", wat("(component)"));
    assert_eq!(
        finished.stderr,
        "error: component `nothing` has no HTTP handler: it exports nothing\n  \
         help: needed is wasi:http/handler@0.3 (world wasi:http/service) \
         or wasi:http/incoming-handler@0.2 (world wasi:http/proxy)\n"
    );
}

#[test]
fn every_fault_of_a_manifest_is_shown_in_its_line() {
    let finished = up_manifest(
        r#"name = "My Shop"
grants = {}

[component.cart]
sorce = "cart.wasm"
grants.http = ["api.example.com", "https://ok.example"]
limits = { memory = "64", time = "soon", concurrency = 0 }
build.command = "make"
build.watch = ["src/["]

[component.data]
source = "data.wasm"
uses = { "shop:data/orders" = "data" }

[[http]]
path = "cart"
component = "card"
"#,
    );
    assert_eq!(finished.code, Some(2));
    for expected in [
        "error: `My Shop` is no name: a name is 1 to 63 lower-case letters, digits and dashes",
        " --> dhow.toml:1:8",
        "1 | name = \"My Shop\"",
        "help: write: my-shop",
        "error: unknown key `grants` in the manifest",
        " --> dhow.toml:2:1",
        "error: component `cart` has no source",
        "help: write: source = \"cart.wasm\"",
        "error: unknown key `sorce` in a component",
        " --> dhow.toml:5:1",
        "help: did you mean `source`?",
        "error: `api.example.com` is no origin: an origin begins with `https://` or `http://`",
        "help: write: \"https://api.example.com\"",
        "error: a size is a whole number with a unit: KiB, MiB or GiB",
        "help: write: memory = \"64MiB\"",
        "error: a time is a number with a unit: ms, s or min",
        "error: concurrency is at least 1 and at most 100000",
        "error: these components use each other in a circle: data -> data",
        " --> dhow.toml:11:12",
        "error: `cart`: a path begins with `/`",
        "error: no component is called `card`",
        "help: did you mean `cart`?",
        "error: `src/[` is no pattern: ",
        "error: nothing leads to component `data`",
        "error: dhow.toml has 14 faults",
    ] {
        assert!(finished.stderr.contains(expected), "{expected} is not in:\n{}", finished.stderr);
    }
}

#[test]
fn a_syntax_error_and_hostile_manifests_are_refused() {
    let finished = up_manifest("name = \"a\nb = ");
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("--> dhow.toml:1:"), "{finished:?}");
    assert!(finished.stderr.contains("not TOML"), "{finished:?}");
    for hostile in ["[".repeat(100_000), "a=".repeat(50_000), "x".repeat(2 << 20), "\0".into()] {
        assert_eq!(up_manifest(&hostile).code, Some(2));
    }
}

#[test]
fn a_variable_that_is_not_set_is_found_before_listening() {
    let finished = up_manifest(
        "name = \"a\"\ncomponent.a.source = \"{hello-p2}\"\n\
         component.a.grants.env = [\"DHOW_TEST_IS_NOT_SET\"]\n",
    );
    assert_eq!(finished.code, Some(1));
    assert_eq!(
        finished.stderr,
        "error: component `a`: the environment variable `DHOW_TEST_IS_NOT_SET` is granted, \
         and not set\n  help: set it: export DHOW_TEST_IS_NOT_SET=…\n"
    );
}

#[test]
fn a_port_that_is_taken_or_not_ours_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let guest = guest("hello-p2");
    let listen = |address: &str| {
        dhow(["up".as_ref(), guest.as_os_str(), "--listen".as_ref(), address.as_ref()]).finish()
    };
    let finished = listen(&address);
    assert_eq!(finished.code, Some(1));
    let port = listener.local_addr().unwrap().port();
    assert!(finished.stderr.contains(&format!("can't listen on {address}")), "{finished:?}");
    assert!(finished.stderr.contains(&format!("port {port} is in use")), "{finished:?}");
    assert!(finished.stderr.contains("--listen 127.0.0.1:0"), "{finished:?}");

    let finished = listen("192.0.2.1:3000");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("--listen 127.0.0.1:3000"), "{finished:?}");
    assert_eq!(listen("nowhere").code, Some(2));
}

#[test]
fn a_port_without_permission_is_named() {
    // Whoever may take any port gives that up first.
    let mut dhow = dhow(["up".as_ref(), guest("hello-p2").as_os_str()]).0;
    dhow.args(["--listen", "127.0.0.1:81"]);
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"])
        .arg(dhow.get_program())
        .args(dhow.get_args())
        .envs(dhow.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("setpriv of util-linux");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("can't listen on 127.0.0.1:81"), "{stderr}");
    assert!(stderr.contains("port 81 is not for this user"), "{stderr}");
    assert!(stderr.contains("--listen 127.0.0.1:3000"), "{stderr}");
}

#[test]
fn wrong_arguments_end_with_2() {
    for words in [&["upp"][..], &["up", "--port", "1"], &["inspect"], &[]] {
        let finished = dhow(words).finish();
        assert_eq!(finished.code, Some(2), "{words:?}");
        assert_eq!(finished.stdout, "");
    }
    let version = dhow(["--version"]).finish();
    assert_eq!((version.code, &version.stdout[..5]), (Some(0), "dhow "));
}

fn wat(text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = from_wat(folder.path(), "text", text);
    fs::read(path).unwrap()
}
