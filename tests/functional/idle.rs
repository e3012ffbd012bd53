//! Scale to zero: what is not called holds no code, and comes back with the next request.

use std::{
    collections::BTreeMap, fs, num::NonZeroU32, ops::Deref, path::Path, sync::Arc, time::Duration,
};

use dhow_capabilities::{Author, Backends, Capabilities, GuestOutput, Stream};
use dhow_engine::{Engine, Instances, Options};
use dhow_host::{
    Body, Callee, Failure, Host, Invocation, LiveApp, LoadError, RequestId, ResponseBody, Settings,
    Tenant,
};
use dhow_manifest::{App, Ceilings, Name};
use dhow_package::Artifact;
use dhow_tests::guests::guest;
use http_body_util::{BodyExt as _, Empty};

struct Nowhere;

impl GuestOutput for Nowhere {
    fn line(&self, _: &Author, _: Stream, _: &[u8]) {}
}

/// A host, and the tenant whose apps are on it.
struct Rig {
    host: Host,
    tenant: Arc<Tenant>,
}

impl Deref for Rig {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

fn host(code_cache: Option<&Path>) -> Rig {
    let options = Options {
        code_cache: code_cache.map(Path::to_owned),
        instances: Instances::Pooled { instances: NonZeroU32::new(4), parts: 1 },
        compiler: None,
        long_step: Options::LONG_STEP,
    };
    let engine = Engine::new(&options).unwrap();
    let host = Host::new(engine, Settings::default());
    let capabilities = Capabilities::new(Arc::new(Nowhere), |_| None, Backends::none());
    let name = Name::new("default").unwrap();
    let tenant = host.tenant(name, capabilities, Ceilings::default(), None).unwrap();
    Rig { host, tenant }
}

fn register(host: &Rig, component: &Path) -> Arc<LiveApp> {
    let name = Name::new("hello").unwrap();
    let app = App::of_component(name.clone(), component.to_owned());
    let artifacts = BTreeMap::from([(name, Artifact::read(component).unwrap())]);
    host.start(host.link(&host.tenant, app, &artifacts).unwrap())
}

async fn send(host: &Host, callee: &Callee) -> Result<http::Response<ResponseBody>, Failure> {
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::builder().uri("http://localhost/").body(body).unwrap();
    let invocation = Invocation { id: RequestId::next(), callee: callee.clone(), request };
    host.dispatch(invocation).await
}

async fn call(host: &Host, callee: &Callee) -> Result<usize, Failure> {
    Ok(send(host, callee).await?.into_body().collect().await.unwrap().to_bytes().len())
}

#[tokio::test]
async fn code_that_is_not_called_is_let_go_of_and_comes_back() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(Some(cache.path()));
    let app = register(&host, &guest("hello-p2"));
    let component = app.route("/").unwrap();
    for _ in 0..3 {
        assert!(call(&host, &component).await.unwrap() > 0);
        assert_eq!(host.loaded(), 1);
        host.sweep(Duration::from_secs(3_600));
        assert!(component.is_loaded(), "it was called a moment ago");
        host.sweep(Duration::ZERO);
        assert!(!component.is_loaded());
        assert_eq!(host.loaded(), 0);
    }
}

#[tokio::test]
async fn a_request_that_is_under_way_keeps_its_code() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(Some(cache.path()));
    let app = register(&host, &guest("echo"));
    let component = app.route("/").unwrap();
    let response = send(&host, &component).await.unwrap();
    host.sweep(Duration::ZERO);
    host.sweep(Duration::ZERO);
    assert!(!component.is_loaded());
    response.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn code_stays_as_long_as_an_instance_waits_for_requests() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(Some(cache.path()));
    let component = guest("hello-p2");
    let manifest = "name = 'hello'\n[component.hello]\nsource = 'hello.wasm'\n\
                    instances = { idle = '50ms' }\n";
    let app = App::parse("dhow.toml", manifest).unwrap();
    let name = Name::new("hello").unwrap();
    let artifacts = BTreeMap::from([(name, Artifact::read(&component).unwrap())]);
    let app = host.start(host.link(&host.tenant, app, &artifacts).unwrap());
    let component = app.route("/").unwrap();
    call(&host, &component).await.unwrap();
    host.sweep(Duration::ZERO);
    host.sweep(Duration::ZERO);
    assert!(component.is_loaded(), "an instance waits");
    tokio::time::sleep(Duration::from_millis(100)).await; // Until its time is over.
    host.sweep(Duration::ZERO);
    assert!(!component.is_loaded());
}

#[tokio::test]
async fn what_is_in_no_cache_stays_loaded() {
    let host = host(None);
    let app = register(&host, &guest("hello-p2"));
    let component = app.route("/").unwrap();
    host.sweep(Duration::ZERO);
    host.sweep(Duration::ZERO);
    assert!(component.is_loaded());
    assert!(call(&host, &component).await.is_ok());
}

#[tokio::test]
async fn lost_code_is_compiled_anew_where_the_component_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let file = folder.path().join("hello.wasm");
    fs::copy(guest("hello-p2"), &file).unwrap();
    let host = host(Some(&cache));
    let app = register(&host, &file);
    let component = app.route("/").unwrap();
    let lose = || {
        host.sweep(Duration::ZERO);
        for entry in fs::read_dir(&cache).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "cwasm") {
                fs::remove_file(path).unwrap();
            }
        }
    };
    lose();
    assert!(call(&host, &component).await.is_ok());

    host.sweep(Duration::ZERO); // It was called: the next sweep lets go of it.
    lose();
    fs::copy(guest("echo"), &file).unwrap();
    let error = call(&host, &component).await.unwrap_err();
    assert!(matches!(error, Failure::Load(LoadError::Lost(_))), "{error}");
}
