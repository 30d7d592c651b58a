#!/usr/bin/env python3
"""m1-eval as it is used: eval_test.py BIN_DIR. Grades, evaluates a tiny model, is killed in the middle and goes on."""
import collections
import json
import os
import shutil
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
        for other in (["--samples", "4"], ["--out", self.path("none")], ["--require-digest", "00"]):
            result = subprocess.run([os.path.join(BIN, "m1-eval"), "--grade", path, *other], capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(f"{other[0]} is without effect beside --grade", result.stderr)

    def test_weights_of_votes_are_kept(self):
        """A run that goes on weighs what it has as it weighed it first."""
        result = self.evaluate("weighted", "--vote-weight", "confidence")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(all(0 < r["confidence"] < 1 for r in self.samples("weighted") if r["tokens"] > 1))
        self.assertEqual(self.evaluate("nan", "--time-budget-per-problem", "nan").returncode, 2)

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
        self.assertEqual(summary["length"] + summary["answered"] + sum(summary["no_ballot"].values()) - summary["no_ballot"].get("cut", 0), 6)
        self.assertLessEqual(summary["pass@1_low"], summary["pass@1"])
        import xml.etree.ElementTree
        xml.etree.ElementTree.parse(os.path.join(self.path("summary"), "curve.svg"))
        refused = self.evaluate("summary", "--temperature", "0.5")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("temperature", refused.stderr)
        # Nor where nobody knows with which settings.
        settings = os.path.join(self.path("summary"), "run.json")
        for damage, says in (lambda: open(settings, "w").close(), "not a JSON object"), (lambda: os.remove(settings), "missing"):
            damage()
            unknown = self.evaluate("summary", "--limit", "2", "--samples", "3")
            self.assertEqual(unknown.returncode, 1)
            self.assertIn("run.json: " + says, unknown.stderr)

    def test_truncation_is_reported(self):
        """Samples that their limit cut are counted as such, on the screen and in the summary."""
        result = self.evaluate("cut", "--max-new-tokens", "3", "--ignore-eos")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("30 (0 with an answer, 30 cut by length, 0 closed by force, 0 dropped, 0 refused)", result.stdout)
        self.assertIn("no ballot       30 cut", result.stdout)

    def test_large_k_needs_samples_that_ended(self):
        """No maj@k is shown for more samples than ended a problem."""
        result = self.evaluate("budget", "--limit", "1", "--samples", "500", "--max-new-tokens", "60000", "--ignore-eos", "--time-budget-per-problem", "0.5")
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.path("budget"), "summary.json")) as file:
            summary = json.load(file)
        self.assertLess(summary["ended_per_problem"], 500)
        self.assertLessEqual(summary["over_samples"][-1]["k"], max(1, summary["ended_per_problem"]))
        self.assertIn("of 500 samples a problem ended: there is no larger k", result.stdout)

    def test_other_weights_are_refused(self):
        """A run is not continued with other weights of the same shapes, nor with another flag; what differs is named."""
        model = text_model.write(self.path("other"))
        path = os.path.join(model, "model.safetensors")
        with open(path, "rb") as file:
            data = bytearray(file.read())
        data[-3] ^= 0x40
        os.remove(path)
        with open(path, "wb") as file:
            file.write(data)
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", self.path("other.m1a"), "--activation-type", "f32"], check=True, capture_output=True)
        self.assertEqual(self.evaluate("weights", "--limit", "1").returncode, 0)
        command = self.command("weights", "--limit", "1")
        command[1] = self.path("other.m1a")
        refused = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("drawn with weights = ", refused.stderr)
        for flags, name in ((["--stop", "x"], "stop"), (["--prefill", "x"], "prefill"), (["--repetition-penalty", "1.1"], "repetition-penalty"),
                            (["--ignore-eos"], "ignore-eos"), (["--stop-early", "exact"], "stop-early"), (["--few-shot", self.dataset], "few-shot")):
            refused = self.evaluate("weights", "--limit", "1", *flags)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(f"drawn with {name} = ", refused.stderr)

    def test_formats_and_prompts(self):
        """CSV from standard input, named fields and missing ids; examples, instruction and prefill stand in the prompt as they should."""
        rows = 'question,key\n"hello, you",1\nhello,2\n'
        command = self.command("csv", "--question-field", "question", "--answer-field", "key", "--record-tokens", "--logprobs", "2")
        command[command.index("--dataset") + 1] = "-"
        result = subprocess.run(command, input=rows, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        records = self.samples("csv")
        self.assertEqual(len(records), 12)
        for record in records:
            self.assertEqual((len(record["token_ids"]), len(record["logprobs"])), (record["tokens"], record["tokens"]))
            self.assertEqual([len(entry["top"]) for entry in record["logprobs"]], [2] * record["tokens"])
        with open(os.path.join(self.path("csv"), "report.html")) as file:
            page = file.read()
        self.assertIn("hello, you", page)
        self.assertEqual(page.count("<summary class="), 12)
        # The same text through m1-run: an example, the problem, and the beginning of the answer.
        shots = self.path("shots.jsonl")
        with open(shots, "w") as file:
            file.write('{"problem": "1+1?", "answer": "two\\n#### 2"}\n')
        flags = ["--temperature", "0", "--samples", "1", "--ignore-eos", "--max-new-tokens", "8"]
        result = self.evaluate("shots", *flags, "--limit", "1", "--few-shot", shots, "--instruction", "Go.", "--prefill", "so\\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        prompt = "1+1?\n\nGo.\n\ntwo\n#### 2\n\nhello\n\nGo.so\n"
        run = subprocess.run([os.path.join(BIN, "m1-run"), self.art, "--prompt", prompt, "--raw", "--ignore-eos", "--max-new-tokens", "8", "--json"],
                             capture_output=True, text=True)
        self.assertEqual(json.loads(run.stdout)["samples"][0]["text"], self.samples("shots")[0]["text"])

    def test_votes_stop(self):
        """With --stop-early samples that a vote does not need are ended and counted, and the answers are those of whole votes."""
        flags = ["--samples", "20", "--max-think-tokens", "3", "--close-text", "\\boxed{1} ", "--ignore-eos"]
        whole = self.evaluate("vote-off", *flags)
        early = self.evaluate("vote-exact", *flags, "--stop-early", "exact", "--ballots-at-once", "2")
        self.assertEqual((whole.returncode, early.returncode), (0, 0), early.stderr)
        summaries = []
        for out in "vote-off", "vote-exact":
            with open(os.path.join(self.path(out), "summary.json")) as file:
                summaries.append(json.load(file))
        self.assertEqual(summaries[0]["vote"], summaries[1]["vote"])
        self.assertEqual(summaries[0]["not_needed"], 0)
        self.assertGreaterEqual(summaries[1]["not_needed"], 5 * 7)
        self.assertLess(summaries[1]["tokens"], summaries[0]["tokens"])
        again = self.evaluate("vote-exact", *flags, "--stop-early", "exact", "--ballots-at-once", "2")
        self.assertNotIn("of this run", again.stdout)

    def test_probes(self):
        """Probes say after every few tokens what their sample would answer, stop confident votes, change no sample and stand in the
        records; their cost is told."""
        flags = ["--limit", "1", "--samples", "6", "--max-new-tokens", "60", "--ignore-eos", "--slots", "16"]
        self.assertEqual(self.evaluate("unprobed", *flags).returncode, 0)
        flags += ["--close-text", "\\boxed{1} "]
        probed = self.evaluate("probed", *flags, "--probe-every", "8")
        self.assertEqual(probed.returncode, 0, probed.stderr)
        self.assertRegex(probed.stdout, r"probes +[0-9]+ \([0-9]+ dropped\): [0-9]+ tokens, [0-9.]+ s of this run")
        texts = {(s["problem"], s["sample"]): s["text"] for s in self.samples("unprobed")}
        samples = self.samples("probed")
        self.assertEqual({(s["problem"], s["sample"]): s["text"] for s in samples}, texts)
        probes = [probe for s in samples for probe in s.get("probes", [])]
        self.assertEqual({probe["answer"] for probe in probes}, {"1"})
        self.assertEqual({probe["after"] % 8 for probe in probes}, {0})
        plain, every = flags[:-2], ["--probe-every", "8"]  # with the closing text of the default
        self.assertEqual(self.evaluate("plain", *plain, *every).returncode, 0)
        for out, others, drawn in (("unprobed", every, "nothing"), ("plain", [], '"8"')):
            refused = self.evaluate(out, *plain, *others)
            self.assertEqual(refused.returncode, 1, refused.stderr)
            self.assertIn(f"drawn with probe-every = {drawn}", refused.stderr)
        stopped = self.evaluate("probed-stop", *flags, "--probe-every", "8", "--stop-early", "confident", "--ballots-at-once", "6")
        self.assertEqual(stopped.returncode, 0, stopped.stderr)
        samples = self.samples("probed-stop")
        self.assertIn("1", [s.get("provisional") for s in samples])
        self.assertEqual({s["provisional_correct"] for s in samples if "provisional" in s} - {True, False}, set())
        again = self.evaluate("probed-stop", *flags, "--probe-every", "4", "--stop-early", "confident", "--ballots-at-once", "6")
        self.assertIn("the samples there were drawn with probe-every", again.stderr)

    def test_time_budget(self):
        """At the deadline samples are closed by force or dropped, and counted so."""
        for flag, key in (([], "forced"), (["--drop-at-deadline"], "dropped")):
            result = self.evaluate("budget" + key, "--limit", "1", "--max-new-tokens", "100", "--time-budget-per-problem", "0.01", *flag)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(len(self.samples("budget" + key)), 6)

    def test_errors(self):
        """Missing arguments, files and slots are one clear message each, and so are files in another encoding and outputs over inputs."""
        wide, own = os.path.join(self.directory.name, "wide.csv"), os.path.join(self.directory.name, "own")
        with open(wide, "w", encoding="utf-16") as file:
            file.write("problem,answer\n1+1,2\n")
        os.mkdir(own)
        shutil.copy(self.dataset, os.path.join(own, "samples.jsonl"))
        for arguments, says in (([], "give OUT.m1a and --dataset"), ([self.art, "--dataset", "/none.jsonl"], "/none.jsonl: cannot read"),
                                (["/none.m1a", "--dataset", self.dataset], "/none.m1a"), (["--grade", "/none"], "/none: cannot read"),
                                ([self.art, "--dataset", self.dataset, "--ballots-at-once", "2"], "--ballots-at-once needs --stop-early"),
                                ([self.art, "--dataset", self.dataset, "--stop-early", "exact", "--least-ballots", "2"], "--least-ballots needs --stop-early confident"),
                                ([self.art, "--dataset", "-", "--few-shot", "-"], "--dataset and --few-shot cannot both be read from standard input"),
                                ([self.art, "--dataset", self.dataset, "--raw", "--system", "x"], "--system is about the chat template: not with --raw"),
                                ([self.art, "--dataset", self.dataset, "--shots", "2"], "--shots needs --few-shot"),
                                ([self.art, "--dataset", self.dataset, "--out", self.dataset + "/x"], "problems.jsonl/x: cannot create the directory: "),
                                ([self.art, "--dataset", wide], "wide.csv: is text in UTF-16, expected UTF-8"), (["--grade", "/dev/zero"], "/dev/zero: is a device, expected a file"),
                                ([self.art, "--dataset", os.path.join(own, "samples.jsonl"), "--out", own], "--out " + own + "/samples.jsonl: would overwrite"),
                                ([self.art, "--dataset", self.dataset, "--frob"], "m1-eval: error: The following argument was not expected: --frob"),
                                ([self.art, "--dataset", self.dataset, "--seed", "-1"], "--seed: expected an integer from 0")):
            result = subprocess.run([os.path.join(BIN, "m1-eval"), *arguments], capture_output=True, text=True, cwd=self.directory.name)
            self.assertGreater(result.returncode, 0)
            self.assertIn(says, result.stderr)
        for name, make, says in (("summary.json", os.mkfifo, "a pipe"), ("curve.svg", os.mkdir, "a directory"),
                                 ("report.html", lambda path: os.symlink("/dev/zero", path), "a device")):
            os.mkdir(self.path("out-" + name))
            make(os.path.join(self.path("out-" + name), name))
            result = self.evaluate("out-" + name)
            self.assertEqual((result.returncode, result.stderr.count("error:")), (1, 1), result.stderr)
            self.assertIn(f"{name}: is {says}, expected a file", result.stderr)
            self.assertEqual(os.listdir(self.path("out-" + name)), [name])  # before any work
        bad = self.path("bad.jsonl")
        for line, says in (({"question": "a", "answer": "1"}, "no field \"problem\" (there are: question); --question-field names it"),
                           ({"problem": "a", "result": "1"}, "no field \"answer\" (there are: problem, result); --answer-field names it")):
            with open(bad, "w") as file:
                file.write(json.dumps(line) + "\n")
            self.assertIn(says, self.evaluate("bad", "--dataset", bad).stderr)
        with open(bad, "w") as file:
            file.write(json.dumps({"problem": "a" * (text_model.CONTEXT + 1), "answer": "1"}) + "\n")
        result = self.evaluate("refused", "--dataset", bad)
        self.assertEqual((result.returncode, result.stderr.strip().splitlines()[-1]), (1, "m1-eval: error: every problem was refused"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
