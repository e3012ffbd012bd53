//! A host in this process: what a request costs without sockets.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use dhow_capabilities::{Author, Backends, Capabilities, GuestOutput, Stream};
use dhow_engine::{Engine, Instances, Options};
use dhow_host::{
    Body, Callee, Failure, Host, Invocation, LinkedApp, RequestId, ResponseBody, Settings, Tenant,
};
use dhow_manifest::{App, Ceilings, Name};
use dhow_package::Artifact;
use http_body_util::{BodyExt as _, Empty};

/// The hello of WASI 0.3, from the root of the repository.
pub const HELLO_P3: &str = "examples/hello/target/wasm32-wasip2/release/hello.wasm";
/// The hello of WASI 0.2.
pub const HELLO_P2: &str = "target/guests/wasm32-wasip2/release/hello_p2.wasm";
/// Two components of which one calls the other.
const CALLS: &str = "target/guests/wasm32-wasip2/measured/calls.wasm";
const CALLEE: &str = "target/guests/wasm32-wasip2/measured/callee.wasm";

/// An instance for each request.
pub const FRESH: &str = "'fresh'";
/// An instance for a thousand, one at a time.
pub const REUSED: &str = "'reused'";
/// The same for eight at a time.
pub const SHARED: &str = "{ calls = 8 }";

/// Enough for one request at a time. callgrind has no address space for many.
const FEW: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// One component, live on a host of its own.
pub struct Live {
    host: Rig,
    callee: Callee,
}

/// A host with the one tenant whose apps are measured.
pub struct Rig {
    host: Host,
    pub tenant: Arc<Tenant>,
}

impl Deref for Rig {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

struct Nowhere;

impl GuestOutput for Nowhere {
    fn line(&self, _: &Author, _: Stream, _: &[u8]) {}
}

/// A path from the root of the repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Where code is kept from one run to the next.
const CODE: &str = "target/bench-code";

/// Compiles what is measured, unless it is there. A process that has compiled has its free memory in pieces all over,
/// and whatever it allocates then is cold: what measures only loads code, like a server that has it in its cache.
///
/// # Errors
/// When a guest was not built, or does not link.
pub fn compile() -> Result<()> {
    Live::joined()?;
    Live::new(HELLO_P3, FRESH)?;
    Live::new(HELLO_P2, FRESH)?;
    Ok(())
}

/// A host with room for so many instances.
pub fn host(instances: NonZeroU32, code_cache: Option<&Path>) -> Result<Rig> {
    // Where instructions are counted everything takes long.
    rig(instances, code_cache, Backends::none(), Duration::MAX)
}

/// The same, with `backends`, and as a server has it.
pub fn host_with(
    instances: NonZeroU32,
    code_cache: Option<&Path>,
    backends: Backends,
) -> Result<Rig> {
    rig(instances, code_cache, backends, Options::LONG_STEP)
}

/// What takes `long_step` at a time is done by threads for that.
fn rig(
    instances: NonZeroU32,
    code_cache: Option<&Path>,
    backends: Backends,
    long_step: Duration,
) -> Result<Rig> {
    let options = Options {
        code_cache: code_cache.map(Path::to_owned),
        instances: Instances::Pooled { instances: Some(instances), parts: 2 },
        compiler: None,
        long_step,
    };
    let capabilities = Capabilities::new(Arc::new(Nowhere), |_| None, backends);
    let host = Host::new(Engine::new(&options)?, Settings::default());
    let tenant = host.tenant(Name::new("bench")?, capabilities, Ceilings::default(), None)?;
    Ok(Rig { host, tenant })
}

/// The component at `path` as an app of its own, with `instances` as in a manifest.
pub fn link(host: &Rig, artifact: &Artifact, instances: &str) -> Result<LinkedApp> {
    link_with(host, artifact, &format!("instances = {instances}"))
}

/// The same with more lines for its manifest.
fn link_with(host: &Rig, artifact: &Artifact, lines: &str) -> Result<LinkedApp> {
    let manifest = format!(
        "name = 'bench'\n[component.bench]\nsource = 'bench.wasm'\nlimits.time = '1h'\n\
         build = 'true'\nlimits.concurrency = 100000\n{lines}"
    );
    let app = App::parse("dhow.toml", &manifest).map_err(|_| anyhow::anyhow!("the manifest"))?;
    let artifacts = BTreeMap::from([(Name::new("bench")?, artifact.clone())]);
    host.link(&host.tenant, app, &artifacts).map_err(|faults| anyhow::anyhow!("{faults:?}"))
}

fn read(path: &Path) -> Result<Artifact> {
    Artifact::read(path).context("built by cargo xtask guests")
}

/// Sends a request for `path` to `component`.
pub async fn send(
    host: &Host,
    callee: &Callee,
    path: &str,
) -> Result<http::Response<ResponseBody>, Failure> {
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = http::Request::new(body);
    if let Ok(uri) = format!("http://localhost{path}").parse() {
        *request.uri_mut() = uri;
    }
    let invocation = Invocation { id: RequestId::next(), callee: callee.clone(), request };
    host.dispatch(invocation).await
}

impl Live {
    /// The component at `path`, from the root of the repository.
    ///
    /// # Errors
    /// When it was not built, or does not link.
    pub fn new(path: &str, instances: &str) -> Result<Self> {
        Self::of(&in_repository(path), instances)
    }

    /// An app in which `calls` uses what `callee` exports, and calls `hello` by name.
    ///
    /// # Errors
    /// When they were not built, or do not fit.
    pub fn joined() -> Result<Self> {
        const MANIFEST: &str = "name = 'bench'\n\
            [component.calls]\nsource = 'calls.wasm'\nlimits.time = '1h'\n\
            uses = { 'dhow:calls/calls' = 'callee' }\ngrants.http = ['http://hello.internal']\n\
            [component.callee]\nsource = 'callee.wasm'\n\
            [component.hello]\nsource = 'hello.wasm'\n\
            [[http]]\npath = '/...'\ncomponent = 'calls'\n";
        let app = App::parse("dhow.toml", MANIFEST).map_err(|_| anyhow::anyhow!("the manifest"))?;
        let mut artifacts = BTreeMap::new();
        for (name, path) in [("calls", CALLS), ("callee", CALLEE), ("hello", HELLO_P3)] {
            artifacts.insert(Name::new(name)?, read(&in_repository(path))?);
        }
        let host = host(FEW, Some(&in_repository(CODE)))?;
        let linked = host
            .link(&host.tenant, app, &artifacts)
            .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        Self::on(host, linked)
    }

    fn of(path: &Path, instances: &str) -> Result<Self> {
        let host = host(FEW, Some(&in_repository(CODE)))?;
        let linked = link(&host, &read(path)?, instances)?;
        Self::on(host, linked)
    }

    /// The component at `path`, for so many callers at a time, with `backends` and more lines for its
    /// manifest, as a server has it.
    ///
    /// # Errors
    /// When it was not built, or does not link.
    pub fn with(
        path: &Path,
        instances: NonZeroU32,
        backends: Backends,
        lines: &str,
    ) -> Result<Self> {
        let host = host_with(instances, Some(&in_repository(CODE)), backends)?;
        let linked = link_with(&host, &read(path)?, lines)?;
        Self::on(host, linked)
    }

    /// The same for counting: for few callers, and nothing takes too long.
    ///
    /// # Errors
    /// When it was not built, or does not link.
    pub fn counted(path: &Path, backends: Backends, lines: &str) -> Result<Self> {
        let host = rig(FEW, Some(&in_repository(CODE)), backends, Duration::MAX)?;
        let linked = link_with(&host, &read(path)?, lines)?;
        Self::on(host, linked)
    }

    fn on(host: Rig, linked: LinkedApp) -> Result<Self> {
        let callee = host.start(linked).route("/").context("every path")?;
        Ok(Self { host, callee })
    }

    /// A store, an instance, and both dropped: the floor that requests are held against.
    ///
    /// # Panics
    /// When there is no instance.
    pub async fn instantiate(&self) {
        self.host.instantiate(&self.callee).await.expect("an instance");
    }

    /// A request for `path`, and all of its response: the number of its bytes.
    ///
    /// # Panics
    /// When the guest fails.
    pub async fn request(&self, path: &str) -> usize {
        let response = send(&self.host, &self.callee, path).await.expect("an answer");
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("all of it").data_ref().map_or(0, bytes::Bytes::len);
        }
        assert_ne!(bytes, 0);
        bytes
    }
}
