//! Types of functions, as far as the bytes of such a function can be handed over at once.

use wasm_encoder::{
    ComponentTypeEncoder, ComponentTypeRef, ComponentTypeSection, ComponentValType, InstanceType,
    TypeBounds,
};
use wasmparser::{
    PrimitiveValType,
    component_types::{self, ComponentDefinedType, ComponentFuncTypeId},
    names::KebabString,
    types::TypesRef,
};

/// What a function is called and takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) params: Vec<(String, Type)>,
    pub(super) result: Option<Type>,
}

/// The type of a value that belongs to nobody: no resource, stream or future is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Primitive(PrimitiveValType),
    /// `list<u8>`.
    Bytes,
    List(Box<Type>),
    Tuple(Vec<Type>),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
    Record(Vec<(String, Type)>),
    Variant(Vec<(String, Option<Type>)>),
    Enum(Vec<String>),
    Flags(Vec<String>),
}

/// Where the bytes of a result are, in what a function returns a pointer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the pair of pointer and length.
    pub(super) offset: u32,
    /// The value that the first byte has if they are there.
    pub(super) case: Option<u8>,
}

/// As many are parameters of a core function; more are written to memory (component model,
/// CanonicalABI.md, `MAX_FLAT_PARAMS`).
const MAX_FLAT_PARAMS: usize = 16;

/// The types of one function, with those that these consist of: a type may stand in another several times,
/// and all of it be of any size.
const MAX_TYPES: u32 = 256;

impl Function {
    /// The function `id`, if its bytes can be handed over: it takes or gives some, is not `async`, and all
    /// else of it are values, too.
    pub(super) fn of(types: TypesRef<'_>, id: ComponentFuncTypeId, name: &str) -> Option<Self> {
        let ty = types.get(id)?;
        // `[static]` and the like can't be part of another name.
        if ty.async_ || name.starts_with('[') {
            return None;
        }
        let mut room = MAX_TYPES;
        let mut params = Vec::new();
        for (name, ty) in &ty.params {
            params.push((name.to_string(), Type::of(types, *ty, &mut room)?));
        }
        let result = match ty.result {
            Some(ty) => Some(Type::of(types, ty, &mut room)?),
            None => None,
        };
        let function = Self { name: name.to_owned(), params, result };
        let flat: usize = function.params.iter().map(|(_, ty)| ty.flat()).sum();
        let has_bytes = function.gives_bytes() || !function.byte_params().is_empty();
        (flat <= MAX_FLAT_PARAMS && has_bytes).then_some(function)
    }

    /// The core parameters that are pointers to bytes; the next is the length.
    pub(super) fn byte_params(&self) -> Vec<u32> {
        let mut next = 0;
        let mut found = Vec::new();
        for (_, ty) in &self.params {
            if *ty == Type::Bytes {
                found.push(next as u32);
            }
            next += ty.flat();
        }
        found
    }

    pub(super) fn result_bytes(&self) -> Option<Place> {
        self.result.as_ref()?.place()
    }

    pub(super) fn gives_bytes(&self) -> bool {
        self.result_bytes().is_some()
    }
}

impl Type {
    /// `None` if it is no value, or consists of more types than there is `room` for.
    fn of(
        types: TypesRef<'_>,
        ty: component_types::ComponentValType,
        room: &mut u32,
    ) -> Option<Self> {
        use component_types::ComponentValType;
        *room = room.checked_sub(1)?;
        let mut of = |ty: &ComponentValType| Self::of(types, *ty, room);
        let mut optional = |ty: &Option<ComponentValType>| match ty {
            Some(ty) => of(ty).map(Some),
            None => Some(None),
        };
        let id = match ty {
            ComponentValType::Primitive(PrimitiveValType::ErrorContext) => return None,
            ComponentValType::Primitive(ty) => return Some(Self::Primitive(ty)),
            ComponentValType::Type(id) => id,
        };
        Some(match types.get(id)? {
            ComponentDefinedType::Primitive(PrimitiveValType::ErrorContext) => return None,
            ComponentDefinedType::Primitive(ty) => Self::Primitive(*ty),
            ComponentDefinedType::List { element, .. } => match of(element)? {
                Self::Primitive(PrimitiveValType::U8) => Self::Bytes,
                element => Self::List(Box::new(element)),
            },
            ComponentDefinedType::Tuple(tuple) => {
                Self::Tuple(tuple.types.iter().map(of).collect::<Option<_>>()?)
            }
            ComponentDefinedType::Option { ty, .. } => Self::Option(Box::new(of(ty)?)),
            ComponentDefinedType::Result { ok, err, .. } => {
                let (ok, err) = (optional(ok)?, optional(err)?);
                Self::Result(ok.map(Box::new), err.map(Box::new))
            }
            ComponentDefinedType::Record(record) => {
                let fields = record.fields.iter();
                let fields = fields.map(|(name, ty)| Some((name.to_string(), of(ty)?)));
                Self::Record(fields.collect::<Option<_>>()?)
            }
            ComponentDefinedType::Variant(variant) => {
                let cases = variant.cases.iter();
                let cases = cases.map(|(name, it)| Some((name.to_string(), optional(&it.ty)?)));
                Self::Variant(cases.collect::<Option<_>>()?)
            }
            ComponentDefinedType::Enum(tags) => Self::Enum(strings(tags, room)?),
            ComponentDefinedType::Flags(names) => Self::Flags(strings(names, room)?),
            _ => return None,
        })
    }

    /// The type with pointer and length, which are laid out as bytes are, in place of the bytes that are
    /// all of it.
    pub(super) fn of_pointers(&self) -> Self {
        match self {
            Self::Bytes => Self::Tuple(vec![U32, U32]),
            other => other.clone(),
        }
    }

    /// The same for bytes that are at the [`Place`] of a result.
    pub(super) fn of_pointers_in_place(&self) -> Self {
        match self {
            Self::Option(some) => Self::Option(Box::new(some.of_pointers())),
            Self::Result(Some(ok), err) => {
                Self::Result(Some(Box::new(ok.of_pointers())), err.clone())
            }
            other => other.of_pointers(),
        }
    }

    fn place(&self) -> Option<Place> {
        let case = match self {
            Self::Bytes => return Some(Place { offset: 0, case: None }),
            Self::Option(some) if **some == Self::Bytes => 1,
            Self::Result(Some(ok), _) if **ok == Self::Bytes => 0,
            _ => return None,
        };
        // What comes after the byte that says which it is is aligned for all cases.
        Some(Place { offset: self.layout().1, case: Some(case) })
    }

    /// The payloads of its cases, where it has cases.
    fn cases(&self) -> Option<Vec<Option<&Self>>> {
        Some(match self {
            Self::Option(some) => vec![None, Some(some)],
            Self::Result(ok, err) => vec![ok.as_deref(), err.as_deref()],
            Self::Variant(cases) => cases.iter().map(|(_, ty)| ty.as_ref()).collect(),
            Self::Enum(tags) => vec![None; tags.len()],
            _ => return None,
        })
    }

    /// The values that it consists of, where it is of several.
    fn fields(&self) -> Option<Vec<&Self>> {
        Some(match self {
            Self::Tuple(types) => types.iter().collect(),
            Self::Record(fields) => fields.iter().map(|(_, ty)| ty).collect(),
            _ => return None,
        })
    }

    /// How many core values it is (CanonicalABI.md, `flatten_type`).
    fn flat(&self) -> usize {
        if let Some(cases) = self.cases() {
            return 1 + cases.iter().flatten().map(|ty| ty.flat()).max().unwrap_or_default();
        }
        if let Some(fields) = self.fields() {
            return fields.iter().map(|ty| ty.flat()).sum();
        }
        match self {
            Self::Primitive(PrimitiveValType::String) | Self::Bytes | Self::List(_) => 2,
            _ => 1,
        }
    }

    /// Its size and alignment in memory (CanonicalABI.md, `elem_size` and `alignment`).
    fn layout(&self) -> (u32, u32) {
        use PrimitiveValType::{Bool, F64, S8, S16, S64, String, U8, U16, U64};
        if let Some(cases) = self.cases() {
            let case = scalar(match cases.len() {
                0..=0x100 => 1,
                0x101..=0x1_0000 => 2,
                _ => 4,
            });
            let layouts = cases.iter().flatten().map(|ty| ty.layout());
            let (size, alignment) = layouts
                .fold((0, case.1), |all: (u32, u32), one| (all.0.max(one.0), all.1.max(one.1)));
            let payload = case.0.next_multiple_of(alignment);
            return ((payload + size).next_multiple_of(alignment), alignment);
        }
        if let Some(fields) = self.fields() {
            let layouts = fields.iter().map(|ty| ty.layout());
            let (size, alignment) = layouts.fold((0_u32, 1), |(end, all), (size, own)| {
                (end.next_multiple_of(own) + size, all.max(own))
            });
            return (size.next_multiple_of(alignment), alignment);
        }
        match self {
            Self::Bytes | Self::List(_) | Self::Primitive(String) => BYTES,
            Self::Primitive(Bool | S8 | U8) => scalar(1),
            Self::Primitive(S16 | U16) => scalar(2),
            Self::Primitive(S64 | U64 | F64) => scalar(8),
            Self::Flags(names) if names.len() <= 8 => scalar(1),
            Self::Flags(names) if names.len() <= 16 => scalar(2),
            _ => scalar(4),
        }
    }

    /// Writes what it consists of to `types`.
    fn encode(&self, types: &mut impl Types) -> ComponentValType {
        fn optional(ty: Option<&Type>, types: &mut impl Types) -> Option<ComponentValType> {
            ty.map(|ty| ty.encode(types))
        }
        match self {
            Self::Primitive(ty) => ComponentValType::Primitive((*ty).into()),
            Self::Bytes => {
                let byte = ComponentValType::Primitive(wasm_encoder::PrimitiveValType::U8);
                types.define(|ty| ty.defined_type().list(byte))
            }
            Self::List(element) => {
                let element = element.encode(types);
                types.define(|ty| ty.defined_type().list(element))
            }
            Self::Tuple(elements) => {
                let elements: Vec<_> = elements.iter().map(|ty| ty.encode(types)).collect();
                types.define(|ty| ty.defined_type().tuple(elements))
            }
            Self::Option(some) => {
                let some = some.encode(types);
                types.define(|ty| ty.defined_type().option(some))
            }
            Self::Result(ok, err) => {
                let ok = optional(ok.as_deref(), types);
                let err = optional(err.as_deref(), types);
                types.define(|ty| ty.defined_type().result(ok, err))
            }
            Self::Record(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(name, ty)| (name.as_str(), ty.encode(types))).collect();
                types.name(self, |ty| ty.defined_type().record(fields))
            }
            Self::Variant(cases) => {
                let cases: Vec<_> = cases
                    .iter()
                    .map(|(name, ty)| (name.as_str(), optional(ty.as_ref(), types)))
                    .collect();
                types.name(self, |ty| ty.defined_type().variant(cases))
            }
            Self::Enum(tags) => {
                let tags: Vec<_> = tags.iter().map(String::as_str).collect();
                types.name(self, |ty| ty.defined_type().enum_type(tags))
            }
            Self::Flags(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                types.name(self, |ty| ty.defined_type().flags(names))
            }
        }
    }
}

/// `None` if there are more than there is `room` for.
fn strings<'a>(
    names: impl IntoIterator<Item = &'a KebabString>,
    room: &mut u32,
) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    for name in names {
        *room = room.checked_sub(1)?;
        strings.push(name.to_string());
    }
    Some(strings)
}

fn scalar(size: u32) -> (u32, u32) {
    (size, size)
}

pub(super) const U32: Type = Type::Primitive(PrimitiveValType::U32);
const BYTES: (u32, u32) = (8, 4);

/// Where types are written: a component, or the type of an instance.
pub(super) trait Types: Sized {
    fn next(&self) -> u32;
    fn ty(&mut self) -> ComponentTypeEncoder<'_>;
    /// Those that have names, and their numbers. An interface has to export them.
    fn named(&mut self) -> &mut Vec<(Type, u32)>;
    /// Gives the type `number` a name, and returns the number that it has by this.
    fn export(&mut self, name: &str, number: u32) -> u32;

    fn define(&mut self, define: impl FnOnce(ComponentTypeEncoder<'_>)) -> ComponentValType {
        let number = self.next();
        define(self.ty());
        ComponentValType::Type(number)
    }

    /// The same for what has to have a name. It has one, however often it is there.
    fn name(
        &mut self,
        ty: &Type,
        define: impl FnOnce(ComponentTypeEncoder<'_>),
    ) -> ComponentValType {
        if let Some((_, number)) = self.named().iter().find(|(there, _)| there == ty) {
            return ComponentValType::Type(*number);
        }
        let number = self.next();
        define(self.ty());
        let name = name_of(self.named().len());
        let number = self.export(&name, number);
        self.named().push((ty.clone(), number));
        ComponentValType::Type(number)
    }

    /// Writes the type of a function, and returns its number.
    fn function(&mut self, params: &[(String, Type)], result: Option<&Type>) -> u32 {
        let params: Vec<_> =
            params.iter().map(|(name, ty)| (name.as_str(), ty.encode(self))).collect();
        let result = result.map(|ty| ty.encode(self));
        let number = self.next();
        self.ty().function().params(params).result(result);
        number
    }
}

/// What the type is called that is the `number`th with a name.
pub(super) fn name_of(number: usize) -> String {
    format!("type{number}")
}

/// The type of an instance.
#[derive(Default)]
pub(super) struct Interface {
    pub(super) ty: InstanceType,
    named: Vec<(Type, u32)>,
}

impl Types for Interface {
    fn next(&self) -> u32 {
        self.ty.type_count()
    }

    fn ty(&mut self) -> ComponentTypeEncoder<'_> {
        self.ty.ty()
    }

    fn named(&mut self) -> &mut Vec<(Type, u32)> {
        &mut self.named
    }

    fn export(&mut self, name: &str, number: u32) -> u32 {
        let exported = self.next();
        self.ty.export(name, ComponentTypeRef::Type(TypeBounds::Eq(number)));
        exported
    }
}

/// Types of a component that has some already.
pub(super) struct MoreTypes {
    pub(super) section: ComponentTypeSection,
    before: u32,
    named: Vec<(Type, u32)>,
}

impl MoreTypes {
    pub(super) fn after(before: u32) -> Self {
        Self { section: ComponentTypeSection::new(), before, named: Vec::new() }
    }
}

impl Types for MoreTypes {
    fn next(&self) -> u32 {
        self.before + self.section.len()
    }

    fn ty(&mut self) -> ComponentTypeEncoder<'_> {
        self.section.ty()
    }

    fn named(&mut self) -> &mut Vec<(Type, u32)> {
        &mut self.named
    }

    /// The instance that is exported later has the name.
    fn export(&mut self, _: &str, number: u32) -> u32 {
        number
    }
}
