#!/usr/bin/env python3
"""m1-eval as it is used: eval_test.py BIN_DIR. Grades, evaluates a tiny model, is killed in the middle and goes on."""
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import text_model

BIN = os.path.abspath(sys.argv[1])


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        model = text_model.write(os.path.join(cls.directory.name, "model"))
        cls.art = cls.path("model.m1a")
        result = subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", cls.art, "--activation-type", "f32"],
                                capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        cls.dataset = cls.path("problems.jsonl")
        with open(cls.dataset, "w") as file:
            for i in range(5):
                file.write(json.dumps({"id": f"p{i}", "problem": "hello" * (i + 1), "answer": str(i)}) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.directory.name, name)

    def command(self, out, *arguments):
        return [os.path.join(BIN, "m1-eval"), self.art, "--dataset", self.dataset, "--raw", "--samples", "6", "--max-new-tokens", "60",
                "--temperature", "1", "--slots", "4", "--out", self.path(out), *arguments]

    def evaluate(self, out, *arguments):
        return subprocess.run(self.command(out, *arguments), capture_output=True, text=True)

    def samples(self, out):
        with open(os.path.join(self.path(out), "samples.jsonl")) as file:
            return [json.loads(line) for line in file]

    def lines(self, path):
        if not os.path.exists(path):
            return 0
        with open(path, "rb") as file:
            return file.read().count(b"\n")

    def test_grade(self):
        """One verdict a line; a bad line is named."""
        path = self.path("pairs.jsonl")
        with open(path, "w") as file:
            file.write('{"given": "\\\\frac12", "expected": "0.5"}\n\n{"given": "2", "expected": "3"}\n{"given": 4, "expected": "2^2"}\n')
        result = subprocess.run([os.path.join(BIN, "m1-eval"), "--grade", path], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (0, '{"equal": true}\n{"equal": false}\n{"equal": true}\n'), result.stderr)
        with open(path, "a") as file:
            file.write('{"given": "2"}\n')
        result = subprocess.run([os.path.join(BIN, "m1-eval"), "--grade", path], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn('pairs.jsonl:5: no field "expected"', result.stderr)

    def test_killed_run_goes_on(self):
        """kill -9 in the middle loses nothing and repeats nothing: the samples equal those of a run that was left alone."""
        whole = self.evaluate("whole")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        expected = {(r["problem"], r["sample"]): (r["text"], r["tokens"], r["finish"]) for r in self.samples("whole")}
        self.assertEqual(len(expected), 30)
        killed = 0
        log = os.path.join(self.path("killed"), "samples.jsonl")
        for stop in (1, 8, 17):
            process = subprocess.Popen(self.command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and self.lines(log) < stop:
                time.sleep(0.002)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
            with open(log, "ab") as file:  # as if a line had been cut off
                file.write(b'{"problem":"p0","sam')
        self.assertGreater(killed, 0)
        result = self.evaluate("killed")
        self.assertEqual(result.returncode, 0, result.stderr)
        records = self.samples("killed")
        self.assertEqual(max(collections.Counter((r["problem"], r["sample"]) for r in records).values()), 1)
        self.assertEqual({(r["problem"], r["sample"]): (r["text"], r["tokens"], r["finish"]) for r in records}, expected)

    def test_summary_and_curve(self):
        """The summary has every k, the SVG is well-formed XML, and other settings are refused in the same directory."""
        result = self.evaluate("summary", "--limit", "2", "--samples", "3")
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.path("summary"), "summary.json")) as file:
            summary = json.load(file)
        self.assertEqual((summary["problems"], summary["samples"]), (2, 6))
        self.assertEqual([p["k"] for p in summary["over_samples"]], [1, 2, 3])
        self.assertLessEqual(summary["pass@1_low"], summary["pass@1"])
        import xml.etree.ElementTree
        xml.etree.ElementTree.parse(os.path.join(self.path("summary"), "curve.svg"))
        refused = self.evaluate("summary", "--temperature", "0.5")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("temperature", refused.stderr)

    def test_time_budget(self):
        """At the deadline samples are closed by force or dropped, and counted so."""
        for flag, key in (([], "forced"), (["--drop-at-deadline"], "dropped")):
            result = self.evaluate("budget" + key, "--limit", "1", "--max-new-tokens", "100", "--time-budget-per-problem", "0.01", *flag)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(len(self.samples("budget" + key)), 6)

    def test_errors(self):
        """Missing arguments, files and slots are one clear message each."""
        for arguments, says in (([], "give OUT.m1a and --dataset"), ([self.art, "--dataset", "/none.jsonl"], "/none.jsonl: cannot open"),
                                (["/none.m1a", "--dataset", self.dataset], "/none.m1a"), (["--grade", "/none"], "/none: cannot open"),
                                ([self.art, "--dataset", self.dataset, "--seed", "-1"], "--seed: expected an integer from 0")):
            result = subprocess.run([os.path.join(BIN, "m1-eval"), *arguments], capture_output=True, text=True, cwd=self.directory.name)
            self.assertGreater(result.returncode, 0)
            self.assertIn(says, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
