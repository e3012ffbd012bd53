//! A host in this process: what a request costs without sockets.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path, sync::Arc};

use dhow_capabilities::{Capabilities, GuestOutput, Stream};
use dhow_engine::{Engine, Instances, Options};
use dhow_host::{Body, Host, Invocation, LiveComponent, RequestId, Settings};
use dhow_manifest::{App, Name};
use dhow_package::Artifact;
use http_body_util::{BodyExt as _, Empty};

/// The same as that of `dhow`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The hello of WASI 0.3, from the root of the repository.
pub const HELLO_P3: &str = "examples/hello/target/wasm32-wasip2/release/hello.wasm";
/// The hello of WASI 0.2.
pub const HELLO_P2: &str = "target/guests/wasm32-wasip2/release/hello_p2.wasm";

/// An instance for each request.
pub const FRESH: &str = "'fresh'";
/// An instance for a thousand, one at a time.
pub const REUSED: &str = "'reused'";
/// The same for eight at a time.
pub const SHARED: &str = "{ calls = 8 }";

/// One component, live on a host of its own.
pub struct Live {
    host: Host,
    component: Arc<LiveComponent>,
}

struct Nowhere;

impl GuestOutput for Nowhere {
    fn line(&self, _: &Name, _: Stream, _: &[u8]) {}
}

impl Live {
    /// The component at `path`, which is relative to the root of the repository, with `instances`
    /// as in a manifest.
    ///
    /// # Panics
    /// When it was not built, or does not link.
    pub fn new(path: &str, instances: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let options = Options {
            code_cache: None,
            instances: Instances::Pooled(NonZeroU32::new(4)),
            compiler: None,
        };
        let engine = Engine::new(&options).expect("wasmtime runs here");
        let host =
            Host::new(engine, Capabilities::new(Arc::new(Nowhere), |_| None), Settings::default());
        let name = Name::new("hello").expect("a name");
        let manifest = format!(
            "name = 'hello'\n[component.hello]\nsource = 'hello.wasm'\ninstances = {instances}"
        );
        let app = App::parse("dhow.toml", &manifest).expect("a manifest");
        let artifact = Artifact::read(&path).expect("built by cargo xtask guests");
        let linked = host.link(app, &BTreeMap::from([(name, artifact)])).expect("it links");
        host.deploy(linked);
        let component = host.live().expect("deployed").route("/").expect("every path").clone();
        Self { host, component }
    }

    /// A store, an instance, and both dropped: the floor that requests are held against.
    pub async fn instantiate(&self) {
        self.host.instantiate(&self.component).await.expect("an instance");
    }

    /// A request, and all of its response.
    pub async fn request(&self) {
        let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request =
            http::Request::builder().uri("http://localhost/").body(body).expect("a request");
        let invocation =
            Invocation { id: RequestId::next(), component: self.component.clone(), request };
        let response = self.host.dispatch(invocation).await.expect("an answer");
        let body = response.into_body().collect().await.expect("all of it");
        assert!(!body.to_bytes().is_empty());
    }
}
