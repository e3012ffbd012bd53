use super::*;

/// What keeps two components from being joined: one imports what is in `imported`, the other exports
/// what is in `exported`, both in the body of `shop:data/orders`.
fn mismatch(imported: &str, exported: &str) -> String {
    let wit = |world: &str, items: &str| {
        format!(
            "package test:shop;
             world part {{ {world} shop:data/orders; export shop:front/page; }}
             package shop:data {{ interface orders {{ {items} }} }}
             package shop:front {{ interface page {{ get: func(); }} }}"
        )
    };
    let cart = component(&wit("import", imported), "part");
    let data = component(&wit("export", exported), "part");
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    match compose(&parts, &|_| false) {
        Ok(_) => "fits".to_owned(),
        Err(faults) => messages(faults).join("\n"),
    }
}

#[test]
fn the_first_difference_is_shown_as_both_have_it() {
    let message = mismatch(
        "record order { id: u64 } count: func(); get: func(id: u64) -> option<order>;",
        "record order { id: u64 } count: func(); get: func(id: string) -> option<order>;",
    );
    assert_eq!(
        message,
        "component `cart` imports `shop:data/orders` otherwise than `data` exports it\n  \
         cart imports  shop:data/orders:  get: func(id: u64) -> option<order>;\n  \
         data exports  shop:data/orders:  get: func(id: string) -> option<order>;\n  \
         help: build both against the same WIT"
    );
}

#[test]
fn every_kind_of_difference_is_shown() {
    for (imported, exported, one, other) in [
        (
            "record order { id: u64 } get: func() -> list<order>;",
            "record order { id: u64, total: u32 } get: func() -> list<order>;",
            "record order { id: u64 }",
            "record order { id: u64, total: u32 }",
        ),
        (
            "type id = u64; get: func(id: id);",
            "type id = string; get: func(id: id);",
            "type id = u64",
            "type id = string",
        ),
        (
            "enum state { paid } variant fault { gone, bad(state) } get: func() -> result<_, fault>;",
            "enum state { paid, sent } variant fault { gone, bad(state) } get: func() -> result<_, fault>;",
            "enum state { paid }",
            "enum state { paid, sent }",
        ),
        ("get: func(); put: func();", "get: func();", "put: func()", "nothing of this name"),
        ("get: func();", "get: async func();", "get: func()", "get: async func()"),
        (
            "get: func(a: tuple<u8, char>) -> stream<u8>;",
            "get: func(a: tuple<u8, char>) -> stream;",
            "get: func(a: tuple<u8, char>) -> stream<u8>",
            "get: func(a: tuple<u8, char>) -> stream",
        ),
        (
            "resource order { constructor(id: u64); total: func() -> u32; }",
            "resource order { constructor(id: u64); total: func() -> u64; }",
            "order.total: func() -> u32",
            "order.total: func() -> u64",
        ),
        (
            "flags kind { a } get: func(it: list<kind>);",
            "flags kind { a, b } get: func(it: list<kind>);",
            "flags kind { a }",
            "flags kind { a, b }",
        ),
    ] {
        let message = mismatch(imported, exported);
        assert!(
            message.contains(&format!("cart imports  shop:data/orders:  {one};\n")),
            "{message}"
        );
        assert!(
            message.contains(&format!("data exports  shop:data/orders:  {other};\n")),
            "{message}"
        );
    }
}

#[test]
fn what_the_exporter_has_beyond_does_not_matter() {
    assert_eq!(
        mismatch(
            "record order { id: u64 } get: func() -> order;",
            "record order { id: u64 } type bill = order; get: func() -> bill; put: func();",
        ),
        "fits"
    );
}

/// A part that imports and exports interfaces of the package `shop:data` as `items` says.
fn world(items: &str) -> Vec<u8> {
    component(
        &format!(
            "package test:shop;
             world part {{ {items} }}
             package shop:data@0.1.0 {{ interface orders {{ get: func(); }} interface bills {{ get: func(); }} }}
             package shop:data@0.2.0 {{ interface orders {{ get: func(); }} }}
             package shop:files {{
                 interface files {{ use wasi:filesystem/types@0.2.0.{{descriptor}}; get: func() -> list<option<descriptor>>; }}
             }}
             package wasi:filesystem@0.2.0 {{
                 interface types {{ resource descriptor {{ sync: func(); }} }}
             }}"
        ),
        "part",
    )
}

#[test]
fn all_is_said_at_once() {
    let cart = world(
        "import shop:data/orders@0.1.0; import shop:data/bills@0.1.0; import wasi:filesystem/types@0.2.0;",
    );
    let data = world("export shop:data/orders@0.2.0;");
    let core = wat::parse_str("(module)").unwrap();
    let damaged = data[..data.len() - 1].to_vec();
    let uses =
        [("shop:data/orders", 1), ("shop:data/bills", 1), ("shop:data/order", 1), ("a:b/c", 9)];
    let parts = [
        part("cart", &cart, &uses),
        part("data", &data, &[("shop:data/orders", 1)]),
        part("data", &damaged, &[]),
        part("page", &core, &[]),
    ];
    let messages = messages(compose(&parts, &is_own).unwrap_err());
    assert!(messages[0].starts_with("component `data` is damaged: unexpected end-of-file"));
    assert_eq!(
        messages[1..],
        [
            "component `page` is not a component\n  help: build it again",
            "there are two components `data`",
            "the components use each other in a circle: data -> data\n  help: move what two components need of each other into a third",
            "no component uses `data`\n  help: name in `uses` of another component what it takes from `data`",
            "no component uses `page`\n  help: name in `uses` of another component what it takes from `page`",
            "component `cart` imports `shop:data/orders@0.1.0`, and `data` exports `shop:data/orders@0.2.0`, which is another version\n  help: versions fit that are equal, or have the same major version (below 1.0: the same minor version) and are no pre-releases: build both against one",
            "component `data` does not export `shop:data/bills@0.1.0`, which `cart` imports: it exports shop:data/orders@0.2.0\n  help: use the component that exports it",
            "component `cart` uses `shop:data/order` of `data`, and does not import it: it imports shop:data/orders@0.1.0, shop:data/bills@0.1.0\n  help: did you mean `shop:data/orders@0.1.0`?",
            "component `cart` uses `a:b/c` of component number 9, which is none",
            "component `data` uses `shop:data/orders` of `data`, and does not import it: it imports nothing outside of wasi:",
        ]
    );
}

#[test]
fn circles_are_shown_as_a_path() {
    let a = world("import shop:data/orders@0.1.0; export shop:data/orders@0.2.0;");
    let b = world("import shop:data/orders@0.2.0; export shop:data/bills@0.1.0;");
    let c = world("import shop:data/bills@0.1.0; export shop:data/orders@0.1.0;");
    let parts = [
        part("a", &a, &[("shop:data/orders", 2)]),
        part("b", &b, &[("shop:data/orders", 0)]),
        part("c", &c, &[("shop:data/bills", 1)]),
    ];
    let messages = messages(compose(&parts, &is_own).unwrap_err());
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("in a circle: a -> c -> b -> a\n"), "{messages:?}");
}

#[test]
fn resources_of_own_interfaces_do_not_cross() {
    let cart = world("import shop:files/files;");
    let data = world("export shop:files/files;");
    let parts = [part("cart", &cart, &[("shop:files/files", 1)]), part("data", &data, &[])];
    let messages = messages(compose(&parts, &is_own).unwrap_err());
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].starts_with(
            "`shop:files/files` passes `descriptor` of `wasi:filesystem/types@0.2.0` from one \
             component to another (`cart` imports it from `data`), and each has a \
             `wasi:filesystem/types@0.2.0` of its own"
        ),
        "{messages:?}"
    );
    // Where they share the interface, they share its resources.
    compose(&parts, &|_| false).unwrap();
}

#[test]
fn what_passes_resources_comes_from_where_they_come_from() {
    let wit = "
        package test:shop;
        world app { import wasi:io/lists; import wasi:io/more; }
        world virtual { export wasi:io/types; export wasi:io/lists; }
        package wasi:io {
            interface types { resource item { get: func(); } }
            interface lists { use types.{item}; all: func() -> list<item>; }
            interface more { use types.{item}; add: func(item: item); }
        }
    ";
    let (app, other) = (component(wit, "app"), component(wit, "virtual"));
    for own in [true, false] {
        let parts = [part("app", &app, &[("wasi:io/lists", 1)]), part("virtual", &other, &[])];
        let messages = messages(compose(&parts, &|name| own && is_own(name)).unwrap_err());
        assert_eq!(
            messages,
            ["component `app` imports `wasi:io/more` of the host, which passes `item` of \
              `wasi:io/types`, which another component serves\n  \
              help: have the same component serve `wasi:io/more` and `wasi:io/types`"]
        );
    }
}

#[test]
fn imports_are_not_taken_for_one_another() {
    let shared = wat::parse_str(
        r#"(component
            (type $store (instance (export "get" (func (result u64)))))
            (import "wasi:config/store@0.2.0" (instance (type $store)))
            (import "wasi:config/other@0.2.0" (instance (type $store))))"#,
    )
    .unwrap();
    for own in [true, false] {
        let composed = compose(&[part("cart", &shared, &[])], &|name| own && is_own(name));
        assert_eq!(
            messages(composed.unwrap_err()),
            ["component `cart` imports `wasi:config/other@0.2.0` with a definition that another \
              import shares\n  help: build it with other tools: wac takes the two for one"]
        );
    }

    let wit = "
        package test:shop;
        world cart { import store: wasi:config/one; import shop:data/orders; }
        world data { import store: wasi:config/other; export shop:data/orders; }
        package wasi:config { interface one { get: func(); } interface other { get: func(); } }
        package shop:data { interface orders { get: func(); } }
    ";
    let (cart, data) = (component(wit, "cart"), component(wit, "data"));
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    assert_eq!(
        messages(compose(&parts, &|_| false).unwrap_err()),
        ["components `cart` and `data` import `store` differently: as `wasi:config/one` and as \
          `wasi:config/other`\n  help: build both against the same WIT"]
    );
    compose(&parts, &is_own).unwrap();
}

#[test]
fn what_would_be_lost_of_an_import_is_refused() {
    let wasm = wat::parse_str(
        r#"(component
            (import "primary" (implements "wasi:config/store@0.2.0") (external-id "main") (instance)))"#,
    )
    .unwrap();
    assert_eq!(
        messages(compose(&[part("cart", &wasm, &[])], &|_| false).unwrap_err()),
        ["component `cart` imports `primary` with an external-id, which would be lost"]
    );
    let composed = compose(&[part("cart", &wasm, &[])], &is_own).unwrap();
    assert_eq!(composed.own[0].external_id.as_deref(), Some("main"));
}
