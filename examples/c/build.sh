#!/bin/sh
set -e
wit-bindgen c --out-dir target wit
zig cc -target wasm32-wasi -mexec-model=reactor -Wl,-z,stack-size=65536 -Os -s -Wall -Wextra \
    -I target text.c target/text.c target/text_component_type.o -o target/core.wasm
componentize target/core.wasm --output target/text.wasm
