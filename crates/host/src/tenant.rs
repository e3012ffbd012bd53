//! Whose apps are served, and what they may have together.

use std::sync::Arc;

use dhow_capabilities::Capabilities;
use dhow_manifest::{Ceilings, Name};

use crate::{Host, ReserveError, admission::Claimant};

/// The owner of apps: the boundary of trust. What its components can be granted, and what they may use
/// together.
pub struct Tenant {
    name: Name,
    pub(crate) capabilities: Capabilities,
    /// The most that its components may ask for.
    pub(crate) ceilings: Ceilings,
    pub(crate) claimant: Arc<Claimant>,
}

impl Host {
    /// A tenant whose components can be granted what `capabilities` has, and ask for no more than
    /// `ceilings`. So many instances are kept free of others.
    ///
    /// # Errors
    /// When there are not as many left.
    pub fn tenant(
        &self,
        name: Name,
        capabilities: Capabilities,
        ceilings: Ceilings,
        reserve: usize,
    ) -> Result<Arc<Tenant>, ReserveError> {
        let claimant = self.core.admission.claimant(reserve)?;
        Ok(Arc::new(Tenant { name, capabilities, ceilings, claimant }))
    }
}

impl Tenant {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What its components can be granted.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
