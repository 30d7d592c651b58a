"""A table like that of m1-bench --tune for an artifact's products, with algorithms that are none:
tuning.py OUT CHIP CUBLASLT < JSON of m1-dump"""
import json
import sys

out, chip, cublaslt = sys.argv[1:4]
sizes = {"f32": 4, "bf16": 2, "f16": 2, "f8e4m3": 1}


def offset(operand):
    return int(operand.rpartition("+")[2]) if "+" in operand else 0


products = {}
for target in json.load(sys.stdin)["targets"]:
    for function in target["functions"]:
        for command in function["commands"]:
            if command["command"] != "gemm":
                continue
            a, _, result = command["operands"][:3]
            kind, _, to = command["types"]
            bits = 16 | offset(a) | offset(result)
            bits |= command["lda"] * sizes[kind] | command["ldo"] * sizes[to]
            shape = {key: command[key] for key in ("n", "k", "lda", "ldo", "bias")}
            shape |= {"input": kind, "output": to, "alignment": bits & -bits}
            for m in (16, 64):
                product = {"m": m, **shape}
                products[json.dumps(product)] = product | {
                    "algorithm": [m] * 8,
                    "microseconds": 2.5,
                    "heuristic_microseconds": 3.5,
                }
assert products
with open(out, "w") as file:
    table = {"format": "m1-products", "version": 1, "gpu": "NVIDIA " + chip, "cublaslt": int(cublaslt)}
    json.dump(table | {"chip": chip, "products": list(products.values())}, file)
