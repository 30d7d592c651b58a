"""Spoils the entries of a directory of compiled kernels.  cache.py swap|damage DIR"""
import os
import sys

action, directory = sys.argv[1:]
paths = sorted(os.path.join(directory, name) for name in os.listdir(directory))
assert len(paths) > 1
contents = [open(path, "rb").read() for path in paths]
for i, path in enumerate(paths):
    data = contents[(i + 1) % len(paths)]
    if action == "damage":  # cut short, empty, one bit wrong, by turns
        data = [data[: len(data) // 2], b"", data[:-1] + bytes([data[-1] ^ 1])][i % 3]
    with open(path, "wb") as file:
        file.write(data)
