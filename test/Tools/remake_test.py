#!/usr/bin/env python3
"""m1-compile makes an artifact's code anew from the module in it: remake_test.py BIN_DIR GOLDENS_DIR ARTIFACT_TEST_DIR.

What comes out is, byte by byte, what the same options make of the checkpoint; strangers' artifacts get one message and leave no file."""
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import text_model

BIN, GOLDENS, OLDER = (os.path.abspath(argument) for argument in sys.argv[1:4])
PAGE = 4096


def run(tool, *arguments):
    return subprocess.run([os.path.join(BIN, tool), *arguments], capture_output=True, text=True, timeout=120)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def frame(text):
    """zstd without compression (RFC 8878): one segment, raw blocks."""
    blocks = [text[at:at + 100000] for at in range(0, len(text), 100000)] or [b""]
    packed = struct.pack("<IBQ", 0xFD2FB528, 0xE0, len(text))
    for index, block in enumerate(blocks):
        packed += ((len(block) << 3) | (index == len(blocks) - 1)).to_bytes(3, "little") + block
    return packed


def forge(source, target, packed=None, size=None, where=None, patch=None):
    """A copy with another module text, or other bytes before the weights, and the digest of that."""
    content = bytearray(read(source))
    text = json.loads(run("m1-dump", source, "--json").stdout)["module_text"]
    offset, module = struct.unpack_from("<QQ", content, 16)
    pages = struct.unpack_from("<I", content, 12)[0]
    table = content[offset:offset + module]
    if packed is not None:
        content += bytes(-len(content) % PAGE)
        fields = struct.pack("<QQ", text["offset"], text["packed_bytes"])
        assert table.count(fields) == 1
        at = offset + table.index(fields)
        new = where if where is not None else (len(content), len(packed))
        struct.pack_into("<QQ", content, at, *new)
        content += packed
        content += bytes(-len(content) % PAGE)
        pages = len(content) // PAGE
        sizes = [i for i in range(0, module - 8, 8) if struct.unpack_from("<Q", table, i)[0] == text["bytes"]]
        assert len(sizes) == 1, sizes
        struct.pack_into("<Q", content, offset + sizes[0], size)
    if patch:
        patch(content)
    content[12:16] = struct.pack("<I", pages)
    content[32:64] = bytes(32)
    content[32:64] = hashlib.sha256(content[:pages * PAGE]).digest()
    write(target, content)


def without_checks(content):
    """Takes the field weight_checks, the 21st, out of the module's table."""
    offset = struct.unpack_from("<Q", content, 16)[0]
    table = offset + struct.unpack_from("<I", content, offset)[0]
    fields = table - struct.unpack_from("<i", content, table)[0]
    struct.pack_into("<H", content, fields + 4 + 2 * 20, 0)


def renamed(content, name, other):
    """Gives the string of one name, with its length before it, the text of another of the same length."""
    old, new = (struct.pack("<I", len(text)) + text.encode() + b"\0" for text in (name, other))
    assert content.count(old) == 1, (name, content.count(old))
    at = content.index(old)
    content[at:at + len(new)] = new


class Remake(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.root = os.path.realpath(self.directory.name)
        for name in "first", "second":
            os.mkdir(self.path(name))
        write(self.path("ids"), b"1 17 300 45")

    def tearDown(self):
        self.directory.cleanup()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def compile(self, *arguments):
        result = run("m1-compile", *arguments, "--cpu", "x86-64-v3", "--allow-external", self.root)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def answer(self, artifact):
        result = run("m1-run", artifact, "--input-ids", self.path("ids"), "--max-new-tokens", "8", "--ignore-eos", "--allow-external", self.root)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def refused(self, message, *arguments, status=1):
        before = sorted(os.listdir(self.path("second")))
        result = run("m1-compile", *arguments, *([] if "-o" in arguments else ["-o", self.path("second", "x.m1a")]))
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertIn(message, result.stderr)
        self.assertEqual(result.stderr.count("m1-compile: error: "), 1, result.stderr)
        self.assertEqual(sorted(os.listdir(self.path("second"))), before)

    def test_equal_bytes(self):
        for golden, options in [("m1-mamba1-bf16", []), ("m1-mamba2-f32", []), ("hf-qwen2", ["--weights", "dummy:5"])]:
            with self.subTest(golden=golden):
                first, second = self.path("first", "x.m1a"), self.path("second", "x.m1a")
                self.compile(os.path.join(GOLDENS, golden), "-o", first, *options)
                self.compile(first, "-o", second)
                self.assertEqual(read(first), read(second))
                self.assertEqual(self.answer(first), self.answer(second))

    def test_text(self):
        """With a tokenizer, a template and sampling of the checkpoint."""
        text_model.write(self.path("model"))
        write(self.path("model", "generation_config.json"), b'{"temperature": 0.7, "top_p": 0.9, "top_k": 40}')
        first, second = self.path("first", "x.m1a"), self.path("second", "x.m1a")
        self.compile(self.path("model"), "-o", first)
        self.compile(first, "-o", second)
        self.assertEqual(read(first), read(second))

    def test_external(self):
        shutil.copytree(os.path.join(GOLDENS, "m1-mamba1-bf16"), self.path("model"))
        first, second = self.path("first", "x.m1a"), self.path("second", "x.m1a")
        self.compile(self.path("model"), "-o", first, "--weights", "external")
        self.compile(first, "-o", second, "--weights", "external")
        self.assertEqual(read(first), read(second))
        # What stayed in the checkpoint stays there, the rest lies beside each.
        names = sorted(os.listdir(self.path("second")))
        self.assertEqual(names, sorted(os.listdir(self.path("first"))))
        self.assertEqual(len(names), 2)
        # Embedded, they are those of the checkpoint; and from there they go out again.
        whole, again = self.path("second", "whole.m1a"), self.path("second", "again.m1a")
        self.compile(first, "-o", whole)
        self.compile(self.path("model"), "-o", self.path("first", "whole.m1a"))
        self.assertEqual(read(whole), read(self.path("first", "whole.m1a")))
        self.compile(whole, "-o", again, "--weights", "external")
        self.assertEqual(self.answer(again), self.answer(first))
        os.remove(whole)
        self.assertEqual(self.answer(again), self.answer(first))
        # Outside its directory an artifact opens nothing unasked.
        self.refused("allow it (--allow-external", first)

    def test_targets(self):
        """Another target, from the module alone."""
        golden, first = os.path.join(GOLDENS, "m1-mamba1-bf16"), self.path("first", "x.m1a")
        self.compile(golden, "-o", first)
        targets = ["--emit", "plan", "--target", "cpu,cuda:sm_80,sm_90"]
        self.assertEqual(self.compile(first, *targets), self.compile(golden, *targets))
        self.assertIn("m1.selective_scan", self.compile(first, "--emit", "m1"))

    def test_wrong_use(self):
        first = self.path("first", "x.m1a")
        self.compile(os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", first)
        self.refused("x.m1a: belongs to the artifact that is read", first, "-o", first)
        os.symlink(first, self.path("link.m1a"))
        self.refused("link.m1a: belongs to the artifact that is read", first, "-o", self.path("link.m1a"))
        self.refused("--checkpoint: the weights are those of the artifact", first, "--checkpoint", GOLDENS)
        self.refused("x.m1a are taken as they lie in it; compile its checkpoint", first, "--quantize", "int8")
        self.refused("--kv-type: is that of the module which the artifact", first, "--kv-type", "f32", status=2)
        self.refused("holds no module to make code from", os.path.join(OLDER, "version-1.m1a"))
        self.compile(first, "--emit", "plan", "-o", self.path("plan.mlir"))
        planned = run("m1-compile", self.path("plan.mlir"), "--checkpoint", os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", self.path("planned.m1a"))
        self.assertEqual(planned.returncode, 0, planned.stderr)
        self.refused("holds no module to make code from", self.path("planned.m1a"))
        self.assertIn("m1 module: none", run("m1-dump", self.path("planned.m1a")).stdout)
        self.assertIn("m1 module: ", run("m1-dump", first).stdout)
        self.compile(os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", self.path("first", "e.m1a"), "--weights", "external")
        sidecar, = (name for name in os.listdir(self.path("first")) if name.endswith(".weights"))
        result = run("m1-compile", self.path("first", "e.m1a"), "-o", self.path("first", sidecar), "--allow-external", "/")
        self.assertIn("belongs to the artifact that is read", result.stderr)
        os.truncate(self.path("first", sidecar), 100)
        self.refused("has 100 bytes, the artifact was made with", self.path("first", "e.m1a"), "--allow-external", "/")

    def test_hostile_modules(self):
        first, forged = self.path("first", "x.m1a"), self.path("first", "forged.m1a")
        self.compile(os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", first)
        text = self.compile(first, "--emit", "m1")
        forge(first, forged, frame(text.encode()), len(text))
        self.compile(forged, "-o", self.path("ok.m1a"))
        self.assertEqual(self.answer(self.path("ok.m1a")), self.answer(first))
        body = text.index("m1.model")

        def inserted(more):
            return text[:body] + more + "\n  " + text[body:]

        deep = 50000
        plan = 'plan.target @cpu {\n  }'
        for message, module in [
                ("the module in it: ", "what is this"),
                ("the module in it: has no m1.model", ""),
                ("the module in it: has no m1.model", "module {\n}"),
                ("no operation of m1", inserted(plan)),
                ("the module in it: nests deeper than", inserted('m1.state @x : !m1.scan_state<4x4xf32> {a = ' + "[" * deep + "]" * deep + "}")),
                ("the module in it: nests deeper than", inserted("module {" * deep + "}" * deep)),
                ("the module in it: nests deeper than", inserted('m1.state @x : !m1.scan_state<4x4xf32> {a = ' + "tuple<" * deep + ">" * deep + "}")),
                ("the module in it: a '-' without a number", inserted("m1.state @x : !m1.scan_state<4x4xf32> {a = affine_map<(d0) -> (" + "- " * deep + "d0)>}")),
                ("the module in it: has an array of index", inserted('m1.state @x : !m1.scan_state<4x4xf32> {a = array <\n index: 1>}')),
                ("the module in it: has an alias", "#a = [1]\n" + text),
                ("the module in it: has an alias", "\n \t!t = i32\n" + text),
                ("the module in it: has a comment", text + "// more\n"),
                ("the module in it: a '-' without a number", text + "{-# dialect_resources: {} #-}"),
                ("weight 'embed_tokens': expected none, the artifact holds tensor<512x64xbf16>", text.replace("@embed_tokens", "@embedded")),
                ("expected tensor<512x64xf32>, the artifact holds tensor<512x64xbf16>", text.replace("512x64xbf16", "512x64xf32")),
                ("expected a finite eps", text.replace("eps = ", "eps = -", 1)),
                ("holds no weight 'more'", re.sub(r"m1.get_weight @\S+ : tensor<64xf32>", "m1.get_weight @more : tensor<64xf32>",
                                                   inserted('m1.weight @more : tensor<64xf32> {sources = ["a"]}'), count=1))]:
            with self.subTest(message=message):
                if module == text:
                    self.fail("the case changes nothing")
                forge(first, forged, frame(module.encode()), len(module.encode()))
                self.refused(message, forged)

    def test_damage(self):
        first, forged = self.path("first", "x.m1a"), self.path("first", "forged.m1a")
        text_model.write(self.path("model"))
        self.compile(self.path("model"), "-o", first)
        packed = b"not of zstd"
        forge(first, forged, packed, 100)
        self.refused("the module in it: damaged", forged)
        forge(first, forged, frame(b"module {}"), 1 << 40)
        self.refused("the module in it: says that it has 1099511627776 bytes", forged)
        forge(first, forged, frame(b"module {}"), 10)
        self.refused("the module in it: has 9 bytes, not 10", forged)
        forge(first, forged, frame(b"module {}"), 5)
        self.refused("the module in it: damaged", forged)
        forge(first, forged, b"", 5, where=(1 << 50, 7))
        self.refused("module text: bytes", forged)
        # Damaged weights do not get new checks.
        json_text = json.loads(run("m1-dump", first, "--json").stdout)
        weight = json_text["weights"][0]
        content = bytearray(read(first))
        content[weight["offset"] + 5] ^= 16
        write(forged, content)
        self.refused(f"damaged or changed: weight '{weight['name']}' is not the one that the artifact was made with", forged)
        # Weights without checks, and two of one name.
        forge(first, forged, patch=without_checks)
        self.refused("forged.m1a: its weights have no checks", forged)
        one, other = next((a["name"], b["name"]) for a in json_text["weights"] for b in json_text["weights"] if a["name"] < b["name"] and len(a["name"]) == len(b["name"]) and a["type"] == b["type"])
        forge(first, forged, patch=lambda content: renamed(content, other, one))
        self.refused(f"forged.m1a: two weights are named '{one}'", forged)
        # Damage under a matching digest: the tokenizer goes through its loader.
        tokenizer = read(first).index(b"M1TOK") if b"M1TOK" in read(first) else json_text["module_text"]["offset"] - json_text["tokenizer"]["bytes"]
        forge(first, forged, patch=lambda content: content.__setitem__(slice(tokenizer, tokenizer + 8), b"\xff" * 8))
        self.refused("its tokenizer: ", forged)
        for size in 10, 64, 5000, len(content) - 1:
            write(forged, read(first)[:size])
            result = run("m1-compile", forged, "-o", self.path("second", "x.m1a"))
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertFalse(os.path.exists(self.path("second", "x.m1a")))


sys.argv[1:] = sys.argv[4:]
unittest.main()
