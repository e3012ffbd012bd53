//! What a component imports and exports, by name.

use thiserror::Error;
use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentExportSectionReader, ComponentExternName,
    ComponentImportSectionReader, Parser, ValidPayload, Validator, WasmFeatures,
    component_types::{ComponentAnyTypeId, ComponentEntityType},
};

/// What a component imports and exports, in the order in which it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it imports.
    pub imports: Vec<Extern>,
    /// What it exports.
    pub exports: Vec<Extern>,
}

/// An import or an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extern {
    /// Its name: `namespace:package/interface@version`, or a label.
    pub name: String,
    /// The interface that it implements, where its name is a label that says so.
    pub implements: Option<String>,
    /// Its `external-id` (component model, 🏷️).
    pub external_id: Option<String>,
    /// Whether the rest of its version is beside its name (component model, 🔗).
    pub(crate) has_version_suffix: bool,
}

impl Surface {
    /// Reads the surface of the component `wasm`; the rest of it is not looked at.
    ///
    /// # Errors
    /// When it is no component, or damaged.
    pub fn of(wasm: &[u8]) -> Result<Self, SurfaceError> {
        let mut surface = Self::default();
        for section in sections(wasm)? {
            match section.content {
                Content::Imports(imports) => {
                    for import in imports {
                        surface.imports.push(Extern::of(&import?.name));
                    }
                }
                Content::Exports(exports) => {
                    for export in exports {
                        surface.exports.push(Extern::of(&export?.name));
                    }
                }
                Content::Other => {}
            }
        }
        Ok(surface)
    }
}

impl Extern {
    fn of(name: &ComponentExternName<'_>) -> Self {
        Self {
            name: name.name.to_owned(),
            implements: name.implements.map(str::to_owned),
            external_id: name.external_id.map(str::to_owned),
            has_version_suffix: name.version_suffix.is_some(),
        }
    }

    /// The interface that it is, or that it implements.
    pub fn interface(&self) -> &str {
        self.implements.as_deref().unwrap_or(&self.name)
    }

    /// Its name, where that is not the interface.
    pub fn label(&self) -> Option<&str> {
        self.implements.is_some().then_some(self.name.as_str())
    }
}

/// Whether the component `wasm` imports under `name` an interface that has nothing but types: nobody has
/// to serve it. A resource counts as more than a type: somebody makes it.
pub fn is_types_only(wasm: &[u8], name: &str) -> bool {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut types = None;
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { return false };
        // The bodies of functions don't matter here.
        match validator.payload(&payload) {
            Ok(ValidPayload::End(end)) => types = Some(end),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    let Some(types) = types else { return false };
    let types = types.as_ref();
    let import = types.component_item_for_import(name).map(|item| item.ty);
    let Some(ComponentEntityType::Instance(instance)) = import else { return false };
    types.get(instance).is_some_and(|instance| {
        instance.exports.values().all(|item| match item.ty {
            ComponentEntityType::Type { created, .. } => {
                !matches!(created, ComponentAnyTypeId::Resource(_))
            }
            _ => false,
        })
    })
}

/// Why a file has no [`Surface`].
#[derive(Debug, Error)]
pub enum SurfaceError {
    /// It is something else: a core module, or text.
    #[error("not a component")]
    NoComponent,
    /// It is not well-formed.
    #[error("damaged: {0}")]
    Damaged(#[from] BinaryReaderError),
}

/// A section of a component, outside of those that are inside of it.
pub(crate) struct Section<'a> {
    /// With its id and its length.
    pub(crate) bytes: &'a [u8],
    pub(crate) content: Content<'a>,
}

pub(crate) enum Content<'a> {
    Imports(ComponentImportSectionReader<'a>),
    Exports(ComponentExportSectionReader<'a>),
    Other,
}

/// The magic number, the version and the layer (component model, Binary.md).
pub(crate) const PREAMBLE: usize = 8;
const IMPORTS: u8 = 10;
const EXPORTS: u8 = 11;

pub(crate) fn sections(wasm: &[u8]) -> Result<Vec<Section<'_>>, SurfaceError> {
    let content = wasm.get(PREAMBLE..).ok_or(SurfaceError::NoComponent)?;
    if !Parser::is_component(wasm) {
        return Err(SurfaceError::NoComponent);
    }
    let features = WasmFeatures::all();
    let mut reader = BinaryReader::new_features(content, PREAMBLE, features);
    let mut sections = Vec::new();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()?;
        let offset = reader.original_position();
        let data = reader.read_bytes(size as usize)?;
        let inner = BinaryReader::new_features(data, offset, features);
        let content = match id {
            IMPORTS => Content::Imports(ComponentImportSectionReader::new(inner)?),
            EXPORTS => Content::Exports(ComponentExportSectionReader::new(inner)?),
            _ => Content::Other,
        };
        let bytes = wasm.get(start..reader.original_position()).unwrap_or_default();
        sections.push(Section { bytes, content });
    }
    Ok(sections)
}
