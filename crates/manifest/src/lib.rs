//! The app manifest, `dhow.toml`: from text to a checked [`App`]; and the operator's configuration,
//! `dhow-server.toml`, to a checked [`Operator`].
//!
//! Everything here is pure: no files are opened, no environment is read, no time passes.
//! [`App::parse`] either returns an app in which every name resolves, every limit is within
//! bounds and every route can be reached, or [`Faults`] with every fault found, each with its
//! place in the text and what to write instead.

mod app;
mod changes;
mod fault;
mod grants;
mod instances;
mod limits;
mod name;
mod operator;
mod raw;
mod rollout;
mod route;
mod routes;
mod wiring;

pub use app::{App, Build, Component};
pub use changes::{Change, ChangeKind};
pub use fault::{Fault, Faults, Position};
pub use grants::{
    Endpoint, EndpointError, Environment, Folder, Grants, HostError, HostPattern, Origin,
    OriginError, Peer, Scheme, Sockets, without_password,
};
pub use instances::{Instances, Reuse};
pub use limits::{Limits, LimitsError, MemorySize};
pub use name::{Name, NameError};
pub use operator::{
    AboveCeiling, AppQuota, Backend, BlobBackend, Ceilings, CertificateFiles, CpuShare, Domain,
    DomainError, Egress, Hidden, KeyValueBackend, Listen, Operator, Quota, Rule, S3Bucket, Secret,
    ServerSettings, SqlBackend, Telemetry, TenantSettings,
};
pub use rollout::{Percent, Rollout};
pub use route::{PathPattern, PathPatternError, Route, Segment};
pub use wiring::{
    Entry, HANDLER, InterfaceName, MAX_PARTS, NoInterface, Part, Wire, are_compatible,
};
