#!/usr/bin/env bash
# Holds the sources against .clang-format and 100 columns; `test/clang-format.sh -i` formats them.
# Exit code 77: there is no clang-format.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-22 >/dev/null || { echo "clang-format-22 is not installed"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 ||
  { echo "not a git checkout: its files are not known"; exit 77; }
mode=(--dry-run -Werror)
[ "${1:-}" = -i ] && mode=(-i)
# Generated: support_ptx.h.
git ls-files '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' '*.td' | grep -v support_ptx.h |
  xargs clang-format-22 "${mode[@]}"
# What clang-format cannot break: comments, strings, IR, prose. Exempt are tables, links and
# diagrams, patterns, the command and check lines of tests, and what TableGen generates.
wide=$(git ls-files '*.cpp' '*.h' '*.c' '*.cu' '*.cuh' '*.td' '*.mlir' '*.md' |
  grep -vE 'support_ptx.h|docs/dialects/|docs/passes.md' |
  LC_ALL=C.UTF-8 xargs grep -nP '^.{101}' |
  grep -vP '^[^:]+:\d+:(\||.*(─|https?://|RUN:|CHECK|expected-|R"))|^[^:]+\.md:\d+:(m1-| *\|)' || true)
[ -z "$wide" ] || { echo "lines over 100 columns:"; echo "$wide"; exit 1; }
