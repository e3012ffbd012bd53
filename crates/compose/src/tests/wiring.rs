use super::*;

/// Components of a shop: both keep something, and the cart asks the data for orders.
const SHOP: &str = r#"
    package test:shop;

    world cart {
        import wasi:keyvalue/store@0.2.0-draft2;
        import wasi:keyvalue/batch@0.2.0-draft2;
        import shop:data/orders@0.1.0;
        export shop:front/page@0.1.0;
    }
    world data {
        import wasi:keyvalue/store@0.2.0-draft2;
        export shop:data/orders@0.1.3;
    }

    package wasi:keyvalue@0.2.0-draft2 {
        interface store {
            resource bucket { get: func(key: string) -> option<list<u8>>; }
            open: func(name: string) -> bucket;
        }
        interface batch {
            use store.{bucket};
            get-many: func(bucket: borrow<bucket>, keys: list<string>) -> list<string>;
        }
    }
    package shop:data@0.1.0 {
        interface orders {
            record order { id: u64, total: u32 }
            get: func(id: u64) -> option<order>;
        }
    }
    package shop:data@0.1.3 {
        interface orders {
            record order { id: u64, total: u32 }
            get: func(id: u64) -> option<order>;
            count: func() -> u64;
        }
    }
    package shop:front@0.1.0 {
        interface page { get: func() -> string; }
    }
"#;

#[test]
fn each_part_keeps_imports_of_its_own() {
    let (cart, data) = (component(SHOP, "cart"), component(SHOP, "data"));
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let (imports, exports) = names(&composed);
    assert_eq!(
        imports,
        [
            "cart:wasi-keyvalue/store@0.2.0-draft2",
            "cart:wasi-keyvalue/batch@0.2.0-draft2",
            "data:wasi-keyvalue/store@0.2.0-draft2",
        ]
    );
    assert_eq!(exports, ["shop:front/page@0.1.0"]);
    let own: Vec<_> = composed
        .own
        .iter()
        .map(|own| (own.part, own.interface.as_str(), own.name.as_str()))
        .collect();
    assert_eq!(
        own,
        [
            (0, "wasi:keyvalue/store@0.2.0-draft2", "cart:wasi-keyvalue/store@0.2.0-draft2"),
            (0, "wasi:keyvalue/batch@0.2.0-draft2", "cart:wasi-keyvalue/batch@0.2.0-draft2"),
            (1, "wasi:keyvalue/store@0.2.0-draft2", "data:wasi-keyvalue/store@0.2.0-draft2"),
        ]
    );
    assert_eq!(compose(&parts, &is_own).unwrap().wasm, composed.wasm);
}

#[test]
fn imports_are_merged_where_none_is_own() {
    let (cart, data) = (component(SHOP, "cart"), component(SHOP, "data"));
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &|_| false).unwrap();
    assert!(composed.own.is_empty());
    let (imports, _) = names(&composed);
    assert_eq!(imports, ["wasi:keyvalue/store@0.2.0-draft2", "wasi:keyvalue/batch@0.2.0-draft2"]);
}

#[test]
fn values_of_own_interfaces_cross() {
    let wit = r#"
        package test:shop;
        world cart { import wasi:sockets/types@0.3.0; import shop:net/hosts; export shop:front/page; }
        world data { import wasi:sockets/types@0.3.0; export shop:net/hosts; }
        package wasi:sockets@0.3.0 {
            interface types {
                enum family { ipv4, ipv6 }
                variant address { v4(tuple<u8, u8>), named(string) }
                record host { family: family, address: address }
                resource socket { bind: func(host: host); }
            }
        }
        package shop:net {
            interface hosts {
                use wasi:sockets/types@0.3.0.{family, host};
                find: func(family: family) -> list<host>;
            }
        }
        package shop:front { interface page { get: func(); } }
    "#;
    let (cart, data) = (component(wit, "cart"), component(wit, "data"));
    let parts = [part("cart", &cart, &[("shop:net/hosts", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let (imports, _) = names(&composed);
    assert_eq!(imports, ["cart:wasi-sockets/types@0.3.0", "data:wasi-sockets/types@0.3.0"]);
}

/// Parts that use what others export, in which types come from an interface of their own.
const TYPES: &str = r#"
    package test:shop;
    world cart { import shop:data/orders@0.1.0; import shop:data/bills@0.1.0; export shop:front/page; }
    world bills { import shop:data/orders@0.1.0; export shop:data/bills@0.1.0; }
    world data { export shop:data/types@0.1.0; export shop:data/orders@0.1.0; }
    world only-orders { export shop:data/orders@0.1.0; }
    package shop:data@0.1.0 {
        interface types {
            record order { id: u64 }
            resource cursor { next: func() -> option<order>; }
        }
        interface orders { use types.{order, cursor}; all: func() -> cursor; get: func() -> order; }
        interface bills { use types.{order}; pay: func(order: order); }
    }
    package shop:front { interface page { get: func(); } }
"#;

#[test]
fn types_come_from_where_the_interface_comes_from() {
    let cart = component(TYPES, "cart");
    let (bills, data) = (component(TYPES, "bills"), component(TYPES, "data"));
    let parts = [
        part("cart", &cart, &[("shop:data/orders", 2), ("shop:data/bills", 1)]),
        part("bills", &bills, &[("shop:data/orders", 2)]),
        part("data", &data, &[]),
    ];
    for own in [true, false] {
        let composed = compose(&parts, &|name| own && is_own(name)).unwrap();
        assert_eq!(names(&composed).0, <[&str; 0]>::default());
    }
}

#[test]
fn what_is_imported_for_its_types_alone_is_merged() {
    let cart = component(TYPES, "cart");
    let (bills, data) = (component(TYPES, "bills"), component(TYPES, "only-orders"));
    let parts = [
        part("cart", &cart, &[("shop:data/orders", 2), ("shop:data/bills", 1)]),
        part("bills", &bills, &[("shop:data/orders", 2)]),
        part("data", &data, &[]),
    ];
    let composed = compose(&parts, &is_own).unwrap();
    assert_eq!(names(&composed).0, ["shop:data/types@0.1.0"]);
}

/// A chain of middleware.
const CHAIN: &str = r#"
    package test:chain;
    world auth { import wasi:http/handler@0.3.0; import wasi:http/client@0.3.0; export wasi:http/handler@0.3.0; }
    world app { import wasi:http/client@0.3.2; export wasi:http/handler@0.3.2; }
    package wasi:http@0.3.0 {
        interface types {
            use wasi:clocks/types@0.3.0.{duration};
            enum error-code { timeout }
            resource request { constructor(); timeout: func() -> duration; }
            resource response { constructor(); }
        }
        interface handler {
            use types.{request, response, error-code};
            handle: async func(request: request) -> result<response, error-code>;
        }
        interface client {
            use types.{request, response, error-code};
            send: async func(request: request) -> result<response, error-code>;
        }
    }
    package wasi:http@0.3.2 {
        interface types {
            use wasi:clocks/types@0.3.2.{duration};
            enum error-code { timeout }
            resource request { constructor(); timeout: func() -> duration; later: func(); }
            resource response { constructor(); }
            resource trailers { constructor(); }
        }
        interface handler {
            use types.{request, response, error-code};
            handle: async func(request: request) -> result<response, error-code>;
        }
        interface client {
            use types.{request, response, error-code, trailers};
            send: async func(request: request) -> result<response, error-code>;
            trail: async func(request: request) -> trailers;
        }
    }
    package wasi:clocks@0.3.0 { interface types { type duration = u64; } }
    package wasi:clocks@0.3.2 { interface types { type duration = u64; type later = u64; } }
"#;

#[test]
fn middleware_is_a_chain() {
    let (auth, app) = (component(CHAIN, "auth"), component(CHAIN, "app"));
    let parts = [
        part("auth", &auth, &[("wasi:http/handler", 1)]),
        part("log", &auth, &[("wasi:http/handler", 2)]),
        part("app", &app, &[]),
    ];
    let shared =
        |name: &str| name.starts_with("wasi:http/types") || name.starts_with("wasi:clocks");
    let composed = compose(&parts, &|name| !shared(name)).unwrap();
    let (imports, exports) = names(&composed);
    assert_eq!(
        imports,
        [
            "wasi:clocks/types@0.3.2",
            "wasi:http/types@0.3.2",
            "auth:wasi-http/client@0.3.0",
            "log:wasi-http/client@0.3.0",
            "app:wasi-http/client@0.3.2"
        ]
    );
    assert_eq!(exports, ["wasi:http/handler@0.3.0"]);
    assert_eq!(compose(&parts, &|name| !shared(name)).unwrap().wasm, composed.wasm);
    let (imports, _) = names(&compose(&parts, &|_| false).unwrap());
    assert_eq!(
        imports,
        ["wasi:clocks/types@0.3.2", "wasi:http/types@0.3.2", "wasi:http/client@0.3.2"]
    );
}

#[test]
fn versions_of_an_own_interface_stay_apart() {
    let one = wat::parse_str(
        r#"(component
            (import "wasi:random/random@0.2.0" (instance (export "get" (func (result u64)))))
            (import "wasi:random/random@0.2.6" (instance (export "get" (func (result u64))))))"#,
    )
    .unwrap();
    let composed = compose(&[part("wasi", &one, &[])], &is_own).unwrap();
    let (imports, _) = names(&composed);
    assert_eq!(imports, ["wasi:wasi-random/random@0.2.0", "wasi-z-own:wasi-random/random@0.2.6"]);
    assert_eq!(composed.own[1].interface, "wasi:random/random@0.2.6");
    let (imports, _) = names(&compose(&[part("wasi", &one, &[])], &|_| false).unwrap());
    assert_eq!(imports, ["wasi:random/random@0.2.6"]);
}

#[test]
fn components_may_be_named_like_namespaces() {
    let wasm = wat::parse_str(
        r#"(component
            (import "key:value/key-value@0.1.0" (instance (export "get" (func))))
            (import "spin:key-value/key-value@0.1.3" (instance (export "get" (func)))))"#,
    )
    .unwrap();
    let composed = compose(&[part("spin", &wasm, &[])], &|name| name.starts_with("key:")).unwrap();
    let (imports, _) = names(&composed);
    assert_eq!(imports, ["spin-z-own:key-value/key-value@0.1.0", "spin:key-value/key-value@0.1.3"]);
}

#[test]
fn imports_by_label_are_own_as_what_they_implement() {
    let wit = r#"
        package test:shop;
        world cart {
            import primary: wasi:keyvalue/store@0.3.1;
            import second-one: wasi:keyvalue/store@0.3.1;
            import orders: shop:data/orders;
            export shop:front/page;
        }
        world data { import primary: wasi:keyvalue/store@0.3.1; export shop:data/orders; }
        package wasi:keyvalue@0.3.1 {
            interface store {
                resource bucket { get: func(key: string) -> option<string>; }
                open: func() -> bucket;
            }
        }
        package shop:data { interface orders { get: func(); } }
        package shop:front { interface page { get: func(); } }
    "#;
    let (cart, data) = (component(wit, "cart"), component(wit, "data"));
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let (imports, _) = names(&composed);
    assert_eq!(
        imports,
        ["cart:primary/store@0.3.1", "cart:second-z-one/store@0.3.1", "data:primary/store@0.3.1"]
    );
    let own = &composed.own[1];
    assert_eq!(own.label.as_deref(), Some("second-one"));
    assert_eq!(own.interface, "wasi:keyvalue/store@0.3.1");
    // Labels are the component's own affair, and still merged like all imports of one name.
    let merged = compose(&parts, &|_| false).unwrap();
    let surface = Surface::of(&merged.wasm).unwrap();
    let imports: Vec<_> =
        surface.imports.iter().map(|it| (it.name.as_str(), it.implements.as_deref())).collect();
    let store = Some("wasi:keyvalue/store@0.3.1");
    assert_eq!(imports, [("primary", store), ("second-one", store)]);

    let cart = component(
        &wit.replace("export shop:front/page;", "export main: shop:data/orders;"),
        "cart",
    );
    let parts = [part("cart", &cart, &[("shop:data/orders", 1)]), part("data", &data, &[])];
    let surface = Surface::of(&compose(&parts, &is_own).unwrap().wasm).unwrap();
    assert_eq!(surface.exports[0].label(), Some("main"));
    assert_eq!(surface.exports[0].interface(), "shop:data/orders");
}

#[test]
fn nobody_can_ask_for_what_is_anothers_own() {
    let (cart, data) = (component(SHOP, "cart"), component(SHOP, "data"));
    let name = "cart:wasi-keyvalue/store@0.2.0-draft2";
    let thief = wat::parse_str(format!(
        r#"(component (import "{name}" (instance)) (import "shop:front/page@0.1.0" (instance)))"#
    ))
    .unwrap();
    let parts = [
        part("thief", &thief, &[("shop:front/page", 1)]),
        part("cart", &cart, &[("shop:data/orders", 2)]),
        part("data", &data, &[]),
    ];
    let composed = compose(&parts, &is_own).unwrap();
    assert!(names(&composed).0.iter().any(|import| import == name));
    assert!(composed.own.iter().all(|own| own.name != name));
    assert_eq!(composed.own[0].name, "cart-z-own:wasi-keyvalue/store@0.2.0-draft2");
}
