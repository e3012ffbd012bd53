//! The state of an instance, and whose call it is.
//!
//! An instance may be made of several components of an app, its parts. They share one table of
//! resources, so that they can hand each other streams and bodies; what each is granted is its own.
//! The parts' imports have names of their own (see [`Linking`](crate::linking::Linking)), and each
//! is linked with the [`Views`] of its part: this is how the host knows who calls.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView, cli::WasiCliCtxView, clocks::WasiClocksCtxView,
    filesystem::WasiFilesystemCtxView, sockets::WasiSocketsCtxView,
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use dhow_engine::{Budget, InstanceState};
use dhow_manifest::MAX_PARTS;
use http::Extensions;

use crate::{
    VirtualTime, blobstore, config, files, http_client, keyvalue, logging, redis, sockets, sql, tls,
};

/// One thing for each part of an entry. The first is of the part that is called from outside.
#[derive(Debug, Clone)]
pub struct Parts<T> {
    first: T,
    others: Box<[T]>,
}

impl<T> Parts<T> {
    /// One for a component by itself.
    pub fn one(first: T) -> Self {
        Self { first, others: Box::default() }
    }

    /// One for each of several; none where there is nothing.
    pub fn of(parts: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut parts = parts.into_iter();
        Some(Self { first: parts.next()?, others: parts.collect() })
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// The one of the part that is called from outside.
    pub fn first(&self) -> &T {
        &self.first
    }

    pub(crate) fn map<U>(&self, map: impl FnMut(&T) -> U + Copy) -> Parts<U> {
        let mut of_first = map;
        Parts { first: of_first(&self.first), others: self.others.iter().map(map).collect() }
    }

    /// The one of the part `index`. There is always one: views are linked for parts that there are.
    fn get_mut(&mut self, index: usize) -> &mut T {
        match index.checked_sub(1).and_then(|index| self.others.get_mut(index)) {
            Some(other) => other,
            None => &mut self.first,
        }
    }
}

/// The state of one instance.
pub struct State {
    pub(crate) table: ResourceTable,
    pub(crate) http: WasiHttpCtx,
    pub(crate) tls: tls::Opened,
    pub(crate) budget: Budget,
    /// Where it is not the system's.
    pub(crate) time: Option<VirtualTime>,
    pub(crate) parts: Parts<Part>,
}

/// What belongs to one component of an instance.
pub(crate) struct Part {
    pub(crate) wasi: WasiCtx,
    pub(crate) http_client: http_client::Hooks,
    pub(crate) sockets: sockets::Opened,
    pub(crate) keyvalue: keyvalue::Opened,
    pub(crate) sql: sql::Granted,
    pub(crate) files: files::Opened,
    pub(crate) blobstore: blobstore::Granted,
    pub(crate) redis: redis::Granted,
    pub(crate) config: config::Granted,
    pub(crate) log: logging::Log,
}

/// A part that calls, and what it shares with the others.
pub(crate) struct Caller<'a> {
    pub(crate) part: &'a mut Part,
    pub(crate) table: &'a mut ResourceTable,
    http: &'a mut WasiHttpCtx,
}

impl State {
    pub(crate) fn caller(&mut self, part: usize) -> Caller<'_> {
        let Self { parts, table, http, .. } = self;
        Caller { part: parts.get_mut(part), table, http }
    }
}

impl<'a> Caller<'a> {
    fn into_cli(self) -> WasiCliCtxView<'a> {
        WasiCliCtxView { ctx: self.part.wasi.cli(), table: self.table }
    }

    pub(crate) fn into_clocks(self) -> WasiClocksCtxView<'a> {
        WasiClocksCtxView { ctx: self.part.wasi.clocks(), table: self.table }
    }

    fn into_filesystem(self) -> WasiFilesystemCtxView<'a> {
        WasiFilesystemCtxView { ctx: self.part.wasi.filesystem(), table: self.table }
    }

    fn into_sockets(self) -> WasiSocketsCtxView<'a> {
        WasiSocketsCtxView { ctx: self.part.wasi.sockets(), table: self.table }
    }

    fn into_http(self) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { ctx: self.http, table: self.table, hooks: &mut self.part.http_client }
    }

    pub(crate) fn filesystem(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: self.part.wasi.filesystem(), table: self.table }
    }

    pub(crate) fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView { ctx: self.part.wasi.sockets(), table: self.table }
    }
}

/// How the interfaces that are linked for one part see the state: what they do, they do as that
/// part.
pub(crate) struct Views {
    /// The part's place among [`Parts`].
    pub(crate) part: usize,
    pub(crate) cli: fn(&mut State) -> WasiCliCtxView<'_>,
    pub(crate) filesystem: fn(&mut State) -> WasiFilesystemCtxView<'_>,
    pub(crate) sockets: fn(&mut State) -> WasiSocketsCtxView<'_>,
    pub(crate) lookup: fn(&mut State) -> &mut sockets::Opened,
    pub(crate) http: fn(&mut State) -> WasiHttpCtxView<'_>,
    pub(crate) keyvalue: fn(&mut State) -> keyvalue::View<'_>,
    pub(crate) sql: fn(&mut State) -> sql::View<'_>,
    pub(crate) blobstore: fn(&mut State) -> blobstore::View<'_>,
    pub(crate) redis: fn(&mut State) -> redis::View<'_>,
    pub(crate) config: fn(&mut State) -> &mut config::Granted,
    pub(crate) log: fn(&mut State) -> &mut logging::Log,
}

impl Views {
    /// wasmtime takes functions that capture nothing: each part has its own.
    const fn of<const PART: usize>() -> Self {
        Self {
            part: PART,
            cli: |state| state.caller(PART).into_cli(),
            filesystem: |state| state.caller(PART).into_filesystem(),
            sockets: |state| state.caller(PART).into_sockets(),
            lookup: |state| &mut state.caller(PART).part.sockets,
            http: |state| state.caller(PART).into_http(),
            keyvalue: |state| keyvalue::View::of(state.caller(PART)),
            sql: |state| sql::View::of(state.caller(PART)),
            blobstore: |state| blobstore::View::of(state.caller(PART)),
            redis: |state| redis::View::of(state.caller(PART)),
            config: |state| &mut state.caller(PART).part.config,
            log: |state| &mut state.caller(PART).part.log,
        }
    }
}

pub(crate) static VIEWS: [Views; MAX_PARTS] = [
    Views::of::<0>(),
    Views::of::<1>(),
    Views::of::<2>(),
    Views::of::<3>(),
    Views::of::<4>(),
    Views::of::<5>(),
    Views::of::<6>(),
    Views::of::<7>(),
    Views::of::<8>(),
    Views::of::<9>(),
    Views::of::<10>(),
    Views::of::<11>(),
    Views::of::<12>(),
    Views::of::<13>(),
    Views::of::<14>(),
    Views::of::<15>(),
];

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Caller { part, table, .. } = self.caller(0);
        WasiCtxView { ctx: &mut part.wasi, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.caller(0).into_http()
    }
}

impl InstanceState for State {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    fn begin(&mut self, request: &Extensions) {
        for part in self.parts.iter_mut() {
            part.http_client.begin(request);
        }
    }
}
