#!/usr/bin/env python3
"""Artifacts of every schema version load and say what they said when they were made: golden_artifacts_test.py BIN_DIR.

version-N.m1a was written by the first m1-compile of schema version N and never changes; version-N.json holds what it must answer. Version 1:
m1-compile examples/tiny-reasoner/model -o version-1.m1a --cpu x86-64-v3 --weights dummy:7 --activation-type f32
version-1-checks.m1a is the same, made when artifacts had got checks of their weights: what it was made with must go on passing, damage in its
rotary tables, which are embedded, must not. Version 2 differs in what CUDA kernels need, so that its file is for a GPU and is only described:
m1-compile of a Llama of one layer of 64 columns in bf16, -o version-2.m1a --target cuda:sm_90 --weights dummy:1"""
import glob
import json
import os
import subprocess
import sys
import tempfile

BIN = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))


def call(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


files = sorted(glob.glob(os.path.join(HERE, "version-*.m1a")))
assert files, "no golden artifacts"
skipped = 0
for artifact in files:
    with open(artifact.replace(".m1a", ".json")) as file:
        expected = json.load(file)
    dump = call(os.path.join(BIN, "m1-dump"), artifact, "--json")
    assert dump.returncode == 0, dump.stderr
    described = json.loads(dump.stdout)
    for key, value in expected["describes"].items():
        assert described[key] == value, f"{artifact}: {key} is {described[key]}, was {value}"
    if "input_ids" not in expected:
        continue
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as ids:
        ids.write(" ".join(map(str, expected["input_ids"])))
        ids.flush()
        run = call(os.path.join(BIN, "m1-run"), artifact, "--input-ids", ids.name, "--max-new-tokens", str(len(expected["output_ids"])), "--ignore-eos")
    if run.returncode and "this processor" in run.stderr:
        skipped += 1
        continue
    assert run.returncode == 0, run.stderr
    assert list(map(int, run.stdout.split())) == expected["output_ids"], f"{artifact}: {run.stdout}"
    text = call(os.path.join(BIN, "m1-run"), artifact, "--prompt", expected["prompt"], "--max-new-tokens", "16", "--ignore-eos")
    assert text.returncode == 0, text.stderr
    assert text.stdout.strip() == expected["text"].strip(), f"{artifact}: {text.stdout!r}"
if not skipped:
    with tempfile.TemporaryDirectory() as directory:
        damaged = os.path.join(directory, "damaged.m1a")
        with open(os.path.join(HERE, "version-1-checks.m1a"), "rb") as file:
            content = bytearray(file.read())
        content[-1000] ^= 1
        with open(damaged, "wb") as file:
            file.write(content)
        ids = os.path.join(directory, "ids")
        with open(ids, "w") as file:
            file.write("1")
        run = call(os.path.join(BIN, "m1-run"), damaged, "--input-ids", ids)
        assert run.returncode == 1 and '"rotary_' in run.stderr, run
print(f"{len(files)} artifacts")
sys.exit(77 if skipped == len(files) else 0)
