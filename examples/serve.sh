#!/usr/bin/env bash
# From a fresh clone to a page to talk to: installs what is missing, builds, compiles the tiny reasoner, serves it and opens the page.
# Usage: examples/serve.sh [--bin BIN_DIR] [m1-serve options...]     (with the programs of a build, nothing is installed or built)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=
if [ "${1:-}" = --bin ]; then
  bin=$(cd "$2" && pwd)
  shift 2
fi
if [ -z "$bin" ]; then
  "$root/examples/setup.sh"
  "$root/examples/build.sh" "$root/build" -DM1_BUILD_TESTS=OFF
  bin=$root/build/bin
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/m1-compile" "$root/examples/tiny-reasoner/model" -o "$out/tiny-reasoner.m1a"
mkfifo "$out/said"
"$bin/m1-serve" "$out/tiny-reasoner.m1a" "$@" >"$out/said" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$out"' EXIT
trap 'exit 0' INT TERM
read -r line <"$out/said" || { wait "$server"; exit; }
address=${line#m1-serve: }
echo "Open $address (Ctrl-C ends the server)"
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
  xdg-open "$address" >/dev/null 2>&1 &
fi
wait "$server"
