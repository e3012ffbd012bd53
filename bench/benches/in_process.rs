//! Without sockets: what an instance and a request cost. `cargo xtask bench in-process`.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use dhow_capabilities::{Capabilities, GuestOutput, Stream};
use dhow_engine::{Engine, Instances, Options};
use dhow_host::{Body, Host, Invocation, LiveComponent, RequestId};
use dhow_manifest::{App, Name};
use dhow_package::Artifact;
use http_body_util::{BodyExt as _, Empty};
use tokio::runtime;

struct Nowhere;

impl GuestOutput for Nowhere {
    fn line(&self, _: &Name, _: Stream, _: &[u8]) {}
}

/// A host on which the component at `path` is live.
fn live(path: &str) -> (Host, Arc<LiveComponent>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let options = Options { code_cache: None, instances: Instances::Pooled(None) };
    let engine = Engine::new(&options).expect("wasmtime runs here");
    let host = Host::new(engine, Capabilities::new(Arc::new(Nowhere), |_| None));
    let name = Name::new("hello").expect("a name");
    let app = App::of_component(name.clone(), path.clone());
    let artifact = Artifact::read(&path).expect("built by cargo xtask guests");
    let linked = host.link(app, &BTreeMap::from([(name, artifact)])).expect("it links");
    host.deploy(linked);
    let component = host.live().expect("deployed").route("/").expect("every path").clone();
    (host, component)
}

async fn request(host: &Host, component: &Arc<LiveComponent>) {
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::builder().uri("http://localhost/").body(body).expect("a request");
    let invocation = Invocation { id: RequestId::next(), component: component.clone(), request };
    let response = host.dispatch(invocation).await.expect("an answer");
    let body = response.into_body().collect().await.expect("all of it");
    assert!(!body.to_bytes().is_empty());
}

fn benchmarks(criterion: &mut Criterion) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, path) in [
        ("hello 0.3", "examples/hello/target/wasm32-wasip2/release/hello.wasm"),
        ("hello 0.2", "target/guests/wasm32-wasip2/release/hello_p2.wasm"),
    ] {
        let (host, component) = live(path);
        let mut group = criterion.benchmark_group(name);
        // The floor: a store, an instance, and both dropped.
        group.bench_function("instantiate", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                host.instantiate(&component).await.expect("an instance");
            });
        });
        group.bench_function("cold request", |bencher| {
            bencher.to_async(&runtime).iter(|| request(&host, &component));
        });
        group.finish();
    }
}

criterion_group!(in_process, benchmarks);
criterion_main!(in_process);
