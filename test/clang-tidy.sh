#!/usr/bin/env bash
# Runs clang-tidy, with the checks of .clang-tidy, over the sources that are built below the given directories. Prints what it finds; any finding is
# a failure. Exit code 77: there is no clang-tidy.
# Usage: test/clang-tidy.sh BUILD_DIR DIRECTORY...
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
shift
command -v clang-tidy-22 >/dev/null || { echo "clang-tidy-22 is not installed"; exit 77; }
cd "$root"
# With the smaller of the compiler's precompiled headers: clang-tidy reads all of one for every file.
database=$(mktemp -d)
trap 'rm -rf "$database"' EXIT
sed 's/m1_lowering_headers\.dir/m1_mlir_headers.dir/g' "$build/compile_commands.json" >"$database/compile_commands.json"
python3 - "$database/compile_commands.json" "$root" "$@" <<'PYTHON' | xargs -r -d '\n' -n 8 clang-tidy-22 -p "$database" --quiet 2>/dev/null
import json, os, sys
commands, root, *directories = sys.argv[1:]
files = {os.path.relpath(entry["file"], root) for entry in json.load(open(commands))}
print("\n".join(sorted(f for f in files if f.startswith(tuple(d + "/" for d in directories)))))
PYTHON
