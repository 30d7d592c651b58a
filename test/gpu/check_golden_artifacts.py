#!/usr/bin/env python3
"""Compare compiled golden artifacts with what the reference code computed, on a machine without the compiler.

usage: check_golden_artifacts.py --bin DIR [--device cuda] [--tolerance X] [--free-tokens] ARTIFACT=GOLDEN.safetensors...
The measure is max |difference| / standard deviation of the reference logits. Greedy tokens must be equal too, unless --free-tokens (bf16
activations may break near ties otherwise); logits after the first differing token are then left out."""
import argparse
import array
import json
import os
import struct
import subprocess
import sys
import tempfile

CODES = {"F32": "f", "I32": "i"}


def load(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        out = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            f.seek(8 + size + begin)
            values = array.array(CODES[entry["dtype"]])
            values.frombytes(f.read(end - begin))
            out[name] = (entry["shape"], values)
    return out


def relative_error(got, want):
    if len(got) != len(want):
        return float("inf")
    mean = sum(want) / len(want)
    deviation = (sum((x - mean) ** 2 for x in want) / len(want)) ** 0.5
    error = 0.0
    for a, b in zip(got, want):
        d = abs(a - b)
        if not d <= error:  # NaN too
            error = d
    return error / deviation if error == error else float("inf")


def check(args, artifact, golden_path):
    golden = load(golden_path)
    worst, problem = 0.0, ""
    for length in sorted({int(name.split(".")[0][3:]) for name in golden}):
        prefix = f"len{length}."
        ids, want = golden[prefix + "input_ids"][1], golden[prefix + "greedy_ids"][1]
        with tempfile.TemporaryDirectory() as tmp:
            inp, out = os.path.join(tmp, "ids.txt"), os.path.join(tmp, "out.safetensors")
            with open(inp, "w") as f:
                f.write(" ".join(map(str, ids)))
            run = subprocess.run([os.path.join(args.bin, "m1-run"), artifact, "--device", args.device, "--input-ids", inp, "--max-new-tokens",
                                  str(len(want)), "--temperature", "0", "--ignore-eos", "--dump-logits", out], capture_output=True, text=True)
            if run.returncode:
                return worst, f"length {length}: m1-run failed: {(run.stderr or run.stdout).strip()[-600:]}"
            got = load(out)
        error = relative_error(got["prefill_logits"][1], golden[prefix + "prefill_logits"][1])
        equal = 0
        while equal < len(want) and got["output_ids"][1][equal] == want[equal]:
            equal += 1
        if prefix + "decode_logits" in golden:
            shape, reference = golden[prefix + "decode_logits"]
        else:
            shape, reference = golden[prefix + "all_logits"]
            reference = reference[length * shape[-1]:]
        vocabulary = shape[-1]
        if equal:
            error = max(error, relative_error(got["decode_logits"][1][:equal * vocabulary], reference[:equal * vocabulary]))
        worst = max(worst, error)
        if error > args.tolerance:
            problem = problem or f"length {length}: relative error {error:.2e}"
        if equal < len(want) and not args.free_tokens:
            problem = problem or f"length {length}: greedy tokens differ from number {equal} on"
    return worst, problem


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--free-tokens", action="store_true")
    parser.add_argument("pairs", nargs="+")
    args = parser.parse_args()
    bad = 0
    for pair in args.pairs:
        artifact, golden = pair.split("=")
        worst, problem = check(args, artifact, golden)
        print(f"{os.path.basename(artifact)}: {'FAILED ' + problem if problem else 'ok'}, worst relative error {worst:.2e}", flush=True)
        bad += bool(problem)
    print(f"{len(args.pairs) - bad} of {len(args.pairs)} goldens hold within {args.tolerance:g}")
    return 1 if bad else 0


sys.exit(main())
