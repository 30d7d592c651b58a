#!/usr/bin/env python3
"""m1-run on text: run_text_test.py BIN_DIR. Compiles a tiny model with a tokenizer, then uses every way to generate from it."""
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


class RunText(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        model = text_model.write(os.path.join(cls.directory.name, "model"))
        cls.art = os.path.join(cls.directory.name, "model.m1a")
        result = subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", cls.art, "--activation-type", "f32"],
                                capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def run_tool(self, *arguments, **options):
        options.setdefault("text", True)
        return subprocess.run([os.path.join(BIN, "m1-run"), self.art, *arguments], capture_output=True, **options)

    def json(self, *arguments):
        result = self.run_tool("--json", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def fails(self, *arguments, says):
        result = self.run_tool(*arguments)
        self.assertGreater(result.returncode, 0, result)
        self.assertIn(says, result.stderr)
        self.assertEqual(result.stderr.count("error:"), 1, result.stderr)

    def test_streamed_text_is_the_text(self):
        """What is streamed equals what JSON holds, for a prompt on the command line and in a file."""
        path = os.path.join(self.directory.name, "prompt.txt")
        with open(path, "w") as file:
            file.write("hello")
        whole = self.json("--prompt", "hello", "--max-new-tokens", "40", "--ignore-eos")["samples"][0]
        self.assertEqual(len(whole["tokens"]), 40)
        self.assertEqual(whole["finish_reason"], "length")
        for source in (["--prompt", "hello"], ["--prompt-file", path]):
            streamed = self.run_tool(*source, "--max-new-tokens", "40", "--ignore-eos")
            self.assertEqual(streamed.stdout, whole["text"] + "\n")

    def test_prompt_through_the_template(self):
        """The chat template gives the model exactly the ids of its text; --raw gives those of the prompt."""
        ids = os.path.join(self.directory.name, "ids.txt")
        template = [1] + [3 + b for b in b"system: be kind\nuser: hi\nassistant: "]
        for source, prompt in ((["--prompt", "hi", "--system", "be kind"], template), (["--prompt", "hi", "--raw"], [3 + b for b in b"hi"])):
            with open(ids, "w") as file:
                file.write(" ".join(map(str, prompt)))
            wanted = self.json("--input-ids", ids, "--max-new-tokens", "20", "--ignore-eos")["samples"][0]["tokens"]
            self.assertEqual(self.json(*source, "--max-new-tokens", "20", "--ignore-eos")["samples"][0]["tokens"], wanted)

    def test_samples_are_reproducible(self):
        """Equal seeds give equal samples, however many run at once; sample i is the only sample of seed + i; seeds differ."""
        common = ["--prompt", "seed", "--max-new-tokens", "16", "--temperature", "1.2", "--ignore-eos"]
        many = [s["tokens"] for s in self.json(*common, "--samples", "6", "--seed", "5")["samples"]]
        few = [s["tokens"] for s in self.json(*common, "--samples", "6", "--seed", "5", "--slots", "2")["samples"]]
        self.assertEqual(many, few)
        self.assertEqual(len({tuple(tokens) for tokens in many}), 6)
        for i in 0, 3:
            self.assertEqual(self.json(*common, "--seed", str(5 + i))["samples"][0]["tokens"], many[i])

    def test_stop_text(self):
        """A sample ends before the stop text."""
        text = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos")["samples"][0]["text"]
        stop = text[5:8]
        result = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos", "--stop", stop, "--stop", "never this")["samples"][0]
        self.assertEqual(result["finish_reason"], "stop_string")
        self.assertEqual(result["text"], text[:text.find(stop)])

    def test_long_thoughts_are_closed(self):
        """After --max-think-tokens the closing text stands in the sample, and some tokens of its own."""
        sample = self.json("--prompt", "think", "--max-new-tokens", "200", "--ignore-eos", "--max-think-tokens", "10",
                           "--close-text", "so: \\boxed{")["samples"][0]
        self.assertTrue(sample["forced"])
        self.assertIn("so: \\boxed{", sample["text"])
        self.assertEqual(len(sample["tokens"]), 10 + len("so: \\boxed{") + 32)

    def test_time_budget(self):
        """Within the budget every sample ends, and the counts add up."""
        began = time.time()
        out = self.json("--prompt", "time", "--samples", "400", "--slots", "4", "--max-new-tokens", "30000", "--ignore-eos", "--temperature", "1",
                        "--time-budget", "2")
        self.assertLess(time.time() - began, 20)
        counts = out["counts"]
        self.assertEqual(sum(counts.values()), 400)
        self.assertGreater(counts["forced"], 0)
        self.assertGreater(counts["dropped"], 300)

    def test_logprobs(self):
        """The greedy token is the likeliest of its alternatives, and log probabilities descend."""
        sample = self.json("--prompt", "p", "--max-new-tokens", "5", "--ignore-eos", "--logprobs", "3")["samples"][0]
        for entry in sample["logprobs"]:
            tops = [t["logprob"] for t in entry["top"]]
            self.assertEqual(len(tops), 3)
            self.assertEqual(tops, sorted(tops, reverse=True))
            self.assertEqual(entry["top"][0]["token"], entry["token"])
            self.assertAlmostEqual(entry["logprob"], tops[0], places=5)
            self.assertLess(entry["logprob"], 0)

    def test_trace(self):
        """The trace is JSON with steps and, within each, its launches."""
        path = os.path.join(self.directory.name, "trace.json")
        self.assertEqual(self.run_tool("--prompt", "t", "--max-new-tokens", "3", "--ignore-eos", "--trace", path).returncode, 0)
        with open(path) as file:
            events = json.load(file)
        steps = [e for e in events if e["cat"] == "step"]
        self.assertEqual([e["name"] for e in steps], ["prefill", "decode", "decode"])
        for step in steps:
            inside = [e for e in events if e["cat"] == "launch" and step["ts"] <= e["ts"] <= step["ts"] + step["dur"]]
            self.assertGreater(len(inside), 10)

    def test_interrupt(self):
        """Ctrl-C ends a run with what it has, and exit code 0."""
        process = subprocess.Popen([os.path.join(BIN, "m1-run"), self.art, "--prompt", "go", "--max-new-tokens", "60000", "--ignore-eos", "--json",
                                    "--temperature", "1", "--samples", "8"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual({s["finish_reason"] for s in json.loads(out)["samples"]}, {"cancelled"})

    def test_errors(self):
        """Contradictory flags and impossible prompts are named."""
        self.fails("--max-new-tokens", "3", says="give one of --prompt")
        self.fails("--prompt", "a", "--chat", says="give one of --prompt")
        self.fails("--prompt", "a", "--raw", "--system", "b", says="--system")
        self.fails("--prompt", "a", "--logprobs", "2", says="--json")
        self.fails("--prompt", "x" * (text_model.CONTEXT + 1), says=f"at most {text_model.CONTEXT}")
        self.fails("--prompt-file", "absent.txt", says="absent.txt")
        self.fails("--prompt", "a", "--stop", "", says="stop string")
        bad = os.path.join(self.directory.name, "bad.txt")
        with open(bad, "wb") as file:
            file.write(b"ab\xff\xfe")
        self.fails("--prompt-file", bad, says="UTF-8")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-L", f"m1-{os.getpid()}", *arguments], capture_output=True, text=True)

    def wait_for(self, text, count=1):
        for _ in range(200):
            screen = self.tmux("capture-pane", "-p", "-J", "-t", "chat", "-S", "-200").stdout
            if screen.count(text) >= count:
                return screen
            time.sleep(0.05)
        self.fail(f"{text!r} did not appear {count} times:\n{screen}")

    def test_chat_in_a_terminal(self):
        """A conversation in a real terminal: two turns, Ctrl-C stops the answer and not the program, Ctrl-D ends it."""
        command = f"{BIN}/m1-run {self.art} --chat --max-new-tokens 30000 --ignore-eos; echo ended with $?"
        self.assertEqual(self.tmux("new-session", "-d", "-s", "chat", "-x", "200", "-y", "50", "sh").returncode, 0)
        try:
            self.tmux("send-keys", "-t", "chat", command, "Enter")
            self.wait_for("> ")
            self.tmux("send-keys", "-t", "chat", "hello", "Enter")
            time.sleep(0.5)
            self.tmux("send-keys", "-t", "chat", "C-c")
            self.wait_for("[stopped]")
            self.tmux("send-keys", "-t", "chat", "again", "Enter")
            time.sleep(0.5)
            self.tmux("send-keys", "-t", "chat", "C-c")
            self.wait_for("[stopped]", 2)
            self.tmux("send-keys", "-t", "chat", "C-d")
            self.wait_for("ended with 0")
        finally:
            self.tmux("kill-server")

    def test_chat_from_a_pipe(self):
        """Turns from a pipe are answered in order; the second answer is that to the whole conversation."""
        limits = ["--max-new-tokens", "12", "--ignore-eos"]
        result = self.run_tool("--chat", *limits, input="one\ntwo\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        first = self.json("--prompt", "one", *limits)["samples"][0]["text"]
        raw = f"<s>user: one\nassistant: {first}\nuser: two\nassistant: "
        second = self.json("--prompt", raw, "--raw", *limits)["samples"][0]["text"]
        self.assertEqual(result.stdout, first + "\n" + second + "\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
