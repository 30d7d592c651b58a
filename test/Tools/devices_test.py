#!/usr/bin/env python3
"""m1-eval and m1-run on several devices: devices_test.py BIN_DIR. The CPU, named twice, is two of them."""
import glob
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
TWO = ("--device", "cpu,cpu", "--threads", "1")
MPI = {**os.environ, "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_rmaps_base_oversubscribe": "1"}


def lock_holder(file):
    """The process that has locked an open file."""
    inode = os.fstat(file.fileno()).st_ino
    with open("/proc/locks") as locks:
        for line in locks:
            fields = line.split()
            if "->" not in fields and fields[5].rsplit(":", 1)[1] == str(inode):
                return int(fields[4])
    raise AssertionError("nobody has locked " + file.name)


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        model = text_model.write(os.path.join(cls.directory.name, "model"))
        cls.art = cls.path("model.m1a")
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", cls.art, "--activation-type", "f32"], check=True, capture_output=True)
        cls.dataset = cls.path("problems.jsonl")
        with open(cls.dataset, "w") as file:
            for i in range(5):
                file.write(json.dumps({"id": f"p{i}", "problem": "hello" * (i + 1), "prompt": "hello" * (i + 1), "answer": "1"}) + "\n")
        result = cls.evaluate("one")
        assert result.returncode == 0, result.stderr
        cls.expected = cls.samples("one")
        assert len(cls.expected) == 30

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.directory.name, name)

    @classmethod
    def command(cls, out, *arguments):
        return [os.path.join(BIN, "m1-eval"), cls.art, "--dataset", cls.dataset, "--raw", "--samples", "6", "--max-new-tokens", "60",
                "--temperature", "1", "--slots", "4", "--record-tokens", "--out", cls.path(out), *arguments]

    @classmethod
    def evaluate(cls, out, *arguments):
        return subprocess.run(cls.command(out, *arguments), capture_output=True, text=True)

    @classmethod
    def samples(cls, out):
        """By problem and sample; none may be there twice."""
        records = {}
        for name in glob.glob(os.path.join(cls.path(out), "samples*.jsonl")):
            with open(name) as file:
                for line in file:
                    if not line.endswith("\n"):  # cut off when its rank was killed
                        continue
                    r = json.loads(line)
                    key = r["problem"], r["sample"]
                    assert key not in records, key
                    records[key] = r["token_ids"], r["text"], r["finish"]
        return records

    def ranks(self, count, out, *arguments):
        """The command of an evaluation by so many processes."""
        if not shutil.which("mpirun"):
            self.skipTest("no mpirun: install openmpi-bin")
        start = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", "true"], capture_output=True, text=True, env=MPI)
        if start.returncode != 0:
            self.skipTest("mpirun starts no processes here: " + start.stderr.strip())
        return ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(count), *self.command(out, "--threads", "1", *arguments)]

    def finish(self, command):
        result = subprocess.run(command, capture_output=True, text=True, env=MPI)
        if "built without MPI" in result.stderr:
            self.skipTest("m1-eval was built without MPI")
        return result

    def summary(self, out):
        with open(os.path.join(self.path(out), "summary.json")) as file:
            return json.load(file)

    def run_samples(self, *arguments):
        result = subprocess.run([os.path.join(BIN, "m1-run"), self.art, "--raw", "--max-new-tokens", "40", "--temperature", "1", *arguments],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr

    def test_evaluation(self):
        """Two devices draw the samples and figures of one, and a run that was begun on one goes on on two."""
        result = self.evaluate("two", *TWO)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.samples("two"), self.expected)
        for figure in "samples", "tokens", "run_tokens", "length", "answered", "vote", "pass@1":
            self.assertEqual(self.summary("two")[figure], self.summary("one")[figure], figure)
        self.assertEqual(self.evaluate("begun", "--samples", "2").returncode, 0)
        self.assertEqual(self.evaluate("begun", *TWO).returncode, 0)
        self.assertEqual(self.samples("begun"), self.expected)

    def test_killed_run_goes_on(self):
        """kill -9 loses nothing that had ended."""
        process = subprocess.Popen(self.command("killed", *TWO), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = os.path.join(self.path("killed"), "samples.jsonl")
        while process.poll() is None and (not os.path.exists(log) or os.path.getsize(log) == 0):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertEqual(self.evaluate("killed", *TWO).returncode, 0)
        self.assertEqual(self.samples("killed"), self.expected)

    def test_votes_stop(self):
        """Votes stop early on two devices with the answers of whole votes, and save samples."""
        flags = ["--samples", "40", "--max-new-tokens", "200", "--max-think-tokens", "100", "--close-text", "\\boxed{1} ", "--ignore-eos"]
        result = self.evaluate("vote", *flags, *TWO, "--stop-early", "exact", "--ballots-at-once", "2")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.summary("vote")["vote"], 1)
        self.assertGreater(self.summary("vote")["not_needed"], 0)
        self.assertEqual(len(self.samples("vote")), 5 * 40)

    def test_time_budget(self):
        """At the deadline the samples of both devices end."""
        for flag, key in ([], "forced"), (["--drop-at-deadline"], "dropped"):
            result = self.evaluate("budget" + key, "--limit", "1", "--max-new-tokens", "60000", "--ignore-eos", "--time-budget-per-problem", "0.05", *TWO, *flag)
            self.assertEqual(result.returncode, 0, result.stderr)
            finishes = [finish for _, _, finish in self.samples("budget" + key).values()]
            self.assertEqual(len(finishes), 6)
            if key == "dropped":
                self.assertEqual(set(finishes), {"dropped"})

    def test_run(self):
        """m1-run's samples, their numbers, votes and statistics, of one prompt and of many."""
        one, _ = self.run_samples("--prompt", "hello", "--samples", "7", "--json", "--first-sample", "3")
        two, said = self.run_samples("--prompt", "hello", "--samples", "7", "--json", "--first-sample", "3", "--stats", *TWO)
        self.assertEqual(one[0]["samples"], two[0]["samples"])
        self.assertEqual(one[0]["counts"], two[0]["counts"])
        generated = sum(len(sample["tokens"]) for sample in one[0]["samples"])
        self.assertIn(f"generated         {generated} tokens", said)
        self.assertIn("devices           2", said)
        one, _ = self.run_samples("--prompts", self.dataset, "--samples", "3", "--vote")
        two, _ = self.run_samples("--prompts", self.dataset, "--samples", "3", "--vote", *TWO)
        order = lambda lines: sorted(json.dumps(line) for line in lines)
        self.assertEqual(order(one), order(two))
        # More samples than sequences, on engines of which neither may take all of them.
        one, _ = self.run_samples("--prompt", "hello", "--samples", "20", "--json")
        two, _ = self.run_samples("--prompt", "hello", "--samples", "20", "--json", "--slots", "3", *TWO)
        self.assertEqual(one[0]["samples"], two[0]["samples"])

    def test_ranks(self):
        """Ranks, one of them on two devices' worth of work or all, draw the samples and figures of one process."""
        for count, flags in (2, TWO), (3, ("--slots", "2")):
            out = f"ranks{count}"
            result = self.finish(self.ranks(count, out, *flags))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(self.samples(out), self.expected)
            for figure in "problems", "samples", "tokens", "run_tokens", "length", "answered", "vote", "pass@1":
                self.assertEqual(self.summary(out)[figure], self.summary("one")[figure], figure)
            self.assertEqual(result.stdout.count("pass@1"), 1)
            self.assertTrue(os.path.exists(os.path.join(self.path(out), f"samples.{count - 1}.jsonl")))

    def kill_rank(self, out):
        """Kills rank 1 after its first record; the launcher's exit code, and how many records there are."""
        process = subprocess.Popen(self.ranks(2, out, "--max-new-tokens", "300", "--ignore-eos"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=MPI)
        log = os.path.join(self.path(out), "samples.1.jsonl")
        while process.poll() is None and (not os.path.exists(log) or os.path.getsize(log) == 0):
            time.sleep(0.002)
        if process.poll() is None:
            try:
                with open(log) as file:
                    os.kill(lock_holder(file), signal.SIGKILL)
            except (AssertionError, ProcessLookupError):
                pass  # it has just ended
        _, said = process.communicate(timeout=60)
        if "built without MPI" in said:
            self.skipTest("m1-eval was built without MPI")
        return process.returncode, len(self.samples(out))

    def test_rank_is_killed(self):
        """When a rank is killed all that had ended is kept; other ranks, or one process, draw the rest."""
        # A run may be over before its rank is found and killed; then another is tried.
        for _ in range(5):
            shutil.rmtree(self.path("dead"), ignore_errors=True)
            code, before = self.kill_rank("dead")
            if code != 0 and before < 30:
                break
        self.assertNotEqual(code, 0)
        self.assertTrue(0 < before < 30, before)
        shutil.copytree(self.path("dead"), self.path("dead-alone"))
        flags = ["--max-new-tokens", "300", "--ignore-eos"]
        self.assertEqual(self.evaluate("undisturbed", *flags).returncode, 0)
        whole = self.samples("undisturbed")
        self.assertEqual(self.finish(self.ranks(4, "dead", *flags)).returncode, 0)
        self.assertEqual(self.samples("dead"), whole)
        self.assertEqual(self.evaluate("dead-alone", *flags).returncode, 0)
        self.assertEqual(self.samples("dead-alone"), whole)

    def test_ranks_errors(self):
        """What rank 0 refuses ends all ranks."""
        self.evaluate("settings", "--limit", "1")
        result = self.finish(self.ranks(2, "settings", "--limit", "1", "--temperature", "0.5"))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stderr.count("m1-eval: error: "), 1, result.stderr)
        self.assertIn("drawn with temperature", result.stderr)

    def test_errors(self):
        """A device that is missing, a list that is none, and what runs on one device only: one message each."""
        run = [os.path.join(BIN, "m1-run"), self.art, "--prompt", "hello"]
        for command, code, says in ((self.command("bad", "--device", "cpu,cuda:99"), 1, "cuda:99"), ([*run, "--device", "cpu,cuda:99"], 1, "cuda:99"),
                                    (self.command("bad", "--device", "cpu,1"), 2, "--device: expected cpu, cuda"),
                                    ([*run, "--device", "cpu,"], 2, "--device: expected cpu, cuda"),
                                    ([*run, "--trace", self.path("trace"), *TWO], 2, "--trace is for one device: not with --device cpu,cpu"),
                                    ([run[0], self.art, "--chat", *TWO], 2, "--chat is for one device")):
            result = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertIn(says, result.stderr)
            self.assertEqual(result.stderr.count("error:"), 1, result.stderr)
        self.assertFalse(os.path.exists(self.path("bad")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
