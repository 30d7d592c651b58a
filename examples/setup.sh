#!/usr/bin/env bash
# Installs what building and testing need, from Debian's own packages, when it is missing, and the packages that are named besides.
# Usage: examples/setup.sh [PACKAGE...]
set -euo pipefail
packages=(
  cmake ninja-build ccache git python3 g++
  clang-22 clang-format-22 clang-tidy-22 libclang-rt-22-dev lld-22 liblld-22-dev llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools
  libflatbuffers-dev flatbuffers-compiler libcli11-dev nlohmann-json3-dev libpcre2-dev libssl-dev libedit-dev
  zlib1g-dev libzstd-dev libgtest-dev binutils python3-jinja2 tmux libcpp-httplib-dev
  libopenmpi-dev openmpi-bin
  "$@"
)
missing=()
for p in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: these packages are missing and there is no sudo to install them: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
