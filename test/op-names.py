#!/usr/bin/env python3
"""No list of operations outside the dialect: conversion, selectors and tools ask an op's interfaces.

Names of the ops that become kernels (M1_KernelOp in M1Ops.td), as text or as C++ classes, may stand
where an op is defined and rewritten (dialects/M1), where models are written down (lib/Import), in
the formulas of the reference (lib/Reference) and in the files that write kernels, which say what
they serve (lib/Target/*/Kernels, kernels). What else may name some says so below, with the reason.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOMES = re.compile(r"(dialects/M1(?!/Transforms/QuantizeWeights\.)|lib/Import|lib/Reference|lib/Target/\w+/Kernels|kernels)/")
# A file, and the ops that it may name.
OTHERS = {
    # The operations whose weights it quantises: which of them not, the readers of their products say.
    "dialects/M1/Transforms/QuantizeWeights.cpp": {"linear", "expert_linear"},
    # Patterns over the launches of these kernels.
    "lib/Target/CUDA/ChainProducts.cpp": {"causal_conv1d"},
    "lib/Target/CUDA/FuseAttention.cpp": {"attention", "kv_write", "rotary_kv_write"},
    "lib/Target/CUDA/FuseLaunches.cpp": {"rms_norm", "add_rms_norm", "map", "gather_rows", "quantize_rows"},
    "lib/Target/CUDA/FuseProducts.cpp": {"linear", "add_rms_norm", "map"},
    "lib/Target/CUDA/FuseScans.cpp": {"linear", "rms_norm", "map", "causal_conv1d", "selective_scan", "ssd_scan", "gated_delta", "gated_rms_norm"},
    "lib/Target/CUDA/FuseGatedProducts.cpp": {"map"},
    # A linear with weights of e4m3 takes a launch before it that rounds its rows.
    "lib/Target/CPU/CpuSelector.cpp": {"linear", "quantize_rows"},
    "lib/Target/CUDA/CudaSelector.cpp": {"linear", "quantize_rows"},
    # The one kernel that all maps become.
    "lib/Conversion/M1ToPlan.cpp": {"map"},
    "lib/Conversion/VerifyFacts.cpp": {"map"},
    # A filter of Jinja.
    "runtime/src/template/filters.cpp": {"map"},
    # A verb of English.
    "runtime/src/vote/prose.cpp": {"add"},
    # What a launch is bound by, from an artifact, where there are no ops any more.
    "tools/m1-bench/workload.cpp": {"embedding", "rotary_table", "linear", "attention", "selective_scan"},
}
# Words of other things, too.
WORDS = {"sample"}


def main():
    with open(os.path.join(ROOT, "dialects/M1/IR/M1Ops.td")) as file:
        # Of every class but the one of ops without kernels, whatever classes there are.
        ops = dict(re.findall(r'def M1_(\w+)Op\s*:\s*(?!M1_Op<)\w+<\s*"(\w+)"', file.read()))
    assert len(ops) >= 25, f"M1Ops.td has changed: {sorted(ops.values())}"
    files = subprocess.run(["git", "ls-files", "include", "lib", "dialects", "tools", "runtime", "kernels"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        print("not a git checkout: its files are not known")
        return 77
    found, used = [], set()
    for path in files.stdout.split():
        if HOMES.match(path) or not path.endswith((".cpp", ".h")):
            continue
        with open(os.path.join(ROOT, path)) as file:
            for number, line in enumerate(file, 1):
                for name, op in ops.items():
                    text = re.search(rf'"(?:m1\.)?{op}"', line) and (op not in WORDS or path.startswith("lib/Target"))
                    if not text and not re.search(rf"\b(?:m1::)?{name}Op(?:(?:Generic)?Adaptor)?\b", line):
                        continue
                    used.add((path, op))
                    if op not in OTHERS.get(path, ()):
                        found.append(f"{path}:{number}: names {op}")
    for path, names in OTHERS.items():
        found += [f"{path} names {op} no more: take it out of this test" for op in sorted(names) if (path, op) not in used]
    print("\n".join(found))
    return bool(found)


sys.exit(main())
