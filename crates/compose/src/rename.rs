//! Gives imports of a component other names, and exports what was left out of theirs.

use wasm_encoder::{
    ComponentExportSection, ComponentExternName, ComponentImportSection, ComponentSection, Encode,
};

use crate::surface::{Content, Extern, PREAMBLE, SurfaceError, sections};

/// The component `wasm`, whose imports have the names that `rename` gives for theirs. What they
/// `implement` goes with the old name; all else is copied as it is. Types are known by their numbers,
/// so nothing inside has to change.
pub(crate) fn rename<'a>(
    wasm: &'a [u8],
    rename: impl Fn(&'a str) -> &'a str,
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
            let renamed = rename(import.name.name);
            if renamed != import.name.name {
                name.name = renamed.into();
                name.implements = None;
            }
            section.import(name, import.ty.into());
        }
        renamed.push(section.id());
        section.encode(&mut renamed);
    }
    Ok(renamed)
}

/// The component `wasm`, whose exports have the annotations that those of `exports` have.
pub(crate) fn annotate(wasm: Vec<u8>, exports: &[Extern]) -> Result<Vec<u8>, SurfaceError> {
    let is_annotated = |it: &Extern| it.implements.is_some() || it.external_id.is_some();
    if !exports.iter().any(is_annotated) {
        return Ok(wasm);
    }
    let mut annotated = Vec::with_capacity(wasm.len());
    annotated.extend_from_slice(wasm.get(..PREAMBLE).unwrap_or_default());
    for section in sections(&wasm)? {
        let Content::Exports(found) = section.content else {
            annotated.extend_from_slice(section.bytes);
            continue;
        };
        let mut section = ComponentExportSection::new();
        for export in found {
            let export = export?;
            let mut name = ComponentExternName::from(export.name);
            if let Some(export) = exports.iter().find(|it| it.name == export.name.name) {
                name.implements = export.implements.as_deref().map(Into::into);
                name.external_id = export.external_id.as_deref().map(Into::into);
            }
            let ty = export.ty.map(Into::into);
            section.export(name, export.kind.into(), export.index, ty);
        }
        annotated.push(section.id());
        section.encode(&mut annotated);
    }
    Ok(annotated)
}
