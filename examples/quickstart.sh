#!/usr/bin/env bash
# From a fresh machine to generated tokens: installs what is missing, builds, compiles a model of this repository and runs it.
# Usage: examples/quickstart.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
examples/setup.sh
examples/build.sh "$root/build" -DM1_BUILD_TESTS=OFF

bin=$root/build/bin
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
model=test/Integration/goldens/m1-mamba1-bf16
echo
echo "== compile $model (a tiny M1: Mamba, attention, Mamba, attention)"
"$bin/m1-compile" "$model" -o "$out/model.m1a"
echo
echo "== generate 24 tokens greedily from four token ids"
echo "1 5 17 100" >"$out/ids.txt"
"$bin/m1-run" "$out/model.m1a" --input-ids "$out/ids.txt" --max-new-tokens 24 --temperature 0 --ignore-eos --stats
