#!/usr/bin/env python3
"""New weights for models on the GPU: after the same update the GPU scores as the CPU does, the model's own weights bring its own scores back bit for
bit, and quantised weights are refused by name.

usage: check_updates.py [--tolerance 1e-3] ARTIFACT=CHECKPOINT.safetensors... [--quantised ARTIFACT=CHECKPOINT.safetensors...]

Artifacts hold code for both devices. Weights come from the host and, where PyTorch is there, from the GPU's memory. Needs the package m1rt."""
import argparse
import json
import random
import struct
import sys

import m1rt

NAMES = {"F32": ("f", 4), "BF16": ("H", 2), "F16": ("H", 2)}


def read(path):
    """Name -> (type, shape, bytes)."""
    with open(path, "rb") as source:
        head = json.loads(source.read(struct.unpack("<Q", source.read(8))[0]))
        data = source.read()
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in head.items() if name != "__metadata__" and entry["dtype"] in NAMES}


def moved(tensors, seed):
    """The same tensors with other bits low in their mantissas: up to a thirtieth more or less, and exact on every device."""
    draw, out = random.Random(seed), {}
    for name, (kind, shape, data) in tensors.items():
        bits = bytearray(data)
        step, low = (4, 2) if kind == "F32" else (2, 0)
        for at in range(low, len(bits), step):
            bits[at] ^= draw.getrandbits(3)
        out[name] = (kind, shape, bytes(bits))
    return out


def on_host(tensors):
    return {name: memoryview(data).cast("f" if kind == "F32" else "H", shape) for name, (kind, shape, data) in tensors.items()}


def on_gpu(tensors):
    """Null without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    kinds = {"F32": torch.float32, "BF16": torch.bfloat16}
    return {name: torch.frombuffer(bytearray(data), dtype=kinds[kind]).view(shape).cuda() for name, (kind, shape, data) in tensors.items()}


def split(pairs):
    return [pair.split("=", 1) for pair in pairs]


def furthest(a, b):
    return max(abs(x - y) for x, y in zip(a, b))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", nargs="*", metavar="ARTIFACT=CHECKPOINT")
    parser.add_argument("--quantised", nargs="*", default=[], metavar="ARTIFACT=CHECKPOINT")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of log probabilities, GPU against CPU")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    failures = 0

    def expect(good, text):
        nonlocal failures
        failures += not good
        print(("" if good else "FAILED: ") + text)

    for number, (artifact, checkpoint) in enumerate(split(options.pairs)):
        own = read(checkpoint)
        with m1rt.Model(artifact) as cpu, m1rt.Model(artifact, device=options.device) as gpu:
            draw = random.Random(7 + number)
            text = [draw.randrange(cpu.info.vocab_size) for _ in range(24)]
            before, other = gpu.score(text), moved(own, number)
            for model in (cpu, gpu):
                model.update_weights(on_host(other))
            after = gpu.score(text)
            away = furthest(after, cpu.score(text))
            there = on_gpu(other) if options.device != "cpu" else None
            gpu.update_weights(on_host(own))
            restored = gpu.score(text)
            same = True
            if there:
                gpu.update_weights(there)
                same = gpu.score(text) == after
            # -exp of A_log may differ by one unit in the last place from what m1-compile wrote; twice the same update may not.
            gpu.update_weights(on_host(own))
            again = gpu.score(text)
            expect(furthest(before, after) > 10 * options.tolerance and away <= options.tolerance and again == restored and
                   furthest(before, restored) <= options.tolerance and same,
                   f"{artifact}: moved by {furthest(before, after):.2g}, GPU against CPU {away:.1e}, its own weights back {furthest(before, restored):.1e}, "
                   f"from the GPU's memory {'the same bits' if there and same else 'not tried' if there is None else 'others'}")
    for artifact, checkpoint in split(options.quantised):
        with m1rt.Model(artifact, device=options.device) as model:
            text = list(range(1, 20))
            before = model.score(text)
            try:
                model.update_weights(on_host(read(checkpoint)))
                expect(False, f"{artifact}: an update of quantised weights was taken")
            except m1rt.Error as problem:
                expect("the model holds it quantised" in str(problem) and model.score(text) == before, f"{artifact}: {problem}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
