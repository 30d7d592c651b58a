"""Holds what m1-dump --json says against the bytes of the artifact: check-dump.py ARTIFACT JSON"""
import hashlib
import json
import math
import sys

data, dump = open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2]))
sizes = {"f32": 4, "bf16": 2}


def bytes_of(type):
    *shape, element = type.split("x")
    return math.prod(map(int, shape)) * sizes[element]


assert dump["bytes"] == len(data)
assert data[dump["header"]["module_offset"] + 4 :][:4].isalnum(), "a FlatBuffers identifier"
(target,) = dump["targets"]
assert target["name"] == "cpu" and target["cpu"] == "x86-64-v3"
for code in target["code"]:
    image = data[code["offset"] : code["offset"] + code["bytes"]]
    assert image[:4] == b"\x7fELF" and hashlib.sha256(image).hexdigest() == code["sha256"]
    assert sum(kernel["bytes"] for kernel in target["kernels"]) < code["bytes"]
kernels = {kernel["symbol"] for kernel in target["kernels"]}
assert {function["name"] for function in target["functions"]} == {"prefill", "decode"}
for function in target["functions"]:
    assert function["temporary_bytes_per_row"] % 256 == 0
    for command in function["commands"]:
        assert command["command"] == "launch" and command["kernel"] in kernels and command["operands"]
assert dump["weight_bytes"] == sum(weight["bytes"] for weight in dump["weights"])
for weight in dump["weights"]:
    assert weight["bytes"] == bytes_of(weight["type"]) and weight["where"] == "embedded"
    assert 0 < weight["offset"] <= len(data) - weight["bytes"]
for state in dump["states"]:
    assert state["bytes"] == bytes_of(state["type"])
