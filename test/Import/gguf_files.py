"""Writes GGUF files, from the description of the format (ggml's docs/gguf.md, the blocks of ggml-common.h), and safetensors beside them: blocks of
random bits, and the exact values that they stand for."""
import json
import os
import struct

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
NUMBERS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "BF16": 30}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


class Raw:
    """A value of any type, and its bytes."""
    def __init__(self, kind, data):
        self.kind, self.data = kind, data


def typed(value):
    """The type of a value and its bytes."""
    if isinstance(value, Raw):
        return value.kind, value.data
    if isinstance(value, bool):
        return BOOL, struct.pack("<B", value)
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, text(value)
    kind = typed(value[0])[0]
    return ARRAY, struct.pack("<IQ", kind, len(value)) + b"".join(typed(item)[1] for item in value)


def write(path, metadata, tensors, alignment=32):
    """`tensors`: type, shape (the longest stride first) and bytes by name."""
    pad = lambda data: data + b"\0" * (-len(data) % alignment)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for name, value in metadata.items():
        kind, data = typed(value)
        head += text(name) + struct.pack("<I", kind) + data
    body, offset = [], 0
    for name, (kind, shape, data) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), NUMBERS.get(kind, kind), offset)
        body.append(pad(data))
        offset += len(body[-1])
    with open(path, "wb") as file:
        file.write(pad(head))
        file.writelines(body)


def safetensors(directory, tensors, config):
    os.makedirs(directory, exist_ok=True)
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    head = json.dumps(header).encode()
    with open(os.path.join(directory, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + b"".join(data for _, _, data in tensors.values()))
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file)


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        body = file.read()
    return {k: (v["dtype"], v["shape"], body[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in header.items() if k != "__metadata__"}


# ---- blocks of random bits, and the values that they stand for, exact


def half(draw):
    value = struct.pack("<e", draw.uniform(-0.02, 0.02))
    return value, struct.unpack("<e", value)[0]


def q8_0(draw):
    data, d = half(draw)
    codes = [draw.randint(-128, 127) for _ in range(32)]
    return data + struct.pack("<32b", *codes), [d * code for code in codes]


def q4_0(draw):
    data, d = half(draw)
    codes = [0, *(draw.randint(0, 15) for _ in range(31))]  # ggml's quantiser gives the value of the largest magnitude the code of -8
    return data + bytes(codes[i] | codes[i + 16] << 4 for i in range(16)), [d * (code - 8) for code in codes]


def with_least(draw, codes):
    """The bytes of a scale and a least value; the values of codes."""
    (data, d), (more, least) = half(draw), half(draw)
    return data + more, [d * code + least for code in codes]


def nibbles(codes):
    return bytes(codes[i] & 15 | (codes[i + 16] & 15) << 4 for i in range(16))


def fifths(codes):
    return struct.pack("<I", sum((code >> 4) << i for i, code in enumerate(codes)))


def q4_1(draw):
    codes = [draw.randint(0, 15) for _ in range(32)]
    data, values = with_least(draw, codes)
    return data + nibbles(codes), values


def q5_0(draw):
    data, d = half(draw)
    codes = [draw.randint(0, 31) for _ in range(32)]
    return data + fifths(codes) + nibbles(codes), [d * (code - 16) for code in codes]


def q5_1(draw):
    codes = [draw.randint(0, 31) for _ in range(32)]
    data, values = with_least(draw, codes)
    return data + fifths(codes) + nibbles(codes), values


def two_bits(codes):
    """Four runs of 32 share 32 bytes, twice."""
    return bytes(sum((codes[128 * part + 32 * run + i] & 3) << 2 * run for run in range(4)) for part in range(2) for i in range(32))


def q2_k(draw):
    (data, d), (more, d_least) = half(draw), half(draw)
    scales, least = ([draw.randint(0, 15) for _ in range(16)] for _ in range(2))
    codes = [draw.randrange(4) for _ in range(256)]
    packed = bytes(scale | low << 4 for scale, low in zip(scales, least))
    return packed + two_bits(codes) + data + more, [d * scales[i // 16] * code - d_least * least[i // 16] for i, code in enumerate(codes)]


def q3_k(draw):
    data, d = half(draw)
    scales = [draw.randrange(64) for _ in range(16)]
    codes = [draw.randint(-4, 3) for _ in range(256)]
    signs = bytes(sum((codes[32 * run + i] >= 0) << run for run in range(8)) for i in range(32))
    packed = bytes(scales[i] & 15 | (scales[i + 8] & 15) << 4 for i in range(8)) + bytes(sum((scales[4 * j + i] >> 4) << 2 * j for j in range(4)) for i in range(4))
    return signs + two_bits(codes) + packed + data, [d * (scales[i // 16] - 32) * code for i, code in enumerate(codes)]


def k_scales(draw):
    """12 bytes of eight scales and eight minima of 6 bits."""
    scales, least = ([draw.randint(0, 63) for _ in range(8)] for _ in range(2))
    low = [scales[i] | scales[i + 4] >> 4 << 6 for i in range(4)] + [least[i] | least[i + 4] >> 4 << 6 for i in range(4)]
    return bytes(low + [scales[i + 4] & 15 | (least[i + 4] & 15) << 4 for i in range(4)]), scales, least


def k_block(draw, bits):
    data, d = half(draw)
    more, d_least = half(draw)
    packed, scales, least = k_scales(draw)
    codes = [draw.randrange(1 << bits) for _ in range(256)]
    low = bytes(codes[64 * part + i] & 15 | (codes[64 * part + 32 + i] & 15) << 4 for part in range(4) for i in range(32))
    high = bytes(sum((codes[32 * part + i] >> 4) << part for part in range(8)) for i in range(32)) if bits == 5 else b""
    return data + more + packed + high + low, [d * scales[i // 32] * codes[i] - d_least * least[i // 32] for i in range(256)]


def q6_k(draw):
    data, d = half(draw)
    scales = [draw.randint(-128, 127) for _ in range(16)]
    codes = [draw.randrange(64) for _ in range(256)]
    low, high = bytearray(128), bytearray(64)
    for i, code in enumerate(codes):  # each half of 128: four runs of 32
        part, run, column = i // 128, i % 128 // 32, i % 32
        low[64 * part + 32 * (run % 2) + column] |= (code & 15) << 4 * (run // 2)
        high[32 * part + column] |= code >> 4 << 2 * run
    # The one product that f32 does not hold exactly is rounded after the scales.
    return bytes(low + high) + struct.pack("<16b", *scales) + data, [d * scales[i // 16] * (codes[i] - 32) for i in range(256)]


def single(code):
    def make(draw):
        data = struct.pack(code, draw.uniform(-0.1, 0.1))
        return data, [struct.unpack(code, data)[0]]
    return make


def bf16(draw):
    data = struct.pack("<f", draw.uniform(-0.1, 0.1))[2:]
    return data, [struct.unpack("<f", b"\0\0" + data)[0]]


BLOCKS = {"F32": (1, single("<f")), "F16": (1, single("<e")), "BF16": (1, bf16), "Q4_0": (32, q4_0), "Q4_1": (32, q4_1), "Q5_0": (32, q5_0), "Q5_1": (32, q5_1), "Q8_0": (32, q8_0), "Q2_K": (256, q2_k), "Q3_K": (256, q3_k),
          "Q4_K": (256, lambda draw: k_block(draw, 4)), "Q5_K": (256, lambda draw: k_block(draw, 5)), "Q6_K": (256, q6_k)}


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)
