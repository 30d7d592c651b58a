#!/usr/bin/env python3
"""m1-compile on checkpoints with one thing wrong: damaged_checkpoints.py BIN_DIR GOLDENS_DIR.

Each must end with one message that names the file, tensor or field, exit code 1, no output file, no crash. M1_TEST_SEED=N repeats the random cases."""
import glob
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

BIN, GOLDENS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SEED = int(os.environ.get("M1_TEST_SEED", random.randrange(1 << 30)))


class Checkpoint(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.model = os.path.join(self.directory.name, "model")
        self.use("m1-mamba1-bf16")

    def tearDown(self):
        self.directory.cleanup()

    def use(self, name):
        shutil.rmtree(self.model, ignore_errors=True)
        os.mkdir(self.model)
        for file in os.listdir(os.path.join(GOLDENS, name)):
            if file != "golden.safetensors":
                shutil.copy(os.path.join(GOLDENS, name, file), self.model)

    def path(self, name):
        return os.path.join(self.model, name)

    def compile(self, *flags):
        out = os.path.join(self.directory.name, "out.m1a")
        result = subprocess.run([os.path.join(BIN, "m1-compile"), self.model, "-o", out, *flags], capture_output=True, text=True,
                                errors="replace", timeout=120)
        left = [name for name in os.listdir(self.directory.name) if name != "model"]
        if result.returncode == 0:
            self.assertEqual(left, ["out.m1a"])
            os.remove(out)
        else:
            self.assertEqual(result.returncode, 1, result)  # negative: killed by a signal
            self.assertEqual(left, [], result)
            self.assertIn("error:", result.stderr)
        return result

    def refuses(self, *expected):
        result = self.compile()
        self.assertEqual(result.returncode, 1, expected)
        for text in expected:
            self.assertIn(text, result.stderr)

    def edit_config(self, change, name="config.json"):
        with open(self.path(name)) as file:
            config = json.load(file)
        change(config)
        with open(self.path(name), "w") as file:
            json.dump(config, file)

    def read_tensors(self):
        with open(self.path("model.safetensors"), "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            return json.loads(file.read(size)), bytearray(file.read())

    def write_tensors(self, header, data):
        text = json.dumps(header).encode()
        with open(self.path("model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)

    def edit_tensors(self, change):
        header, data = self.read_tensors()
        change(header, data)
        self.write_tensors(header, data)

    # -- files

    def test_missing_files(self):
        """A missing directory, configuration or weight file is named."""
        for name in "model.safetensors", "config.json":
            os.rename(self.path(name), self.path("aside"))
            self.refuses(name)
            os.rename(self.path("aside"), self.path(name))
        os.remove(self.path("mamba_config.json"))
        self.refuses("mamba_config.json")
        shutil.rmtree(self.model)
        self.refuses("model")

    def test_truncated_weights(self):
        """A weight file cut anywhere is refused by name."""
        with open(self.path("model.safetensors"), "rb") as file:
            whole = file.read()
        for size in 0, 4, 8, 100, len(whole) // 2, len(whole) - 1:
            with open(self.path("model.safetensors"), "wb") as file:
                file.write(whole[:size])
            self.refuses("model.safetensors")

    def test_missing_shard(self):
        """An index that names a file or a tensor that is not there."""
        header, data = self.read_tensors()
        name = "model.layers.0.mamba.D"
        weights = {tensor: "model-00001-of-00001.safetensors" for tensor in header if tensor != "__metadata__"}
        with open(self.path("model.safetensors.index.json"), "w") as file:
            json.dump({"weight_map": weights}, file)
        os.rename(self.path("model.safetensors"), self.path("model-00001-of-00001.safetensors"))
        self.assertEqual(self.compile("--emit", "m1").returncode, 0)
        weights["model.norm.weight"] = "model-00002-of-00002.safetensors"
        with open(self.path("model.safetensors.index.json"), "w") as file:
            json.dump({"weight_map": weights}, file)
        self.refuses("model-00002-of-00002.safetensors")

    # -- tensors

    def test_missing_tensor(self):
        """A tensor that the model needs and the file lacks is named."""
        for name in "model.norm.weight", "model.layers.2.mamba.A_log", "model.layers.1.mha.in_proj.weight":
            self.use("m1-mamba1-bf16")
            header, data = self.read_tensors()
            begin, end = header.pop(name)["data_offsets"]
            del data[begin:end]
            for entry in header.values():
                if "data_offsets" in entry:  # not the metadata
                    entry["data_offsets"] = [at - (end - begin) * (at >= end) for at in entry["data_offsets"]]
            self.write_tensors(header, data)
            self.refuses(name)

    def test_surplus_tensor(self):
        """A tensor that the model has no use for is named."""
        self.edit_tensors(lambda header, data: header.update({"model.layers.0.mamba.extra": dict(header["model.norm.weight"])}))
        self.refuses("model.layers.0.mamba.extra")

    def test_wrong_shape(self):
        """A tensor of another shape is named with both shapes."""

        def transpose(header, data):
            header["model.layers.0.mlp.up_proj.weight"]["shape"].reverse()

        self.edit_tensors(transpose)
        self.refuses("model.layers.0.mlp.up_proj.weight", "160, 64", "64, 160")

    def test_wrong_type(self):
        """A tensor of a type that no model has is named with its type."""

        def integers(header, data):
            header["model.norm.weight"]["dtype"] = "I16"

        self.edit_tensors(integers)
        self.refuses("model.norm.weight", "I16")

    def test_wrong_ranges(self):
        """Offsets that leave the file, run backwards or do not fit the shape are refused by name."""
        for offsets in [0, 1 << 40], [128, 0], [0, 2], [-4, 124]:
            self.use("m1-mamba1-bf16")
            self.edit_tensors(lambda header, data: header["model.norm.weight"].update(data_offsets=offsets))
            self.refuses("model.norm.weight")

    def test_coverage(self):
        """As in the format's own reader: tensors that overlap, holes between them, bytes after the last are refused by file and tensors."""
        name, other = "model.norm.weight", "model.layers.0.input_layernorm.weight"

        def overlap(header, data):
            header[name]["data_offsets"] = header[other]["data_offsets"]

        def hole(header, data):
            begin = header[name]["data_offsets"][0]
            data[begin:begin] = bytes(16)
            for entry in header.values():
                if "data_offsets" in entry:  # not the metadata
                    entry["data_offsets"] = [at + 16 * (entry["data_offsets"][0] >= begin) for at in entry["data_offsets"]]

        self.edit_tensors(overlap)
        self.refuses("model.safetensors", name, other, "overlap")
        self.use("m1-mamba1-bf16")
        self.edit_tensors(hole)
        self.refuses("model.safetensors", name, "belong to no tensor")
        self.use("m1-mamba1-bf16")
        self.edit_tensors(lambda header, data: data.extend(bytes(8)))
        self.refuses("model.safetensors", "8 bytes at the end belong to no tensor")

    def test_not_finite(self):
        """NaN and infinite values in a weight are a warning that names the tensor; the artifact is written."""
        for bits, word in (b"\xc0\x7f", "NaN"), (b"\x80\x7f", "infinite values"), (b"\x80\xff", "infinite values"):
            self.use("m1-mamba1-bf16")

            def poison(header, data):
                begin = header["model.layers.0.mlp.up_proj.weight"]["data_offsets"][0]
                data[begin : begin + 2] = bits

            self.edit_tensors(poison)
            result = self.compile()
            self.assertEqual(result.returncode, 0, result)
            self.assertIn("warning: layers.0: checkpoint tensor 'model.layers.0.mlp.up_proj.weight' holds " + word, result.stderr)
        # The largest number of the type is finite.
        self.use("m1-mamba1-bf16")
        bits = b"\x7f\x7f"
        self.edit_tensors(poison)
        self.assertNotIn("up_proj", self.compile().stderr)

    # -- configurations

    def test_inconsistent_sizes(self):
        """Sizes that contradict each other or the tensors are named."""
        for file, change, expected in [
            ("config.json", {"num_key_value_heads": 3}, "num_key_value_heads"),
            ("config.json", {"hidden_size": 60}, "d_model"),
            ("config.json", {"vocab_size": 500}, "model.embed_tokens.weight"),
            ("config.json", {"head_dim": 15}, "head_dim"),
            ("config.json", {"hidden_act": "gelu"}, "hidden_act"),
            ("config.json", {"model_type": "gpt2"}, "model_type"),
            ("config.json", {"rms_norm_eps": "small"}, "rms_norm_eps"),
            ("config.json", {"max_position_embeddings": -1}, "max_position_embeddings"),
            ("mamba_config.json", {"d_xb": 24}, "d_xb"),
            ("mamba_config.json", {"d_inner": 72}, "d_inner"),
            ("mamba_config.json", {"attn_layers": [1, 4]}, "attn_layers"),
            ("mamba_config.json", {"attn_layers": [1]}, "model.layers.3.mamba"),
            ("mamba_config.json", {"n_layer": 5}, "n_layer"),
            ("mamba_config.json", {"ssm_cfg": {"d_conv": 3}}, "conv1d.weight"),
            ("mamba_config.json", {"ssm_cfg": {"dt_rank": 5}}, "in_proj"),
            ("mamba_config.json", {"ssm_cfg": {"surprise": 1}}, "surprise"),
        ]:
            with self.subTest(change=change):
                self.use("m1-mamba1-bf16")
                self.edit_config(lambda config: config.update(change), file)
                self.refuses(expected)

    def test_malformed_json(self):
        """JSON that does not parse, or is no object, is refused by the file's name."""
        for text in "", "{", "[]", '{"a": }', "\xff":
            for name in "config.json", "mamba_config.json":
                self.use("m1-mamba1-bf16")
                with open(self.path(name), "w") as file:
                    file.write(text)
                self.refuses(name)

    # -- artifacts

    def test_damaged_weights(self):
        """A flipped bit in a weight of the artifact, of its sidecar or of the checkpoint it refers to is an error that names the file and the weight."""
        print("M1_TEST_SEED=%d" % SEED)
        rng = random.Random(SEED)
        self.use("m1-mamba1-f32")  # in bf16 some weights are converted, some (norms, A) stay as they are
        artifact = os.path.join(self.directory.name, "model.m1a")
        ids = os.path.join(self.directory.name, "ids")
        with open(ids, "w") as file:
            file.write("1 2 3")
        header, _ = self.read_tensors()
        with open(self.path("model.safetensors"), "rb") as file:
            body = 8 + struct.unpack("<Q", file.read(8))[0]
        norm = [body + offset for offset in header["model.norm.weight"]["data_offsets"]]
        for mode, damaged, place in [
            ("embed", artifact, lambda size: (size - 8 * 80, size)),  # the end of the last weight and the checks
            ("embed", artifact, lambda size: (size // 2 - 32, size // 2)),
            ("external", "sidecar", lambda size: (size // 2 - 32, size // 2)),
            ("external", self.path("model.safetensors"), lambda size: norm),
        ]:
            command = [os.path.join(BIN, "m1-compile"), self.model, "-o", artifact, "--weights", mode]
            subprocess.run(command, check=True)
            run = [os.path.join(BIN, "m1-run"), artifact, "--allow-external", self.model, "--input-ids", ids, "--max-new-tokens", "2"]
            whole = subprocess.run(run, capture_output=True, text=True)
            self.assertEqual(whole.returncode, 0, whole)
            if damaged == "sidecar":
                (damaged,) = glob.glob(artifact + ".*.weights")
            with open(damaged, "r+b") as file:
                begin, end = place(os.path.getsize(damaged))
                at = rng.randrange(begin, end)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << rng.randrange(8)]))
            result = subprocess.run(run, capture_output=True, text=True)
            self.assertEqual(result.returncode, 1, (mode, damaged, at, SEED, result))
            self.assertIn("damaged or changed: bytes", result.stderr)
            self.assertIn(os.path.basename(damaged), result.stderr)
            self.assertEqual(result.stdout, "")
            self.use("m1-mamba1-f32")

    def test_external_through_links(self):
        """An artifact written through a linked directory finds its external weights."""
        self.use("m1-mamba1-f32")
        deep = os.path.join(self.directory.name, "deep", "deeper")
        link = os.path.join(self.directory.name, "link")
        os.makedirs(deep)
        os.symlink(deep, link)
        ids = os.path.join(self.directory.name, "ids")
        with open(ids, "w") as file:
            file.write("1 2 3")
        command = [os.path.join(BIN, "m1-compile"), self.model, "-o", os.path.join(link, "out.m1a"), "--weights", "external"]
        self.assertEqual(subprocess.run(command).returncode, 0)
        for directory in link, deep:
            run = [os.path.join(BIN, "m1-run"), os.path.join(directory, "out.m1a"), "--allow-external", self.model, "--input-ids", ids,
                   "--max-new-tokens", "2"]
            result = subprocess.run(run, capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result)

    def test_output_over_checkpoint(self):
        """A file of the checkpoint is not overwritten while it is read."""
        before = self.read_tensors()
        for flags in [], ["--weights", "external"], ["--emit", "m1"]:
            command = [os.path.join(BIN, "m1-compile"), self.model, "-o", self.path("model.safetensors"), *flags]
            result = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn("model.safetensors: is a file of the checkpoint", result.stderr)
            self.assertEqual(self.read_tensors(), before)

    def test_external_nan(self):
        """Weights that stay in the checkpoint are searched for NaN, too."""
        self.use("m1-mamba1-f32")

        def poison(header, data):
            begin = header["model.norm.weight"]["data_offsets"][0]
            data[begin : begin + 4] = b"\0\0\xc0\x7f"

        self.edit_tensors(poison)
        out = os.path.join(self.directory.name, "out.m1a")
        command = [os.path.join(BIN, "m1-compile"), self.model, "-o", out, "--weights", "external"]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("warning: checkpoint tensor 'model.norm.weight' holds NaN", result.stderr)

    def test_random_damage(self):
        """Configurations with fields dropped or of a wrong kind, and headers with bytes changed, never crash the compiler."""
        print("M1_TEST_SEED=%d" % SEED)
        rng = random.Random(SEED)
        for i in range(60):
            self.use(rng.choice(["m1-mamba1-bf16", "m1-mamba2-bf16", "hf-llama", "hf-qwen2"]))
            if rng.random() < 0.6:
                name = rng.choice([name for name in ("config.json", "mamba_config.json") if os.path.exists(self.path(name))])

                def damage(config):
                    while isinstance(config.get("ssm_cfg"), dict) and config["ssm_cfg"] and rng.random() < 0.5:
                        config = config["ssm_cfg"]
                    field = rng.choice(sorted(config))
                    if rng.random() < 0.3:
                        del config[field]
                    else:
                        config[field] = rng.choice([None, -1, 0, 1, 3, 2**31, 1e30, 0.5, "text", [], [7], {}, True, [None], 10**25])

                self.edit_config(damage, name)
            else:
                with open(self.path("model.safetensors"), "r+b") as file:
                    size = struct.unpack("<Q", file.read(8))[0]
                    for _ in range(rng.choice([1, 3, 20])):
                        file.seek(rng.randrange(0, 8 + size) if rng.random() < 0.9 else rng.randrange(8))
                        file.write(bytes([rng.randrange(256)]))
            with self.subTest(case=i, seed=SEED):
                self.compile(*(["--emit", "plan"] if i % 4 else []))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
