#!/usr/bin/env python3
"""Compare compiled golden artifacts with what the reference code computed, on a machine without the compiler.

usage: check_golden_artifacts.py --bin DIR [--device cuda] [--tolerance X] [--norm] [--free-tokens] ARTIFACT=GOLDEN.safetensors...
The measure is the worst value, with --norm the norm, of docs/numerics.md. Greedy tokens must be equal too, unless --free-tokens (bf16
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


def relative_error(got, want, norm):
    """The measures of docs/numerics.md; infinite for NaN."""
    if len(got) != len(want):
        return float("inf")
    if norm:
        squares, distance = sum(x * x for x in want), sum((a - b) ** 2 for a, b in zip(got, want))
        error = (distance / squares) ** 0.5
    else:
        mean = sum(want) / len(want)
        deviation = (sum((x - mean) ** 2 for x in want) / len(want)) ** 0.5
        error = max(abs(a - b) for a, b in zip(got, want)) / deviation
        if any(a != a for a in got):
            return float("inf")
    return error if error == error else float("inf")


def check(args, artifact, golden_path):
    golden = load(golden_path)
    worst, problem, all_got, all_want = 0.0, "", [], []
    for length in sorted({int(name.split(".")[0][3:]) for name in golden}):
        prefix = f"len{length}."
        ids, tokens = golden[prefix + "input_ids"][1], golden[prefix + "greedy_ids"][1]
        with tempfile.TemporaryDirectory() as tmp:
            inp, out = os.path.join(tmp, "ids.txt"), os.path.join(tmp, "out.safetensors")
            with open(inp, "w") as f:
                f.write(" ".join(map(str, ids)))
            run = subprocess.run([os.path.join(args.bin, "m1-run"), artifact, "--device", args.device, "--input-ids", inp, "--max-new-tokens",
                                  str(len(tokens)), "--temperature", "0", "--ignore-eos", "--dump-logits", out], capture_output=True, text=True)
            if run.returncode:
                return worst, f"length {length}: m1-run failed: {(run.stderr or run.stdout).strip()[-600:]}"
            dump = load(out)
        equal = 0
        while equal < len(tokens) and dump["output_ids"][1][equal] == tokens[equal]:
            equal += 1
        if prefix + "decode_logits" in golden:
            shape, reference = golden[prefix + "decode_logits"]
        else:
            shape, reference = golden[prefix + "all_logits"]
            reference = reference[length * shape[-1]:]
        compared = equal * shape[-1]
        got = dump["prefill_logits"][1] + dump["decode_logits"][1][:compared]
        want = golden[prefix + "prefill_logits"][1] + reference[:compared]
        if equal < len(tokens) and not args.free_tokens:
            problem = problem or f"length {length}: greedy tokens differ from number {equal} on"
        if args.norm:  # over all lengths, so that few values do not decide
            all_got.extend(got)
            all_want.extend(want)
        else:
            worst = max(worst, relative_error(got, want, False))
    if args.norm:
        worst = relative_error(all_got, all_want, True)
    if worst > args.tolerance:
        problem = problem or "too far from the reference"
    return worst, problem


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--norm", action="store_true")
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
