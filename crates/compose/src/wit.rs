//! Items of WIT as text, in pieces that can be compared.

use wit_parser::{Function, FunctionKind, Handle, Resolve, Type, TypeDefKind, TypeId};

/// A piece of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Type(Type),
}

use Piece::Text;

/// `get: func(id: u64) -> option<order>`
pub(crate) fn function_text(resolve: &Resolve, function: &Function) -> String {
    let name = function.name.split_once(']').map_or(function.name.as_str(), |(_, name)| name);
    format!("{name}: {}", text(resolve, &function_pieces(function)))
}

/// Of a function all but its name.
pub(crate) fn function_pieces(function: &Function) -> Vec<Piece> {
    let is_method = matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
    let is_static = matches!(function.kind, FunctionKind::Static(_) | FunctionKind::AsyncStatic(_));
    let keyword = match (is_static, function.kind.is_async(), &function.kind) {
        (_, _, FunctionKind::Constructor(_)) => "constructor(",
        (true, true, _) => "static async func(",
        (true, false, _) => "static func(",
        (false, true, _) => "async func(",
        (false, false, _) => "func(",
    };
    // The first parameter of a method is the resource itself.
    let params = function.params.iter().skip(usize::from(is_method));
    let mut pieces = vec![Text(keyword.to_owned())];
    pieces.extend(named(params.map(|param| (&param.name, Some(param.ty)))));
    pieces.push(Text(")".to_owned()));
    if let Some(result) = function.result {
        pieces.extend([Text(" -> ".to_owned()), Piece::Type(result)]);
    }
    pieces
}

/// `record order { id: u64 }`, or `type id = u64`.
pub(crate) fn definition_text(resolve: &Resolve, name: &str, ty: Type) -> String {
    let base = base(resolve, ty);
    let pieces = text(resolve, &type_pieces(resolve, base));
    let kind = match base {
        Type::Id(id) => resolve.types.get(id).map(|ty| &ty.kind),
        _ => None,
    };
    match kind {
        Some(TypeDefKind::Resource) => format!("resource {name}"),
        Some(
            kind @ (TypeDefKind::Record(_)
            | TypeDefKind::Variant(_)
            | TypeDefKind::Enum(_)
            | TypeDefKind::Flags(_)),
        ) => format!("{} {name} {pieces}", kind.as_str()),
        _ => format!("type {name} = {pieces}"),
    }
}

/// What `ty` is, behind all the names that it is given.
pub(crate) fn base(resolve: &Resolve, mut ty: Type) -> Type {
    while let Type::Id(id) = ty
        && let Some(TypeDefKind::Type(aliased)) = resolve.types.get(id).map(|ty| &ty.kind)
    {
        ty = *aliased;
    }
    ty
}

/// Of a type all but its name; a resource is nothing but its name.
pub(crate) fn type_pieces(resolve: &Resolve, ty: Type) -> Vec<Piece> {
    let Type::Id(id) = ty else { return vec![Text(primitive(ty).to_owned())] };
    let Some(def) = resolve.types.get(id) else { return Vec::new() };
    match &def.kind {
        TypeDefKind::Record(record) => {
            braces(named(record.fields.iter().map(|field| (&field.name, Some(field.ty)))))
        }
        TypeDefKind::Variant(variant) => {
            let mut pieces = Vec::new();
            for (index, case) in variant.cases.iter().enumerate() {
                let comma = if index > 0 { ", " } else { "" };
                pieces.push(Text(format!("{comma}{}", case.name)));
                pieces.extend(case.ty.into_iter().flat_map(|ty| enclosed("(", [Some(ty)], ")")));
            }
            braces(pieces)
        }
        TypeDefKind::Enum(it) => braces(named(it.cases.iter().map(|case| (&case.name, None)))),
        TypeDefKind::Flags(it) => braces(named(it.flags.iter().map(|flag| (&flag.name, None)))),
        TypeDefKind::Resource => vec![Text(def.name.clone().unwrap_or_default())],
        TypeDefKind::Handle(Handle::Own(resource)) => vec![Piece::Type(Type::Id(*resource))],
        TypeDefKind::Handle(Handle::Borrow(resource)) => {
            enclosed("borrow<", [Some(Type::Id(*resource))], ">")
        }
        TypeDefKind::Tuple(tuple) => enclosed("tuple<", tuple.types.iter().copied().map(Some), ">"),
        TypeDefKind::Option(ty) => enclosed("option<", [Some(*ty)], ">"),
        TypeDefKind::List(ty) => enclosed("list<", [Some(*ty)], ">"),
        TypeDefKind::FixedLengthList(ty, length) => {
            enclosed("list<", [Some(*ty)], &format!(", {length}>"))
        }
        TypeDefKind::Map(key, value) => enclosed("map<", [Some(*key), Some(*value)], ">"),
        TypeDefKind::Result(it) => match (it.ok, it.err) {
            (None, None) => vec![Text("result".to_owned())],
            (ok, None) => enclosed("result<", [ok], ">"),
            (ok, err) => enclosed("result<", [ok, err], ">"),
        },
        TypeDefKind::Future(None) => vec![Text("future".to_owned())],
        TypeDefKind::Stream(None) => vec![Text("stream".to_owned())],
        TypeDefKind::Future(ty) => enclosed("future<", [*ty], ">"),
        TypeDefKind::Stream(ty) => enclosed("stream<", [*ty], ">"),
        TypeDefKind::Type(ty) => vec![Piece::Type(*ty)],
        TypeDefKind::Unknown => Vec::new(),
    }
}

/// The name of `ty`, or what it is where it has none.
fn type_text(resolve: &Resolve, ty: Type) -> String {
    match type_name(resolve, ty) {
        Some(name) => name.to_owned(),
        None => text(resolve, &type_pieces(resolve, ty)),
    }
}

pub(crate) fn type_name(resolve: &Resolve, ty: Type) -> Option<&str> {
    match ty {
        Type::Id(id) => name_of(resolve, id),
        _ => None,
    }
}

fn name_of(resolve: &Resolve, id: TypeId) -> Option<&str> {
    resolve.types.get(id).and_then(|ty| ty.name.as_deref())
}

fn text(resolve: &Resolve, pieces: &[Piece]) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Text(text) => text.clone(),
        Piece::Type(ty) => type_text(resolve, *ty),
    });
    texts.collect()
}

/// `id: u64, total: u32`
fn named<'a>(items: impl Iterator<Item = (&'a String, Option<Type>)>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, (name, ty)) in items.enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        match ty {
            Some(ty) => {
                pieces.extend([Text(format!("{comma}{name}: ")), Piece::Type(ty)]);
            }
            None => pieces.push(Text(format!("{comma}{name}"))),
        }
    }
    pieces
}

fn braces(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.insert(0, Text("{ ".to_owned()));
    pieces.push(Text(" }".to_owned()));
    pieces
}

/// Types between `open` and `close`; `None` is written `_`.
fn enclosed(open: &str, types: impl IntoIterator<Item = Option<Type>>, close: &str) -> Vec<Piece> {
    let mut pieces = vec![Text(open.to_owned())];
    for (index, ty) in types.into_iter().enumerate() {
        if index > 0 {
            pieces.push(Text(", ".to_owned()));
        }
        pieces.push(ty.map_or_else(|| Text("_".to_owned()), Piece::Type));
    }
    pieces.push(Text(close.to_owned()));
    pieces
}

fn primitive(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "",
    }
}
