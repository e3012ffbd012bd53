use wasmtime::{
    Engine, Store,
    component::{Component, Instance, Linker, TypedFunc},
};

use super::*;

/// The type of what one component asks of the other, and what it exports itself.
const STORE: &str = r#"
    (export "same" (func (param "bytes" (list u8)) (result (list u8))))
    (export "pick" (func
        (param "text" string) (param "first" (list u8)) (param "which" u64)
        (param "second" (list u8)) (result (option (list u8)))))
    (export "check" (func
        (param "bytes" (list u8)) (result (result (list u8) (error (tuple u64 string))))))
    (export "sum" (func (param "first" (list u8)) (param "second" (list u8)) (result u64)))
    (export "returned" (func (result u32)))
"#;

/// Memory, and an allocator that gives what may be anywhere an odd address if it was told so.
const MEMORY: &str = r#"
    (memory (export "memory") 64)
    (global $next (mut i32) (i32.const 1024))
    (global $odd (export "odd") (mut i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $new i32)
        (local.set $new (i32.and
            (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
        (if (i32.eq (local.get 2) (i32.const 1))
            (then (local.set $new (i32.add
                (i32.and (i32.add (local.get $new) (i32.const 1)) (i32.const -2))
                (global.get $odd)))))
        (global.set $next (i32.add (local.get $new) (local.get 3)))
        (local.get $new))
    (func (export "set-odd") (param i32) (global.set $odd (local.get 0)))
"#;

/// Lifts the functions of `STORE`.
const LIFTED: &str = r#"
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
    (func $same (param "bytes" (list u8)) (result (list u8))
        (canon lift (core func $i "same") (memory $memory) (realloc $realloc)
            (post-return (core func $i "return"))))
    (func $pick
        (param "text" string) (param "first" (list u8)) (param "which" u64)
        (param "second" (list u8)) (result (option (list u8)))
        (canon lift (core func $i "pick") (memory $memory) (realloc $realloc)
            (post-return (core func $i "return"))))
    (func $check (param "bytes" (list u8)) (result (result (list u8) (error (tuple u64 string))))
        (canon lift (core func $i "check") (memory $memory) (realloc $realloc)))
    (func $sum (param "first" (list u8)) (param "second" (list u8)) (result u64)
        (canon lift (core func $i "sum") (memory $memory) (realloc $realloc)))
    (func $returned (result u32) (canon lift (core func $i "returned")))
    (func $set-odd (param "is" u32) (canon lift (core func $i "set-odd")))
"#;

/// The functions of `STORE`.
const ANSWERS: &str = r#"
    (global $returned (mut i32) (i32.const 0))
    (data (i32.const 128) "nothing")
    (func (export "same") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0))
        (i32.store (i32.const 20) (local.get 1))
        (i32.const 16))
    (func (export "pick") (param i32 i32 i32 i32 i64 i32 i32) (result i32)
        (i32.store8 (i32.const 32) (i32.const 1))
        (if (i64.eqz (local.get 4)) (then (i32.store8 (i32.const 32) (i32.const 0))))
        (if (i64.eq (local.get 4) (i64.const 1)) (then
            (i32.store (i32.const 36) (local.get 2))
            (i32.store (i32.const 40) (local.get 3))))
        (if (i64.eq (local.get 4) (i64.const 2)) (then
            (i32.store (i32.const 36) (local.get 5))
            (i32.store (i32.const 40) (local.get 6))))
        ;; The text is what is given where there is no such.
        (if (i64.eq (local.get 4) (i64.const 3)) (then
            (i32.store (i32.const 36) (local.get 0))
            (i32.store (i32.const 40) (local.get 1))))
        (i32.const 32))
    (func (export "check") (param i32 i32) (result i32)
        (if (local.get 1)
            (then
                (i32.store8 (i32.const 48) (i32.const 0))
                (i32.store (i32.const 56) (local.get 0))
                (i32.store (i32.const 60) (local.get 1)))
            (else
                (i32.store8 (i32.const 48) (i32.const 1))
                (i64.store (i32.const 56) (i64.const 7))
                (i32.store (i32.const 64) (i32.const 128))
                (i32.store (i32.const 68) (i32.const 7))))
        (i32.const 48))
    (func $add (param i32 i32) (result i64)
        (local $sum i64)
        (block (loop
            (br_if 1 (i32.eqz (local.get 1)))
            (local.set $sum (i64.add
                (i64.mul (local.get $sum) (i64.const 31))
                (i64.load8_u (local.get 0))))
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
            (br 0)))
        (local.get $sum))
    (func (export "sum") (param i32 i32 i32 i32) (result i64)
        (i64.sub (call $add (local.get 0) (local.get 1))
            (call $add (local.get 2) (local.get 3))))
    (func (export "return") (param i32)
        (global.set $returned (i32.add (global.get $returned) (i32.const 1))))
    (func (export "returned") (result i32) (global.get $returned))
"#;

/// It is asked.
fn exporter() -> Vec<u8> {
    let text = format!(
        r#"(component
        (core module $m {MEMORY} {ANSWERS})
        (core instance $i (instantiate $m))
        {LIFTED}
        (instance $store
            (export "same" (func $same)) (export "pick" (func $pick))
            (export "check" (func $check)) (export "sum" (func $sum))
            (export "returned" (func $returned)) (export "set-odd" (func $set-odd)))
        (export "test:bytes/store" (instance $store)))"#
    );
    wat::parse_str(text).unwrap()
}

/// It asks what it is asked.
fn importer() -> Vec<u8> {
    let text = format!(
        r#"(component
        (import "test:bytes/store" (instance $store {STORE}
            (export "set-odd" (func (param "is" u32)))))
        (core module $memory {MEMORY})
        (core instance $m (instantiate $memory))
        (core module $main
            (import "m" "memory" (memory 1))
            (import "m" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
            (import "m" "set-odd" (func $set-odd (param i32)))
            (import "s" "same" (func $same (param i32 i32 i32)))
            (import "s" "pick" (func $pick (param i32 i32 i32 i32 i64 i32 i32 i32)))
            (import "s" "check" (func $check (param i32 i32 i32)))
            (import "s" "sum" (func $sum (param i32 i32 i32 i32) (result i64)))
            (import "s" "returned" (func $returned (result i32)))
            (import "s" "set-odd" (func $other (param i32)))
            (export "memory" (memory 0))
            (export "realloc" (func $realloc))
            (func (export "same") (param i32 i32) (result i32)
                (call $same (local.get 0) (local.get 1) (i32.const 16))
                (i32.const 16))
            (func (export "pick") (param i32 i32 i32 i32 i64 i32 i32) (result i32)
                (call $pick (local.get 0) (local.get 1) (local.get 2) (local.get 3)
                    (local.get 4) (local.get 5) (local.get 6) (i32.const 32))
                (i32.const 32))
            (func (export "check") (param i32 i32) (result i32)
                (call $check (local.get 0) (local.get 1) (i32.const 48))
                (i32.const 48))
            (func (export "sum") (param i32 i32 i32 i32) (result i64)
                (call $sum (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
            (func (export "return") (param i32))
            (func (export "returned") (result i32) (call $returned))
            ;; Of this one, and of the other.
            (func (export "set-odd") (param i32)
                (call $set-odd (i32.and (local.get 0) (i32.const 1)))
                (call $other (i32.shr_u (local.get 0) (i32.const 1)))))
        (alias core export $m "memory" (core memory $own))
        (alias core export $m "realloc" (core func $allocate))
        (core func $same' (canon lower (func $store "same") (memory $own) (realloc $allocate)))
        (core func $pick' (canon lower (func $store "pick") (memory $own) (realloc $allocate)))
        (core func $check' (canon lower (func $store "check") (memory $own) (realloc $allocate)))
        (core func $sum' (canon lower (func $store "sum") (memory $own)))
        (core func $returned' (canon lower (func $store "returned")))
        (core func $set-odd' (canon lower (func $store "set-odd")))
        (core instance $s
            (export "same" (func $same')) (export "pick" (func $pick'))
            (export "check" (func $check')) (export "sum" (func $sum'))
            (export "returned" (func $returned')) (export "set-odd" (func $set-odd')))
        (core instance $i
            (instantiate $main (with "m" (instance $m)) (with "s" (instance $s))))
        {LIFTED}
        (export "same" (func $same)) (export "pick" (func $pick)) (export "check" (func $check))
        (export "sum" (func $sum)) (export "returned" (func $returned))
        (export "set-odd" (func $set-odd)))"#
    );
    wat::parse_str(text).unwrap()
}

/// The composed component, which runs.
struct Running {
    store: Store<()>,
    instance: Instance,
}

impl Running {
    fn start(wasm: &[u8]) -> Self {
        let engine = Engine::default();
        let component = Component::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        Self { store, instance }
    }

    fn call<Params, Result>(&mut self, function: &str, params: Params) -> Result
    where
        Params: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        Result: wasmtime::component::Lift + 'static,
        (Result,): wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let function: TypedFunc<Params, (Result,)> =
            self.instance.get_typed_func(&mut self.store, function).unwrap();
        function.call(&mut self.store, params).unwrap().0
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

#[test]
fn bytes_arrive_as_they_are_wherever_they_lie() {
    let (asks, answers) = (importer(), exporter());
    let parts = [part("asks", &asks, &[("test:bytes/store", 1)]), part("answers", &answers, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let has = |name: &str| composed.wasm.windows(name.len()).any(|it| it == name.as_bytes());
    for name in ["dhow:bytes/", "put-text", "take-text", "call-sum", "get-check", "done-pick"] {
        assert!(has(name), "{name}");
    }
    // Nobody has to know what `check` returned, and nothing of it is passed.
    assert!(!has("done-check") && !has("call-returned"));
    let (imports, exports) = names(&composed);
    assert_eq!(imports, [""; 0]);
    assert_eq!(exports, ["same", "pick", "check", "sum", "returned", "set-odd"]);

    for odd in 0..4_u32 {
        for size in [0, 1, 63, 64, 65, 1000, 100_003] {
            let mut running = Running::start(&composed.wasm);
            let set_odd: TypedFunc<(u32,), ()> =
                running.instance.get_typed_func(&mut running.store, "set-odd").unwrap();
            set_odd.call(&mut running.store, (odd,)).unwrap();
            let first: Vec<u8> = (0..size).map(|number: u32| (number % 251) as u8).collect();
            let second: Vec<u8> = first.iter().rev().map(|byte| !byte).collect();
            let case = format!("{size} bytes, odd {odd}");

            let same: Vec<u8> = running.call("same", (&first[..],));
            assert!(same == first, "{case}");
            let texts = "text beyond Latin-1: ☃";
            for (which, expected) in
                [None, Some(&first[..]), Some(&second[..]), Some(texts.as_bytes())]
                    .into_iter()
                    .enumerate()
            {
                let params = (texts, &first[..], which as u64, &second[..]);
                let picked: Option<Vec<u8>> = running.call("pick", params);
                assert!(picked.as_deref() == expected, "{case}, {which}");
            }
            let checked: Result<Vec<u8>, (u64, String)> = running.call("check", (&second[..],));
            match size {
                0 => assert_eq!(checked, Err((7, "nothing".to_owned())), "{case}"),
                _ => assert!(checked.as_ref() == Ok(&second), "{case}"),
            }
            let difference: u64 = running.call("sum", (&first[..], &second[..]));
            assert_eq!(difference, sum(&first).wrapping_sub(sum(&second)), "{case}");
            assert_eq!(running.call::<_, u32>("returned", ()), 5, "{case}");
        }
    }
}

/// What tools make of interfaces, with types that have names.
const NAMED: &str = r#"
    package test:shop;
    world cart { import shop:data/blobs; export shop:front/page; }
    world data { export shop:data/blobs; }
    package shop:data {
        interface blobs {
            enum colour { red, other }
            flags rights { read, write }
            record key { id: u64, colour: colour, rights: rights }
            variant error { missing(key), refused(string), broken }
            resource shelf { put: func(bytes: list<u8>); }

            put: func(key: key, bytes: list<u8>) -> result<u32, error>;
            get: func(key: key) -> result<list<u8>, error>;
            later: async func(bytes: list<u8>) -> u32;
            count: func() -> u64;
            many: func(all: list<list<u8>>) -> u64;
        }
    }
    package shop:front { interface page { get: func(); } }
"#;

#[test]
fn functions_keep_types_that_have_names() {
    let (cart, data) = (component(NAMED, "cart"), component(NAMED, "data"));
    let parts = [part("cart", &cart, &[("shop:data/blobs", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let has = |name: &str| composed.wasm.windows(name.len()).any(|it| it == name.as_bytes());
    assert!(has("call-put") && has("call-get") && has("get-get") && has("done-get"));
    // Resources, asynchronous functions, and what has no bytes by themselves, stay as they are.
    assert!(!has("shelf.put-text") && !has("call-later") && !has("call-count"));
    assert!(!has("call-many") && !has("call-[method]"));
    assert_eq!(compose(&parts, &is_own).unwrap().wasm, composed.wasm);
}

#[test]
fn what_is_too_much_stays_as_it_is() {
    let functions: String =
        (0..300).map(|number| format!("do{number}: func(bytes: list<u8>);")).collect();
    let wide = vec!["u8"; 300].join(", ");
    let wit = format!(
        "package test:shop;
         world cart {{ import shop:data/blobs; export shop:front/page; }}
         world data {{ export shop:data/blobs; }}
         package shop:data {{
             interface blobs {{
                 wide: func(bytes: list<u8>, others: list<tuple<{wide}>>);
                 {functions}
             }}
         }}
         package shop:front {{ interface page {{ get: func(); }} }}"
    );
    let (cart, data) = (component(&wit, "cart"), component(&wit, "data"));
    let parts = [part("cart", &cart, &[("shop:data/blobs", 1)]), part("data", &data, &[])];
    let composed = compose(&parts, &is_own).unwrap();
    let has = |name: &str| composed.wasm.windows(name.len()).any(|it| it == name.as_bytes());
    let handed_over = (0..300).filter(|number| has(&format!("call-do{number}"))).count();
    assert!(handed_over == 256 && !has("call-wide"), "{handed_over}");
}
