//! Go, as components need it.
//!
//! The bindings that wit-bindgen makes ask two things of it that it does not have by itself: a function
//! of the runtime, which an overlay adds without a change to Go, and their own module, whose source
//! comes with wit-bindgen. `go` in `bin` knows where both are.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    setup::{self, FOLDER, WASM},
    steps::{cargo, root, run},
};

/// What bindings import. The version stands in wit-bindgen-go, as `REMOTE_PKG_VERSION`.
const MODULE: &str = "go.bytecodealliance.org/pkg";
const VERSION: &str = "v0.4.0";

/// What Go's scheduler asks when there is nothing to run.
const IDLE: &str = "func beforeIdle(int64, int64) (*g, bool) {\n\treturn nil, false\n}\n";

/// Installs it, where its package is.
pub fn install() -> Result<()> {
    let go = root().join(setup::site_packages()?.join("go"));
    let folder = root().join(FOLDER).join("go");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    add_idle_callback(&go, &folder)?;
    publish_module(&folder)?;
    // Before the proxy that is used otherwise, so that components may have other modules as well.
    setup::script(
        "go",
        &format!(
            "#!/bin/sh\n\
             here='{folder}'\n\
             export GOTOOLCHAIN=local GOFLAGS=\"'-overlay=$here/overlay.json' -modcacherw $GOFLAGS\"\n\
             export GOMODCACHE=\"$here/modules\" GONOSUMDB='{MODULE}'\n\
             export GOPROXY=\"file://$here/proxy,$('{go}/bin/go' env GOPROXY)\"\n\
             exec '{go}/bin/go' \"$@\"\n",
            folder = folder.display(),
            go = go.display(),
        ),
    )
}

/// Writes an overlay in which the runtime has `wasiOnIdle`.
fn add_idle_callback(go: &Path, folder: &Path) -> Result<()> {
    let runtime = go.join("src/runtime");
    let lock = runtime.join("lock_wasip1.go");
    let text = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    ensure!(text.contains(IDLE), "{}: is this another Go?", lock.display());
    let changed = folder.join("lock_wasip1.go");
    fs::write(&changed, text.replace(IDLE, ""))?;
    let overlay = format!(
        "{{\"Replace\": {{{:?}: {:?}, {:?}: {:?}}}}}\n",
        lock,
        changed,
        runtime.join("on_idle_wasip1.go"),
        root().join("toolchains/go/on_idle.go"),
    );
    Ok(fs::write(folder.join("overlay.json"), overlay)?)
}

/// Lays the bindings' module out as Go's proxies do.
fn publish_module(folder: &Path) -> Result<()> {
    let versions = folder.join("proxy").join(MODULE).join("@v");
    fs::create_dir_all(&versions)?;
    let source = folder.join("module");
    run(Command::new("cp").arg("--recursive").arg(wit_bindgen()?.join("src/pkg")).arg(&source))?;
    allocate_without_collecting(&source.join("wit/runtime/runtime.go"))?;
    fs::copy(source.join("go.mod"), versions.join(format!("{VERSION}.mod")))?;
    fs::write(versions.join(format!("{VERSION}.info")), format!("{{\"Version\":\"{VERSION}\"}}"))?;

    run(Command::new("python3")
        .args(["-c", ZIP])
        .arg(source)
        .arg(versions.join(format!("{VERSION}.zip")))
        .arg(format!("{MODULE}@{VERSION}")))
}

/// While values are passed to a component, it may not call its host (it would trap, with `cannot leave
/// component instance`). Go collects garbage where it allocates, and looks at the clock for it: here
/// it leaves that to the next allocation. (wasmtime#14318; the adapter knows some of these calls.)
fn allocate_without_collecting(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let before = "\t\tpointer := Allocate(&pinner, newSize, align)\n";
    ensure!(text.contains(before), "{}: is this another wit-bindgen?", path.display());
    let after = format!("\t\tm := acquirem()\n{before}\t\treleasem(m)\n");
    let declared = "\n//go:linkname acquirem runtime.acquirem\n\
                    func acquirem() unsafe.Pointer\n\n\
                    //go:linkname releasem runtime.releasem\n\
                    func releasem(m unsafe.Pointer)\n";
    Ok(fs::write(path, text.replace(before, &after) + declared)?)
}

/// Packs a folder as Go wants it: without entries for folders, which tools that pack make.
const ZIP: &str = "
import pathlib, sys, zipfile
source, target, prefix = sys.argv[1:]
with zipfile.ZipFile(target, 'w') as archive:
    for path in sorted(pathlib.Path(source).rglob('*')):
        if path.is_file():
            archive.write(path, f'{prefix}/{path.relative_to(source)}')
";

/// Where Cargo has put the source of wit-bindgen-go.
fn wit_bindgen() -> Result<std::path::PathBuf> {
    let arguments = ["metadata", "--locked", "--format-version=1", "--manifest-path"];
    let output = cargo().args(arguments).arg(Path::new(WASM).join("Cargo.toml")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut paths = text.split("\"manifest_path\":\"").filter_map(|rest| rest.split('"').next());
    let path = paths.find(|path| path.contains("/wit-bindgen-go-")).context("no wit-bindgen-go")?;
    Ok(Path::new(path).parent().context("a manifest has a folder")?.to_owned())
}
