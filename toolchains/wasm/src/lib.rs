//! What both programs have in common: how their arguments are read, and worlds.

use std::{collections::VecDeque, path::Path};

use anyhow::{Context as _, Result, bail};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

/// Arguments: options, each with a value, and what is none.
pub struct Arguments {
    options: Vec<(String, String)>,
    plain: VecDeque<String>,
}

impl Arguments {
    /// Of this process. Options that are not in `known` are refused.
    pub fn read(known: &[&str]) -> Result<Self> {
        let mut this = Self { options: Vec::new(), plain: VecDeque::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                None => this.plain.push_back(word),
                Some(name) if known.contains(&name) => {
                    let value = words.next().with_context(|| format!("{word} needs a value"))?;
                    this.options.push((name.to_owned(), value));
                }
                Some(_) => bail!("{word} is not known here: --{}", known.join(", --")),
            }
        }
        Ok(this)
    }

    /// The next that is no option.
    pub fn next(&mut self, what: &str) -> Result<String> {
        self.plain.pop_front().with_context(|| format!("{what} is missing"))
    }

    /// All that are left and no options.
    pub fn rest(&mut self) -> impl Iterator<Item = String> + '_ {
        self.plain.drain(..)
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The world `name` of the packages in `folders`, or the only one that they have.
pub fn world(
    folders: impl IntoIterator<Item = impl AsRef<Path>>,
    name: Option<&str>,
) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let packages = folders
        .into_iter()
        .map(|folder| Ok(resolve.push_path(folder)?.0))
        .collect::<Result<Vec<_>>>()?;
    let world = resolve.select_world(&packages, name)?;
    Ok((resolve, world))
}
