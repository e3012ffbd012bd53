#!/usr/bin/env bash
# Builds the hellos of Python and JavaScript for `cargo xtask bench capacity`, with toolchains that
# it installs into target/bench-guests. Needs python3 with venv, node and npm.
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
ls -l ./*.wasm
