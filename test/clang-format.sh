#!/usr/bin/env bash
# Holds the sources against .clang-format; `test/clang-format.sh -i` formats them. Exit code 77: there is no clang-format.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-22 >/dev/null || { echo "clang-format-22 is not installed"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a git checkout: its files are not known"; exit 77; }
mode=(--dry-run -Werror)
[ "${1:-}" = -i ] && mode=(-i)
# Generated: support_ptx.h.
git ls-files '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' | grep -v support_ptx.h | xargs clang-format-22 "${mode[@]}"
