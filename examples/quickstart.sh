#!/usr/bin/env bash
# From a fresh machine to a model that reasons and votes: installs what is missing, builds, compiles a model of this repository, runs it.
# Usage: examples/quickstart.sh [BIN_DIR]     (with the programs of a build in BIN_DIR, nothing is installed or built)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:+$(cd "$1" && pwd)}
cd "$root"
if [ -z "$bin" ]; then
  examples/setup.sh
  examples/build.sh "$root/build" -DM1_BUILD_TESTS=OFF
  bin=$root/build/bin
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
echo
echo "== compile examples/tiny-reasoner/model: a trained M1 of 5 M parameters"
"$bin/m1-compile" examples/tiny-reasoner/model -o "$out/tiny.m1a"

# A held-out problem of the test set: training never saw it.
field() { python3 -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())[sys.argv[2]])' examples/tiny-reasoner/test.jsonl "$1"; }
question=$(field problem)
expected=$(field answer)
echo
echo "== one sample, streamed: $question"
"$bin/m1-run" "$out/tiny.m1a" --prompt "$question" --temperature 0.7 --max-new-tokens 400
echo
echo "== a vote of up to 32 samples in at most 10 seconds, which stops once its leader would win any longer one with 95 %"
"$bin/m1-run" "$out/tiny.m1a" --prompt "$question" --temperature 0.7 --max-new-tokens 400 --samples 32 --vote --stop-early confident --time-budget 10
echo "right: $expected"
