#!/bin/sh
set -e
# The bindings, around the package that implements the interface; with a go.mod, of which go.sum follows.
rm -f go.sum
wit-bindgen go --world data --out-dir . ../wit
GOOS=wasip1 GOARCH=wasm go build -mod=mod -buildmode=c-shared -trimpath \
    -ldflags='-checklinkname=0 -s -w' -o core.wasm .
componentize core.wasm --wit ../wit --world data --output data.wasm
