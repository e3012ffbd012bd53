//! Without sockets: what an instance and a request cost. `cargo xtask bench in-process`.

use criterion::{Criterion, criterion_group, criterion_main};
use dhow_bench::{FRESH, HELLO_P2, HELLO_P3, Live, REUSED};
use tokio::runtime;

fn benchmarks(criterion: &mut Criterion) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, path) in [("hello 0.3", HELLO_P3), ("hello 0.2", HELLO_P2)] {
        let live = Live::new(path, FRESH);
        let warm = Live::new(path, REUSED);
        let mut group = criterion.benchmark_group(name);
        // The floor: a store, an instance, and both dropped.
        group.bench_function("instantiate", |bencher| {
            bencher.to_async(&runtime).iter(|| live.instantiate());
        });
        group.bench_function("cold request", |bencher| {
            bencher.to_async(&runtime).iter(|| live.request());
        });
        group.bench_function("warm request", |bencher| {
            bencher.to_async(&runtime).iter(|| warm.request());
        });
        group.finish();
    }
}

criterion_group!(in_process, benchmarks);
criterion_main!(in_process);
