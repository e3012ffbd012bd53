//! From what the user names to a checked app and its components.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dhow_capabilities::{Backends, SecretFolder};
use dhow_manifest::{App, Name, Operator};
use dhow_package::{Artifact, ReadError};

use crate::{error::CliError, folders};

/// The name of the manifest in an app's folder.
pub(crate) const MANIFEST: &str = "dhow.toml";

/// The folder for an app's data while it is developed, beside its manifest.
const DATA: &str = ".dhow";

/// A checked app, and the folder that its paths are relative to.
pub(crate) struct LocalApp {
    pub(crate) app: App,
    /// The manifest's text, of which a server makes the same app.
    pub(crate) manifest: String,
    pub(crate) folder: PathBuf,
}

impl LocalApp {
    /// Reads the app at `path`: a component, a manifest, or a folder with a manifest.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        if path.is_dir() {
            let manifest = path.join(MANIFEST);
            if manifest.is_file() {
                return Self::read_manifest(&manifest);
            }
            return Err(CliError::failure_with_help(
                format!("no {MANIFEST} in {}", path.display()),
                "name a component (.wasm) or a folder with a manifest; the shortest manifest is:\n\
                 name = \"hello\"\n\
                 component.hello.source = \"hello.wasm\"",
            ));
        }
        if path.extension().is_some_and(|extension| extension == "toml") {
            return Self::read_manifest(path);
        }
        let name = component_name(path);
        let file = PathBuf::from(path.file_name().unwrap_or(path.as_os_str()));
        let manifest = shortest_manifest(&name, &file);
        Ok(Self { app: App::of_component(name, file), manifest, folder: folder_of(path) })
    }

    fn read_manifest(path: &Path) -> Result<Self, CliError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| CliError::failure(format!("{file} can't be read: {error}")))?;
        Ok(Self { app: App::parse(&file, &text)?, manifest: text, folder: folder_of(path) })
    }

    /// Reads every component.
    pub(crate) fn artifacts(&self) -> Result<BTreeMap<Name, Artifact>, Vec<(Name, ReadError)>> {
        let mut artifacts = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, component) in self.app.components() {
            match Artifact::read(&self.folder.join(&component.source)) {
                Ok(artifact) => {
                    artifacts.insert(name.clone(), artifact);
                }
                Err(error) => errors.push((name.clone(), error)),
            }
        }
        if errors.is_empty() { Ok(artifacts) } else { Err(errors) }
    }
}

/// The manifest of an app that is the component in `file`, and nothing else.
fn shortest_manifest(name: &Name, file: &Path) -> String {
    let source = toml::Value::String(file.to_string_lossy().into_owned());
    format!("name = \"{name}\"\ncomponent.{name}.source = {source}\n")
}

/// The operator's configuration in the file `config`; without one nothing is said.
pub(crate) fn operator(config: Option<&Path>) -> Result<Operator, CliError> {
    let Some(path) = config else { return Ok(Operator::default()) };
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| CliError::failure(format!("{file} can't be read: {error}")))?;
    Ok(Operator::parse(&file, &text)?)
}

/// What `operator` has bound, and an embedded default in `folder` for all that it has not.
pub(crate) fn backends(operator: &Operator, folder: &Path) -> Result<Backends, CliError> {
    let (data, root) = (Some(folder.join(DATA)), folder.to_owned());
    let secrets = Some(secrets(folder));
    Ok(Backends::new(operator, data, root, secrets, &folders::environment_variable)?)
}

/// The secrets of the app in `folder`, as `dhow secret` sets them.
pub(crate) fn secrets(folder: &Path) -> SecretFolder {
    SecretFolder::new(&folder.join(DATA), folders::secret_key())
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// What a component without a manifest is called: after its file.
pub(crate) fn component_name(path: &Path) -> Name {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    [Name::nearest(&stem, "app").as_str(), "app"]
        .iter()
        .find_map(|text| Name::new(text).ok())
        .unwrap_or_else(|| unreachable!("`app` is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_and_its_shortest_manifest_are_the_same_app() {
        for file in ["hello.wasm", "a \"b\" \\ c\n.wasm"] {
            let LocalApp { app, manifest, .. } = LocalApp::read(Path::new(file)).ok().unwrap();
            assert_eq!(App::parse("dhow.toml", &manifest).ok(), Some(app), "{manifest}");
        }
    }
}
