//! Resources that would cross from one part to another.

use std::collections::{HashMap, HashSet};

use wac_graph::types::{
    DefinedType, FuncTypeId, InterfaceId, ItemKind, ResourceId, Type, Types, ValueType, WorldId,
};

/// A resource that an import of a component defines.
pub(crate) struct Imported<'a> {
    pub(crate) resource: &'a str,
    pub(crate) import: &'a str,
}

/// The resources that the imports of the component `world` define.
pub(crate) fn imported(types: &Types, world: WorldId) -> HashMap<ResourceId, Imported<'_>> {
    let mut found = HashMap::new();
    for (import, kind) in &types[world].imports {
        let ItemKind::Instance(interface) = kind else { continue };
        for (resource, kind) in &types[*interface].exports {
            let ItemKind::Type(Type::Resource(id)) = kind else { continue };
            // Imports that only use it come after the one that defines it.
            found.entry(types.resolve_resource(*id)).or_insert(Imported { resource, import });
        }
    }
    found
}

/// The resources that `interface` mentions, each once.
pub(crate) fn mentioned(types: &Types, interface: InterfaceId) -> Vec<ResourceId> {
    let mut walk = Walk { types, seen: HashSet::new(), resources: Vec::new() };
    for kind in types[interface].exports.values() {
        walk.item(*kind);
    }
    walk.resources
}

struct Walk<'a> {
    types: &'a Types,
    seen: HashSet<Type>,
    resources: Vec<ResourceId>,
}

impl Walk<'_> {
    fn item(&mut self, kind: ItemKind) {
        match kind {
            ItemKind::Func(func) => self.func(func),
            ItemKind::Type(Type::Value(ty)) | ItemKind::Value(ty) => self.value(ty),
            ItemKind::Type(Type::Resource(id)) => self.resource(id),
            ItemKind::Type(Type::Func(func)) => self.func(func),
            _ => {}
        }
    }

    fn func(&mut self, func: FuncTypeId) {
        let types = self.types;
        let func = &types[func];
        for ty in func.params.values().chain(&func.result) {
            self.value(*ty);
        }
    }

    fn resource(&mut self, id: ResourceId) {
        let id = self.types.resolve_resource(id);
        if self.seen.insert(Type::Resource(id)) {
            self.resources.push(id);
        }
    }

    fn value(&mut self, ty: ValueType) {
        if !self.seen.insert(Type::Value(ty)) {
            return;
        }
        let id = match ty {
            ValueType::Primitive(_) => return,
            ValueType::Borrow(id) | ValueType::Own(id) => return self.resource(id),
            ValueType::Defined(id) => id,
        };
        let types = self.types;
        match &types[id] {
            DefinedType::Tuple(types) => types.iter().for_each(|ty| self.value(*ty)),
            DefinedType::List(ty)
            | DefinedType::FixedSizeList(ty, _)
            | DefinedType::Option(ty)
            | DefinedType::Alias(ty) => self.value(*ty),
            DefinedType::Map(key, value) => {
                self.value(*key);
                self.value(*value);
            }
            DefinedType::Result { ok, err } => {
                ok.iter().chain(err).for_each(|ty| self.value(*ty));
            }
            DefinedType::Variant(variant) => {
                variant.cases.values().flatten().for_each(|ty| self.value(*ty));
            }
            DefinedType::Record(record) => record.fields.values().for_each(|ty| self.value(*ty)),
            DefinedType::Stream(ty) | DefinedType::Future(ty) => {
                ty.iter().for_each(|ty| self.value(*ty));
            }
            DefinedType::Flags(_) | DefinedType::Enum(_) => {}
        }
    }
}
