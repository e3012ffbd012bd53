//! The numbers of what a component consists of, where something is added in between.

use std::{collections::BTreeMap, convert::Infallible};

use wasm_encoder::{
    CanonicalFunctionSection, Component, RawSection,
    reencode::{Error, Reencode, ReencodeComponent, component_utils},
};
use wasmparser::{CanonicalFunction, Parser};

/// Copies sections of a component to where something was added before them.
#[derive(Default)]
pub(super) struct Numbering {
    pub(super) types: Numbers,
    pub(super) functions: Numbers,
    pub(super) instances: Numbers,
    pub(super) modules: Numbers,
    pub(super) core_functions: Numbers,
    pub(super) core_instances: Numbers,
    /// What stands in place of core functions.
    pub(super) replaced: BTreeMap<u32, u32>,
    /// How many components and types of such the current one is inside of. Those have numbers of their own.
    depth: u32,
}

/// What numbers become where things are added.
#[derive(Default)]
pub(super) struct Numbers {
    /// How many were added before which number.
    added: Vec<(u32, u32)>,
}

impl Numbers {
    pub(super) fn of(&self, number: u32) -> u32 {
        let before = self.added.iter().filter(|(at, _)| *at <= number);
        number + before.map(|(_, count)| count).sum::<u32>()
    }

    /// Adds so many after `existing`, and returns the number of the first.
    pub(super) fn add(&mut self, existing: u32, count: usize) -> u32 {
        let first = self.of(existing);
        self.added.push((existing, count as u32));
        first
    }
}

impl Reencode for Numbering {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(match self.replaced.get(&function) {
            _ if self.depth > 0 => function,
            Some(replaced) => *replaced,
            None => self.core_functions.of(function),
        })
    }
}

impl ReencodeComponent for Numbering {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn component_type_index(&mut self, number: u32) -> u32 {
        if self.depth == 0 { self.types.of(number) } else { number }
    }

    fn component_instance_index(&mut self, number: u32) -> u32 {
        if self.depth == 0 { self.instances.of(number) } else { number }
    }

    fn component_func_index(&mut self, number: u32) -> u32 {
        if self.depth == 0 { self.functions.of(number) } else { number }
    }

    fn module_index(&mut self, number: u32) -> u32 {
        if self.depth == 0 { self.modules.of(number) } else { number }
    }

    fn instance_index(&mut self, number: u32) -> u32 {
        if self.depth == 0 { self.core_instances.of(number) } else { number }
    }

    fn outer_component_type_index(&mut self, count: u32, number: u32) -> u32 {
        if self.depth == count { self.types.of(number) } else { number }
    }

    fn outer_component_index(&mut self, _: u32, number: u32) -> u32 {
        number
    }

    fn outer_module_index(&mut self, count: u32, number: u32) -> u32 {
        if self.depth == count { self.modules.of(number) } else { number }
    }

    fn outer_type_index(&mut self, _: u32, number: u32) -> Result<u32, Error> {
        Ok(number)
    }

    /// Modules stay as they are, byte by byte.
    fn parse_component_submodule(
        &mut self,
        component: &mut Component,
        _: Parser,
        module: &[u8],
    ) -> Result<(), Error> {
        const MODULE: u8 = 1;
        component.section(&RawSection { id: MODULE, data: module });
        Ok(())
    }

    fn parse_component_canonical(
        &mut self,
        section: &mut CanonicalFunctionSection,
        mut function: CanonicalFunction,
    ) -> Result<(), Error> {
        // wasm-encoder 0.254 leaves the types of these as they are.
        if let CanonicalFunction::StreamCancelRead { ty, .. }
        | CanonicalFunction::StreamCancelWrite { ty, .. }
        | CanonicalFunction::FutureCancelRead { ty, .. }
        | CanonicalFunction::FutureCancelWrite { ty, .. } = &mut function
        {
            *ty = self.component_type_index(*ty);
        }
        component_utils::parse_component_canonical(self, section, function)
    }
}
