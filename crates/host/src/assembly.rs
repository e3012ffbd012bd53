//! What an entry's code is made of: one component, or several that are joined.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, path::PathBuf};

use dhow_capabilities::{OwnImport, is_own, sharing};
use dhow_compose::WiringFault;
use dhow_manifest::{self as manifest, App, Entry, Name, Wire};
use dhow_package::{Artifact, Digest};

use crate::{LinkFault, LinkFaults};

/// The components of an entry, each by its digest, and how they are wired.
pub(crate) struct Assembly {
    parts: Box<[Part]>,
    digest: Digest,
}

struct Part {
    name: Name,
    /// From where it is read again when the cache has lost its code.
    path: PathBuf,
    digest: Digest,
    wires: Box<[Wire]>,
}

/// The components of an entry as one.
pub(crate) struct Joined<'a> {
    pub(crate) wasm: Cow<'a, [u8]>,
    /// Which of its imports belong to which part; none where there is one part only.
    pub(crate) own: Vec<OwnImport>,
}

/// Whoever changes how components are joined changes this: their code is kept by it, and by what parts
/// share.
const JOINED: &str = "dhow joined components, version 1\n";

impl Assembly {
    /// The assembly of `parts`, whose components are in `artifacts`.
    ///
    /// # Errors
    /// With the name of a component that is not there.
    pub(crate) fn of(
        parts: &[manifest::Part<'_>],
        artifacts: &BTreeMap<Name, Artifact>,
    ) -> Result<Self, Name> {
        let parts: Box<[Part]> = parts
            .iter()
            .map(|part| {
                let artifact = artifacts.get(part.name).ok_or_else(|| part.name.clone())?;
                Ok(Part {
                    name: part.name.clone(),
                    path: artifact.path().to_owned(),
                    digest: artifact.digest(),
                    wires: part.wires.clone().into(),
                })
            })
            .collect::<Result<_, Name>>()?;
        let digest = match &*parts {
            [only] => only.digest,
            several => Digest::of(describe(several).as_bytes()),
        };
        Ok(Self { parts, digest })
    }

    /// What its code is known by.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of its parts.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The components, read again.
    ///
    /// # Errors
    /// When one of them can't be read, or has changed: then with its path alone.
    pub(crate) fn read(&self) -> Result<Vec<Artifact>, PathBuf> {
        let read = |part: &Part| {
            let artifact = Artifact::read(&part.path).ok();
            let same = artifact.filter(|artifact| artifact.digest() == part.digest);
            same.ok_or_else(|| part.path.clone())
        };
        self.parts.iter().map(read).collect()
    }

    /// The components as one; `bytes` are theirs, in their order. Imports that `is_own` accepts get a
    /// name for their part alone.
    ///
    /// # Errors
    /// With everything by which they do not fit together.
    pub(crate) fn join<'a>(
        &self,
        bytes: &[&'a [u8]],
        is_own: &dyn Fn(&str) -> bool,
    ) -> Result<Joined<'a>, Vec<WiringFault>> {
        if let ([_], [wasm]) = (&*self.parts, bytes) {
            return Ok(Joined { wasm: Cow::Borrowed(wasm), own: Vec::new() });
        }
        let parts: Vec<_> = self
            .parts
            .iter()
            .zip(bytes)
            .map(|(part, wasm)| dhow_compose::Part {
                name: part.name.as_str(),
                wasm,
                uses: part
                    .wires
                    .iter()
                    .map(|Wire { interface, part }| dhow_compose::Wire {
                        interface: interface.as_str(),
                        part: *part,
                    })
                    .collect(),
            })
            .collect();
        let composed = dhow_compose::compose(&parts, is_own)?;
        let own = composed.own.into_iter().map(|import| OwnImport {
            part: import.part,
            interface: import.interface,
            name: import.name,
        });
        Ok(Joined { wasm: Cow::Owned(composed.wasm), own: own.collect() })
    }
}

/// The components of `entry` as one, for other runtimes: with imports of the same interface merged,
/// or with the names that tell them apart.
///
/// # Errors
/// When a component is not there, or with everything by which they do not fit together.
pub fn compose(
    app: &App,
    entry: &Entry,
    artifacts: &BTreeMap<Name, Artifact>,
    keep_names: bool,
) -> Result<Vec<u8>, LinkFaults> {
    let parts = app.parts(entry);
    let assembly = Assembly::of(&parts, artifacts)
        .map_err(|component| vec![LinkFault::NoArtifact { component }])?;
    let bytes: Vec<_> =
        parts.iter().filter_map(|part| artifacts.get(part.name).map(Artifact::bytes)).collect();
    let is_own: &dyn Fn(&str) -> bool = if keep_names { &is_own } else { &|_| false };
    let joined = assembly
        .join(&bytes, is_own)
        .map_err(|faults| faults.into_iter().map(LinkFault::Wiring).collect::<Vec<_>>())?;
    Ok(joined.wasm.into_owned())
}

/// Says which components are joined, and how: different for all that are different.
fn describe(parts: &[Part]) -> String {
    let mut text = JOINED.to_owned() + &sharing() + "\n";
    for Part { name, digest, wires, .. } in parts {
        let _ = writeln!(text, "{name} {digest}");
        for Wire { interface, part } in wires {
            let _ = writeln!(text, "  {interface} {part}");
        }
    }
    text
}
