//! Reading a component from a file, and saying what it is when it is none.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::Digest;

/// A file that begins as a component does, with its digest. Whether the rest of it is well-formed
/// is found when it is compiled.
#[derive(Debug, Clone)]
pub struct Artifact {
    path: PathBuf,
    bytes: Vec<u8>,
    digest: Digest,
}

/// The largest file that is read: five times the largest component seen in the wild (a Python
/// component with its interpreter is 22 MB).
pub const MAX_BYTES: u64 = 128 << 20;

impl Artifact {
    /// Reads the component at `path`.
    ///
    /// # Errors
    /// When there is no such file, it can't be read, or it is no component.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let error = |reason| ReadError { path: path.to_owned(), reason };
        let io_error = |source: io::Error| {
            error(match source.kind() {
                io::ErrorKind::NotFound => Kind::Missing,
                io::ErrorKind::IsADirectory => Kind::Folder,
                _ => Kind::Unreadable(source),
            })
        };
        let metadata = fs::metadata(path).map_err(io_error)?;
        if metadata.is_dir() {
            return Err(error(Kind::Folder));
        }
        let mut bytes = Vec::new();
        // Not by the size of the metadata: a device has none, and a file may grow.
        let file = File::open(path).map_err(io_error)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(error(Kind::TooLarge));
        }
        check_preamble(&bytes).map_err(error)?;
        Ok(Self { path: path.to_owned(), digest: Digest::of(&bytes), bytes })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The component.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of [`Artifact::bytes`].
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The first four bytes of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";
/// The preamble of a core module: version 1, layer 0.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The preamble of a component: version 13, layer 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn check_preamble(bytes: &[u8]) -> Result<(), Kind> {
    if bytes.starts_with(COMPONENT) {
        Ok(())
    } else if bytes.is_empty() {
        Err(Kind::Empty)
    } else if bytes.starts_with(MODULE) {
        Err(Kind::CoreModule { wasi_preview1: imports_preview1(bytes) })
    } else if COMPONENT.starts_with(bytes) || MODULE.starts_with(bytes) {
        Err(Kind::Truncated)
    } else if bytes.starts_with(MAGIC) {
        Err(Kind::UnknownVersion)
    } else if is_wat(bytes) {
        Err(Kind::TextFormat)
    } else {
        Err(Kind::NotWasm)
    }
}

fn is_wat(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    [&b"(component"[..], b"(module", b";;", b"(;"].iter().any(|start| text.starts_with(start))
}

fn imports_preview1(bytes: &[u8]) -> bool {
    wasmparser::Parser::new(0)
        .parse_all(bytes)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            wasmparser::Payload::ImportSection(section) => Some(section),
            _ => None,
        })
        .flat_map(|section| section.into_imports())
        .any(|import| import.is_ok_and(|import| import.module == "wasi_snapshot_preview1"))
}

/// A component that can't be read.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: Kind,
}

/// What a file is that is no readable component.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum Kind {
    #[error("no such file")]
    Missing,
    #[error("a folder, not a component")]
    Folder,
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    #[error("longer than the limit of {MAX_BYTES} bytes")]
    TooLarge,
    #[error("an empty file, not a component")]
    Empty,
    #[error("a core WebAssembly module, not a component")]
    CoreModule { wasi_preview1: bool },
    #[error("cut off within its first eight bytes")]
    Truncated,
    #[error("a WebAssembly binary of a version that is neither a module nor a component")]
    UnknownVersion,
    #[error("WebAssembly text, not a component in binary form")]
    TextFormat,
    #[error("not WebAssembly")]
    NotWasm,
}

impl Kind {
    /// What to do about it, as text to paste where that is possible.
    pub fn help(&self, path: &Path) -> Option<String> {
        let path = path.display();
        match self {
            Self::CoreModule { wasi_preview1: true } => Some(format!(
                "build for the target wasm32-wasip2, or make a component of it:\n\
                 wasm-tools component new {path} \
                 --adapt wasi_snapshot_preview1.reactor.wasm -o component.wasm"
            )),
            Self::CoreModule { wasi_preview1: false } => Some(format!(
                "build for the target wasm32-wasip2, or make a component of it:\n\
                 wasm-tools component new {path} -o component.wasm"
            )),
            Self::TextFormat => {
                Some(format!("translate it: wasm-tools parse {path} -o component.wasm"))
            }
            Self::Truncated | Self::Empty => Some("build it again".to_owned()),
            Self::Missing
            | Self::Folder
            | Self::Unreadable(_)
            | Self::TooLarge
            | Self::UnknownVersion
            | Self::NotWasm => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is() {
        let kind = |bytes: &[u8]| check_preamble(bytes).map_err(|kind| kind.to_string());
        assert_eq!(kind(b"\0asm\x0d\0\x01\0..."), Ok(()));
        for (bytes, message) in [
            (&b""[..], "an empty file, not a component"),
            (b"\0asm\x01\0\0\0", "a core WebAssembly module, not a component"),
            (b"\0asm\x0d\0", "cut off within its first eight bytes"),
            (b"\0", "cut off within its first eight bytes"),
            (
                b"\0asm\x02\0\0\0",
                "a WebAssembly binary of a version that is neither a module nor a component",
            ),
            (b"  (component)", "WebAssembly text, not a component in binary form"),
            (b"#!/bin/sh", "not WebAssembly"),
        ] {
            assert_eq!(kind(bytes), Err(message.to_owned()));
        }
    }
}
