#!/usr/bin/env python3
"""The Python package on a model with text: python_text_test.py BIN_DIR SOURCE_DIR LIBM1RT. It says what m1-run says."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import text_model

BIN, SOURCE, LIBRARY = sys.argv[1:]
os.environ["M1RT_LIBRARY"] = LIBRARY
sys.path.insert(0, os.path.join(SOURCE, "runtime", "python"))
import m1rt  # noqa: E402


class PythonText(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        model = text_model.write(os.path.join(cls.directory.name, "model"))
        with open(os.path.join(model, "generation_config.json"), "w") as file:
            json.dump({"temperature": 0.5, "top_k": 20, "repetition_penalty": 1.25}, file)
        cls.art = os.path.join(cls.directory.name, "model.m1a")
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", cls.art, "--activation-type", "f32"], check=True, capture_output=True)
        cls.model = m1rt.Model(cls.art)

    @classmethod
    def tearDownClass(cls):
        cls.model.close()
        cls.directory.cleanup()

    def run_tool(self, *arguments):
        result = subprocess.run([os.path.join(BIN, "m1-run"), self.art, "--json", *arguments], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_text(self):
        """Encoding, the chat template and decoding."""
        self.assertEqual(self.model.encode("hi"), [3 + b for b in b"hi"])
        self.assertEqual(self.model.encode("</s>"), [2])
        self.assertEqual(self.model.encode("</s>", parse_special=False), [3 + b for b in b"</s>"])
        self.assertEqual(self.model.decode(self.model.encode("h\u00e9</s>")), "h\u00e9")
        chat = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi</s>"}]
        self.assertEqual(self.model.chat(chat), [1] + [3 + b for b in b"system: be kind\nuser: hi</s>\nassistant: "])

    def test_samples_and_votes(self):
        """Samples, forced closes and the vote equal m1-run's; stop texts end them."""
        flags = ["--samples", "5", "--temperature", "1", "--max-new-tokens", "30", "--ignore-eos", "--seed", "4"]
        params = m1rt.Params(temperature=1.0, max_new_tokens=30, ignore_eos=True, seed=4)
        prompt = self.model.chat([{"role": "user", "content": "hello"}])
        ours = self.model.generate([prompt], 5, params)[0].samples
        self.assertEqual([s.text for s in ours], [s["text"] for s in self.run_tool("--prompt", "hello", *flags)["samples"]])
        params.max_think_tokens, params.close_text, params.close_max_tokens = 4, "\\boxed{4} ", 3
        completion = self.model.generate([prompt], 5, params)[0]
        self.assertTrue(all(sample.forced for sample in completion.samples))
        self.assertEqual(completion.vote(), m1rt.Vote("4", {"4": 5}))
        text = ours[0].text
        stopped = self.model.generate([prompt], 1, m1rt.Params(temperature=1.0, max_new_tokens=30, ignore_eos=True, seed=4, stop=[text[5:8]]))[0].samples[0]
        self.assertEqual((stopped.text, stopped.finish_reason), (text[:text.find(text[5:8])], "stop_string"))

    def test_probes(self):
        """Probes come after every few tokens and when another sample ends, as m1-run's do, and change no sample."""
        flags = ["--samples", "6", "--temperature", "1", "--max-new-tokens", "60", "--seed", "4", "--slots", "16", "--vote", "--stop-early", "off"]
        probes = ["--probe-every", "40", "--probe-on-end", "--close-text", "\\boxed{4} "]
        params = m1rt.Params(temperature=1.0, max_new_tokens=60, seed=4, probe_every=40, probe_on_end=True, close_text="\\boxed{4} ")
        with self.model.engine(max_samples=16, probe_places=6) as engine:
            ours = engine.generate([self.model.chat([{"role": "user", "content": "hello"}])], 6, params)[0].samples
            self.assertGreater(engine.stats.probes, 0)
        theirs = self.run_tool("--prompt", "hello", *flags, *probes)["samples"]
        self.assertEqual([s.text for s in ours], [s["text"] for s in theirs])
        self.assertEqual([[after for after, _ in s.probes] for s in ours], [[p["after"] for p in s.get("probes", [])] for s in theirs])
        self.assertTrue(all(m1rt.answer_of(text) == "4" for s in ours for _, text in s.probes))

    def test_generation_defaults(self):
        """What generation_config.json names, as parameters: the samples are m1-run's with --model-defaults."""
        self.assertEqual(self.model.generation_defaults, {"temperature": 0.5, "top_k": 20, "repetition_penalty": 1.25})
        params = m1rt.Params(**self.model.generation_defaults, max_new_tokens=20, ignore_eos=True)
        prompt = self.model.chat([{"role": "user", "content": "hello"}])
        wanted = self.run_tool("--prompt", "hello", "--model-defaults", "--samples", "3", "--max-new-tokens", "20", "--ignore-eos")["samples"]
        self.assertEqual([s.tokens for s in self.model.generate([prompt], 3, params)[0].samples], [s["tokens"] for s in wanted])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
