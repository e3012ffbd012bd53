use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::{Composed, Part, Surface, Wire, WiringFault, compose};

mod bytes;
mod faults;
mod wiring;

/// A component of the world `world` of the package `wit`, whose functions trap.
fn component(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn part<'a>(name: &'a str, wasm: &'a [u8], uses: &[(&'a str, usize)]) -> Part<'a> {
    let uses = uses.iter().map(|(interface, part)| Wire { interface, part: *part }).collect();
    Part { name, wasm, uses }
}

/// What the capabilities of a host are, other than the types that they share.
fn is_own(interface: &str) -> bool {
    interface.starts_with("wasi:") && !interface.starts_with("wasi:http/types")
}

fn names(composed: &Composed) -> (Vec<String>, Vec<String>) {
    let Surface { imports, exports } = Surface::of(&composed.wasm).unwrap();
    let names = |externs: Vec<crate::Extern>| externs.into_iter().map(|it| it.name).collect();
    (names(imports), names(exports))
}

/// The messages, and what helps.
fn messages(faults: Vec<WiringFault>) -> Vec<String> {
    faults
        .into_iter()
        .map(|fault| match fault.help() {
            Some(help) => format!("{fault}\n  help: {help}"),
            None => fault.to_string(),
        })
        .collect()
}
