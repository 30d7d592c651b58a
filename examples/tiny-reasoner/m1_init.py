#!/usr/bin/env python3
"""The M1 that a transformer is turned into before distillation: q -> C, k -> B, v -> x, o -> out_proj; everything else of the attention
layers that stay, the MLPs, norms and embeddings is copied. What attention has no counterpart for is drawn here, deterministically by
(seed, tensor name, index), so that train.py and the C++ tool m1-convert start from the same numbers.

usage: m1_init.py MODEL_DIR -o M1_DIR --attention-layers 2,5 [--seed 0]     (a plain restatement of m1-convert, for small models and tests)

What is drawn, u uniform in (-1, 1):
  in_proj rows of z and dt   u / sqrt(d_model)
  conv1d.weight, .bias       u / sqrt(d_conv)
  dt_proj.weight             u / sqrt(dt_rank)
  dt_proj.bias               half of softplus^-1(step), step log-uniform in [0.001, 0.1]: M1 adds this bias twice, so the step is as drawn
  A_log                      log(1 .. d_state);  D  1"""
import argparse
import array
import json
import math
import os
import shutil
import struct
import sys

MASK = (1 << 64) - 1
SMALLEST_STEP, LARGEST_STEP = 0.001, 0.1


def _mix(value):
    """splitmix64's finaliser."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def uniform(seed, name, count, bound):
    """`count` values in (-bound, bound): value i depends on (seed, name, i) only."""
    key = 0xCBF29CE484222325  # FNV-1a of the name
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    key = _mix((key + _mix((seed + 0x9E3779B97F4A7C15) & MASK)) & MASK)
    step = 0x9E3779B97F4A7C15
    return array.array("f", (((_mix((key + (i + 1) * step) & MASK) >> 40) * 2 + 1 - 2**24) / 2.0**24 * bound for i in range(count)))


def dt_bias(seed, name, count):
    low, high = math.log(SMALLEST_STEP), math.log(LARGEST_STEP)
    steps = (math.exp(low + (u + 1) / 2 * (high - low)) for u in uniform(seed, name, count, 1.0))
    return array.array("f", ((step + math.log(-math.expm1(-step))) / 2 for step in steps))


class Sizes:
    """Sizes of the M1 made from a transformer's config.json."""

    def __init__(self, config, attention_layers, d_state=16, d_conv=4):
        heads = config["num_attention_heads"]
        self.head_dim = config.get("head_dim") or config["hidden_size"] // heads
        self.d_model, self.layers = config["hidden_size"], config["num_hidden_layers"]
        self.d_inner = heads * self.head_dim
        self.d_xb = (config.get("num_key_value_heads") or heads) * self.head_dim
        self.d_state, self.d_conv, self.dt_rank = d_state, d_conv, -(-self.d_model // 16)
        self.attention_layers = sorted(attention_layers)
        if self.d_inner % d_state or self.d_xb % d_state:
            raise ValueError(f"d_inner {self.d_inner} and d_xb {self.d_xb} must be multiples of d_state {d_state}")

    def mamba_config(self, config):
        return {"d_model": self.d_model, "ssm_cfg": {"expand": 1}, "rms_norm_eps": config["rms_norm_eps"], "vocab_size": None,
                "d_inner": self.d_inner, "d_xb": self.d_xb, "intermediate_size": config["intermediate_size"],
                "hidden_act": config.get("hidden_act", "silu"), "n_layer": self.layers, "attn_layers": self.attention_layers}


def drawn(sizes, layer, seed):
    """The tensors of one Mamba layer that have no counterpart in attention: name -> (shape, float values); in_proj's rows as parts."""
    at = f"model.layers.{layer}.mamba."
    in_bound, conv_bound = 1 / math.sqrt(sizes.d_model), 1 / math.sqrt(sizes.d_conv)
    return {
        at + "in_proj.weight.z": ([sizes.d_inner, sizes.d_model], uniform(seed, at + "in_proj.weight.z", sizes.d_inner * sizes.d_model, in_bound)),
        at + "in_proj.weight.dt": ([sizes.dt_rank, sizes.d_model], uniform(seed, at + "in_proj.weight.dt", sizes.dt_rank * sizes.d_model, in_bound)),
        at + "conv1d.weight": ([sizes.d_inner, 1, sizes.d_conv], uniform(seed, at + "conv1d.weight", sizes.d_inner * sizes.d_conv, conv_bound)),
        at + "conv1d.bias": ([sizes.d_inner], uniform(seed, at + "conv1d.bias", sizes.d_inner, conv_bound)),
        at + "dt_proj.weight": ([sizes.d_inner, sizes.dt_rank],
                                uniform(seed, at + "dt_proj.weight", sizes.d_inner * sizes.dt_rank, 1 / math.sqrt(sizes.dt_rank))),
        at + "dt_proj.bias": ([sizes.d_inner], dt_bias(seed, at + "dt_proj.bias", sizes.d_inner)),
        at + "A_log": ([sizes.d_inner, sizes.d_state], array.array("f", [math.log(n + 1) for n in range(sizes.d_state)] * sizes.d_inner)),
        at + "D": ([sizes.d_inner], array.array("f", [1.0] * sizes.d_inner)),
    }


def convert(tensors, config, attention_layers, seed, encode, d_state=16):
    """Renames and joins `tensors` (name -> (shape, bytes in the stored type)); `encode` turns drawn floats into that type."""
    sizes = Sizes(config, attention_layers, d_state)
    out = {}
    for name, value in tensors.items():
        if ".self_attn." not in name:
            out[name] = value
    for layer in range(sizes.layers):
        source = f"model.layers.{layer}.self_attn."
        q, k, v, o = (tensors[source + part + "_proj.weight"] for part in "qkvo")
        join = lambda *parts: ([sum(shape[0] for shape, _ in parts), sizes.d_model], b"".join(data for _, data in parts))
        if layer in sizes.attention_layers:
            out[f"model.layers.{layer}.mha.in_proj.weight"] = join(q, k, v)
            out[f"model.layers.{layer}.mha.out_proj.weight"] = o
            continue
        fresh = {name: (shape, encode(values)) for name, (shape, values) in drawn(sizes, layer, seed).items()}
        at = f"model.layers.{layer}.mamba."
        out[at + "in_proj.weight"] = join(fresh.pop(at + "in_proj.weight.z"), v, k, q, fresh.pop(at + "in_proj.weight.dt"))
        out[at + "out_proj.weight"] = o
        out.update(fresh)
    return out, sizes


# safetensors, read and written with the standard library alone.
def read_safetensors(path):
    with open(path, "rb") as source:
        length = struct.unpack("<Q", source.read(8))[0]
        header = json.loads(source.read(length))
        data = source.read()
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, bytes), written in order of name."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        dtype, shape, data = tensors[name]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            out.write(tensors[name][2])


def encode_f32(values):
    return values.tobytes()


def encode_bf16(values):
    """Round to nearest even, as every framework does."""
    bits = array.array("I", values.tobytes())
    return array.array("H", ((b + 0x7FFF + ((b >> 16) & 1)) >> 16 & 0xFFFF for b in bits)).tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("-o", dest="out", required=True)
    parser.add_argument("--attention-layers", required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with open(os.path.join(options.model, "config.json"), encoding="utf-8") as source:
        config = json.load(source)
    stored = read_safetensors(os.path.join(options.model, "model.safetensors"))
    types = {dtype for dtype, _, _ in stored.values()}
    if len(types) != 1 or not types <= {"F32", "BF16"}:
        sys.exit(f"m1_init: expected one type, F32 or BF16, got {sorted(types)}")
    dtype = types.pop()
    keep = [int(layer) for layer in options.attention_layers.split(",") if layer]
    tensors = {name: (shape, data) for name, (_, shape, data) in stored.items() if not name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias"))}
    out, sizes = convert(tensors, config, keep, options.seed, encode_bf16 if dtype == "BF16" else encode_f32)
    os.makedirs(options.out, exist_ok=True)
    write_safetensors(os.path.join(options.out, "model.safetensors"), {name: (dtype, shape, data) for name, (shape, data) in out.items()})
    with open(os.path.join(options.out, "mamba_config.json"), "w", encoding="utf-8") as target:
        json.dump(sizes.mamba_config(config), target, indent=2)
        target.write("\n")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        if os.path.exists(os.path.join(options.model, name)):
            shutil.copyfile(os.path.join(options.model, name), os.path.join(options.out, name))


if __name__ == "__main__":
    main()
