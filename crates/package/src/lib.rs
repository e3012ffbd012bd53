//! From a reference to an [`Artifact`]: bytes that are a component, known by their digest; and
//! what a component says of itself.
//!
//! References are paths of local files for now.

mod artifact;
mod describe;
mod digest;

pub use artifact::{Artifact, Kind, MAX_BYTES, ReadError};
pub use describe::{DescribeError, Description, Producer};
pub use digest::{Digest, Hasher};
