//! Where the interfaces are linked: under which names, and for whom.

use wasmtime::component::{Linker, LinkerInstance};

use crate::{
    interfaces::is_served_by,
    parts::{State, VIEWS, Views},
};

/// An import of one part of an entry that has a name of its own there, so that the host knows who
/// calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImport {
    /// Which part, in the order of the parts.
    pub part: usize,
    /// What the component imports, as `namespace:package/interface@version`.
    pub interface: String,
    /// What the joined component imports in its place.
    pub name: String,
}

/// Adds interfaces to a linker for one part.
pub(crate) struct Linking<'a> {
    linker: &'a mut Linker<State>,
    views: &'static Views,
    names: Names<'a>,
}

enum Names<'a> {
    /// The interfaces' own.
    Interfaces,
    /// Those that are made for the part when it is joined with others.
    Own(Vec<&'a OwnImport>),
}

impl<'a> Linking<'a> {
    /// For a component by itself, and for what parts share.
    pub(crate) fn interfaces(linker: &'a mut Linker<State>) -> Self {
        let [views, ..] = &VIEWS;
        Self { linker, views, names: Names::Interfaces }
    }

    /// For the part number `part` of those that `imports` are of.
    ///
    /// # Errors
    /// When there can't be so many.
    pub(crate) fn part(
        linker: &'a mut Linker<State>,
        part: usize,
        imports: &'a [OwnImport],
    ) -> wasmtime::Result<Self> {
        let of_part = imports.iter().filter(|import| import.part == part).collect();
        let Some(views) = VIEWS.get(part) else {
            return Err(wasmtime::Error::msg("more parts than can be joined"));
        };
        Ok(Self { linker, views, names: Names::Own(of_part) })
    }

    pub(crate) fn linker(&mut self) -> &mut Linker<State> {
        self.linker
    }

    /// Adds `interface` under each name that it is imported by; `add` gets the instance to add to
    /// and how to see the state.
    pub(crate) fn add(
        &mut self,
        interface: &str,
        add: impl Fn(&mut LinkerInstance<'_, State>, &'static Views) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        match &self.names {
            Names::Interfaces => add(&mut self.linker.instance(interface)?, self.views),
            Names::Own(imports) => {
                for import in imports {
                    if is_served_by(interface, &import.interface) {
                        add(&mut self.linker.instance(&import.name)?, self.views)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Adds the bindings `$module` of `$interface`, which see the state by `$view`.
macro_rules! add {
    ($to:expr, $interface:expr, $module:ident, $data:ty, $view:ident) => {
        $to.add($interface, |instance, views| {
            $module::add_to_linker_instance::<$crate::State, $data>(instance, views.$view)
        })
    };
}

pub(crate) use add;
