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
