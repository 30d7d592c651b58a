#!/usr/bin/env python3
"""Checkpoints that come quantised: quantised_test.py BIN_DIR GOLDENS_DIR.

A golden's matrices are quantised here into the form of each library, from the published description of the form, and dequantised in exact arithmetic.
The artifact that m1-compile makes of the quantised checkpoint must hold these values, bit for bit."""
import bisect
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import unittest

from importer import Importer

BIN, GOLDENS = (os.path.abspath(path) for path in sys.argv[1:3])
WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I32": 4, "I64": 8}


def read(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        body = file.read()
    return {k: (v["dtype"], v["shape"], body[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in header.items() if k != "__metadata__"}


def write(directory, tensors, config):
    os.makedirs(directory, exist_ok=True)
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        assert math.prod(shape) * WIDTH[dtype] == len(data), (name, dtype, shape, len(data))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file)


def bf16_bits(value):
    """The nearest, even in the middle; of values that f32 holds."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def pack_floats(dtype, values):
    """Rounds exact values once."""
    if dtype == "BF16":
        return struct.pack(f"<{len(values)}H", *map(bf16_bits, values))
    return struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)


def unpack_floats(dtype, data):
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{len(data) // (2 if dtype == 'F16' else 4)}{'e' if dtype == 'F16' else 'f'}", data))


def e4m3(bits):
    """OCP 8-bit floating point, E4M3: bias 7, NaN where all but the sign are ones."""
    sign, exponent, mantissa = -1 if bits >> 7 else 1, bits >> 3 & 15, bits & 7
    return sign * (math.ldexp(8 + mantissa, exponent - 10) if exponent else math.ldexp(mantissa, -9))


E4M3 = sorted((e4m3(bits), bits) for bits in range(128) if bits != 127)


def to_e4m3(value):
    at = bisect.bisect(E4M3, (abs(value), 0))
    best = min(E4M3[max(at - 1, 0):at + 1], key=lambda entry: abs(entry[0] - abs(value)))[1]
    return best | (0x80 if value < 0 else 0)


def words(fields, bits):
    """Unsigned fields in words of 32 bits, the first lowest; a last word is filled with zeros."""
    per = 32 // bits
    fields = fields + [0] * (-len(fields) % per)
    return [sum(fields[i + k] << bits * k for k in range(per)) for i in range(0, len(fields), per)]


def pack_words(rows):
    return b"".join(struct.pack(f"<{len(row)}I", *row) for row in rows)


def transpose(rows):
    return [list(column) for column in zip(*rows)]


class Matrix:
    """A matrix in groups of columns (and blocks of rows), codes and zero points as numbers, scales of a type; what it stands for."""

    def __init__(self, values, rows, columns, draw, *, low, high, scale_type, group=0, block_rows=1, asymmetric=False, is_float=False, index=None, per_tensor=False):
        self.rows, self.columns = rows, columns
        group = group or columns
        if per_tensor:
            block_rows = rows
        self.index = index or [c // group for c in range(columns)]
        self.groups = max(self.index) + 1
        self.blocks = -(-rows // block_rows)
        largest = 448.0 if is_float else high
        scales = [[0.0] * self.groups for _ in range(self.blocks)]
        for r in range(rows):
            for c in range(columns):
                place = r // block_rows, self.index[c]
                scales[place[0]][place[1]] = max(scales[place[0]][place[1]], abs(values[r * columns + c]) / largest)
        self.scale_type = scale_type
        self.scales = [unpack_floats(scale_type, pack_floats(scale_type, [s or 1.0 for s in row])) for row in scales]
        # Any zero point will do, as long as the reader subtracts it.
        self.zeros = [[draw.randint(low, high) if asymmetric else 0 for _ in range(self.groups)] for _ in range(self.blocks)]
        self.codes, plain = [], []
        for r in range(rows):
            row = []
            for c in range(columns):
                scale, zero = self.scales[r // block_rows][self.index[c]], self.zeros[r // block_rows][self.index[c]]
                exact = values[r * columns + c] / scale
                code = to_e4m3(exact) if is_float else max(low, min(high, round(exact) + zero))
                row.append(code)
                plain.append(((e4m3(code) if is_float else code - zero)) * scale)
            self.codes.append(row)
        self.plain = (scale_type, [rows, columns], pack_floats(scale_type, plain))

    def scale_tensor(self, shape):
        return self.scale_type, shape, pack_floats(self.scale_type, [s for row in self.scales for s in row])


def compressed(m, *, bits=4, packed=True, asymmetric=False, per_tensor=False, index=False, is_float=False, block=False):
    """compressed-tensors: packed codes are stored plus half their range; zero points are packed along the rows."""
    parts = {"weight_scale": m.scale_tensor([1] if per_tensor else [m.blocks, m.groups])}
    half = 1 << bits - 1
    if packed:
        rows = [words([code + half for code in row], bits) for row in m.codes]
        parts["weight_packed"] = ("I32", [m.rows, len(rows[0])], pack_words(rows))
        parts["weight_shape"] = ("I64", [2], struct.pack("<2q", m.rows, m.columns))
        if asymmetric:
            columns = [words([zero + half for zero in column], bits) for column in transpose(m.zeros)]
            parts["weight_zero_point"] = ("I32", [len(columns[0]), m.groups], pack_words(transpose(columns)))
    else:
        flat = [code for row in m.codes for code in row]
        parts["weight"] = ("F8_E4M3" if is_float else "I8", [m.rows, m.columns], bytes(flat) if is_float else struct.pack(f"<{len(flat)}b", *flat))
        if asymmetric:
            flat = [zero for row in m.zeros for zero in row]
            parts["weight_zero_point"] = ("I8", [m.blocks, m.groups], struct.pack(f"<{len(flat)}b", *flat))
    if index:
        parts["weight_g_idx"] = ("I32", [m.columns], struct.pack(f"<{m.columns}i", *m.index))
    return parts


def gptq(m, *, bits=4, less=1, index=True, borrows=True):
    """Codes are packed along the columns' dimension, which comes first; zero points along the rows', less 1: of whole words (GPTQModel), or each by itself."""
    codes = transpose([words(row, bits) for row in m.codes])
    mask = (1 << bits) - 1
    if borrows:
        zeros = [[word - less * (0xffffffff // mask) & 0xffffffff for word in words(column, bits)] for column in transpose(m.zeros)]
    else:
        zeros = [words([zero - less & mask for zero in column], bits) for column in transpose(m.zeros)]
    parts = {"qweight": ("I32", [len(codes), m.rows], pack_words(codes)), "qzeros": ("I32", [m.groups, len(zeros[0])], pack_words(zeros)),
             "scales": (m.scale_type, [m.groups, m.rows], pack_floats(m.scale_type, [s for column in transpose(m.scales) for s in column]))}
    if index:
        parts["g_idx"] = ("I32", [m.columns], struct.pack(f"<{m.columns}i", *m.index))
    return parts


def awq(m):
    """Words hold 8 neighbouring rows, in the order 0 2 4 6 1 3 5 7."""
    order = lambda fields: [fields[i + k] for i in range(0, len(fields), 8) for k in (0, 2, 4, 6, 1, 3, 5, 7)]
    codes = [words(order(column), 4) for column in transpose(m.codes)]
    zeros = [words(order(column), 4) for column in transpose(m.zeros)]
    return {"qweight": ("I32", [m.columns, len(codes[0])], pack_words(codes)), "qzeros": ("I32", [m.groups, len(zeros[0])], pack_words(zeros)),
            "scales": (m.scale_type, [m.groups, m.rows], pack_floats(m.scale_type, [s for column in transpose(m.scales) for s in column]))}


def fp8(m, name, shape=None, extra=()):
    parts = compressed(m, packed=False, is_float=True)
    scale = parts.pop("weight_scale")
    parts[name] = (scale[0], scale[1] if shape is None else shape, scale[2])
    for other in extra:
        parts[other] = ("F32", [1], struct.pack("<f", 0.125))
    return parts


def group_config(weights, fmt, **fields):
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
            "global_compression_ratio": None, "version": "0.11.0", "sparsity_config": {}, "transform_config": {},
            "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": None, "output_activations": None,
                                          "weights": dict({"actorder": None, "block_structure": None, "dynamic": False, "group_size": None, "observer": "minmax",
                                                           "observer_kwargs": {}, "symmetric": True, "type": "int"}, **weights)}}, **fields}


def gptq_config(**fields):
    return dict({"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": False, "damp_percent": 0.1, "true_sequential": True,
                 "checkpoint_format": "gptq", "pack_dtype": "int32", "meta": {"quantizer": ["gptqmodel:2.0.0"]}}, **fields)


def run(name, *arguments):
    return subprocess.run([os.path.join(BIN, name), *arguments], capture_output=True, text=True, timeout=120)


class Quantised(unittest.TestCase):
    right = {}  # tensors that refuse() changes, by their format

    @classmethod
    def setUpClass(cls):
        cls.importer = Importer(os.path.join(BIN, "import-messages"))
        cls.temporary = tempfile.TemporaryDirectory()
        cls.root = cls.temporary.name
        cls.golden = read(os.path.join(GOLDENS, "hf-llama", "model.safetensors"))
        with open(os.path.join(GOLDENS, "hf-llama", "config.json")) as file:
            cls.config = json.load(file)

    @classmethod
    def tearDownClass(cls):
        cls.importer.close()
        cls.temporary.cleanup()

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, quantise, quantisation, intermediate=None, layers=1):
        """`quantise` makes (parts, Matrix) of (name, values, rows, columns), or None for a module that stays. The quantised and the plain checkpoint."""
        config = dict(self.config, num_hidden_layers=layers)
        quantised, plain = {}, {}
        for name, (dtype, shape, data) in self.golden.items():
            if re.match(r"model\.layers\.(\d+)", name) and int(name.split(".")[2]) >= layers:
                continue
            if intermediate and ".mlp." in name:  # another number of rows, or columns
                values = unpack_floats(dtype, data)
                rows, columns = (shape[0], intermediate) if "down_proj" in name else (intermediate, shape[1])
                data = pack_floats(dtype, [values[(r * shape[1] + c) % len(values)] for r in range(rows) for c in range(columns)])
                shape = [rows, columns]
                config["intermediate_size"] = intermediate
            made = quantise(name, unpack_floats(dtype, data), *shape) if "_proj.weight" in name else None
            if made is None:
                quantised[name] = plain[name] = (dtype, shape, data)
            else:
                parts, matrix = made
                quantised.update({name.removesuffix("weight") + part: tensor for part, tensor in parts.items()})
                plain[name] = matrix.plain
        write(self.path("plain"), plain, config)
        write(self.path("quantised"), quantised, dict(config, quantization_config=quantisation))
        return quantised

    def weights(self, model, *flags):
        """Type and bytes of each weight of the artifact, and what was said."""
        artifact = self.path("model.m1a")
        result = run("m1-compile", self.path(model), "-o", artifact, "--cpu", "x86-64-v3", "--cache", self.path("cache"), "--activation-type", "f32", *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        listed = json.loads(run("m1-dump", "--json", artifact).stdout)["weights"]
        with open(artifact, "rb") as file:
            content = file.read()
        return {w["name"]: (w["type"], content[w["offset"]:w["offset"] + w["bytes"]]) for w in listed}, result.stderr

    def compare(self, *note, flags=(), matrices=None):
        """With the weights of the plain checkpoint, joined as the compiler joins them."""
        got, said = self.weights("quantised", *flags)
        plain = read(os.path.join(self.path("plain"), "model.safetensors"))
        for part, modules in (("q_k_v", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")), ("o", ("self_attn.o_proj",)),
                              ("gate_up", ("mlp.gate_proj", "mlp.up_proj")), ("down", ("mlp.down_proj",))):
            sources = [plain[f"model.layers.0.{module}.weight"] for module in modules]
            rows, columns = sum(shape[0] for _, shape, _ in sources), sources[0][1][1]
            values = [value for dtype, _, data in sources for value in unpack_floats(dtype, data)]
            # In f32 what bf16 does not hold.
            matrix_type = matrices or ("BF16" if all(dtype == "BF16" for dtype, _, _ in sources) else "F32")
            self.assertEqual(got["layers.0." + part][0], f"{rows}x{columns}x{matrix_type.lower()}")
            self.assertTrue(got["layers.0." + part][1] == pack_floats(matrix_type, values), part)
        for word in note:
            self.assertIn(word, said)
        self.assertEqual(said.count("note:"), 1)

    def check(self, quantise, quantisation, *note, **options):
        self.write(quantise, quantisation, **options)
        self.compare(*note)

    def matrix(self, **settings):
        draw = random.Random(1)
        return lambda values, rows, columns: Matrix(values, rows, columns, draw, **settings)

    # ---- compressed-tensors

    def test_packed_int4_in_groups(self):
        make = self.matrix(low=-8, high=7, group=32, scale_type="BF16")

        def quantise(name, *matrix):
            m = make(*matrix)
            return None if "o_proj" in name else (compressed(m), m)  # one that is ignored

        self.check(quantise, group_config({"num_bits": 4, "group_size": 32, "strategy": "group"}, "pack-quantized"),
                   "compressed-tensors: 6 matrices of int4 in groups of 32")

    def test_packed_int4_with_zero_points_and_padded_words(self):
        make = self.matrix(low=-8, high=7, asymmetric=True, scale_type="F16")
        self.check(lambda name, *matrix: (lambda m: (compressed(m, asymmetric=True), m))(make(*matrix)),
                   group_config({"num_bits": 4, "strategy": "channel", "symmetric": False}, "pack-quantized"), "7 matrices of int4 with scales of rows", intermediate=35)

    def test_what_first_versions_wrote(self):
        """Zero points that are not packed; the status "frozen"; a block as a text."""
        make = self.matrix(low=-8, high=7, group=16, asymmetric=True, scale_type="BF16")

        def quantise(name, *matrix):
            m = make(*matrix)
            zeros = [zero for row in m.zeros for zero in row]
            return {**compressed(m), "weight_zero_point": ("I8", [m.rows, m.groups], struct.pack(f"<{len(zeros)}b", *zeros))}, m

        self.check(quantise, group_config({"num_bits": 4, "group_size": 16, "symmetric": False}, "pack-quantized", quantization_status="frozen"), "7 matrices of int4 in groups of 16")
        make = self.matrix(low=0, high=0, is_float=True, scale_type="BF16", group=40, block_rows=24)
        self.check(lambda name, *matrix: (lambda m: (compressed(m, packed=False, is_float=True), m))(make(*matrix)),
                   group_config({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": "24x40"}, "float-quantized"), "of float8 in blocks of 24x40")

    def test_embeddings_and_formats_of_groups(self):
        """The class "Embedding" beside "Linear", each group in a format of its own."""
        linear, table = self.matrix(low=-8, high=7, group=32, scale_type="BF16"), self.matrix(low=-127, high=127, scale_type="BF16")
        config = group_config({"num_bits": 4, "group_size": 32, "strategy": "group"}, "mixed-precision")
        config["config_groups"]["group_0"]["format"] = "pack-quantized"
        config["config_groups"]["group_1"] = {"targets": ["Embedding"], "format": "int-quantized", "weights": {"num_bits": 8, "strategy": "channel"}}
        quantised = self.write(lambda name, *matrix: (lambda m: (compressed(m), m))(linear(*matrix)), config)
        plain = read(os.path.join(self.path("plain"), "model.safetensors"))
        name = "model.embed_tokens.weight"
        dtype, shape, data = quantised.pop(name)
        m = table(unpack_floats(dtype, data), *shape)
        quantised.update({name.removesuffix("weight") + part: tensor for part, tensor in compressed(m, packed=False).items()})
        with open(os.path.join(self.path("quantised"), "config.json")) as file:
            write(self.path("quantised"), quantised, json.load(file))
        with open(os.path.join(self.path("plain"), "config.json")) as file:
            write(self.path("plain"), {**plain, name: m.plain}, json.load(file))
        self.compare("7 matrices of int4 in groups of 32", "1 matrix of int8 with scales of rows")

    def test_caches_alone(self):
        config = dict(group_config({}, "dense"), config_groups={}, kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True})
        self.check(lambda *matrix: None, config, "compressed-tensors: no matrix; caches, which the library quantises, too, are not")

    def test_int8_with_dynamic_activations(self):
        make = self.matrix(low=-128, high=127, scale_type="BF16")
        config = group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized")
        config["config_groups"]["group_0"]["input_activations"] = {"num_bits": 8, "dynamic": True, "strategy": "token", "type": "int", "symmetric": True}
        self.check(lambda name, *matrix: (lambda m: (compressed(m, packed=False), m))(make(*matrix)), config, "activations, which the library quantises, too, are not")

    def test_int8_of_every_kind(self):
        """Patterns are Python's: with classes, from the name's beginning (mlp is not), to wherever they end."""
        one = self.matrix(low=-127, high=127, scale_type="F32", per_tensor=True, asymmetric=True)
        grouped = self.matrix(low=-127, high=127, scale_type="F16", group=16, asymmetric=True)
        config = group_config({"num_bits": 8, "strategy": "tensor", "symmetric": False}, "int-quantized")
        groups = config["config_groups"]
        groups["group_0"]["targets"] = [r"re:model\.layers\.\d+\.(?!mlp)\w+_attn", "re:mlp", "model.layers.0.mlp.up_proj"]
        groups["group_1"] = json.loads(json.dumps(groups["group_0"]))
        groups["group_1"]["targets"] = ["Linear"]
        groups["group_1"]["weights"].update(strategy="group", group_size=16)

        def quantise(name, *matrix):
            single = "self_attn" in name or "up_proj" in name
            m = (one if single else grouped)(*matrix)
            parts = compressed(m, packed=False, asymmetric=True, per_tensor=single)
            if single:
                parts["weight_zero_point"] = ("I8", [1], parts["weight_zero_point"][2])
            return parts, m

        self.check(quantise, config, "2 matrices of int8 in groups of 16", "5 matrices of int8 with one scale")

    def test_groups_out_of_order(self):
        draw = random.Random(2)

        def quantise(name, values, rows, columns):
            index = [c // 16 for c in range(columns)]
            draw.shuffle(index)
            m = Matrix(values, rows, columns, draw, low=-8, high=7, group=16, scale_type="BF16", index=index)
            return compressed(m, index=True), m

        self.check(quantise, group_config({"num_bits": 4, "group_size": 16, "strategy": "group", "actorder": "group"}, "pack-quantized"))

    def test_float8(self):
        for strategy, settings in (("tensor", {"per_tensor": True}), ("channel", {}), ("block", {"group": 40, "block_rows": 24})):
            make = self.matrix(low=0, high=0, is_float=True, scale_type="BF16", **settings)
            weights = {"num_bits": 8, "type": "float", "strategy": strategy, "block_structure": [24, 40] if strategy == "block" else None}
            with self.subTest(strategy):
                self.check(lambda name, *matrix: (lambda m: (compressed(m, packed=False, is_float=True, per_tensor=strategy == "tensor"), m))(make(*matrix)),
                           group_config(weights, "float-quantized"), "of float8")

    # ---- fp8

    def test_fp8_in_blocks(self):
        make = self.matrix(low=0, high=0, is_float=True, scale_type="F32", group=40, block_rows=24)
        self.check(lambda name, *matrix: (lambda m: (fp8(m, "weight_scale_inv"), m))(make(*matrix)),
                   {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [24, 40], "modules_to_not_convert": ["lm_head"]},
                   "fp8: 7 matrices of float8 in blocks of 24x40", "activations")

    def test_fp8_in_blocks_of_which_nothing_is_said(self):
        """Blocks are 128 x 128 without weight_block_size, where the scales are as many (transformers' FineGrainedFP8Config)."""
        make = self.matrix(low=0, high=0, is_float=True, scale_type="F32", group=128, block_rows=128)
        self.check(lambda name, *matrix: (lambda m: (fp8(m, "weight_scale_inv"), m))(make(*matrix)),
                   {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "float8_e4m3fn"}, "of float8 in blocks of 128x128", intermediate=130)

    def test_fp8_with_one_scale_and_with_scales_of_rows(self):
        one = self.matrix(low=0, high=0, is_float=True, scale_type="F32", per_tensor=True)
        rows = self.matrix(low=0, high=0, is_float=True, scale_type="F32")

        def quantise(name, *matrix):
            if "mlp" in name:
                m = rows(*matrix)
                return fp8(m, "weight_scale"), m
            m = one(*matrix)
            return fp8(m, "weight_scale", shape=[], extra=["input_scale"]), m

        self.check(quantise, {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, "4 matrices of float8 with one scale",
                   "3 matrices of float8 with scales of rows")

    def test_fbgemm(self):
        make = self.matrix(low=0, high=0, is_float=True, scale_type="F32")
        self.check(lambda name, *matrix: (lambda m: (fp8(m, "weight_scale", extra=["input_scale_ub"]), m))(make(*matrix)),
                   {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": []}, "fbgemm_fp8")

    # ---- GPTQ, AWQ

    def test_gptq(self):
        for bits, size, less, borrows, fields in ((4, 16, 1, True, {}), (8, 32, 1, True, {"meta": {"quantizer": "gptqmodel:1.0.0"}}), (4, -1, 1, False, {"meta": {"quantizer": ["auto_gptq:0.7.1"]}}),
                                                  (8, 32, 1, False, {"meta": None}), (4, 16, 0, True, {"checkpoint_format": "gptq_v2"})):
            # A zero point of 0 less 1 is all ones, and a borrow where GPTQModel subtracts.
            make = self.matrix(low=0, high=(1 << bits) - 1, group=max(size, 0), asymmetric=True, scale_type="F16")
            with self.subTest(bits=bits, size=size, less=less, fields=fields):
                self.check(lambda name, *matrix: (lambda m: (gptq(m, bits=bits, less=less, borrows=borrows), m))(make(*matrix)), gptq_config(bits=bits, group_size=size, **fields), f"gptq: 7 matrices of int{bits}")

    def test_gptq_with_columns_by_activation(self):
        draw = random.Random(3)

        def quantise(name, values, rows, columns):
            index = [c // 16 for c in range(columns)]
            draw.shuffle(index)
            m = Matrix(values, rows, columns, draw, low=1, high=15, group=16, asymmetric=True, scale_type="F16", index=index)
            return gptq(m), m

        self.check(quantise, gptq_config(desc_act=True))

    def test_what_others_write(self):
        """AutoRound's fields, and modules that stay as they are by patterns."""
        tuning = {"data_type": "int", "iters": 200, "nsamples": 512, "seqlen": 2048, "lr": 0.005, "minmax_lr": 0.005, "enable_minmax_tuning": True, "enable_quanted_input": True,
                  "autoround_version": "0.12.2", "provider": "auto-round", "low_gpu_mem_usage": True, "scale_dtype": "torch.float16", "to_quant_block_names": None}
        make = self.matrix(low=0, high=15, group=16, asymmetric=True, scale_type="F16")

        def quantise(name, *matrix):
            m = make(*matrix)
            return None if "o_proj" in name else (gptq(m), m)

        self.check(quantise, gptq_config(dynamic={"-:.*o_proj.*": {}}, **tuning), "6 matrices of int4 in groups of 16")
        for sym in (False, True):  # zero points are stored in either case
            config = {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": not sym, "sym": sym, "dataset": "texts", **tuning}
            self.check(lambda name, *matrix: (lambda m: (awq(m), m))(make(*matrix)), config, "awq: 7 matrices of int4 in groups of 16")

    def test_awq(self):
        make = self.matrix(low=0, high=15, group=32, asymmetric=True, scale_type="F16")
        self.check(lambda name, *matrix: (lambda m: (awq(m), m))(make(*matrix)),
                   {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm", "modules_to_not_convert": None, "backend": "autoawq", "do_fuse": False},
                   "awq: 7 matrices of int4 in groups of 32")

    # ---- what follows from them

    def test_bf16_activations(self):
        make = self.matrix(low=0, high=15, group=32, asymmetric=True, scale_type="F16")
        self.write(lambda name, *matrix: (lambda m: (awq(m), m))(make(*matrix)), {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True})
        self.compare("imported as bf16", flags=["--activation-type", "bf16"], matrices="BF16")

    def test_int8_rows_stay_as_they_are(self):
        """With --quantize int8, codes and scales are those of the checkpoint, but of rows that hold -128."""
        make = self.matrix(low=-127, high=127, scale_type="F32")
        for packed in (False, True):
            matrices = {}

            def quantise(name, *matrix):
                m = matrices[name] = make(*matrix)
                return compressed(m, bits=8, packed=packed), m

            self.write(quantise, group_config({"num_bits": 8, "strategy": "channel"}, "pack-quantized" if packed else "int-quantized"))
            got, _ = self.weights("quantised", "--quantize", "int8")
            m = matrices["model.layers.0.mlp.down_proj.weight"]
            self.assertEqual(got["layers.0.down"], (f"{m.rows}x{m.columns}xi8", struct.pack(f"<{m.rows * m.columns}b", *(code for row in m.codes for code in row))))
            scales = [weight for name, weight in got.items() if name.startswith("layers.0.down") and weight[0].endswith("xf32")]
            self.assertEqual(scales, [(f"{m.rows}xf32", pack_floats("F32", [row[0] for row in m.scales]))])

    def test_groups_stay_as_they_are(self):
        """With --quantize stored codes and scales are those of the checkpoint, of int8 also -128."""
        for bits, packed, scale_type, group in ((8, False, "BF16", 32), (8, True, "F16", 16), (8, True, "F16", 32), (4, True, "BF16", 32)):
            with self.subTest(bits=bits, packed=packed, scales=scale_type, group=group):
                make = self.matrix(low=-1 << bits - 1, high=(1 << bits - 1) - 1, scale_type=scale_type, group=group)
                matrices = {}

                def quantise(name, *matrix):
                    m = matrices[name] = make(*matrix)
                    m.codes[0][0] = -1 << bits - 1
                    return compressed(m, bits=bits, packed=packed), m

                self.write(quantise, group_config({"num_bits": bits, "group_size": group, "strategy": "group"}, "pack-quantized" if packed else "int-quantized"))
                m = matrices["model.layers.0.mlp.down_proj.weight"]
                if group == 16:  # no kernel has such
                    result = run("m1-compile", self.path("quantised"), "-o", self.path("model.m1a"), "--quantize", "stored")
                    self.assertIn("--quantize stored: ", result.stderr)
                    continue
                got, said = self.weights("quantised", "--quantize", "stored")
                self.assertIn("; int8 and int4 in groups stay as they are in linears", said)
                self.assertEqual(got["layers.0.down.scale"], (f"{m.rows}x{m.groups}x{scale_type.lower()}", pack_floats(scale_type, [s for row in m.scales for s in row])))
                if bits == 8:
                    self.assertEqual(got["layers.0.down"], (f"{m.rows}x{m.columns}xi8", struct.pack(f"<{m.rows * m.columns}b", *(code for row in m.codes for code in row))))
                else:
                    words = bytearray(m.rows * -(-m.columns // 128) * 64)
                    for r, row in enumerate(m.codes):
                        for c, code in enumerate(row):
                            words[r * -(-m.columns // 128) * 64 + c // 128 * 64 + c % 32 * 2 + c % 128 // 64] |= (code & 15) << c % 64 // 32 * 4
                    self.assertEqual(got["layers.0.down"], (f"{m.rows}x{-(-m.columns // 128) * 64}xi4x2", bytes(words)))

    def test_symmetric_gptq_stays_as_it_is(self):
        """With --quantize stored: zero points that are all half the range, columns in order by their index."""
        make = self.matrix(low=-8, high=7, scale_type="F16", group=32)
        matrices = {}

        def quantise(name, *matrix):
            m = matrices[name] = make(*matrix)
            m.codes, m.zeros = [[code + 8 for code in row] for row in m.codes], [[8 for _ in row] for row in m.zeros]
            return gptq(m), m

        self.write(quantise, gptq_config(group_size=32, sym=True))
        self.compare("gptq: 7 matrices of int4 in groups of 32", "; --quantize stored keeps int8 and int4 in groups as they are")
        got, said = self.weights("quantised", "--quantize", "stored")
        self.assertIn("; int8 and int4 in groups stay as they are in linears", said)
        m = matrices["model.layers.0.mlp.down_proj.weight"]
        self.assertEqual(got["layers.0.down.scale"], (f"{m.rows}x{m.groups}xf16", pack_floats("F16", [s for row in m.scales for s in row])))
        packed = bytearray(m.rows * -(-m.columns // 128) * 64)
        for r, row in enumerate(m.codes):
            for c, code in enumerate(row):
                packed[r * -(-m.columns // 128) * 64 + c // 128 * 64 + c % 32 * 2 + c % 128 // 64] |= (code - 8 & 15) << c % 64 // 32 * 4
        self.assertEqual(got["layers.0.down"], (f"{m.rows}x{-(-m.columns // 128) * 64}xi4x2", bytes(packed)))

    def test_zero_points_become_minimums(self):
        """With --quantize stored groups with zero points keep their codes, of four bits from 0 on; each has a scale and the minimum zero · scale. The values are those of the checkpoint."""
        ways = {"awq": (dict(low=0, high=15), lambda m: awq(m), {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}, 4, 0),
                "gptq": (dict(low=0, high=15), lambda m: gptq(m), gptq_config(group_size=32), 4, 0),
                "gptq of 8 bits": (dict(low=0, high=255), lambda m: gptq(m, bits=8), gptq_config(bits=8, group_size=32), 8, 128),
                "packed": (dict(low=-8, high=7), lambda m: compressed(m, asymmetric=True),
                           group_config({"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": False}, "pack-quantized"), 4, -8),
                "int8": (dict(low=-128, high=127), lambda m: compressed(m, bits=8, packed=False, asymmetric=True),
                         group_config({"num_bits": 8, "group_size": 32, "strategy": "group", "symmetric": False}, "int-quantized"), 8, 0)}
        for name, (settings, pack, config, bits, shift) in ways.items():
            with self.subTest(name):
                make = self.matrix(group=32, asymmetric=True, scale_type="BF16", **settings)
                matrices = {}

                def quantise(tensor, *matrix):
                    m = matrices[tensor] = make(*matrix)
                    return pack(m), m

                self.write(quantise, config)
                got, said = self.weights("quantised", "--quantize", "stored")
                self.assertIn("; int8 and int4 in groups stay as they are in linears", said)
                m = matrices["model.layers.0.mlp.down_proj.weight"]
                pairs = [number for row, zeros in zip(m.scales, m.zeros) for scale, zero in zip(row, zeros) for number in (scale, scale * (zero - shift))]
                self.assertEqual(got["layers.0.down.scale"], (f"{m.rows}x{m.groups}x2xf32", pack_floats("F32", pairs)))
                codes = [[code - shift for code in row] for row in m.codes]
                if bits == 8:
                    self.assertEqual(got["layers.0.down"], (f"{m.rows}x{m.columns}xi8", struct.pack(f"<{m.rows * m.columns}b", *(code for row in codes for code in row))))
                else:
                    words = bytearray(m.rows * -(-m.columns // 128) * 64)
                    for r, row in enumerate(codes):
                        for c, code in enumerate(row):
                            words[r * -(-m.columns // 128) * 64 + c // 128 * 64 + c % 32 * 2 + c % 128 // 64] |= code << c % 64 // 32 * 4
                    self.assertEqual(got["layers.0.down"], (f"{m.rows}x{-(-m.columns // 128) * 64}xi4x2", bytes(words)))

    def test_fp8_rows_stay_as_they_are(self):
        """With --quantize fp8, codes and scales are those of the checkpoint."""
        make = self.matrix(low=0, high=0, is_float=True, scale_type="F32")
        matrices = {}

        def quantise(name, *matrix):
            m = matrices[name] = make(*matrix)
            return compressed(m, packed=False, is_float=True), m

        self.write(quantise, group_config({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized"))
        got, _ = self.weights("quantised", "--quantize", "fp8")
        m = matrices["model.layers.0.mlp.down_proj.weight"]
        self.assertEqual(got["layers.0.down"], (f"{m.rows}x{m.columns}xf8e4m3", bytes(code for row in m.codes for code in row)))
        scales = [weight for name, weight in got.items() if name.startswith("layers.0.down") and weight[0].endswith("xf32")]
        self.assertEqual(scales, [(f"{m.rows}xf32", pack_floats("F32", [row[0] for row in m.scales]))])

    def test_conversion_to_an_m1(self):
        make = self.matrix(low=1, high=15, group=16, asymmetric=True, scale_type="F16")
        self.write(lambda name, *matrix: (lambda m: (gptq(m), m))(make(*matrix)), gptq_config(), layers=2)
        for model in ("plain", "quantised"):
            result = run("m1-convert", self.path(model), "-o", self.path("m1-" + model), "--attention-layers", "1", "--overwrite")
            self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("quantised by gptq: 14 matrices of int4 in groups of 16; the weights are written as the values that these stand for", result.stderr)
        self.assertTrue(read(os.path.join(self.path("m1-plain"), "model.safetensors")) == read(os.path.join(self.path("m1-quantised"), "model.safetensors")))
        with open(os.path.join(self.path("m1-quantised"), "config.json")) as file:
            self.assertNotIn("quantization_config", json.load(file))

    # ---- what is refused

    def refuse(self, expected, config=None, tensors=None, form="gptq"):
        """`config` and `tensors` change what is right."""
        make, write_parts, right_config = {
            "gptq": (self.matrix(low=1, high=15, group=16, asymmetric=True, scale_type="F16"), gptq, gptq_config()),
            "awq": (self.matrix(low=0, high=15, group=16, asymmetric=True, scale_type="F16"), awq, {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True}),
            "int8": (self.matrix(low=-128, high=127, scale_type="BF16"), lambda m: compressed(m, bits=8, packed=False), group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized")),
            "packed": (self.matrix(low=-8, high=7, scale_type="BF16"), compressed, group_config({"num_bits": 4, "strategy": "channel"}, "pack-quantized")),
        }[form]
        if form not in self.right:
            self.right[form] = self.write(lambda name, *matrix: (lambda m: (write_parts(m), m))(make(*matrix)), right_config)
        quantised = dict(self.right[form])
        for name, tensor in (tensors or {}).items():
            quantised.pop(name, None)
            if tensor:
                quantised[name] = tensor
        write(self.path("quantised"), quantised, dict(self.config, num_hidden_layers=1, quantization_config=config or right_config))
        imported, said = self.importer.read(self.path("quantised"))
        self.assertFalse(imported, said)
        self.assertRegex(said, expected)
        self.assertEqual(said.count("error:"), 1, said)

    def test_fields_that_are_not_understood(self):
        field = r"config\.json: field 'quantization_config\."
        for config, expected in (
            ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"quant_method': expected compressed-tensors, fp8, fbgemm_fp8, gptq or awq, got bitsandbytes"),
            ({"bits": 4}, r"quant_method': missing"),
            (gptq_config(bits=3), r"bits': expected 4 or 8, got 3"),
            (gptq_config(group_size=0), r"group_size': expected a positive number or -1, got 0"),
            (gptq_config(checkpoint_format="marlin"), r"checkpoint_format': expected gptq or gptq_v2, got marlin"),
            (gptq_config(rotation="hadamard"), r"rotation': expected null, got \"hadamard\"; rotations of activations are not supported"),
            (gptq_config(dynamic={"+:mlp": {"bits": 8}}), r"dynamic\.\+:mlp': settings for single modules are not supported, got {\"bits\":8}"),
            (gptq_config(data_type="mx_fp"), r"data_type': expected int, got mx_fp"),
            (gptq_config(wobble=1), r"wobble': not understood, got 1"),
            (gptq_config(desc_act="yes"), r"desc_act': expected true or false, got \"yes\""),
            (gptq_config(checkpoint_format=2), r"checkpoint_format': expected a string, got 2"),  # which two readers ask for
            (group_config({"num_bits": 8, "strategy": "channel", "type": 3}, "int-quantized"), r"config_groups\.group_0\.weights\.type': expected a string, got 3"),
            (group_config({"num_bits": 8, "strategy": "channel", "group_size": 16}, "int-quantized"), r"config_groups\.group_0\.weights\.group_size': expected none with strategy channel, got 16"),
            (group_config({"num_bits": 8, "strategy": "channel", "block_structure": [16, 16]}, "int-quantized"), r"config_groups\.group_0\.weights\.block_structure': expected null with strategy channel, got \[16,16\]"),
            ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemv"}, r"version': expected gemm, got gemv"),
            ({"quant_method": "awq", "w_bit": 3, "q_group_size": 32, "zero_point": True}, r"w_bit': expected 4, got 3"),
            ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": 1}, r"zero_point': expected true or false, got 1"),
            ({"quant_method": "fp8", "fmt": "e5m2"}, r"fmt': expected e4m3 or float8_e4m3fn, got e5m2"),
            ({"quant_method": "fp8", "weight_block_size": [128]}, r"weight_block_size': expected a list of two sizes of a block, got \[128\]"),
            (group_config({"num_bits": 4, "strategy": "channel"}, "marlin-24"), r"format': expected pack-quantized, int-quantized, float-quantized or naive-quantized, got marlin-24"),
            (group_config({"num_bits": 3, "strategy": "channel"}, "pack-quantized"), r"config_groups\.group_0\.weights\.num_bits': expected 4 or 8, got 3"),
            (group_config({"num_bits": 4, "type": "float", "strategy": "tensor_group"}, "float-quantized"), r"config_groups\.group_0\.weights\.num_bits': expected 8, got 4"),
            (group_config({"num_bits": 4, "strategy": "tensor_group"}, "pack-quantized"), r"config_groups\.group_0\.weights\.strategy': expected tensor, channel, group, got tensor_group"),
            (group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized", sparsity_config={"format": "sparse-24-bitmask"}), r"sparsity_config\.format': expected dense, got sparse-24-bitmask"),
            (group_config({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": "128by128"}, "float-quantized"), r"config_groups\.group_0\.weights\.block_structure': expected a list of two sizes of a block, got \"128by128\""),
            (group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized", transform_config={"config_groups": {"a": {}}}), r"transform_config\.config_groups': expected null"),
            (group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized", quantization_status="calibration"), r"quantization_status': expected compressed or frozen, got calibration"),
        ):
            with self.subTest(expected):
                self.refuse(field + expected if "'" in expected else expected, config)

    def test_methods_with_types_of_their_own(self):
        """The method is named, not the first tensor whose type nobody knows."""
        weight = "model.layers.0.mlp.up_proj.weight"
        pairs = lambda *shape: ("U8", list(shape), bytes(math.prod(shape)))
        nvfp4 = group_config({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, "nvfp4-pack-quantized")
        for config, tensors, expected in (({"quant_method": "bitsandbytes", "load_in_4bit": True}, {weight: pairs(3072, 1), weight + ".absmax": pairs(96)}, "got bitsandbytes"),
                                          ({"quant_method": "mxfp4"}, {weight: None, weight.removesuffix(".weight") + "_blocks": pairs(96, 2, 16)}, "got mxfp4"),
                                          (nvfp4, {weight: None, weight + "_packed": pairs(96, 32)}, "got nvfp4-pack-quantized")):
            self.refuse(r"config\.json: field 'quantization_config\..*" + expected, config, tensors)

    def test_groups_that_are_not_understood(self):
        def groups(weights, fmt, **fields):
            config = group_config(weights, fmt)
            config["config_groups"]["group_0"].update(fields)
            return config

        channel = {"num_bits": 8, "strategy": "channel"}
        several = groups(channel, "int-quantized")
        several["config_groups"] = {name: {**several["config_groups"]["group_0"], "targets": [target]} for name, target in (("a", "re:.*q_proj"), ("b", "re:.*k_proj"))}
        patterns = json.loads(json.dumps(several))
        patterns["config_groups"]["b"]["targets"] = ["re:(mlp"]
        slow = json.loads(json.dumps(several))
        slow["config_groups"]["b"]["targets"] = [r"re:(\w+|\w+\.)+(#|~)"]
        group = r"config\.json: field 'quantization_config\.config_groups\.group_0\."
        for config, expected in (
            (groups(channel, "int-quantized", targets=3), group + "targets': expected a list of strings, got 3"),
            (groups(channel, "int-quantized", targets=["Linear", 3]), group + "targets': expected a list of strings"),
            (dict(group_config(channel, "int-quantized"), config_groups={}), r"'quantization_config\.config_groups': expected at least one group with 'weights'"),
            (groups({**channel, "type": "float"}, "int-quantized"), group + r"weights\.type': does not fit format int-quantized, got float"),
            (groups({**channel, "type": "float", "symmetric": False}, "float-quantized"), group + r"weights\.symmetric': expected true for float weights, got false"),
            (groups({"num_bits": 8, "strategy": "group"}, "int-quantized"), group + r"weights\.group_size': expected a positive number with strategy group, got none"),
            (groups({"num_bits": 8, "strategy": "group", "group_size": -1}, "int-quantized"), group + r"weights\.group_size': expected a positive number with strategy group, got -1"),
            (groups({**channel, "actorder": "group"}, "int-quantized"), group + r"weights\.actorder': expected strategy group, got channel"),
            (groups({**channel, "group_size": None, "wobble": 1}, "int-quantized"), group + r"weights\.wobble': not understood, got 1"),
            (patterns, r"config_groups\.b\.targets': regular expression does not compile: missing closing parenthesis: \(mlp"),
            (slow, r"model\.safetensors: tensor '.*_proj\.weight': its group of 'quantization_config\.config_groups' is not found: .*: match limit exceeded"),
            (several, r"model\.safetensors: tensor '.*_proj\.weight': no group of 'quantization_config\.config_groups' targets module '.*_proj'"),
        ):
            with self.subTest(expected):
                self.refuse(expected, config, form="int8")

    def test_damaged_compressed_tensors(self):
        module = "model.layers.0.mlp.up_proj."
        rows, columns = self.config["intermediate_size"], self.config["hidden_size"]
        tensor = r"model\.safetensors: tensor '" + re.escape(module)
        pack = {"num_bits": 4, "strategy": "channel"}
        sizes = lambda *numbers: ("I64", [2], struct.pack("<2q", *numbers))
        for form, config, tensors, expected in (
            ("int8", group_config({"num_bits": 8, "strategy": "group", "group_size": 40}, "int-quantized"), {}, r"': its \d+ columns are no whole number of groups of 40"),
            ("int8", group_config(pack, "pack-quantized"), {}, r"\.weight': expected 'weight_packed' of format pack-quantized"),
            ("packed", group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized"), {}, r"\.weight_packed': expected 'weight' of a format that is not pack-quantized"),
            ("int8", None, {"weight": ("I8", [rows * columns], bytes(rows * columns))}, tensor + rf"weight': expected a matrix, got shape \[{rows * columns}\]"),
            ("int8", None, {"weight_zero_point": ("I8", [rows, 1], b"\1" * rows)}, tensor + "weight_zero_point': expected zeros where the weights are symmetric"),
            # Numbers that the library would quantise at each step.
            ("int8", None, {"weight": ("F32", [rows, columns], bytes(4 * rows * columns))}, tensor + rf"weight': expected codes, as there is '{re.escape(module)}weight_scale', got F32"),
            ("packed", None, {"weight_shape": sizes(-1, columns)}, tensor + rf"weight_shape': expected the sizes of a matrix, got -1 and {columns}"),
            ("packed", None, {"weight_shape": sizes(rows, 1 << 40)}, tensor + rf"weight_shape': expected the sizes of a matrix, got {rows} and {1 << 40}"),
            ("awq", {"quant_method": "awq", "bits": 4, "group_size": 17, "zero_point": True}, {}, r"': its \d+ columns are no whole number of groups of 17"),
            ("gptq", gptq_config(desc_act=True), {"g_idx": None}, tensor + rf"qweight' is there, but not '{re.escape(module)}g_idx' with the integers that belong to it"),
            ("gptq", None, {"qweight": ("I32", [1 << 31, 0], b"")}, tensor + rf"qweight': too large: shape \[{1 << 31}, 0\]"),
            ("gptq", None, {"qweight": ("I32", [columns // 8, rows - 1], bytes(columns // 2 * (rows - 1)))}, tensor + rf"qweight': expected a multiple of 8 rows of its zero points, got {rows - 1}"),
        ):
            with self.subTest(expected):
                self.refuse(expected, config, {module + name: value for name, value in tensors.items()}, form)

    def test_two_descriptions(self):
        """The same words twice are one description, other words are none."""
        make = self.matrix(low=1, high=15, group=16, asymmetric=True, scale_type="F16")
        quantised = self.write(lambda name, *matrix: (lambda m: (gptq(m), m))(make(*matrix)), gptq_config())
        for second, right in ((gptq_config(), True), (gptq_config(bits=8), False), ({}, False)):
            for fields in {"compression_config": second}, {"text_config": {"quantization_config": second}}:
                write(self.path("quantised"), quantised, dict(self.config, num_hidden_layers=1, quantization_config=gptq_config(), **fields))
                imported, said = self.importer.read(self.path("quantised"))
                if right and "text_config" not in fields:
                    self.assertTrue(imported, said)
                differ = r"_config': expected one description of how weights are quantised, got two that differ"
                (self.assertNotRegex if right else self.assertRegex)(said, differ)

    def test_output_activations(self):
        config = group_config({"num_bits": 8, "strategy": "channel"}, "int-quantized")
        config["config_groups"]["group_0"]["output_activations"] = {"num_bits": 8}
        self.refuse(r"group_0\.output_activations': expected null", config)

    def test_damaged_tensors(self):
        module = "model.layers.0.mlp.up_proj."
        rows, columns = self.config["intermediate_size"], self.config["hidden_size"]
        groups = columns // 16
        file = r"model\.safetensors: tensor '" + re.escape(module)
        for name, tensor, expected in (
            ("scales", None, file + rf"qweight' is there, but not '{re.escape(module)}scales' with the numbers that belong to it"),
            ("qzeros", None, file + rf"qweight' is there, but not '{re.escape(module)}qzeros' with the integers that belong to it"),
            ("scales", ("F16", [groups, rows - 1], bytes(2 * groups * (rows - 1))), file + rf"scales': expected shape \[{groups}, {rows}\], got \[{groups}, {rows - 1}\]"),
            ("scales", ("I32", [groups, rows], bytes(4 * groups * rows)), file + r"scales': expected dtype F16, BF16 or F32, got I32"),
            ("qzeros", ("I32", [groups, rows], bytes(4 * groups * rows)), file + rf"qzeros': expected shape \[{groups}, {rows // 8}\], got \[{groups}, {rows}\]"),
            ("g_idx", ("I32", [columns], struct.pack(f"<{columns}i", *[groups] * columns)), file + rf"g_idx': expected groups from 0 to {groups - 1}, got {groups} of column 0"),
            ("g_idx", ("I32", [columns - 1], bytes(4 * columns - 4)), file + rf"g_idx': expected shape \[{columns}\], got \[{columns - 1}\]"),
            ("qweight", ("I32", [columns // 8 * rows], bytes(4 * columns // 8 * rows)), file + r"qweight': expected a matrix"),
            ("weight", ("F32", [rows, columns], bytes(4 * rows * columns)), r"tensor '" + re.escape(module) + "weight' is there quantised and as it is"),
        ):
            with self.subTest(name + " " + expected):
                self.refuse(expected, tensors={module + name: tensor})

    def test_quantised_without_a_word(self):
        """Tensors of integers, and a config.json that does not say what they are."""
        make = self.matrix(low=1, high=15, group=16, asymmetric=True, scale_type="F16")
        quantised = self.write(lambda name, *matrix: (lambda m: (gptq(m), m))(make(*matrix)), gptq_config())
        write(self.path("quantised"), quantised, dict(self.config, num_hidden_layers=1))
        result = run("m1-compile", self.path("quantised"), "-o", self.path("none.m1a"))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"expected dtype F32, BF16 or F16, got I32; config\.json has no field 'quantization_config'")
        self.assertFalse(os.path.exists(self.path("none.m1a")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
