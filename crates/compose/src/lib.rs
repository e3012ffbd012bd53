//! Joins the components of an app into one, in memory.
//!
//! What the parts import of each other is wired, and what they import of the host is left to the
//! host. Joining as such merges imports of the same name, so that all parts would share one grant.
//! Here each part's own imports get a name of their own before, so that the host knows who calls.
//!
//! `plan.rs` decides by names alone what becomes of each import, `rename.rs` gives the imports their
//! names, and `join.rs` has wac join what comes of it.

mod bytes;
mod crossing;
mod difference;
mod fault;
mod join;
mod links;
mod name;
mod plan;
mod rename;
mod surface;
#[cfg(test)]
mod tests;
mod wit;

pub use difference::Difference;
pub use fault::WiringFault;
pub use surface::{Extern, Surface, SurfaceError, is_types_only};

use plan::Plan;

/// A component, and which of the others serve its imports.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Its name: a DNS label, and no two parts have the same.
    pub name: &'a str,
    /// The component.
    pub wasm: &'a [u8],
    /// Which of its imports other parts serve.
    pub uses: Vec<Wire<'a>>,
}

/// That a part's import is served by another part's export.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'a> {
    /// `namespace:package/interface`, with or without `@version`; or the label of an import. Without
    /// a version it is every version that is imported.
    pub interface: &'a str,
    /// The number of the part that serves it.
    pub part: usize,
}

/// Several components as one.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The component. The same parts give the same bytes.
    pub wasm: Vec<u8>,
    /// Those of its imports that belong to one part alone, in the order of the parts.
    pub own: Vec<OwnImport>,
}

/// An import of the composed component that belongs to one part alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImport {
    /// The number of the part.
    pub part: usize,
    /// The interface, as the part imports it.
    pub interface: String,
    /// The label by which the part imports it, where it has one.
    pub label: Option<String>,
    /// The `external-id` that the part gives it, where it does.
    pub external_id: Option<String>,
    /// The name of the import in the composed component.
    pub name: String,
}

/// Joins `parts`: the whole exports what `parts[0]` exports. Imports of interfaces that `is_own`
/// accepts, and that no part serves, get a name for their part alone; all others stay as they are,
/// and those of compatible versions are merged under the newest version's name.
///
/// An interface whose types are used by interfaces that are not own must not be own either: those
/// could not be merged.
///
/// # Errors
/// With everything that keeps the parts from being joined; never empty.
pub fn compose(
    parts: &[Part<'_>],
    is_own: &dyn Fn(&str) -> bool,
) -> Result<Composed, Vec<WiringFault>> {
    let mut faults = Vec::new();
    let surfaces = plan::surfaces(parts, &mut faults);
    let plan = Plan::of(parts, &surfaces, is_own, &mut faults);
    if surfaces.iter().all(Option::is_some) {
        match join::join(parts, &plan, faults.is_empty()) {
            Ok(Some(composed)) => return Ok(composed),
            Ok(None) => {}
            Err(found) => faults.extend(found),
        }
    }
    Err(faults)
}
