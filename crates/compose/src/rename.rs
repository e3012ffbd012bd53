//! Gives imports of a component other names.

use std::collections::BTreeMap;

use wasm_encoder::{ComponentExternName, ComponentImportSection, ComponentSection, Encode};

use crate::surface::{Content, PREAMBLE, SurfaceError, sections};

/// The component `wasm`, whose imports have the names that `names` gives for theirs. What they
/// `implement` goes with the old name; all else is copied as it is. Types are known by their numbers,
/// so nothing inside has to change.
pub(crate) fn rename(
    wasm: &[u8],
    names: &BTreeMap<String, String>,
) -> Result<Vec<u8>, SurfaceError> {
    let mut renamed = Vec::with_capacity(wasm.len());
    renamed.extend_from_slice(wasm.get(..PREAMBLE).unwrap_or_default());
    for section in sections(wasm)? {
        let Content::Imports(imports) = section.content else {
            renamed.extend_from_slice(section.bytes);
            continue;
        };
        let mut section = ComponentImportSection::new();
        for import in imports {
            let import = import?;
            let mut name = ComponentExternName::from(import.name);
            if let Some(own) = names.get(import.name.name) {
                name.name = own.into();
                name.implements = None;
            }
            section.import(name, import.ty.into());
        }
        renamed.push(section.id());
        section.encode(&mut renamed);
    }
    Ok(renamed)
}
