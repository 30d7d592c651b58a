#!/usr/bin/env python3
"""A wheel of the Python package with the library in it: make_wheel.py PREFIX DIRECTORY, after `cmake --install build --prefix PREFIX`.

It holds what is installed and fits machines of this kind with the library's own needs (libpcre2-8, libstdc++)."""
import base64
import ctypes
import glob
import hashlib
import os
import platform
import sys
import zipfile


def main(prefix, directory):
    package = glob.glob(os.path.join(prefix, "lib*", "**", "python3", "dist-packages", "m1rt"), recursive=True)
    if len(package) != 1:
        sys.exit(f"make_wheel.py: {prefix}: expected one installed package m1rt, found {len(package)}")
    library = os.path.join(package[0], "..", "..", "..", "libm1rt.so.0")
    loaded = ctypes.CDLL(library)
    loaded.m1_runtime_version.restype = ctypes.c_char_p
    version = loaded.m1_runtime_version().decode()
    files = {f"m1rt/{name}": os.path.join(package[0], name) for name in sorted(os.listdir(package[0])) if name.endswith((".py", ".typed"))}
    files["m1rt/libm1rt.so.0"] = library
    contents = {}
    for name, path in files.items():
        with open(path, "rb") as file:
            contents[name] = file.read()
    information, tag = f"m1rt-{version}.dist-info", f"py3-none-linux_{platform.machine()}"
    contents[f"{information}/METADATA"] = (f"Metadata-Version: 2.1\nName: m1rt\nVersion: {version}\n"
                                           "Summary: M1 Runtime from Python\nRequires-Python: >=3.9\n").encode()
    contents[f"{information}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: m1-runtime\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = f"{information}/RECORD"
    rows = [f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
            for name, data in contents.items()]
    contents[record] = ("\n".join(rows + [f"{record},,"]) + "\n").encode()
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"m1rt-{version}-{tag}.whl")
    with zipfile.ZipFile(path + ".part", "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)  # the same wheel of the same files
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, data)
    os.replace(path + ".part", path)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
