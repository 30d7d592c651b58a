#!/usr/bin/env python3
"""The runtime library stays small and free of LLVM and CUDA, and exports the C API alone: library_test.py LIBRARY STRIP."""
import os
import subprocess
import sys
import tempfile

library, strip = sys.argv[1], sys.argv[2]
needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
names = [line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line]
foreign = [name for name in names if any(part in name.lower() for part in ("llvm", "mlir", "cuda", "cublas", "nvrtc"))]
assert not foreign, f"the library needs {foreign}"
with tempfile.TemporaryDirectory() as directory:
    small = os.path.join(directory, "stripped.so")
    subprocess.run([strip, "-o", small, library], check=True)
    size = os.path.getsize(small)
assert size <= 3_000_000, f"stripped, the library has {size} bytes; the limit is 3000000"
symbols = subprocess.run(["readelf", "-W", "--dyn-syms", library], capture_output=True, text=True, check=True).stdout
exported = [line.split()[-1] for line in symbols.splitlines() if " DEFAULT " in line and " UND " not in line and " LOCAL " not in line]
assert "m1_model_load" in exported and "m1_engine_submit" in exported, "the C API is not exported"
others = [name for name in exported if not name.startswith("m1_")]
assert not others, f"more than the C API is exported: {others[:5]}"
print(f"stripped {size} bytes, needs {names}")
