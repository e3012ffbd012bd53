//! Components that can be told apart.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

const HELLO: &str = "examples/hello/target/wasm32-wasip2/release/hello.wasm";
const GUESTS: &str = "target/guests/wasm32-wasip2/release";

/// What the example says, and what a build of it says: both are of the same length.
const TEXT: &[u8] = b"Hello from a component!";

/// A component that answers with the number of its build. Each has another digest, so that each is compiled
/// in full by a server that has not seen it.
pub struct Hello {
    wasm: Vec<u8>,
    at: usize,
}

impl Hello {
    pub fn read() -> Result<Self> {
        let wasm = std::fs::read(HELLO).with_context(|| HELLO.to_owned())?;
        let at = wasm.windows(TEXT.len()).position(|bytes| bytes == TEXT);
        Ok(Self { wasm, at: at.context("the example says something else")? })
    }

    pub fn build(&self, number: u32) -> Result<Bytes> {
        let text = format!("Hello from build {number:05}!");
        ensure!(text.len() == TEXT.len(), "{number} is too large");
        let mut wasm = self.wasm.clone();
        let place = wasm.get_mut(self.at..self.at + TEXT.len()).context("it is there")?;
        place.copy_from_slice(text.as_bytes());
        Ok(wasm.into())
    }
}

/// The build that has given an answer.
pub fn build_of(answer: &str) -> Option<u32> {
    answer.strip_prefix("Hello from build ")?.get(..5)?.parse().ok()
}

/// A guest of the tests.
pub fn guest(name: &str) -> Result<Bytes> {
    let path = format!("{GUESTS}/{name}.wasm");
    Ok(std::fs::read(&path).with_context(|| path)?.into())
}

/// The manifest of an app of one component.
pub fn manifest(app: &str, limits: &str) -> String {
    format!(
        "name = \"{app}\"\nversion = \"0.1.0\"\n[component.main]\nsource = \"main.wasm\"\n\
         limits = {{ {limits} }}\n[[http]]\npath = \"/...\"\ncomponent = \"main\"\n"
    )
}
