//! Without sockets: what instances, requests, calls and streams cost.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput};
use tokio::runtime::{Builder, Runtime};
use wasmtime::{Config, Engine, Instance, Module, Store};

use crate::live::{FRESH, HELLO_P2, HELLO_P3, Live, REUSED, SHARED};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn requests(criterion: &mut Criterion) {
    let runtime = runtime();
    for (name, path) in [("hello 0.3", HELLO_P3), ("hello 0.2", HELLO_P2)] {
        let mut group = criterion.benchmark_group(name);
        let fresh = Live::new(path, FRESH).expect("it links");
        // The floor: a store, an instance, and both dropped.
        group.bench_function("instantiate", |bencher| {
            bencher.to_async(&runtime).iter(|| fresh.instantiate());
        });
        group.bench_function("cold request", |bencher| {
            bencher.to_async(&runtime).iter(|| fresh.request("/"));
        });
        let reused = Live::new(path, REUSED).expect("it links");
        group.bench_function("warm request", |bencher| {
            bencher.to_async(&runtime).iter(|| reused.request("/"));
        });
        if path == HELLO_P3 {
            let shared = Live::new(path, SHARED).expect("it links");
            group.bench_function("warm request, shared", |bencher| {
                bencher.to_async(&runtime).iter(|| shared.request("/"));
            });
        }
        group.finish();
    }
}

const CALLS: u64 = 10_000;
const BY_NAME: u64 = 1_000;
const BYTES: u64 = 64 << 20;

/// One component calls another of its app. Each figure is of a whole request, whose own cost is
/// small beside so many calls and bytes.
fn joined(criterion: &mut Criterion) {
    let runtime = runtime();
    let live = Arc::new(Live::joined().expect("they fit"));
    let mut group = criterion.benchmark_group("between components");
    group.sample_size(20);
    let mut bench = |name: &str, path: String, throughput: Throughput| {
        group.throughput(throughput);
        let path: Arc<str> = path.into();
        group.bench_function(name, |bencher| {
            // In a task, as a server has it: what the runtime itself waits for is woken by the system.
            bencher.to_async(&runtime).iter(|| {
                let (live, path) = (live.clone(), path.clone());
                async {
                    tokio::spawn(async move { live.request(&path).await }).await.expect("an answer")
                }
            });
        });
    };
    let calls = Throughput::Elements(CALLS);
    bench("own function", format!("/inside/add/{CALLS}"), calls.clone());
    bench("call", format!("/add/{CALLS}"), calls.clone());
    bench("async call", format!("/add-later/{CALLS}"), calls);
    let by_name = Throughput::Elements(BY_NAME);
    bench("call by name", format!("/by-name/{BY_NAME}/hello"), by_name);
    for (name, size) in [("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let (times, throughput) = (BYTES / size, Throughput::Bytes(BYTES));
        let path = format!("/length/{times}/{size}");
        bench(
            &format!("own function, list of {name}"),
            format!("/inside{path}"),
            throughput.clone(),
        );
        bench(&format!("list of {name}"), path, throughput);
        let path = format!("/after/{times}/{size}");
        bench(&format!("list of {name} and back"), path, Throughput::Bytes(2 * BYTES));
    }
    for (name, piece) in [("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let throughput = Throughput::Bytes(BYTES);
        bench(&format!("stream, {name}"), format!("/produce/{BYTES}/{piece}"), throughput.clone());
        bench(&format!("body to the host, {name}"), format!("/body/{BYTES}/{piece}"), throughput);
    }
    // Who has room for several pieces is called once for all that were written meanwhile.
    let path = format!("/produce/{BYTES}/{}/{}", 64 << 10, 256 << 10);
    bench("stream, 64 KiB, read by 256 KiB", path, Throughput::Bytes(BYTES));
    // What the streams are held against: as many bytes, in pieces that do not fit a cache either.
    let source = vec![7u8; BYTES as usize];
    let mut target = vec![0u8; 1 << 20];
    group.throughput(Throughput::Bytes(BYTES));
    group.bench_function("memcpy, 1 MiB", |bencher| {
        bencher.iter(|| {
            for piece in source.chunks(1 << 20) {
                target.copy_from_slice(black_box(piece));
                black_box(&mut target);
            }
        });
    });
    let mut target = vec![0u8; 64 << 10];
    group.bench_function("memcpy, 64 KiB", |bencher| {
        bencher.iter(|| {
            for _ in 0..BYTES >> 16 {
                target.copy_from_slice(black_box(&source[..64 << 10]));
                black_box(&mut target);
            }
        });
    });
    group.finish();
}

/// What interrupting guests costs a loop that does nothing else.
fn epochs(criterion: &mut Criterion) {
    const LOOP: &str = r#"(module (func (export "run") (param i32) (result i32) (local $sum i32)
        (loop $again
            (local.set $sum (i32.xor (i32.mul (local.get $sum) (i32.const 31)) (local.get 0)))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get $sum)))"#;
    let mut group = criterion.benchmark_group("a million turns of a loop");
    for (name, is_interrupted) in [("without epochs", false), ("with epochs", true)] {
        let mut config = Config::new();
        config.epoch_interruption(is_interrupted);
        let engine = Engine::new(&config).expect("wasmtime runs here");
        let wasm = wat::parse_str(LOOP).expect("the text above");
        let module = Module::new(&engine, wasm).expect("it is valid");
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").expect("exported");
        group.bench_function(name, |bencher| {
            bencher.iter(|| run.call(&mut store, 1_000_000).expect("no trap"));
        });
    }
    group.finish();
}

/// Measures all of it, or what has `filter` in its name; criterion keeps what it finds in target/criterion.
pub fn run(filter: Option<&str>) {
    let mut criterion = Criterion::default();
    if let Some(filter) = filter {
        criterion = criterion.with_filter(filter);
    }
    requests(&mut criterion);
    joined(&mut criterion);
    epochs(&mut criterion);
    criterion.final_summary();
}
