#!/usr/bin/env python3
"""GGUF files as models: gguf_test.py BIN_DIR GOLDENS_DIR.

Files are written by gguf_files.py, with the orders of rows of llama.cpp's conversion (gguf_families.py).
m1-compile must make of them what it makes of the same model in Hugging Face layout: every weight, bit for bit, and the same text."""
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

from gguf_families import turned, gguf_name, llama_cpp, metadata, lfm2, mamba, mamba2, falcon_h1, granite, nemotron_h, jamba, qwen3_5, qwen3_moe
from importer import Importer
from gguf_files import U32, STRING, ARRAY, text, Raw, write, safetensors, read_safetensors, BLOCKS, floats

BIN, GOLDENS = (os.path.abspath(path) for path in sys.argv[1:3])


def byte_characters():
    """GPT-2's printable stand-ins of the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


def run(name, *arguments):
    return subprocess.run([os.path.join(BIN, name), *arguments], capture_output=True, text=True, timeout=120)


class Gguf(unittest.TestCase):
    CONFIG = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
              "vocab_size": 300, "max_position_embeddings": 128, "rms_norm_eps": 2.0**-17, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "hidden_act": "silu",
              "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
    TYPES = {"self_attn.q_proj": "Q4_K", "self_attn.k_proj": "Q5_K", "self_attn.v_proj": "Q6_K", "self_attn.o_proj": "Q4_0", "mlp.gate_proj": "Q8_0", "mlp.up_proj": "F16",
             "mlp.down_proj": "BF16", "lm_head": "Q6_K", "model.embed_tokens": "Q4_K"}

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.root = cls.temporary.name
        cls.file, cls.plain = os.path.join(cls.root, "model.gguf"), os.path.join(cls.root, "plain")
        cls.importer = Importer(os.path.join(BIN, "import-messages"))

    @classmethod
    def tearDownClass(cls):
        cls.importer.close()
        cls.temporary.cleanup()

    def shapes(self, config):
        d, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
        shapes = {"model.embed_tokens.weight": [config["vocab_size"], d], "model.norm.weight": [d], "lm_head.weight": [config["vocab_size"], d]}
        for part, shape in {"input_layernorm.weight": [d], "post_attention_layernorm.weight": [d], "self_attn.q_proj.weight": [q, d], "self_attn.k_proj.weight": [kv, d],
                            "self_attn.v_proj.weight": [kv, d], "self_attn.o_proj.weight": [d, q], "mlp.gate_proj.weight": [inner, d], "mlp.up_proj.weight": [inner, d],
                            "mlp.down_proj.weight": [d, inner]}.items():
            shapes["model.layers.0." + part] = shape
        if config["model_type"] == "qwen2":
            for part, size in (("q", q), ("k", kv), ("v", kv)):
                shapes[f"model.layers.0.self_attn.{part}_proj.bias"] = [size]
        if config["model_type"] == "qwen3":
            for part in "qk":
                shapes[f"model.layers.0.self_attn.{part}_norm.weight"] = [head]
        return shapes

    def build(self, config, types, **more):
        """A random model in both layouts; the tensors of the GGUF file."""
        draw = random.Random(4)
        plain, tensors = {}, {}
        for name, shape in self.shapes(config).items():
            kind = next((kind for part, kind in types.items() if part + ".weight" in name), "F32")
            size, make = BLOCKS[kind]
            rows = []
            for _ in range(math.prod(shape[:-1]) if len(shape) > 1 else 1):
                blocks = [make(draw) for _ in range(shape[-1] // size)]
                rows.append((b"".join(data for data, _ in blocks), [value for _, values in blocks for value in values]))
            plain[name] = ("F32", shape, floats([value for _, values in rows for value in values]))
            if config["model_type"] == "llama" and (".q_proj" in name or ".k_proj" in name):
                rows = turned(rows, config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"])
            tensors[gguf_name(name)] = (kind, shape, b"".join(data for data, _ in rows))
        safetensors(self.plain, plain, config)
        write(self.file, metadata(config, **more), tensors)
        return tensors

    def build_family(self, family):
        """A random model of a family in both layouts; config.json and the tensors in both."""
        config, shapes, arch, fields = family
        draw = random.Random(5)
        plain = {name: ("F32", shape, floats([draw.uniform(-1, 1) for _ in range(math.prod(shape))])) for name, shape in shapes.items()}
        safetensors(self.plain, plain, config)
        eps = next(config[name] for name in ("rms_norm_eps", "norm_eps", "layer_norm_epsilon") if name in config)
        fields = {"general.architecture": arch, f"{arch}.block_count": config["num_hidden_layers"], f"{arch}.context_length": 128, f"{arch}.embedding_length": 32,
                  f"{arch}.attention.layer_norm_rms_epsilon": eps, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, **fields}
        tensors = llama_cpp(config, plain)
        if f"{arch}.nextn_predict_layers" in fields:
            tensors["blk.2.nextn.eh_proj.weight"] = ("F32", [32, 64], bytes(4 * 32 * 64))
        write(self.file, fields, tensors)
        return config, tensors, fields

    def weights(self, model, *flags):
        artifact = os.path.join(self.root, "model.m1a")
        cpu = [] if "--pass-pipeline" in flags else ["--cpu", "x86-64-v3"]
        result = run("m1-compile", model, "-o", artifact, *cpu, "--cache", os.path.join(self.root, "cache"), *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        listed = json.loads(run("m1-dump", "--json", artifact).stdout)
        with open(artifact, "rb") as file:
            content = file.read()
        said = {key: listed[key] for key in ("architecture", "vocab_size", "max_positions", "bos_id", "eos_ids")}
        return {w["name"]: (w["type"], content[w["offset"]:w["offset"] + w["bytes"]]) for w in listed["weights"]}, said, result.stderr

    def compare(self, *note):
        expected, model, _ = self.weights(self.plain, "--activation-type", "f32")
        got, same, said = self.weights(self.file, "--activation-type", "f32")
        self.assertEqual(same, model)
        self.assertEqual(list(got), list(expected))
        for name, (kind, data) in expected.items():
            if kind == got[name][0]:
                self.assertTrue(got[name][1] == data, name)
            else:  # what is bf16 in the file stays so
                self.assertEqual((kind.replace("xf32", "xbf16"), name), (got[name][0], name))
                self.assertTrue(data == b"".join(b"\0\0" + got[name][1][i:i + 2] for i in range(0, len(got[name][1]), 2)), name)
        for word in note:
            self.assertIn(word, said)
        return got

    def same(self):
        """The same is computed, from the same values."""
        self.assertEqual(self.module(self.file), self.module(self.plain))
        self.assertEqual(self.logits(self.file), self.logits(self.plain))

    def module(self, model):
        """What is computed; which transforms the tensors of the file need differs."""
        result = run("m1-compile", model, "--emit", "m1", "-o", os.path.join(self.root, "model.mlir"), "--activation-type", "f32")
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.root, "model.mlir")) as file:
            return re.sub(r",? ?transform = [^,}]*|xbf16|xf32", "", file.read())

    def logits(self, model):
        """By the reference evaluator."""
        ids, out = os.path.join(self.root, "ids.txt"), os.path.join(self.root, "logits.safetensors")
        with open(ids, "w") as file:
            file.write("1 5 7 60 5 33")
        result = run("m1-reference", model, "--input-ids", ids, "--max-new-tokens", "3", "--dump-logits", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        return {name: data for name, (_, _, data) in read_safetensors(out).items()}

    def test_every_type_and_the_order_of_rows(self):
        self.build(dict(self.CONFIG, eos_token_id=[2, 5]), self.TYPES, **{"tokenizer.ggml.eot_token_id": 5})
        got = self.compare("note: ", "2 of Q4_K, 1 of Q5_K, 2 of Q6_K")
        # The file as the checkpoint of a module.
        self.module(self.file)
        self.assertEqual(self.weights(os.path.join(self.root, "model.mlir"), "--checkpoint", self.file)[0], got)

    def test_qwen2_and_qwen3(self):
        for family in ("qwen2", "qwen3"):
            with self.subTest(family):
                self.build(dict(self.CONFIG, model_type=family, attention_bias=family == "qwen2"), {})
                self.same()

        # A tied head; sizes that follow from the number of heads.
        config = dict(self.CONFIG, tie_word_embeddings=True, num_key_value_heads=2, head_dim=128)
        tensors = {name: tensor for name, tensor in self.build(config, {}).items() if name != "output.weight"}
        del config["head_dim"]
        write(self.file, metadata(config), tensors)
        self.drop("lm_head.weight")
        self.same()

    def drop(self, name):
        plain = read_safetensors(os.path.join(self.plain, "model.safetensors"))
        del plain[name]
        with open(os.path.join(self.plain, "config.json")) as file:
            safetensors(self.plain, plain, json.load(file))

    def groups(self, tensor, kind):
        """Integers as numbers and scales as they lie in the file, row by row."""
        size = {"Q8_0": 34, "Q5_0": 22, "Q4_0": 18}[kind]
        _, shape, data = tensor
        codes, scales = [], b""
        for at in range(0, len(data), size):
            block = data[at:at + size]
            scales += block[:2]
            if kind == "Q8_0":
                codes += struct.unpack("<32b", block[2:])
                continue
            low = block[-16:]
            fifths = struct.unpack("<I", block[2:6])[0] if kind == "Q5_0" else 0
            codes += [(low[i % 16] >> i // 16 * 4 & 15 | (fifths >> i & 1) << 4) - (16 if kind == "Q5_0" else 8) for i in range(32)]
        return shape, codes, scales

    def keep_stored(self, prompt):
        """The artifact of the file with --quantize stored, whose logits are, on both kinds of CPU, those of what its integers stand for."""
        artifact = os.path.join(self.root, "model.m1a")
        for cpu in ("x86-64-v3", "native"):
            result = run("m1-compile", self.file, "-o", artifact, "--cpu", cpu, "--cache", os.path.join(self.root, "cache"), "--activation-type", "f32", "--quantize", "stored")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("; int8 and int4 in groups stay as they are in linears, other weights are imported as f32", result.stderr)
            ids, want, have = (os.path.join(self.root, name) for name in ("ids.txt", "want.safetensors", "have.safetensors"))
            with open(ids, "w") as file:
                file.write("1 5 7 60 5 33")
            self.assertEqual(run("m1-reference", self.file, "--input-ids", ids, "--max-new-tokens", "3", "--dump-logits", want).returncode, 0)
            self.assertEqual(run("m1-run", artifact, "--input-ids", ids, "--max-new-tokens", "3", "--ignore-eos", "--dump-logits", have).returncode, 0)
            for name in ("prefill_logits", "decode_logits"):
                expected, got = ([value for (value,) in struct.iter_unpack("<f", read_safetensors(path)[name][2])] for path in (want, have))
                mean = sum(expected) / len(expected)
                deviation = math.sqrt(sum((value - mean)**2 for value in expected) / len(expected))
                self.assertEqual(len(expected), len(got))
                self.assertLess(max(abs(a - b) for a, b in zip(expected, got)), 1e-3 * deviation, name)
        return artifact

    def test_groups_stay_as_they_are(self):
        """With --quantize stored: codes and scales of Q8_0, Q5_0 and Q4_0, bit for bit, also of a head that is tied. The same logits as of what they stand for."""
        types = {**{f"self_attn.{part}_proj": "Q4_0" for part in "qkvo"}, "mlp.gate_proj": "Q8_0", "mlp.up_proj": "Q8_0", "mlp.down_proj": "Q5_0", "model.embed_tokens": "Q8_0", "lm_head": "Q8_0"}
        config = dict(self.CONFIG, tie_word_embeddings=True)
        tensors = {name: tensor for name, tensor in self.build(config, types).items() if name != "output.weight"}
        write(self.file, metadata(config), tensors)
        self.drop("lm_head.weight")
        artifact = self.keep_stored("1 5 7 60 5 33")
        listed = json.loads(run("m1-dump", "--json", artifact).stdout)["weights"]
        with open(artifact, "rb") as file:
            content = file.read()
        got = {w["name"]: (w["type"], content[w["offset"]:w["offset"] + w["bytes"]]) for w in listed}
        self.assertEqual(got["embed_tokens"][0], "300x256xf32")
        for name, parts, kind in (("embed_tokens.codes", ["token_embd"], "Q8_0"), ("layers.0.down", ["blk.0.ffn_down"], "Q5_0"),
                                  ("layers.0.gate_up", ["blk.0.ffn_gate", "blk.0.ffn_up"], "Q8_0"), ("layers.0.o", ["blk.0.attn_output"], "Q4_0")):
            codes, scales = [], b""
            for part in parts:
                (_, columns), more, further = self.groups(tensors[part + ".weight"], kind)
                codes += more
                scales += further
            rows = len(codes) // columns
            self.assertEqual(got[name + ".scale"], (f"{rows}x{columns // 32}xf16", scales), name)
            if kind == "Q4_0":
                words = bytearray(rows * -(-columns // 128) * 64)
                for i, code in enumerate(codes):
                    row, c = divmod(i, columns)
                    words[row * -(-columns // 128) * 64 + c // 128 * 64 + c % 32 * 2 + c % 128 // 64] |= (code & 15) << c % 64 // 32 * 4
                self.assertEqual(got[name], (f"{rows}x{-(-columns // 128) * 64}xi4x2", bytes(words)))
            else:
                self.assertEqual(got[name], (f"{rows}x{columns}xi8", struct.pack(f"<{len(codes)}b", *codes)), name)
        # Asked for, too: of what --quantize takes.
        self.assertIn("; linears get weights of int8, other weights are imported as bf16\n", self.weights(self.file, "--quantize", "int8")[2])
        kept, _, said = self.weights(self.file, "--quantize", "int8:32")
        self.assertIn("; linears get weights of int8:32, from such groups with their codes and scales, other weights are imported as bf16\n", said)
        self.assertEqual(kept["layers.0.gate_up"], got["layers.0.gate_up"])
        self.assertEqual(kept["layers.0.gate_up.scale"], got["layers.0.gate_up.scale"])
        self.assertEqual(kept["embed_tokens"][0], "300x256xbf16")
        self.assertNotIn("embed_tokens.codes", kept)
        # The artifact's code is made anew without the file, also for CUDA.
        again = os.path.join(self.root, "again.m1a")
        result = run("m1-compile", artifact, "-o", again, "--cpu", "x86-64-v3", "--cache", os.path.join(self.root, "cache"))
        self.assertEqual(result.returncode, 0, result.stderr)
        result = run("m1-compile", artifact, "-o", "-", "--target", "cuda", "--emit", "plan")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue("@dequantize_int8_f16_8_bf16_512x256" in result.stdout)

    def test_groups_give_the_numbers_of_bf16(self):
        """Where pairs of bf16 are multiplied, weights that stay as they are give the logits of the same weights imported as bf16, bit for bit: of one token and of many."""
        self.same_as_bf16(dict(self.CONFIG, hidden_size=352, intermediate_size=416), {**{f"self_attn.{part}_proj": "Q4_0" for part in "qkvo"},
                                                                                     "mlp.gate_proj": "Q8_0", "mlp.up_proj": "Q8_0", "mlp.down_proj": "Q5_0", "lm_head": "Q4_0"})

    def same_as_bf16(self, config, types):
        with open("/proc/cpuinfo") as file:
            if "avx512_bf16" not in file.read():
                self.skipTest("the processor has no products of bf16")
        self.build(config, types)
        ids = os.path.join(self.root, "ids.txt")
        with open(ids, "w") as file:
            file.write(" ".join(str(token * 7 % 300) for token in range(23)))
        # Without tile registers, whose sums of eight tokens and more are in another order, of both kinds of weights.
        logits = []
        for form in ("stored", None):
            artifact, dump = (os.path.join(self.root, (form or "bf16") + end) for end in (".m1a", ".safetensors"))
            result = run("m1-compile", self.file, "-o", artifact, "--cpu", "cooperlake", "--cache", os.path.join(self.root, "cache"), *(["--quantize", form] if form else []))
            self.assertEqual(result.returncode, 0, result.stderr)
            result = run("m1-run", artifact, "--input-ids", ids, "--max-new-tokens", "3", "--ignore-eos", "--dump-logits", dump)
            self.assertEqual(result.returncode, 0, result.stderr)
            logits.append([read_safetensors(dump)[name][2] for name in ("prefill_logits", "decode_logits")])
        self.assertEqual(*logits)

    def k_groups(self, tensor, kind):
        """Of blocks of 256 or 32: integers as numbers, and what the groups have: of Q4_1 and Q5_1 scale and minimum in f32, else two levels, twice 128 columns."""
        f16 = lambda data, at: struct.unpack_from("<e", data, at)[0]
        _, shape, data = tensor
        codes, scales = [], b""
        size = {"Q4_1": 20, "Q5_1": 24, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}[kind]
        for at in range(0, len(data), size):
            b = data[at:at + size]
            if kind in ("Q4_1", "Q5_1"):
                high = struct.unpack_from("<I", b, 4)[0] if kind == "Q5_1" else 0
                codes += [b[-16 + i % 16] >> i // 16 * 4 & 15 | (high >> i & 1) << 4 for i in range(32)]
                scales += floats([f16(b, 0), -f16(b, 2)])
            elif kind == "Q6_K":
                quarters = lambda i: b[128 + i // 128 * 32 + i % 32] >> i % 128 // 32 * 2 & 3
                codes += [(b[i // 128 * 64 + i % 64] >> i % 128 // 64 * 4 & 15 | quarters(i) << 4) - 32 for i in range(256)]
                scales += b[208:] + b[192:200] + b[208:] + b[200:208]
            elif kind == "Q3_K":
                codes += [(b[32 + i // 128 * 32 + i % 32] >> i % 128 // 32 * 2 & 3) - (0 if b[i % 32] >> i // 32 & 1 else 4) for i in range(256)]
                packed = b[96:108]
                levels = struct.pack("<16b", *((packed[i % 8] >> i // 8 * 4 & 15 | (packed[8 + i % 4] >> i // 4 * 2 & 3) << 4) - 32 for i in range(16)))
                scales += b[108:] + levels[:8] + b[108:] + levels[8:]
            else:
                low, high = b[-128:], b[16:48]
                codes += [low[i // 64 * 32 + i % 32] >> i // 32 % 2 * 4 & 15 | ((high[i % 32] >> i // 32 & 1) << 4 if kind == "Q5_K" else 0) for i in range(256)]
                packed, levels = b[4:16], []
                for i in range(8):
                    levels.append((packed[i] & 63, packed[i + 4] & 63) if i < 4 else (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4))
                for half in (levels[:4], levels[4:]):
                    scales += b[:4] + bytes(level for kind in zip(*half) for level in kind)
        return shape, codes, scales

    K_TYPES = {"self_attn.q_proj": "Q4_K", "self_attn.k_proj": "Q4_K", "self_attn.v_proj": "Q4_K", "self_attn.o_proj": "Q5_1", "mlp.gate_proj": "Q4_1", "mlp.up_proj": "Q4_1", "mlp.down_proj": "Q5_K",
               "lm_head": "Q6_K", "model.embed_tokens": "Q4_K"}

    def test_blocks_of_k_stay_as_they_are(self):
        """With --quantize stored: codes of blocks with minimums and of groups of 16, their scales and minimums in two levels or f32. The same logits as of what they stand for."""
        for types in (self.K_TYPES, dict(self.K_TYPES, **{"self_attn.o_proj": "Q4_1", "mlp.down_proj": "Q3_K", "lm_head": "Q4_K"})):
            tensors = self.build(self.CONFIG, types)
            artifact = self.keep_stored("1 5 7 60 5 33 2 9 8 44")
            listed = json.loads(run("m1-dump", "--json", artifact).stdout)["weights"]
            with open(artifact, "rb") as file:
                content = file.read()
            got = {w["name"]: (w["type"], content[w["offset"]:w["offset"] + w["bytes"]]) for w in listed}
            self.assertTrue(any(name.startswith("layers.0.q") and kind.endswith("x2x12xi8") for name, (kind, _) in got.items()), list(got))
            for name, parts, kind in (("layers.0.down", ["blk.0.ffn_down"], types["mlp.down_proj"]), ("layers.0.gate_up", ["blk.0.ffn_gate", "blk.0.ffn_up"], "Q4_1"),
                                      ("layers.0.o", ["blk.0.attn_output"], types["self_attn.o_proj"]),
                                      ("lm_head", ["output"], types["lm_head"])):
                codes, scales = [], b""
                for part in parts:
                    (_, columns), more, further = self.k_groups(tensors[part + ".weight"], kind)
                    codes += more
                    scales += further
                rows = len(codes) // columns
                groups = f"{columns // 128}x10xi8" if kind in ("Q6_K", "Q3_K") else f"{columns // 32}x2xf32" if kind in ("Q4_1", "Q5_1") else f"{columns // 128}x12xi8"
                self.assertEqual(got[name + ".scale"], (f"{rows}x{groups}", scales), name)
                if kind in ("Q4_K", "Q4_1"):
                    words = bytearray(rows * -(-columns // 128) * 64)
                    for i, code in enumerate(codes):
                        row, c = divmod(i, columns)
                        words[row * -(-columns // 128) * 64 + c // 128 * 64 + c % 32 * 2 + c % 128 // 64] |= code << c % 64 // 32 * 4
                    self.assertEqual(got[name], (f"{rows}x{-(-columns // 128) * 64}xi4x2", bytes(words)))
                else:
                    self.assertEqual(got[name], (f"{rows}x{columns}xi8", struct.pack(f"<{len(codes)}b", *codes)), name)
        # The artifact's code is made anew without the file; GPUs have no kernels for such groups, and get weights of bf16 from the file.
        again = os.path.join(self.root, "again.m1a")
        result = run("m1-compile", artifact, "-o", again, "--cpu", "x86-64-v3", "--cache", os.path.join(self.root, "cache"))
        self.assertEqual(result.returncode, 0, result.stderr)
        result = run("m1-compile", artifact, "-o", "-", "--target", "cuda", "--emit", "plan")
        self.assertIn("has no kernel on the cuda target for weights in groups of 16 columns or with minimums; compile the checkpoint for it", result.stderr)
        result = run("m1-compile", self.file, "-o", "-", "--target", "cuda", "--emit", "plan", "--quantize", "stored")
        self.assertIn("--quantize stored: ", result.stderr)
        self.assertIn(" holds no weights of linears as int8 or int4 in groups that GPUs have kernels for", result.stderr)
        self.build(self.CONFIG, dict(self.K_TYPES, **{"mlp.down_proj": "Q8_0"}))
        result = run("m1-compile", self.file, "-o", "-", "--target", "cuda,cpu", "--emit", "plan", "--quantize", "stored")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("; groups of 16 columns and groups with minimums stay as they are only without GPUs among the targets", result.stderr)
        self.assertIn("@dequantize_int8_f16_8_bf16_256x256", result.stdout)

    def test_blocks_of_k_give_the_numbers_of_bf16(self):
        """As test_groups_give_the_numbers_of_bf16."""
        self.same_as_bf16(self.CONFIG, self.K_TYPES)

    def test_projections_of_other_types_stay_apart(self):
        """As q, k and v of files that are Q4_K with some of Q6_K: integers of both stay, nothing is joined that could not."""
        self.same_as_bf16(self.CONFIG, dict(self.K_TYPES, **{"self_attn.v_proj": "Q6_K"}))
        types = {name: kind for name, (kind, _) in self.weights(self.file, "--quantize", "stored")[0].items()}
        self.assertEqual([name for name in types if name.startswith("layers.0.q") or name.startswith("layers.0.v")],
                         ["layers.0.q_k", "layers.0.q_k.scale", "layers.0.v", "layers.0.v.scale"])
        self.assertTrue(types["layers.0.q_k"].endswith("xi4x2") and types["layers.0.v"].endswith("xi8"), types)

    def test_groups_stay_where_asked(self):
        """By default weights become bf16, and the note says how integers would stay."""
        self.build(self.CONFIG, self.K_TYPES)
        artifact = os.path.join(self.root, "model.m1a")

        def made(*flags):
            result = run("m1-compile", self.file, "-o", artifact, "--cpu", "cooperlake", "--cache", os.path.join(self.root, "cache"), *flags)
            self.assertEqual(result.returncode, 0, result.stderr)
            types = {w["name"]: w["type"] for w in json.loads(run("m1-dump", "--json", artifact).stdout)["weights"]}
            return types["layers.0.down"], result.stderr
        kind, said = made()
        self.assertTrue(kind.endswith("xbf16"), kind)
        self.assertIn("; the weights are imported as bf16; --quantize stored keeps int8 and int4 in groups as they are\n", said)
        kind, said = made("--quantize", "stored")
        self.assertTrue(kind.endswith("xi8"), kind)
        self.assertIn("; int8 and int4 in groups stay as they are in linears, other weights are imported as bf16\n", said)
        # What is not in groups is imported as bf16 without a hint.
        self.build(self.CONFIG, {"mlp.down_proj": "Q2_K"})
        self.assertIn("; the weights are imported as bf16\n", made()[1])

    def test_int4_keeps_codes(self):
        """Q4_0 as int4 in groups of 32 by a pass that knows no integers of the checkpoint: the codes of the file, its scales as bf16."""
        self.build(self.CONFIG, {"self_attn.o_proj": "Q4_0"})
        plain = read_safetensors(os.path.join(self.plain, "model.safetensors"))
        name = "model.layers.0.self_attn.o_proj.weight"
        values = [value for (value,) in struct.iter_unpack("<f", plain[name][2])]
        for i in range(0, len(values), 32):
            scale = values[i] / -8
            bits = struct.unpack("<I", struct.pack("<f", scale))[0]
            rounded = struct.unpack("<f", struct.pack("<I", (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000))[0]
            values[i:i + 32] = [round(value / scale) * rounded for value in values[i:i + 32]]
        plain[name] = (*plain[name][:2], floats(values))
        safetensors(self.plain, plain, self.CONFIG)
        passes = "builtin.module(m1-optimize,m1-quantize-weights{format=int4:32},m1-convert-to-plan{target=cpu:x86-64-v3},m1-plan)"
        expected, _, _ = self.weights(self.plain, "--quantize", "int4:32")
        got, _, _ = self.weights(self.file, "--pass-pipeline", passes)
        self.assertEqual(got, expected)

    def test_logits(self):
        """What is computed from blocks is what is computed from their values, to the last bit."""
        self.build(self.CONFIG, {"self_attn.q_proj": "Q2_K", "self_attn.k_proj": "Q3_K", "self_attn.v_proj": "Q4_1", "self_attn.o_proj": "Q5_0", "mlp.gate_proj": "Q5_1",
                                 "mlp.up_proj": "Q3_K", "mlp.down_proj": "Q2_K", "lm_head": "Q5_1", "model.embed_tokens": "Q4_K"})
        self.same()

    def test_hybrids_and_experts(self):
        for family in (lfm2(), mamba(), mamba("falcon_mamba"), mamba2(), falcon_h1(), granite(), granite(4), nemotron_h(), qwen3_moe(), jamba(), qwen3_5(), qwen3_5(next_model=True)):
            with self.subTest(family[0]["model_type"]):
                self.build_family(family)
                self.same()

    def test_multipliers_of_falcon_h1(self):
        """The conversion multiplies the weights; powers of two change nothing else."""
        family = falcon_h1(attention_in_multiplier=0.5, attention_out_multiplier=2.0, key_multiplier=0.25, ssm_in_multiplier=4.0, ssm_out_multiplier=0.5,
                           ssm_multipliers=[0.5, 2.0, 4.0, 0.25, 8.0], mlp_multipliers=[2.0, 0.5], lm_head_multiplier=0.125, embedding_multiplier=4.0)
        config, tensors, fields = self.build_family(family)
        into = [config["ssm_in_multiplier"] * factor for factor, rows in zip(config["ssm_multipliers"], (32, 32, 16, 16, 4)) for _ in range(rows)]
        factors = {"ffn_down": [0.5], "ffn_gate": [2.0], "attn_k": [0.25 * 0.5], "attn_q": [0.5], "attn_v": [0.5], "attn_output": [2.0], "ssm_out": [0.5], "ssm_in": into,
                   "output": [0.125], "token_embd": [4.0]}
        for name, (kind, shape, data) in tensors.items():
            part = name.split(".")[-2]
            if part in factors and name.endswith(".weight"):
                rows = factors[part] * (shape[0] // len(factors[part]))
                values = struct.unpack(f"<{len(data) // 4}f", data)
                tensors[name] = (kind, shape, floats([value * rows[i // shape[1]] for i, value in enumerate(values)]))
        write(self.file, fields, tensors)
        self.assertEqual(self.logits(self.file), self.logits(self.plain))

    def test_scaled_rotation(self):
        for scaling, fields in (({"rope_type": "linear", "factor": 4.0}, {"scaling.type": "linear", "scaling.factor": 4.0}),
                                ({"rope_type": "linear", "factor": 4.0}, {"scaling.factor": 4.0}),
                                ({"rope_type": "linear", "factor": 4.0}, {"scale_linear": 4.0}),
                                ({"rope_type": "default"}, {"scaling.type": "none", "scaling.factor": 4.0}),
                                ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0},
                                 {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 32, "scaling.yarn_beta_fast": 16.0})):
            with self.subTest(scaling):
                self.build(dict(self.CONFIG, rope_parameters={"rope_theta": 10000.0, **scaling}), {}, **{"llama.rope." + name: value for name, value in fields.items()})
                self.same()

    def test_what_differs_from_llama_cpp_where_nothing_is_said(self):
        for family, field, value, expected in ((granite(), "granitehybrid.rope.scaling.finetuned", None, "missing; expected false"),
                                               (mamba2(), "mamba2.ssm.group_count", 2, "expected 1, got 2"),
                                               (qwen3_moe(), "qwen3moe.expert_group_count", 2, "expected experts in one group, got 2")):
            with self.subTest(field):
                _, tensors, fields = self.build_family(family)
                changed = {**fields, field: value}
                write(self.file, {name: value for name, value in changed.items() if value is not None}, tensors)
                self.refused(f"field '{re.escape(field)}': {re.escape(expected)}")

    def test_llama3_frequencies(self):
        """A golden model, whose scaled frequencies a GGUF file holds as a tensor."""
        golden = os.path.join(GOLDENS, "hf-llama")
        with open(os.path.join(golden, "config.json")) as file:
            config = json.load(file)
        rope, d = config["rope_parameters"], config["head_dim"]
        factors = []
        for i in range(d // 2):  # arXiv 2407.21783, and Meta's apply_scaling
            length, old = 2 * math.pi * rope["rope_theta"]**(2 * i / d), rope["original_max_position_embeddings"]
            smooth = (old / length - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            smooth = min(1.0, max(0.0, smooth))
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        tensors = {"rope_freqs.weight": ("F32", [d // 2], floats(factors))}
        for name, (dtype, shape, data) in read_safetensors(os.path.join(golden, "model.safetensors")).items():
            if ".q_proj" in name or ".k_proj" in name:
                rows = [data[i:i + 4 * shape[1]] for i in range(0, len(data), 4 * shape[1])]
                data = b"".join(turned(rows, config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"]))
            tensors[gguf_name(name)] = (dtype, shape, data)
        write(self.file, metadata(config), tensors)
        expected, model, _ = self.weights(golden, "--activation-type", "f32")
        got, same, _ = self.weights(self.file, "--activation-type", "f32")
        self.assertEqual(same, model)
        for name, weight in expected.items():
            if name.startswith("rotary"):  # factors of f32: 6e-8 of an angle of at most 2048
                pairs = zip(*(struct.iter_unpack("<f", data) for _, data in (weight, got[name])))
                self.assertLess(max(abs(a[0] - b[0]) for a, b in pairs), 3e-4, name)
            else:
                self.assertTrue(got[name] == weight, name)
        # What the authors' code computes.
        expected = read_safetensors(os.path.join(golden, "golden.safetensors"))
        ids, out = os.path.join(self.root, "ids.txt"), os.path.join(self.root, "logits.safetensors")
        with open(ids, "w") as file:
            file.write(" ".join(str(i) for (i,) in struct.iter_unpack("<i", expected["len17.input_ids"][2])))
        result = run("m1-run", os.path.join(self.root, "model.m1a"), "--input-ids", ids, "--max-new-tokens", "12", "--dump-logits", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        got = read_safetensors(out)
        self.assertEqual(got["output_ids"][2], expected["len17.greedy_ids"][2])
        want, have = ([value for (value,) in struct.iter_unpack("<f", tensors["len17.prefill_logits" if tensors is expected else "prefill_logits"][2])] for tensors in (expected, got))
        mean = sum(want) / len(want)
        deviation = math.sqrt(sum((value - mean)**2 for value in want) / len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(want, have)), 1e-3 * deviation)

    # ---- text

    TOKENS = ["<pad>", "<s>", "</s>", *byte_characters(), "he", "ll", "hell", "hello", "<think>"]
    MERGES = ["h e", "l l", "he ll", "hell o"]

    def tokenizer(self, pre, **more):
        tokens = self.TOKENS + [f"[PAD{i}]" for i in range(300 - len(self.TOKENS))]
        types = [3, 3, 3] + [1] * 260 + [4] + [5] * (300 - len(self.TOKENS))
        return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": self.MERGES,
                "tokenizer.chat_template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}", **more}

    def encode(self, prompt):
        artifact = os.path.join(self.root, "text.m1a")
        result = run("m1-compile", self.file, "-o", artifact, "--cpu", "x86-64-v3", "--cache", os.path.join(self.root, "cache"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("warning", result.stderr)
        result = subprocess.run([os.path.join(BIN, "m1-tokenize"), artifact, "--add-special"], input=json.dumps({"text": prompt}) + "\n", capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)["ids"]

    def encode_all(self, prompts):
        """By the artifact that the last encode has left."""
        result = subprocess.run([os.path.join(BIN, "m1-tokenize"), os.path.join(self.root, "text.m1a"), "--add-special"],
                                input="".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts), capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line)["ids"] for line in result.stdout.splitlines()]

    def test_pieces_with_scores(self):
        """SentencePiece's rule, computed here: of all neighbours that together are a piece, those with the highest score become one, the first of equals; what is no piece is bytes."""
        draw = random.Random(6)
        pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "c", "\u00e9"]
        while len(pieces) < 298:
            piece = "".join(draw.choice(["\u2581", "a", "b", "c", "\u00e9"]) for _ in range(draw.randint(2, 4)))
            if piece not in pieces:
                pieces.append(piece)
        pieces += ["<|user|>", "[unused]"]
        types = [2, 3, 3] + [6] * 256 + [1] * 39 + [4, 5]
        scores = [0.0] * 259 + [-float(i) for i in draw.sample(range(1000), 39)] + [-1000.0, 0.0]
        ids = {piece: i for i, piece in enumerate(pieces)}
        score = {piece: scores[i] for i, piece in enumerate(pieces) if types[i] == 1}

        def pieces_of(text):
            parts = list(text)
            while True:
                found = [(-score[parts[i] + parts[i + 1]], i) for i in range(len(parts) - 1) if parts[i] + parts[i + 1] in score]
                if not found:
                    break
                _, i = min(found)
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            return [i for part in parts for i in ([ids[part]] if part in score else [3 + byte for byte in part.encode()])]

        tokenizer = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": pieces, "tokenizer.ggml.token_type": types, "tokenizer.ggml.scores": scores,
                     "tokenizer.ggml.unknown_token_id": 0, "tokenizer.chat_template": "{{ messages }}"}
        prompts = ["".join(draw.choice("aabbcc\u00e9  xy\u6c34\n") for _ in range(draw.randint(1, 40))) for _ in range(200)]
        self.build(self.CONFIG, {}, **tokenizer)
        self.assertEqual(self.encode("a<|user|>b"), [1, *pieces_of("\u2581a"), ids["<|user|>"], *pieces_of("\u2581b")])
        for prompt, got in zip(prompts, self.encode_all(prompts)):
            self.assertEqual(got, [1, *pieces_of(("\u2581" + prompt).replace(" ", "\u2581"))], prompt)
        self.build(self.CONFIG, {}, **tokenizer, **{"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True})
        self.encode("a")
        for prompt, got in zip(prompts[:50], self.encode_all(prompts[:50])):
            self.assertEqual(got, [*pieces_of(prompt.replace(" ", "\u2581")), 2], prompt)

        # Files made without tokenizer.model: pieces stand in the order of their merges.
        self.build(self.CONFIG, {}, **{**tokenizer, "tokenizer.ggml.scores": [-1000.0] * 300})
        self.encode("a")
        score.update({piece: -ids[piece] for piece in score})
        for prompt, got in zip(prompts, self.encode_all(prompts)):
            self.assertEqual(got, [1, *pieces_of(("\u2581" + prompt).replace(" ", "\u2581"))], prompt)

    def test_ends(self):
        """Beside the ends that a file names those that llama.cpp knows by their texts."""
        for texts, expected in ((["<|im_end|>", "<|endoftext|>"], [2, 1, 0]), (["<|eom_id|>", "<x>"], [2, 0]), (["<|end|>", "<x>"], [2, 0]),
                                (["<|end|>", "<|return|>", "<|call|>"], [2, 1]), (["<x>", "<y>"], [2])):
            with self.subTest(texts):
                fields = self.tokenizer("gpt-2")
                tokens = list(fields["tokenizer.ggml.tokens"])
                tokens[:len(texts)] = texts
                self.build(self.CONFIG, {}, **{**fields, "tokenizer.ggml.tokens": tokens})
                self.assertEqual(sorted(self.weights(self.file)[1]["eos_ids"]), sorted(expected))

    def test_text(self):
        small = {"self_attn": "F32"}
        ids = {token: i for i, token in enumerate(self.TOKENS)}
        bytes_of = lambda word: [3 + byte for byte in word.encode()]
        self.build(self.CONFIG, small, **self.tokenizer("llama-bpe"))
        # Words before pairs are merged; three digits at a time; bos in front.
        self.assertEqual(self.encode("hello hello<think>"), [1, ids["hello"], *bytes_of(" "), ids["hello"], ids["<think>"]])
        self.build(self.CONFIG, small, **self.tokenizer("qwen2"))
        self.assertEqual(self.encode("hello"), [ids["hello"]])
        # NFC: e and a combining acute accent are one character.
        self.assertEqual(self.encode("e\u0301"), bytes_of("\u00e9"))
        # Falcon's, also falcon_mamba's: runs of punctuation, digits without the space before them, three at a time.
        merges = [f"{a} {b}" for a, b in ("12", "34", ("12", "3"), ("12", "34"), "\u01201", "!.")]
        tokens = [*self.TOKENS, *(merge.replace(" ", "") for merge in merges)]
        more = {"tokenizer.ggml.tokens": tokens + [f"[PAD{i}]" for i in range(300 - len(tokens))], "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3) + [5] * (300 - len(tokens))}
        self.build(self.CONFIG, small, **self.tokenizer("falcon", **{**more, "tokenizer.ggml.merges": [*self.MERGES, *merges]}))
        of = {token: i for i, token in enumerate(tokens)}
        self.assertEqual(self.encode("a 1234!."), [*bytes_of("a "), of["123"], *bytes_of("4"), of["!."]])
        self.build(self.CONFIG, small, **self.tokenizer("gpt-2", **{"tokenizer.ggml.add_bos_token": True}))
        self.assertEqual(self.encode("hell"), [1, ids["hell"]])

    # ---- what is refused

    def refuse(self, expected, fields=None, tensors=None, damage=None):
        changed = {**metadata(self.CONFIG), **(fields or {})}
        write(self.file, {name: value for name, value in changed.items() if value is not None}, {name: tensor for name, tensor in {**self.right, **(tensors or {})}.items() if tensor})
        if damage:
            with open(self.file, "rb") as file:
                data = damage(file.read())
            with open(self.file, "wb") as file:
                file.write(data)
        self.refused(expected)

    def refused(self, expected):
        imported, said = self.importer.read(self.file)
        self.assertFalse(imported, said)
        self.assertRegex(said, "error: .*" + expected)
        self.assertEqual(said.count("error:"), 1, said)

    def test_refused_by_the_compiler(self):
        self.build(self.CONFIG, {}, **{"llama.wobble": 7})
        result = run("m1-compile", self.file, "-o", os.path.join(self.root, "none.m1a"))
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, r"error: .*model\.gguf: field 'llama\.wobble': not understood, got 7")
        self.assertFalse(os.path.exists(os.path.join(self.root, "none.m1a")))

    def test_what_is_refused_of_families(self):
        matrix = lambda *shape: ("F32", list(shape), bytes(4 * math.prod(shape)))
        key = lambda name: "field '" + re.escape(name) + "': "
        layer = r"tensor 'blk\.0\."
        for family, expected, fields, tensors in (
            (mamba2(), key("mamba2.ssm.inner_size") + "expected a multiple of the 4 heads, got 33", {"mamba2.ssm.inner_size": 33}, {}),
            (qwen3_5(), key("qwen35.nextn_predict_layers") + "expected less than block_count 3, got 3", {"qwen35.nextn_predict_layers": 3}, {}),
            (qwen3_5(), key("qwen35.ssm.time_step_rank") + "expected a multiple of 2, got 5", {"qwen35.ssm.time_step_rank": 5}, {}),
            (qwen3_5(), layer + r"ssm_conv1d\.weight': expected shape \[channels, width\], got \[64\]", {}, {"blk.0.ssm_conv1d.weight": matrix(64)}),
            (qwen3_5(next_model=True), layer + r"attn_qkv\.weight': the other half of 'model\.layers\.0\.linear_attn\.in_proj_qkvz\.weight' is missing", {}, {"blk.0.attn_gate.weight": None}),
            (qwen3_5(next_model=True), layer + r"attn_qkv\.weight': expected 64 rows, and 32 of 'blk\.0\.attn_gate\.weight', got shapes \[64, 32\] and \[31, 32\]", {},
             {"blk.0.attn_gate.weight": matrix(31, 32)}),
            (lfm2(), layer + r"shortconv\.conv\.weight': expected shape \[channels, width\], got \[32\]", {}, {"blk.0.shortconv.conv.weight": matrix(32)}),
            (granite(), layer + r"ffn_gate\.weight': the other half of 'model\.layers\.0\.shared_mlp\.input_linear\.weight' is missing", {}, {"blk.0.ffn_up.weight": None}),
            (granite(), layer + r"ffn_gate_shexp\.weight': 'blk\.0\.ffn_gate\.weight' has its place", {}, {"blk.0.ffn_gate_shexp.weight": matrix(48, 32)}),
            (granite(), layer + r"ffn_up\.weight': expected a matrix, or several, of the shape of 'blk\.0\.ffn_gate\.weight', got \[48, 32\] and \[47, 32\]", {}, {"blk.0.ffn_up.weight": matrix(47, 32)}),
            (qwen3_moe(), layer + r"ffn_up_exps\.weight': expected shape \[experts, rows, columns\] of at most \d+ experts, got \[24, 32\]", {}, {"blk.0.ffn_up_exps.weight": matrix(24, 32)}),
            (jamba(), "expected one attn layer in a period of layers, got another pattern at layer 2", {"jamba.attention.head_count_kv": [1, 1, 0, 0]}, {}),
            (jamba(), key("jamba.ssm.inner_size") + "expected a multiple of embedding_length 32, got 33", {"jamba.ssm.inner_size": 33}, {}),
            # What is computed with a field that is missing would be a division by 0.
            (jamba(), key("jamba.embedding_length") + "missing", {"jamba.embedding_length": None}, {}),
        ):
            with self.subTest(expected):
                _, right, rightly = self.build_family(family)
                write(self.file, {name: value for name, value in {**rightly, **fields}.items() if value is not None}, {name: tensor for name, tensor in {**right, **tensors}.items() if tensor})
                self.refused(r"model\.gguf: .*" + expected)

    def test_what_is_refused(self):
        type(self).right = self.build(self.CONFIG, {"self_attn": "F32"})
        at = lambda i, count=8: lambda data: data[:i] + b"\xff" * count + data[i + count:]
        architectures = "falcon-h1, granitehybrid, jamba, lfm2, llama, mamba, mamba2, nemotron_h, qwen2, qwen3, qwen35, qwen3moe or qwen3next"
        key = lambda name: "field '" + re.escape(name) + "': "
        for expected, changes in (
            (key("general.architecture") + architectures.join(("expected ", ", got gemma3")), {"fields": {"general.architecture": "gemma3"}}),
            (key("general.architecture") + "missing", {"fields": {"general.architecture": None}}),
            (key("llama.block_count") + "missing", {"fields": {"llama.block_count": None}}),
            (key("llama.block_count") + r"expected an integer from 1 to \d+, got \"one\"", {"fields": {"llama.block_count": "one"}}),
            (key("llama.block_count") + r"expected an integer from 1 to \d+, got \[1\]", {"fields": {"llama.block_count": [1]}}),
            (key("llama.block_count") + r"expected an integer from 1 to \d+, got 1152921504606846976", {"fields": {"llama.block_count": Raw(10, struct.pack("<Q", 1 << 60))}}),
            (key("llama.attention.head_count") + "missing", {"fields": {"llama.attention.head_count": None}}),
            (key("llama.attention.head_count") + "expected the same positive number in every layer that attends", {"fields": {"llama.attention.head_count": 0}}),
            (key("llama.attention.head_count") + "expected a divisor of embedding_length 256, got 3", {"fields": {"llama.attention.head_count": 3, "llama.attention.key_length": None}}),
            (key("llama.attention.head_count_kv") + "expected a number, or 1 of them, got 2", {"fields": {"llama.attention.head_count_kv": [1, 1]}}),
            (key("llama.rope.dimension_count") + "expected the size of a head 16, got 8", {"fields": {"llama.rope.dimension_count": 8}}),
            (key("llama.attention.key_length") + "expected an even number, got 15", {"fields": {"llama.attention.key_length": 15, "llama.attention.value_length": 15, "llama.rope.dimension_count": 15}}),
            (key("llama.attention.layer_norm_rms_epsilon") + "expected a non-negative number, got NaN|expected a non-negative number, got nan", {"fields": {"llama.attention.layer_norm_rms_epsilon": float("nan")}}),
            (key("llama.vocab_size") + "expected the rows of 'token_embd.weight' 300, got 301", {"fields": {"llama.vocab_size": 301}}),
            (key("llama.expert_count") + "expected no experts, got 8", {"fields": {"llama.expert_count": 8}}),
            (key("llama.wobble") + "not understood, got 7", {"fields": {"llama.wobble": 7}}),
            (key("llama.rope.scaling.type") + "expected none, linear or yarn, got longrope", {"fields": {"llama.rope.scaling.type": "longrope"}}),
            (key("tokenizer.ggml.eos_token_id") + "expected an integer from 0 to 299, got 300", {"fields": {"tokenizer.ggml.eos_token_id": 300}}),
            (key("split.count") + "the file is one of 3 parts", {"fields": {"split.count": 3}}),
            (key("split.count") + "the file is one of 3 parts", {"fields": {"general.architecture": None, "split.count": 3}}),
            (key("split.count") + "the file is one of 3 parts: join them with llama-gguf-split --merge", {"fields": {"split.count": 3}}),
            (key("general.type") + "expected model, got adapter", {"fields": {"general.type": "adapter"}}),
            (key("tokenizer.ggml.model") + r"expected gpt2 \(byte-level BPE\) or llama \(SentencePiece's BPE\), got t5", {"fields": {"tokenizer.ggml.model": "t5"}}),
            (key("tokenizer.ggml.pre") + "expected one of llama-bpe, .*; got poro-chat", {"fields": self.tokenizer("poro-chat")}),
            (key("tokenizer.ggml.merges") + "missing", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.merges": None})}),
            (key("tokenizer.ggml.tokens") + "expected a list of strings", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.tokens": [1, 2]})}),
            (key("tokenizer.ggml.tokens") + "token 5 is there twice", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.tokens": ["a", "b", "c", "d", "e", "d"] + ["f"] * 294})}),
            (key("tokenizer.ggml.token_type") + "expected a list of 300 numbers", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.token_type": [1]})}),
            (key("tokenizer.ggml.token_type") + "expected a number from 1 to 6 for token 0, got 9", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.token_type": [9] * 300})}),
            (r"model\.merges\[0\] is not a pair of tokens", {"fields": self.tokenizer("gpt-2", **{"tokenizer.ggml.merges": ["hello world peace"]})}),
            (key("tokenizer.ggml.scores") + "missing", {"fields": self.tokenizer("default", **{"tokenizer.ggml.model": "llama"})}),
            (key("tokenizer.ggml.scores") + "expected a list of 300 numbers", {"fields": self.tokenizer("default", **{"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [float("nan")] * 300})}),
            (key("tokenizer.ggml.tokens") + "expected pieces of at most 1024 bytes, got 1025 in token 3",
             {"fields": self.tokenizer("default", **{"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [0.0] * 300, "tokenizer.ggml.tokens": ["a", "b", "c", 1025 * "d"] + [str(i) for i in range(296)]})}),
            (key("general.alignment") + "expected a power of two from 8 to 1048576, got 0", {"fields": {"general.alignment": 0}}),
            (key("general.alignment") + "expected a power of two from 8 to 1048576, got 3", {"fields": {"general.alignment": 3}}),
            (key("general.alignment") + "expected a power of two from 8 to 1048576, got \"32\"", {"fields": {"general.alignment": "32"}}),
            (key("general.tags") + "expected no array of arrays", {"fields": {"general.tags": Raw(ARRAY, struct.pack("<IQ", ARRAY, 1 << 60))}}),
            (r"expected at most \d+ values of field 'general\.tags' in the rest of the file, got 1152921504606846976",
             {"fields": {"general.tags": Raw(ARRAY, struct.pack("<IQ", U32, 1 << 60))}}),
            (key("general.name") + "expected a type from 0 to 12, got 13", {"fields": {"general.name": Raw(13, b"")}}),
            (r"truncated: general\.name at byte \d+ takes 9223372036854775808 bytes", {"fields": {"general.name": Raw(STRING, struct.pack("<Q", 1 << 63))}}),
            (r"general\.name at byte \d+: expected UTF-8", {"fields": {"general.name": Raw(STRING, struct.pack("<Q", 1) + b"\xff")}}),
            (r"tensor 'blk\.0\.attn_q\.weight': expected type F32 \(0\), F16 \(1\), .*, Q6_K \(14\), got 16", {"tensors": {"blk.0.attn_q.weight": (16, [32, 256], bytes(2112))}}),
            (r"tensor 'blk\.0\.attn_output\.weight': expected rows of whole blocks of 256 values, got 32", {"tensors": {"blk.0.attn_output.weight": ("Q4_K", [256, 32], bytes(4608))}}),
            (r"tensor 'blk\.0\.ssm_a': has no place", {"tensors": {"blk.0.ssm_a": ("F32", [2], bytes(8))}}),
            (r"tensor 'token_embd\.weight': missing", {"tensors": {"token_embd.weight": None}}),
            (r"tensor 'token_embd\.weight': expected a matrix", {"tensors": {"token_embd.weight": ("F32", [256], bytes(1024))}}),
            (r"missing tensor 'model\.layers\.0\.mlp\.up_proj\.weight'", {"tensors": {"blk.0.ffn_up.weight": None}}),
            (r"tensor 'model\.layers\.0\.mlp\.up_proj\.weight': expected shape \[256, 256\], got \[256\]", {"tensors": {"blk.0.ffn_up.weight": ("Q8_0", [256], bytes(272))}}),
            (r"expected rows of whole heads of 16, got shape \[30, 256\]", {"tensors": {"blk.0.attn_q.weight": ("F32", [30, 256], bytes(4 * 30 * 256))}}),
            (r"tensor 'rope_freqs\.weight': expected shape \[8\] of F32, got \[4\] of F32", {"tensors": {"rope_freqs.weight": ("F32", [4], floats([1.0] * 4))}}),
            (r"tensor 'rope_freqs\.weight': expected positive numbers, got 0", {"tensors": {"rope_freqs.weight": ("F32", [8], bytes(32))}}),
            (r"tensor 'blk\.0\.huge': expected sizes from 1 to 2147483647, got 4611686018427387904", {"tensors": {"blk.0.huge": ("F32", [1 << 62], b"")}}),
            (r"tensor 'blk\.0\.huge': too large: shape \[2147483647, 2147483647\]", {"tensors": {"blk.0.huge": ("F32", [2147483647] * 2, b"")}}),
            (r"tensor 'blk\.0\.huge': too large: shape \[2147483647, 2147483647, 2147483647\]", {"tensors": {"blk.0.huge": ("F32", [2147483647] * 3, b"")}}),
            (r"tensor 'blk\.0\.none': expected sizes from 1 to 2147483647, got 0", {"tensors": {"blk.0.none": ("F32", [0], b"")}}),
            (r"tensor 'blk\.0\.deep': expected at most 4 dimensions, got 5", {"tensors": {"blk.0.deep": ("F32", [1] * 5, bytes(4))}}),
            (r"truncated: tensor 'blk\.0\.outside' takes 1073741824 bytes at byte \d+, the file ends at \d+", {"tensors": {"blk.0.outside": ("F32", [1 << 14, 1 << 14], b"")}}),
            # Each begins where the one before has ended: none overlap.
            (r"tensor 'output_norm\.weight': expected offset \d+, got 0", {"damage": lambda data: self.moved(data, "output_norm.weight")}),
            (r"tensor 'output_norm\.weighy' is there twice", {"tensors": {"output_norm.weighx": ("F32", [1], bytes(4)), "output_norm.weighy": ("F32", [1], bytes(4))},
                                                             "damage": lambda data: data.replace(b"weighx", b"weighy")}),
            ("field 'general\\.namb' is there twice", {"fields": {"general.nama": 1, "general.namb": 2}, "damage": lambda data: data.replace(b"general.nama", b"general.namb")}),
            (r"truncated: tensor '.*' takes \d+ bytes at byte \d+, the file ends at \d+", {"damage": lambda data: data[:-64]}),
            (r"truncated: .* at byte \d+ takes \d+ bytes, the file ends at 400", {"damage": lambda data: data[:400]}),
            (r"expected a GGUF file of version 2 or 3, little-endian, got big-endian", {"damage": lambda data: data[:4] + b"\0\0\0\3" + data[8:]}),
            (r"expected a GGUF file of version 2 or 3, little-endian, got 1", {"damage": lambda data: data[:4] + b"\1\0\0\0" + data[8:]}),
            (r"expected at most \d+ tensors in the rest of the file", {"damage": at(8)}),
            (r"expected at most \d+ fields in the rest of the file", {"damage": at(16)}),
            (r"truncated: the name of a field at byte 32 takes 18446744073709551615 bytes", {"damage": at(24)}),
        ):
            with self.subTest(expected):
                of_model = expected.startswith(("missing tensor 'model", "tensor 'model"))
                self.refuse(expected if of_model else r"model\.gguf: .*(" + expected + ")", **changes)

    def test_cut_off(self):
        """A file that ends within its header says within what."""
        write(self.file, metadata(self.CONFIG), {**self.build(self.CONFIG, {}), "blk.0.last": ("F32", [1, 1], bytes(4))})
        with open(self.file, "rb") as file:
            data = file.read()
        name = text("blk.0.last")
        last = data.index(name)
        for size, what in ((5, "the version"), (9, "the number of tensors"), (17, "the number of fields"), (last + 7, "the name of a tensor"), (last + 9, "the name of a tensor"),
                           (last + len(name) + 2, "the dimensions of tensor 'blk.0.last'"), (last + len(name) + 13, "the dimensions of tensor 'blk.0.last'"),
                           (last + len(name) + 21, "the type of tensor 'blk.0.last'"), (last + len(name) + 31, "the offset of tensor 'blk.0.last'")):
            with open(self.file, "wb") as file:
                file.write(data[:size])
            self.refused(rf"model\.gguf: truncated: {re.escape(what)} at byte \d+ takes \d+ bytes, the file ends at {size}")

    def test_warnings(self):
        """What an artifact of a file will lack."""
        compile = ("m1-compile", self.file, "-o", os.path.join(self.root, "model.m1a"), "--cpu", "x86-64-v3", "--cache", os.path.join(self.root, "cache"))
        fields = {name: value for name, value in metadata(self.CONFIG).items() if name != "tokenizer.ggml.eos_token_id"}
        tensors = self.build(self.CONFIG, {})
        for more, expected in (({}, ["no end token in 'tokenizer.ggml.eos_token_id': answers end at their length limit or a stop string alone",
                                     "no tokenizer; the artifact takes and gives token ids alone"]),
                               (self.tokenizer("gpt-2", **{"tokenizer.chat_template": None}), ["no 'tokenizer.chat_template': prompts can only be given as they are (--raw)"]),
                               (self.tokenizer("gpt-2", **{"tokenizer.chat_template": "{% for x in %}"}), ["the chat template cannot be used: ", "; prompts can only be given as they are (--raw)"])):
            write(self.file, {name: value for name, value in {**fields, **more}.items() if value is not None}, tensors)
            result = run(*compile)
            self.assertEqual(result.returncode, 0, result)
            for text in expected:
                self.assertIn(text, result.stderr)

    def moved(self, data, name):
        """With the offset of a tensor of one dimension set to 0."""
        at = data.index(text(name)) + len(text(name)) + 4 + 8 + 4
        return data[:at] + bytes(8) + data[at + 8:]


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
