#!/usr/bin/env python3
"""m1-tokenize as it is used: tokenize_test.py BIN_DIR. The same lines from a tokenizer.json and from an artifact; errors."""
import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest

import text_model

BIN = os.path.abspath(sys.argv[1])


class Tokenize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.model = text_model.write(os.path.join(cls.directory.name, "model"))
        cls.art = os.path.join(cls.directory.name, "model.m1a")
        result = subprocess.run([os.path.join(BIN, "m1-compile"), cls.model, "-o", cls.art], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def run_tool(self, source, lines, *flags):
        return subprocess.run([os.path.join(BIN, "m1-tokenize"), source, *flags], input=lines, capture_output=True)

    def test_same_from_both_sources(self):
        """Special tokens in the text are recognised, none is added, and text comes back from the ids; key order is kept."""
        lines = "".join(json.dumps({"text": text}) + "\n" for text in ("hi", "", "<s>é\u6570</s>", "\x00\n")).encode()
        results = [self.run_tool(source, lines) for source in (self.art, os.path.join(self.model, "tokenizer.json"))]
        self.assertEqual(results[0].returncode, 0, results[0].stderr)
        self.assertEqual(results[0].stdout, results[1].stdout)
        out = [json.loads(line) for line in results[0].stdout.splitlines()]
        self.assertEqual([list(line) for line in out], [["text", "ids", "decoded"]] * 4)
        self.assertEqual([line["text"] for line in out], [line["decoded"] for line in out])
        self.assertEqual(out[1]["ids"], [])
        self.assertEqual((out[2]["ids"][0], out[2]["ids"][-1], len(out[2]["ids"])), (1, 2, 7))

    def test_input_that_is_none(self):
        """What cannot be read is named, with the reason, and so is memory that a line without an end would take."""
        for path, reason in ((self.directory.name, "cannot read: Is a directory"), ("missing", "cannot read: No such file or directory"),
                             ("/dev/zero", "is a device, expected a file")):
            for flags in [], ["--benchmark"]:
                result = self.run_tool(self.art, b"", "--input", path, *flags)
                self.assertEqual((result.returncode, result.stderr.decode()), (1, f"m1-tokenize: error: {path}: {reason}\n"))
        self.assertEqual(self.run_tool(self.art, b"", "--input", "/dev/null").returncode, 0)
        for lines, reason in ((b"\n", ": no text to measure"), (b'\n{"text": 5}', ':2: expected an object with a string "text"')):
            result = self.run_tool(self.art, lines, "--benchmark")
            self.assertEqual((result.returncode, result.stderr.decode()), (1, f"m1-tokenize: error: standard input{reason}\n"))
        with subprocess.Popen(["head", "-c", "500000000", "/dev/zero"], stdout=subprocess.PIPE) as endless:
            limited = subprocess.run([os.path.join(BIN, "m1-tokenize"), self.art], stdin=endless.stdout, capture_output=True, text=True,
                                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (128 << 20, 128 << 20)))
            endless.stdout.close()
        self.assertEqual((limited.returncode, limited.stderr), (1, "m1-tokenize: error: out of memory\n"))
        # A last line needs no end, and lines may be longer than what is read at once.
        long = json.dumps({"text": "x" * 200000})
        result = self.run_tool(self.art, (long + "\n" + long).encode())
        self.assertEqual([len(json.loads(line)["ids"]) for line in result.stdout.splitlines()], [200000] * 2)

    def test_decode(self):
        """--decode turns ids into text, from {"ids"} or lists; bad ids are named."""
        text = "h\u00e9llo\n"
        ids = json.loads(self.run_tool(self.art, json.dumps({"text": "<s>" + text}).encode()).stdout)["ids"]
        lines = (json.dumps({"ids": ids}) + "\n" + json.dumps(ids[1:]) + "\n[]\n").encode()
        for flags, first in (([], "<s>" + text), (["--skip-special"], text)):
            result = self.run_tool(self.art, lines, "--decode", *flags)
            self.assertEqual(result.returncode, 0, result.stderr)
            out = [json.loads(line) for line in result.stdout.splitlines()]
            self.assertEqual([line["text"] for line in out], [first, text, ""])
            self.assertEqual(out[0]["ids"], ids)
        for line, says in ((b"[1, 512]", "1: id 1 is 512, expected 0 to 511"), (b"[-1]", "id 0 is -1"), (b"[18446744073709551615]", "id 0 is"),
                           (b"{}", "expected an object with a list"), (b'["a"]', "id 0 is \"a\"")):
            result = self.run_tool(self.art, line, "--decode")
            self.assertEqual(result.returncode, 1)
            self.assertIn(says, result.stderr.decode())
        self.assertEqual(self.run_tool(self.art, b"", "--skip-special").returncode, 2)

    def test_errors(self):
        """A bad line is named by file and line, a missing or foreign file by name; exit code 1."""
        path = os.path.join(self.directory.name, "text.txt")
        with open(path, "w") as file:
            file.write("not a tokenizer")
        bare = os.path.join(self.directory.name, "bare")
        text_model.write(bare)
        os.remove(os.path.join(bare, "tokenizer.json"))
        subprocess.run([os.path.join(BIN, "m1-compile"), bare, "-o", bare + ".m1a"], check=True, capture_output=True)
        foreign = {}
        for name, content in (("SentencePiece", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03<s>\x15\0\0\0\0\x18\x03"), ("tiktoken", b"IQ== 0\nIg== 1\n")):
            foreign[name] = os.path.join(self.directory.name, name + ".model")
            with open(foreign[name], "wb") as file:
                file.write(content)
        for source, lines, says in (*((file, b"", f"{file}: is a vocabulary of {name}, of which transformers makes a tokenizer.json: ") for name, file in foreign.items()),
                                    (self.art, b'{"text": "a"}\n{"txt": "a"}\n', 'standard input:2: expected an object with a string "text"'),
                                    (self.art, b'{"text": "a\xff"}\n', "standard input:1: not valid UTF-8 at byte 11"),
                                    (self.art, b"[]\n", "standard input:1: expected an object"),
                                    (self.art, b'{"text": "\\ud800"}\n', "standard input:1: not JSON: column 17: syntax error"),
                                    ("/none/tokenizer.json", b"", "/none/tokenizer.json: no such file"),
                                    (path, b"", path), (bare + ".m1a", b"", "compiled without a tokenizer")):
            result = self.run_tool(source, lines)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn(says, result.stderr.decode())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
