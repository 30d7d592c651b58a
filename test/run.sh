#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. The last line is "N passed, N failed, N skipped".
# Usage: test/run.sh [--no-sanitizers]     (GPU tests: test/gpu/run.sh)
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
sanitize=yes
[ "${1:-}" = "--no-sanitizers" ] && sanitize=no

fail_early() { echo "run.sh: $1 failed"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
examples/setup.sh chromium || fail_early "set-up"
examples/build.sh "$root/build" -DM1_WERROR=ON || fail_early "build"

reports=$(mktemp -d)
# The tests of the tools compile the same models again and again: each program once.
export M1_CACHE=$reports/kernels
trap 'rm -rf "$reports"' EXIT
/usr/lib/llvm-22/bin/lit -q --xunit-xml-output "$reports/lit.xml" "$root/build/test"
ctest --test-dir "$root/build" -j2 --timeout 900 --output-on-failure --no-tests=error --output-junit "$reports/ctest.xml" |
  grep -vE '^ *Start|^ *[0-9]+/[0-9]+ Test.*(Passed|Skipped)'

if [ $sanitize = yes ]; then
  for kind in address,undefined thread; do
    build=$root/build-${kind%%,*}
    fuzz=OFF
    [ "${kind%%,*}" = address ] && fuzz=ON
    examples/build.sh "$build" -DM1_BUILD_COMPILER=OFF -DM1_CUDA=OFF -DM1_SANITIZE=$kind -DM1_FUZZ=$fuzz || fail_early "build with $kind sanitizer"
    ctest --test-dir "$build" -j2 --timeout 900 --output-on-failure --output-junit "$reports/ctest-${kind%%,*}.xml" |
      grep -vE '^ *Start|^ *[0-9]+/[0-9]+ Test.*(Passed|Skipped)'
  done
fi
python3 "$root/test/summarize.py" "$reports"
