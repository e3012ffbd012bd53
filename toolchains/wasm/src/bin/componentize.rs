//! `componentize [--wit FOLDER] [--world WORLD] --output FILE MODULE`: makes a component of a core
//! module. `--wit` and `--world` say what it is a component of, where the module does not (Go's).
//! What it calls of WASI 0.1 becomes WASI 0.2.

use std::fs;

use anyhow::{Context as _, Result};
use toolchain::{Arguments, world};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

fn main() -> Result<()> {
    let mut arguments = Arguments::read(&["wit", "world", "output"])?;
    let path = arguments.next("the module")?;
    let output = arguments.option("output").context("--output is missing")?;
    let mut module = fs::read(&path).with_context(|| path.clone())?;
    if let Some(wit) = arguments.option("wit") {
        let (resolve, world) = world([wit], arguments.option("world"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    }
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
        .with_context(|| format!("{path} makes no component"))?;
    fs::write(output, component).with_context(|| output.to_owned())
}
