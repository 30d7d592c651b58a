#!/usr/bin/env bash
# Configures and builds the project. Usage: examples/build.sh [BUILD_DIR [cmake arguments...]]
# Tests are built unless -DM1_BUILD_TESTS=OFF is among the arguments, also in a directory where quickstart.sh left them out.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build}
shift || true
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang-22 -DCMAKE_CXX_COMPILER=clang++-22 \
  -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld-22 -DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=lld-22 -DM1_BUILD_TESTS=ON "$@" >"$build.configure.log" 2>&1 ||
  { cat "$build.configure.log" >&2; exit 1; }
grep -E '^-- (CUDA|MLIR)' "$build.configure.log" || true
rm -f "$build.configure.log"
cmake --build "$build"
