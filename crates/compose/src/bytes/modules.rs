//! The core modules that hand over bytes.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, InstanceSection, InstructionSink,
    MemArg, MemoryType, Module, ModuleArg, TypeSection, ValType,
};

use super::signature::Place;

/// The memory of a component, and what allocates in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) number: u32,
    pub(super) realloc: Option<u32>,
}

/// What the core modules here import everything from.
const HOST: &str = "";
const MEMORY: &str = "memory";
const REALLOC: &str = "realloc";

impl Memory {
    /// An instance of it and `functions`, whose names are their places, as the next instance `next`; and one
    /// of `module` with this.
    pub(super) fn instance_of(self, module: u32, next: u32, functions: &[u32]) -> InstanceSection {
        let named = (0..).zip(functions);
        let mut items = vec![(MEMORY.to_owned(), ExportKind::Memory, self.number)];
        items.extend(self.realloc.map(|it| (REALLOC.to_owned(), ExportKind::Func, it)));
        items.extend(named.map(|(name, it): (u32, _)| (name.to_string(), ExportKind::Func, *it)));
        let mut instances = InstanceSection::new();
        instances.export_items(items.iter().map(|(name, kind, number)| (&**name, *kind, *number)));
        instances.instantiate(module, [(HOST, ModuleArg::Instance(next))]);
        instances
    }
}

const I32: ValType = ValType::I32;

fn imports() -> ImportSection {
    let mut imports = ImportSection::new();
    let memory = MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import(HOST, MEMORY, memory);
    imports
}

/// A module of
/// - `same`, which returns what it takes;
/// - `realloc`, which allocates as the component's own does for bytes, for strings that have to be at even
///   addresses: where that gives an odd one, they are put elsewhere first;
/// - `settle`, which gets them from there, and returns where they are; it takes both address and length.
///
/// The last two only with `allocates`.
pub(super) fn memory(allocates: bool) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([I32], [I32]);
    types.ty().function([I32, I32], [I32]);
    types.ty().function([I32, I32, I32, I32], [I32]);
    let (mut imports, mut functions) = (imports(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    let mut globals = GlobalSection::new();
    let mut add = |name, ty, locals: &[(u32, ValType)], body: &dyn Fn(&mut InstructionSink<'_>)| {
        let mut function = Function::new(locals.iter().copied());
        body(&mut function.instructions());
        function.instructions().end();
        functions.function(ty);
        exports.export(name, ExportKind::Func, code.len() + u32::from(allocates));
        code.function(&function);
    };
    add("same", 0, &[], &|body| {
        body.local_get(0);
    });
    if allocates {
        imports.import(HOST, REALLOC, EntityType::Function(2));
        for _ in [ODD, SPARE, SPARE_SIZE] {
            let ty = GlobalType { val_type: I32, mutable: true, shared: false };
            globals.global(ty, &ConstExpr::i32_const(0));
        }
        add("settle", 1, &[], &settle);
        add("realloc", 2, &[(1, I32)], &realloc);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals);
    module.section(&exports).section(&code);
    module
}

/// Where the bytes that are elsewhere for now belong, or 0.
const ODD: u32 = 0;
/// Where they are, and how many have room there. It is kept.
const SPARE: u32 = 1;
const SPARE_SIZE: u32 = 2;
/// The function that allocates in the component.
const ALLOCATE: u32 = 0;

fn realloc(body: &mut InstructionSink<'_>) {
    let [old, old_size, size, new] = [0, 1, 3, 4];
    body.local_get(old).local_get(old_size).i32_const(1).local_get(size).call(ALLOCATE);
    body.local_tee(new);
    is_odd(body);
    body.if_(BlockType::Empty);
    body.local_get(new).global_set(ODD);
    body.local_get(size).global_get(SPARE_SIZE).i32_gt_u().if_(BlockType::Empty);
    body.global_get(SPARE).global_get(SPARE_SIZE).i32_const(2).local_get(size).call(ALLOCATE);
    body.global_set(SPARE).local_get(size).global_set(SPARE_SIZE).end();
    body.global_get(SPARE).local_set(new).end();
    body.local_get(new);
}

fn settle(body: &mut InstructionSink<'_>) {
    let [at, size] = [0, 1];
    body.global_get(ODD).if_(BlockType::Empty);
    body.global_get(ODD).local_get(at).local_get(size).memory_copy(0, 0);
    body.global_get(ODD).local_set(at).i32_const(0).global_set(ODD).end();
    body.local_get(at);
}

fn is_odd(body: &mut InstructionSink<'_>) {
    body.i32_const(1).i32_and();
}

/// The type of `settle` of [`memory`].
pub(super) fn settle_type() -> CoreType {
    CoreType { params: vec![I32; 2], results: vec![I32] }
}

/// The type of a core function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreType {
    pub(super) params: Vec<ValType>,
    pub(super) results: Vec<ValType>,
}

/// A function that is called in place of an import. Functions are the numbers of the module's imports.
pub(super) struct Caller {
    /// Of the import.
    pub(super) ty: CoreType,
    /// The parameters that are pointers to bytes; the next is the length.
    pub(super) bytes: Vec<u32>,
    /// What it calls on bytes themselves.
    pub(super) plain: u32,
    pub(super) call: u32,
    pub(super) put: Option<Moved>,
    pub(super) result: Option<ResultBytes>,
}

/// What puts bytes, or takes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) text: u32,
    pub(super) bytes: u32,
}

/// How the bytes of a result are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResultBytes {
    pub(super) place: Place,
    pub(super) get: u32,
    pub(super) take: Moved,
    pub(super) settle: u32,
    pub(super) done: Option<u32>,
}

/// A module of `callers`, whose exports have their numbers as names, as have its imports, which are of
/// these types.
pub(super) fn callers(imported: &[CoreType], callers: &[Caller]) -> Module {
    let (mut types, mut imports, mut functions) =
        (TypeSection::new(), imports(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for (number, ty) in (0..).zip(imported) {
        types.ty().function(ty.params.clone(), ty.results.clone());
        imports.import(HOST, &number.to_string(), EntityType::Function(number));
    }
    for (number, caller) in (0..).zip(callers) {
        types.ty().function(caller.ty.params.clone(), caller.ty.results.clone());
        functions.function(types.len() - 1);
        exports.export(&number.to_string(), ExportKind::Func, imported.len() as u32 + number);
        code.function(&caller.function());
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module
}

/// Fewer are copied as fast one by one.
const MANY: i32 = 64;

impl Caller {
    fn function(&self) -> Function {
        let params = self.ty.params.len() as u32;
        let result = self.result.map(|result| (result, params.saturating_sub(1)));
        let mut function = Function::new([(1, I32)]);
        let mut body = function.instructions();
        if let Some((result, to)) = result {
            self.put(&mut body);
            self.call(&mut body, self.call, to);
            result.take(&mut body, params, to);
        } else {
            body.i32_const(0);
            for at in &self.bytes {
                can_be_text(&mut body, &|body| local(body, *at), &|body| local(body, at + 1));
                body.i32_or();
            }
            body.if_(BlockType::Empty);
            self.put(&mut body);
            self.call(&mut body, self.call, params);
            body.return_().end();
            self.call(&mut body, self.plain, params);
        }
        body.end();
        function
    }

    /// Puts all bytes, and has the pointers lead to where they are put.
    fn put(&self, body: &mut InstructionSink<'_>) {
        let Some(put) = self.put else { return };
        for at in &self.bytes {
            can_be_text(body, &|body| local(body, *at), &|body| local(body, at + 1));
            body.if_(BlockType::Result(I32));
            body.local_get(*at).local_get(at + 1).call(put.text).else_();
            body.local_get(*at).local_get(at + 1).call(put.bytes).end();
            body.local_set(*at);
        }
    }

    fn call(&self, body: &mut InstructionSink<'_>, function: u32, params: u32) {
        for param in 0..params {
            body.local_get(param);
        }
        body.call(function);
    }
}

impl ResultBytes {
    /// Takes what is where the pointer leads that is on the stack, to where the parameter `to` leads.
    /// `from` is a local for the pointer.
    fn take(&self, body: &mut InstructionSink<'_>, from: u32, to: u32) {
        let offset = self.place.offset;
        let word = |offset| MemArg { offset: u64::from(offset), align: 2, memory_index: 0 };
        let (address, length) = (word(offset), word(offset + 4));
        let byte = MemArg { offset: 0, align: 0, memory_index: 0 };
        let both = |body: &mut InstructionSink<'_>| {
            for pointer in [from, to] {
                body.local_get(pointer).i32_const(offset as i32).i32_add();
            }
        };
        body.local_tee(from).local_get(to).call(self.get);
        if let Some(case) = self.place.case {
            body.local_get(to).i32_load8_u(byte).i32_const(i32::from(case)).i32_eq();
            body.if_(BlockType::Empty);
        }
        let load = |body: &mut InstructionSink<'_>, word| {
            body.local_get(to).i32_load(word);
        };
        can_be_text(body, &|body| load(body, address), &|body| load(body, length));
        body.if_(BlockType::Empty);
        both(body);
        body.call(self.take.text);
        body.local_get(to);
        load(body, address);
        load(body, length);
        body.call(self.settle).i32_store(address);
        body.else_();
        both(body);
        body.call(self.take.bytes).end();
        if self.place.case.is_some() {
            body.end();
        }
        if let Some(done) = self.done {
            body.local_get(from).call(done);
        }
    }
}

/// Whether what the address and the length are of can be a string: there are many, not more than a string
/// may have (`MAX_STRING_BYTE_LENGTH`), and at an even address.
fn can_be_text(body: &mut InstructionSink<'_>, address: Push<'_>, length: Push<'_>) {
    address(body);
    body.i32_const(1).i32_xor();
    length(body);
    body.i32_const(-MANY).i32_add().i32_const(i32::MAX - MANY).i32_lt_u().i32_and();
}

/// Puts a value on the stack.
type Push<'a> = &'a dyn Fn(&mut InstructionSink<'_>);

fn local(body: &mut InstructionSink<'_>, local: u32) {
    body.local_get(local);
}
