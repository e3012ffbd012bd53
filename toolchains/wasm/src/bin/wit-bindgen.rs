//! `wit-bindgen (c|go) [--world WORLD] [--out-dir FOLDER] WIT…`: as the official one is called.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use toolchain::{Arguments, world};
use wit_bindgen_core::Files;

fn main() -> Result<()> {
    let mut arguments = Arguments::read(&["world", "out-dir"])?;
    let mut generator = match arguments.next("the language")?.as_str() {
        "c" => wit_bindgen_c::Opts::default().build(),
        "go" => wit_bindgen_go::Opts::default().build(),
        language => bail!("bindings for {language} are not made here, those for c and go are"),
    };
    let folders: Vec<String> = arguments.rest().collect();
    let (mut resolve, world) = world(&folders, arguments.option("world"))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;

    let folder = Path::new(arguments.option("out-dir").unwrap_or("."));
    for (name, content) in files.iter() {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}
