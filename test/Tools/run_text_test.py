#!/usr/bin/env python3
"""m1-run on text: run_text_test.py BIN_DIR. Compiles a tiny model with a tokenizer, then uses every way to generate from it."""
import json
import os
import signal
import struct
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

    def fails(self, *arguments, says, code=None, **options):
        result = self.run_tool(*arguments, **options)
        self.assertGreater(result.returncode, 0, result)
        self.assertEqual(result.returncode, code or result.returncode, result)
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

    def test_logits_without_numbers(self):
        """A model whose last norm overflows, or holds one NaN, fails at every temperature and says at which token; it prints nothing."""
        for name, values in ("overflow", b"\x7f\x7f\x7f\x7f" * 1000000), ("nan", b"\x00\x00\xc0\x7f"):
            model = text_model.write(os.path.join(self.directory.name, name))
            weights = os.path.join(model, "model.safetensors")
            os.chmod(weights, 0o644)
            with open(weights, "r+b") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                begin, end = json.loads(file.read(size))["model.norm.weight"]["data_offsets"]
                file.seek(8 + size + begin)
                file.write(values[:end - begin])
            art = model + ".m1a"
            subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", "f32"], check=True, capture_output=True)
            for temperature in "0", "0.7", "1e-39":
                result = subprocess.run([os.path.join(BIN, "m1-run"), art, "--prompt", "hi", "--temperature", temperature],
                                        capture_output=True, text=True)
                self.assertEqual(result.returncode, 1, result)
                self.assertIn("error: the sample failed: ", result.stderr)
                self.assertIn("token 1 of the answer", result.stderr)
                self.assertIn("a NaN or an infinite value", result.stderr)
                self.assertEqual(result.stdout.strip(), "")
        prompts = os.path.join(self.directory.name, "failing.jsonl")
        with open(prompts, "w") as file:
            file.write('{"prompt": "hi"}\n')
        for source in ("--prompt", "hi"), ("--prompts", prompts):
            result = subprocess.run([os.path.join(BIN, "m1-run"), art, *source, "--samples", "2", "--temperature", "1"], capture_output=True, text=True)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn("error: every sample failed", result.stderr)

    def test_states_beyond_f16(self):
        """States that a model makes larger than 65504 are numbers of f32; of f16 they become infinite, and the answer ends with an error at the next token."""
        model = text_model.write(os.path.join(self.directory.name, "large"))
        weights = os.path.join(model, "model.safetensors")
        os.chmod(weights, 0o644)
        with open(weights, "r+b") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            begin, end = json.loads(file.read(size))["model.layers.0.mamba.conv1d.weight"]["data_offsets"]
            file.seek(8 + size + begin)
            file.write(struct.pack("<f", 1e9) * ((end - begin) // 4))
        for kind in "f32", "f16":
            art = model + ".m1a"
            subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", "f32", "--state-type", kind], check=True, capture_output=True)
            result = subprocess.run([os.path.join(BIN, "m1-run"), art, "--prompt", "hi", "--max-new-tokens", "3", "--ignore-eos"], capture_output=True, text=True)
            self.assertEqual(result.returncode, kind == "f16", result)
            if kind == "f16":
                self.assertIn("token 2 of the answer", result.stderr)
                self.assertIn("a NaN or an infinite value", result.stderr)

    def test_check_numerics(self):
        """--check-numerics fails where something is first no number, and names the layer; of a good model the samples stay the same."""
        flags = ["--prompt", "hi", "--max-new-tokens", "5", "--ignore-eos", "--samples", "2", "--temperature", "1"]
        self.assertEqual(self.json(*flags, "--check-numerics")["samples"], self.json(*flags)["samples"])
        for layer, tensor, kind in (2, "mlp.down_proj", "f32"), (3, "mlp.gate_proj", "bf16"), (1, "mha.out_proj", "f32"), (0, "mamba.dt_proj", "bf16"):
            model = text_model.write(os.path.join(self.directory.name, f"broken{layer}"))
            weights = os.path.join(model, "model.safetensors")
            os.chmod(weights, 0o644)
            with open(weights, "r+b") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                begin = json.loads(file.read(size))[f"model.layers.{layer}.{tensor}.weight"]["data_offsets"][0]
                file.seek(8 + size + begin)
                file.write(b"\x00\x00\x80\x7f")  # infinity
            art = model + ".m1a"
            compiled = subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", kind], check=True, capture_output=True, text=True)
            self.assertIn(f"model.layers.{layer}.{tensor}.weight' holds infinite values", compiled.stderr)
            for source in ["--prompt", "hi"], ["--chat"], ["--prompts", "-"]:
                result = subprocess.run([os.path.join(BIN, "m1-run"), art, *source, "--check-numerics"], capture_output=True, text=True,
                                        input='{"prompt": "hi"}\n')
                self.assertEqual(result.returncode, 1, result)
                self.assertRegex(result.stderr, rf'"[^"]*layers\.{layer}\.[^"]*" \(command \d+\) is the first to write what is no number')

    def test_ids_of_the_tokenizer(self):
        """Rows of the embedding beyond the tokenizer's ids are never chosen: not greedily, not drawn, with log probabilities or without."""
        model = text_model.write(os.path.join(self.directory.name, "ids"))
        path = os.path.join(model, "tokenizer.json")
        with open(path) as file:
            tokenizer = json.load(file)
        vocabulary = tokenizer["model"]["vocab"]
        for word in [word for word, number in vocabulary.items() if number >= 261]:
            del vocabulary[word]
        with open(path, "w") as file:
            json.dump(tokenizer, file)
        art = model + ".m1a"
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", "f32"], check=True, capture_output=True)
        plan = subprocess.run([os.path.join(BIN, "m1-compile"), model, "--emit", "m1"], check=True, capture_output=True, text=True)
        self.assertIn("m1.sample %", plan.stdout)
        self.assertEqual(plan.stdout.count("{ids = 261 : i64}"), plan.stdout.count("m1.sample %"))

        def chosen(artifact, *flags):
            result = subprocess.run([os.path.join(BIN, "m1-run"), artifact, "--json", "--prompt", "hi", "--max-new-tokens", "300", "--ignore-eos", *flags],
                                    capture_output=True, text=True)
            return {token for sample in json.loads(result.stdout)["samples"] for token in sample["tokens"]}
        for flags in [], ["--temperature", "2", "--samples", "3"], ["--temperature", "2", "--top-k", "400"], ["--logprobs", "0"]:
            self.assertLess(max(chosen(art, *flags)), 261, flags)
            self.assertGreaterEqual(max(chosen(self.art, *flags)), 261, flags)

    def test_tiny_temperatures_are_greedy(self):
        """1 / temperature need not be a number: what is below 1e-6 is 0, with log probabilities and without."""
        greedy = self.json("--prompt", "tiny", "--max-new-tokens", "8", "--ignore-eos", "--logprobs", "0")["samples"][0]
        for temperature in "1e-39", "1e-45", "1e-7":
            sample = self.json("--prompt", "tiny", "--max-new-tokens", "8", "--ignore-eos", "--temperature", temperature, "--logprobs", "0")["samples"][0]
            self.assertEqual(sample["tokens"], greedy["tokens"])
            self.assertEqual(sample["logprobs"], greedy["logprobs"])

    def test_begin_of_text_once(self):
        """A begin-of-text token that the raw prompt writes is not put there again; messages that write control tokens are text."""
        model = text_model.write(os.path.join(self.directory.name, "bos"))
        path = os.path.join(model, "tokenizer.json")
        with open(path) as file:
            tokenizer = json.load(file)
        tokenizer["post_processor"] = {"type": "TemplateProcessing", "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
                                       "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
        with open(path, "w") as file:
            json.dump(tokenizer, file)
        art = model + ".m1a"
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", "f32"], check=True, capture_output=True)

        def length(*prompt):
            result = subprocess.run([os.path.join(BIN, "m1-run"), art, "--json", "--max-new-tokens", "2", "--ignore-eos", *prompt],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)
            return json.loads(result.stdout)["prompt_tokens"]
        self.assertEqual(length("--raw", "--prompt", "hi"), 3)
        self.assertEqual(length("--raw", "--prompt", "<s>hi"), 3)
        self.assertEqual(length("--raw", "--prompt", "<s><s>hi"), 4)
        self.assertEqual(length("--prompt", "</s>"), length("--prompt", "x") + 3)

    def test_samples_are_reproducible(self):
        """Equal seeds give equal samples, however many run at once; any sample can be drawn alone; neighbouring seeds share none."""
        common = ["--prompt", "seed", "--max-new-tokens", "16", "--temperature", "1.2", "--ignore-eos"]
        many = [s["tokens"] for s in self.json(*common, "--samples", "6", "--seed", "5")["samples"]]
        few = [s["tokens"] for s in self.json(*common, "--samples", "6", "--seed", "5", "--slots", "2")["samples"]]
        self.assertEqual(many, few)
        self.assertEqual(len({tuple(tokens) for tokens in many}), 6)
        for i in 0, 3:
            self.assertEqual(self.json(*common, "--seed", "5", "--first-sample", str(i))["samples"][0]["tokens"], many[i])
        other = [s["tokens"] for s in self.json(*common, "--samples", "6", "--seed", "6")["samples"]]
        self.assertFalse({tuple(tokens) for tokens in many} & {tuple(tokens) for tokens in other})

    def test_stop_text(self):
        """A sample ends before the stop text."""
        text = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos")["samples"][0]["text"]
        stop = text[5:8]
        result = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos", "--stop", stop, "--stop", "never this")["samples"][0]
        self.assertEqual(result["finish_reason"], "stop_string")
        self.assertEqual(result["text"], text[:text.find(stop)])
        bracketed = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos", "--stop", f"[{stop}]", "--stop", "[x,y]")["samples"][0]
        self.assertEqual(bracketed["text"], text)

    def test_stop_token(self):
        """A sample ends with the stop token, which is reported; the model's own stop tokens stay."""
        whole = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos")["samples"][0]
        token = whole["tokens"][7]
        cut = self.json("--prompt", "stop", "--max-new-tokens", "60", "--ignore-eos", "--stop-token", str(token), "--stop-token", "510")["samples"][0]
        self.assertEqual(cut["finish_reason"], "stop_token")
        self.assertEqual(cut["tokens"], whole["tokens"][:whole["tokens"].index(token) + 1])

    def test_default_length(self):
        """Without --max-new-tokens a sample ends after 1024 tokens."""
        self.assertEqual(len(self.json("--prompt", "long", "--ignore-eos")["samples"][0]["tokens"]), 1024)

    def test_empty_prompt(self):
        """Nothing said is a message, too."""
        out = self.json("--prompt", "", "--max-new-tokens", "3", "--ignore-eos")
        self.assertEqual(out["prompt_tokens"], len("<user: \nassistant: "))
        self.assertEqual(len(out["samples"][0]["tokens"]), 3)

    def test_pipes_get_answers_only(self):
        """Without a terminal there is no progress: standard error stays empty, for one sample and for many."""
        common = ["--prompt", "quiet", "--max-new-tokens", "400", "--ignore-eos", "--temperature", "1"]
        self.assertEqual(self.run_tool(*common, "--samples", "8", "--json").stderr, "")
        self.assertEqual(self.run_tool(*common, "--samples", "8", "--vote").stderr, "")
        self.assertEqual(self.run_tool(*common).stderr, "")

    def test_output_that_cannot_be_written(self):
        """A full disk is an error at once, not at the end of a long answer; a reader that goes away ends the program."""
        long = ["--prompt", "far", "--max-new-tokens", "60000", "--ignore-eos"]
        began = time.time()
        with open("/dev/full", "w") as full:
            result = subprocess.run([os.path.join(BIN, "m1-run"), self.art, *long], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot write the output: No space left", result.stderr)
        process = subprocess.Popen([os.path.join(BIN, "m1-run"), self.art, *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), -signal.SIGPIPE)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertLess(time.time() - began, 60)
        self.fails("--prompt", "a", "--max-new-tokens", "2", "--trace", "/dev/null/trace.json", says="cannot write /dev/null/trace.json: Not a directory")

    def test_long_thoughts_are_closed(self):
        """After --max-think-tokens the closing text stands in the sample, and some tokens of its own."""
        sample = self.json("--prompt", "think", "--max-new-tokens", "200", "--ignore-eos", "--max-think-tokens", "10",
                           "--close-text", "so: \\boxed{")["samples"][0]
        self.assertTrue(sample["forced"])
        self.assertIn("so: \\boxed{", sample["text"])
        self.assertEqual(len(sample["tokens"]), 10 + len("so: \\boxed{") + 32)
        shorter = self.json("--prompt", "think", "--max-new-tokens", "200", "--ignore-eos", "--max-think-tokens", "10", "--close-text",
                            "so: \\boxed{", "--close-max-tokens", "5")["samples"][0]
        self.assertEqual(shorter["tokens"], sample["tokens"][:10 + len("so: \\boxed{") + 5])

    def test_time_budget(self):
        """Within the budget every sample ends, and the counts add up."""
        began = time.time()
        out = self.json("--prompt", "time", "--samples", "400", "--slots", "4", "--max-new-tokens", "30000", "--ignore-eos", "--temperature", "1",
                        "--time-budget", "2")
        self.assertLess(time.time() - began, 20)
        self.assertLess(out["seconds"], 5)  # 2 and a step, on a machine that is busy with other things
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

    def test_log_shows_progress(self):
        """Without a terminal a long run says how far it is, a line every few seconds."""
        result = self.run_tool("--prompt", "slow", "--samples", "64", "--slots", "4", "--max-new-tokens", "60000", "--ignore-eos", "--temperature", "1",
                               "--time-budget", "7", "--drop-at-deadline", "--json")
        self.assertRegex(result.stderr, r"^\d+/64 samples, \d+ tokens/s, \d s left\n$")

    def test_standard_input(self):
        """A file named - is standard input."""
        limits = ["--max-new-tokens", "9", "--ignore-eos"]
        for flag, text in (("--prompt-file", "hello"), ("--input-ids", "1 2 3"), ("--prompts", '{"prompt": "hello"}')):
            path = os.path.join(self.directory.name, "in.txt")
            with open(path, "w") as file:
                file.write(text)
            result = self.run_tool(flag, "-", *limits, input=text)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout, self.run_tool(flag, path, *limits).stdout)
        self.fails("--input-ids", "-", says="standard input: token 0: \"x\"", input="x")

    def test_template_arguments(self):
        """--template-arg gives the template variables: JSON where it is JSON, otherwise text."""
        model = text_model.write(os.path.join(self.directory.name, "arguments"))
        path = os.path.join(model, "tokenizer_config.json")
        with open(path) as file:
            config = json.load(file)
        config["chat_template"] = "{{ mood }}{% if n %}{{ n + 1 }}{{ names[1].x }}{% endif %}{{ messages[0]['content'] }}"
        with open(path, "w") as file:
            json.dump(config, file)
        art = model + ".m1a"
        subprocess.run([os.path.join(BIN, "m1-compile"), model, "-o", art, "--activation-type", "f32"], check=True, capture_output=True)

        def say(*flags):
            return subprocess.run([os.path.join(BIN, "m1-run"), art, "--json", "--max-new-tokens", "5", "--ignore-eos", *flags], capture_output=True, text=True)
        wanted = json.loads(say("--raw", "--prompt", "calm42yhi").stdout)
        got = json.loads(say("--prompt", "hi", "--template-arg", "mood=calm", "--template-arg", "n=41", "--template-arg", 'names=[1, {"x": "y"}]').stdout)
        self.assertEqual((got["prompt_tokens"], got["samples"]), (wanted["prompt_tokens"], wanted["samples"]))
        for bad, says in (("mood", "expected NAME=VALUE"), ("=1", "expected NAME=VALUE"), ("messages=[]", "of another name than messages"),
                          ("n=" + "[" * 40 + "]" * 40, "nested too deeply")):
            result = say("--prompt", "hi", "--template-arg", bad)
            self.assertEqual(result.returncode, 1 if "deeply" in says else 2)
            self.assertIn(says, result.stderr)

    def test_prefill(self):
        """The answer goes on from the prefill, special tokens included; its text begins behind it."""
        limits = ["--max-new-tokens", "9", "--ignore-eos"]
        wanted = self.json("--prompt", "user: a\nassistant: </s>b\n", "--raw", *limits)
        got = self.json("--prompt", "user: a\nassistant: ", "--raw", "--prefill", "</s>b\\n", *limits)
        self.assertEqual(got["samples"], wanted["samples"])
        self.assertEqual(got["prompt_tokens"], wanted["prompt_tokens"])

    def test_escapes(self):
        """\\n in --close-text and --stop is a line break, other backslashes are themselves."""
        close = ["--max-new-tokens", "50", "--ignore-eos", "--max-think-tokens", "3"]
        text = self.json("--prompt", "e", *close, "--close-text", "\\nso \\\\n \\boxed{")["samples"][0]["text"]
        self.assertIn("\nso \\n \\boxed{", text)

    def test_json_stream(self):
        """The lines of --json-stream, put together, are the samples of --json; the last line sums up."""
        common = ["--prompt", "s", "--max-new-tokens", "20", "--ignore-eos", "--temperature", "1", "--samples", "3", "--logprobs", "1"]
        whole = self.json(*common)
        result = self.run_tool("--json-stream", *common)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(lines[-1]["counts"], whole["counts"])
        self.assertEqual(lines[-1]["prompt_tokens"], whole["prompt_tokens"])
        self.assertGreater(len(lines), 20)
        for number, sample in enumerate(whole["samples"]):
            parts = [line for line in lines[:-1] if line["sample"] == number]
            self.assertEqual("".join(p["text"] for p in parts), sample["text"])
            self.assertEqual([t for p in parts for t in p["tokens"]], sample["tokens"])
            self.assertEqual([t for p in parts for t in p["logprobs"]], sample["logprobs"])
            self.assertEqual([p.get("finish_reason") for p in parts], [None] * (len(parts) - 1) + [sample["finish_reason"]])

    def test_many_prompts(self):
        """--prompts gives each prompt the samples that it gets alone, one line each, and votes; bad lines are named."""
        path = os.path.join(self.directory.name, "prompts.jsonl")
        with open(path, "w") as file:
            file.write('{"prompt": "one", "id": "a"}\n\n{"messages": [{"role": "user", "content": "two"}]}\n{"prompt": "three", "id": 9}\n')
        common = ["--max-new-tokens", "15", "--ignore-eos", "--temperature", "1", "--samples", "4", "--slots", "5"]
        box = ["--max-think-tokens", "4", "--close-text", "\\boxed{4} ", "--close-max-tokens", "3"]
        lines = [json.loads(line) for line in self.run_tool("--prompts", path, *common, *box).stdout.splitlines()]
        self.assertEqual(len(lines), 12)
        for prompt, name in (("one", "a"), ("two", 2), ("three", 9)):
            alone = self.json("--prompt", prompt, *common, *box)["samples"]
            got = sorted((line for line in lines if line["id"] == name), key=lambda line: line["sample"])
            self.assertEqual([line["sample"] for line in got], [0, 1, 2, 3])
            self.assertEqual([{k: v for k, v in line.items() if k not in ("id", "sample")} for line in got], alone)
        votes = [json.loads(line) for line in self.run_tool("--prompts", path, *common, *box, "--vote").stdout.splitlines()]
        votes = {line["id"]: line for line in votes if "vote" in line}
        self.assertEqual(set(votes), {"a", 2, 9})
        self.assertEqual(votes["a"]["vote"]["answer"], "4")
        self.assertEqual(sum(votes["a"]["counts"].values()), 4)
        for line, says in (("{}", ":1: expected \"prompt\""), ('{"prompt": 5, "messages": [{"role": "user", "content": "x"}]}', ':1: field "prompt" is not a string'),
                           ('{"prompt"', ":1: not a JSON object: column 10: syntax error"), (b'{"prompt": "1"}\n{"prompt": "\xe9"}', ":2: not valid UTF-8 at byte 28 of the file"), ("5", ":1: not a JSON object"), ('{"messages": [{"role": 1}]}', ":1: a message is not"),
                           ("", ": no prompts"), ('\ufeff{"prompt": "1"}'.encode("utf-16-le"), ": is text in UTF-16, expected UTF-8")):
            with open(path, "wb") as file:
                file.write(line if isinstance(line, bytes) else line.encode())
            self.fails("--prompts", path, says=path + says)
        with open(path, "w") as file:
            file.write('{"messages": [{"role": "user", "content": "two"}]}\n')
        self.fails("--prompts", path, "--raw", says=path + ":1: \"messages\" go through the template: not with --raw")

    def test_votes_stop(self):
        """A decided vote ends its other samples, which are counted; with --stop-early off they all run."""
        flags = ["--prompt", "v", "--max-new-tokens", "40", "--ignore-eos", "--temperature", "1", "--samples", "60", "--slots", "3", "--vote",
                 "--max-think-tokens", "2", "--close-text", "\\boxed{4} ", "--close-max-tokens", "9"]
        early = self.json(*flags)
        self.assertTrue(early["vote"]["stopped_early"])
        self.assertEqual(early["vote"]["answer"], "4")
        self.assertGreaterEqual(early["counts"]["forced"], 30)
        self.assertGreaterEqual(early["counts"]["not_needed"], 25)
        self.assertEqual(sum(early["counts"].values()), 60)
        confident = self.json(*flags, "--stop-early", "confident:0.9", "--least-ballots", "2")
        self.assertLess(confident["counts"]["forced"], 8)
        whole = self.json(*flags, "--stop-early", "off")
        self.assertEqual((whole["counts"]["forced"], whole["vote"]), (60, {"answer": "4", "tally": [{"answer": "4", "votes": 60}]}))
        weighted = self.json(*flags, "--vote-weight", "confidence")["vote"]["tally"][0]
        self.assertLess(weighted["weight"], weighted["votes"])
        self.assertGreater(weighted["weight"], 0)

    def test_probes(self):
        """Provisional ballots stop a confident vote, and never an exact one; samples are the same with and without probes."""
        flags = ["--prompt", "v", "--max-new-tokens", "40", "--ignore-eos", "--temperature", "1", "--samples", "6", "--slots", "14", "--vote"]
        plain = self.json(*flags)
        exact = self.json(*flags, "--probe-every", "10", "--close-text", "\\boxed{4} ")
        self.assertEqual([s["tokens"] for s in exact["samples"]], [s["tokens"] for s in plain["samples"]])
        self.assertEqual(exact["vote"]["tally"], [])  # those that were cut have no ballot
        self.assertGreater(exact["probes"]["begun"], 6)
        self.assertGreater(exact["probes"]["tokens"], 0)
        self.assertEqual({p["answer"] for s in exact["samples"] for p in s.get("probes", [])}, {"4"})
        early = self.json(*flags, "--probe-every", "10", "--close-text", "\\boxed{4} ", "--stop-early", "confident")
        self.assertTrue(early["vote"]["stopped_early"])
        self.assertEqual(early["vote"]["tally"][0]["answer"], "4")
        self.assertEqual(early["vote"]["tally"][0]["provisional"], early["vote"]["tally"][0]["votes"])
        self.assertLess(max(len(s["tokens"]) for s in early["samples"]), 40)
        for flag in (["--probe-every", "5"], ["--probe-on-end"]):
            self.fails("--prompt", "v", *flag, says=f"{flag[0]} needs --vote", code=2)
        self.fails("--prompt", "v", "--vote", "--probe-every", "5", "--vote-weight", "confidence", says="provisional ballots have no weight", code=2)

    def test_probes_when_another_sample_ends(self):
        """Each is of a sample that ran when another one had ended, and as many tokens behind the last as it may cost."""
        flags = ["--prompt", "v", "--max-new-tokens", "200", "--temperature", "1", "--samples", "12", "--slots", "28", "--vote", "--stop-early", "off",
                 "--stop", "a", "--stop", "b", "--stop", "c"]
        plain = self.json(*flags)
        probed = self.json(*flags, "--probe-on-end", "--close-text", "\\boxed{4} ")
        self.assertEqual([s["tokens"] for s in probed["samples"]], [s["tokens"] for s in plain["samples"]])
        lengths = [len(s["tokens"]) for s in probed["samples"]]
        probes = {i: s.get("probes", []) for i, s in enumerate(probed["samples"])}
        self.assertGreater(sum(map(len, probes.values())), 0)
        for i, of_sample in probes.items():
            last = 0
            for probe in of_sample:
                self.assertGreater(probe["after"] - last, 16)
                self.assertTrue(any(last <= length <= probe["after"] for j, length in enumerate(lengths) if j != i), (i, probe, lengths))
                last = probe["after"]

    def test_silent_samples_are_explained(self):
        """With --vote the JSON says why samples cast no ballot."""
        flags = ["--prompt", "v", "--ignore-eos", "--temperature", "1", "--samples", "5", "--vote"]
        self.assertEqual(self.json(*flags, "--max-new-tokens", "3")["no_ballot"], {"cut": 5})
        close = ["--max-new-tokens", "30", "--max-think-tokens", "2", "--close-max-tokens", "3", "--close-text"]
        self.assertEqual(self.json(*flags, *close, "\\boxed{} ")["no_ballot"], {"empty_box": 5})
        self.assertEqual(self.json(*flags, *close, "nothing")["no_ballot"], {"no_answer": 5})

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

    def test_c_example(self):
        """examples/c/generate.c, through the C API, says what m1-run says, through the chat template as it does."""
        wanted = self.json("--prompt", "hello", "--max-new-tokens", "30")["samples"][0]["text"]
        self.assertNotEqual(wanted, self.json("--prompt", "hello", "--raw", "--max-new-tokens", "30")["samples"][0]["text"])
        result = subprocess.run([os.path.join(BIN, "m1-example-generate"), self.art, "hello", "1", "30"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.removeprefix("[0] ").removesuffix("\n").replace("\n[0] ", ""), wanted)

    def test_errors(self):
        """Contradictory flags and impossible prompts are named."""
        self.fails("--max-new-tokens", "3", says="give one of --prompt")
        self.fails("--prompt", "a", "--chat", says="give one of --prompt")
        self.fails("--prompt", "a", "--raw", "--system", "b", says="--system goes through the chat template: not with --raw or --input-ids")
        self.fails("--prompt", "a", "--logprobs", "2", says="--logprobs needs --json, --json-stream or --prompts")
        self.fails("--prompt", "x" * (text_model.CONTEXT + 1), says=f"at most {text_model.CONTEXT}")
        self.fails("--prompt-file", "absent.txt", says="absent.txt")
        self.fails("--prompt", "a", "--stop", "", says="stop string")
        self.fails("--prompt", "a", "--stop", "end</s>", says="\"</s>\" is a special token")
        self.fails("--prompt", "a", "--stop", b"\xc3".decode(errors="surrogateescape"), says="not valid UTF-8")
        self.fails("--prompt", "a", "--stop-token", "512", says="ids 0 to 511")
        for seed in "-1", "18446744073709551616", "1e3":
            result = self.run_tool("--prompt", "a", "--seed", seed)
            self.assertGreater(result.returncode, 0)
            self.assertEqual(result.returncode, 2)
            self.assertIn("m1-run: error: --seed: expected an integer", result.stderr)
        for flags, says in [
                (["--prompt", "a", "--prompt-file", "b"], "give one of --prompt"),
                (["--chat", "--samples", "2"], "--chat answers once, as text: not with --samples"),
                (["--chat", "--raw"], "--raw is for --prompt, --prompt-file and --prompts"),
                (["--input-ids", "a", "--parse-special"], "--parse-special is about the chat template: not with --raw or --input-ids"),
                (["--input-ids", "a", "--prefill", "x"], "--prefill is text: not with --input-ids"),
                (["--input-ids", "a", "--dump-logits", "x", "--temperature", "1"], "--dump-logits is for one greedy sample: --temperature 0, --samples 1, no "),
                (["--input-ids", "a", "--dump-logits", "x", "--json"], "--dump-logits is for one greedy sample of token ids: not with --json"),
                (["--prompt", "a", "--vote", "--samples", "3", "--stop-early", "confident", "--vote-weight", "confidence"],
                 "--stop-early confident counts ballots: not with --vote-weight confidence"), (["--prompt", "a", "--drop-at-deadline"], "--drop-at-deadline needs --time-budget"),
                (["--prompt", "a", "--close-text", "x"], "--close-text is for samples that are closed by force: by --max-think-tokens, or by --time-budget without"),
                (["--prompt", "a", "--time-budget", "1", "--drop-at-deadline", "--close-text", "x"], "--close-text is for samples"),
                (["--prompt", "a", "--max-think-tokens", "9", "--close-text", ""], "an empty text closes nothing"),
                (["--prompt", "a", "--max-think-tokens", "20", "--max-new-tokens", "20"], "never reached: samples end after --max-new-tokens 20"),
                (["--prompt", "a", "--dump-logits", "x"], "--dump-logits needs --input-ids"),
                (["--prompt", "a", "--json", "--json-stream"], "give one of them"), (["--prompt", "a", "--stop-early", "off"], "--stop-early needs --vote"),
                (["--prompt", "a", "--vote", "--least-ballots", "2"], "--least-ballots needs --stop-early confident"),
                (["--prompt", "a", "--vote", "--stop-early", "soon"], "--stop-early soon: expected off, exact"),
                (["--prompts", "a", "--time-budget", "1"], "--time-budget is for one prompt: not with --prompts"),
                (["--prompt", "a", "--temperature", "nan"], "--temperature: expected a number, got nan"),
                (["--prompt", "a", "--min-p", "1.5"], "--min-p: Value 1.5 not in range"), (["--prompt", "a", "--device", "rocm"], "--device: expected cpu, cuda"),
                (["--prompt", "a", "--device", "cuda:"], "--device: expected cpu, cuda, cuda:N, cuda:N,M,… or cuda:all, got cuda:"),
                (["--prompt", "a", "--logit-bias", "5"], "--logit-bias: expected ID=VALUE, with a number or -inf, got 5"),
                (["--prompt", "a", "--logit-bias", "5=inf"], "--logit-bias: expected ID=VALUE"),
                (["--prompt", "a", "--trace", "t.json", "--check-numerics"], "--check-numerics waits after every launch")]:
            self.fails(*flags, says="m1-run: error: ", code=2)
            self.fails(*flags, says=says)
        warned = self.run_tool("--prompt", "a", "--samples", "2", "--max-new-tokens", "2")
        self.assertEqual(warned.returncode, 0)
        self.assertIn("warning: at --temperature 0 all 2 samples are the same", warned.stderr)
        bad = os.path.join(self.directory.name, "bad.txt")
        with open(bad, "wb") as file:
            file.write(b"ab\xff\xfe")
        self.fails("--prompt-file", bad, says="UTF-8")
        self.fails("--prompt", "a", "--tuning", "t.json", says="tuning table t.json: expected a CUDA device")

    def test_vote_accounts_for_every_sample(self):
        """Votes and samples without an answer add up, in the order of votes."""
        box = ["--max-new-tokens", "30", "--ignore-eos", "--temperature", "1", "--samples", "9", "--max-think-tokens", "2", "--close-max-tokens", "9"]
        out = self.run_tool("--prompt", "v", *box, "--close-text", "\\boxed{4} ", "--vote").stdout.splitlines()
        self.assertRegex(out[0], r"^0 finished, 0 cut by length, 9 forced, 0 dropped, 0 failed; \d+ tokens in ")
        self.assertEqual(out[1:], ["   9  4", "answer: 4"])
        out = self.run_tool("--prompt", "v", *box, "--close-text", "no box", "--vote").stdout.splitlines()
        self.assertEqual(out[1:], ["   9  (without an answer)", "answer: none"])
        self.assertEqual(self.json("--prompt", "v", *box, "--close-text", "no box", "--vote")["vote"], {"answer": None, "tally": []})

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
            self.tmux("send-keys", "-t", "chat", "half a li", "C-c")  # at the prompt: forgets the line
            self.tmux("send-keys", "-t", "chat", "", "Enter")
            self.tmux("send-keys", "-t", "chat", "h\u00e9llo \u4f60", "Enter")
            self.wait_for("h\u00e9llo \u4f60")
            time.sleep(0.5)
            self.tmux("send-keys", "-t", "chat", "C-c")
            self.wait_for("[stopped]", 3)
            self.tmux("send-keys", "-t", "chat", "C-d")
            self.wait_for("ended with 0")
        finally:
            self.tmux("kill-server")

    def test_chat_editing(self):
        """At a terminal: the arrow brings the last message back, pasted lines are one message, and commands work."""
        saved = os.path.join(self.directory.name, "saved.json")
        command = f"{BIN}/m1-run {self.art} --chat --max-new-tokens 5 --ignore-eos; echo ended with $?"
        self.assertEqual(self.tmux("new-session", "-d", "-s", "chat", "-x", "200", "-y", "50", "sh").returncode, 0)
        try:
            self.tmux("send-keys", "-t", "chat", command, "Enter")
            self.wait_for("> ")
            self.tmux("send-keys", "-t", "chat", "first", "Enter")
            self.wait_for("[cut off")
            self.tmux("send-keys", "-t", "chat", "Up", "BSpace", "BSpace", "xt", "Enter")
            self.wait_for("[cut off", 2)
            self.tmux("set-buffer", "pasted\nlines")
            self.tmux("paste-buffer", "-p", "-t", "chat")
            self.tmux("send-keys", "-t", "chat", "Enter")
            self.wait_for("[cut off", 3)
            self.tmux("send-keys", "-t", "chat", f"/save {saved}", "Enter")
            self.wait_for("[saved]")
            with open(saved) as file:
                messages = json.load(file)
            self.assertEqual([m["content"] for m in messages if m["role"] == "user"], ["first", "firxt", "pasted\nlines"])
            self.tmux("send-keys", "-t", "chat", "C-d")
            self.wait_for("ended with 0")
        finally:
            self.tmux("kill-server")

    def test_chat_commands(self):
        """/undo takes a turn back, /system changes the system message, /save writes what was said, unknown commands are errors."""
        limits = ["--max-new-tokens", "6", "--ignore-eos"]
        saved = os.path.join(self.directory.name, "chat.json")
        turns = f"one\ntwo\n/undo\n/system be kind\nthree\n/save {saved}\n/help\n/frob\n/undo\n/undo\n/undo\n/save\n /etc\n/new\n/etc/x\n/save {saved}2\n"
        result = self.run_tool("--chat", *limits, input=turns)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(saved) as file:
            messages = json.load(file)
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual([m["content"] for m in messages if m["role"] != "assistant"], ["be kind", "one", "three"])
        with open(saved + "2") as file:
            self.assertEqual([m["content"] for m in json.load(file)][:2], ["be kind", "/etc/x"])
        for says in ("/undo          take back", "/frob: no such command; /help", "/undo: nothing has been said", "/save: expected a file"):
            self.assertIn(says, result.stderr)
        lines = result.stdout.splitlines()
        raw = "<s>system: be kind\nuser: one\nassistant: " + messages[2]["content"] + "\nuser: three\nassistant: "
        self.assertEqual(self.json("--prompt", raw, "--raw", *limits)["samples"][0]["text"], messages[4]["content"])
        self.assertIn(messages[4]["content"].splitlines()[0], lines)

    def test_chat_forgets_whole_turns(self):
        """When the conversation outgrows the context its oldest turns are left out, with a note, and the answer is that to the rest."""
        limits = ["--max-new-tokens", "6", "--ignore-eos"]
        long = "y" * (text_model.CONTEXT * 2 // 3)
        saved = os.path.join(self.directory.name, "long.json")
        result = self.run_tool("--chat", *limits, input=f"{long}\n{long}\n/save {saved}\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("[the first 2 messages no longer fit the context", result.stderr)
        with open(saved) as file:
            messages = json.load(file)
        self.assertEqual(len(messages), 4)
        self.assertEqual(messages[1]["content"], messages[3]["content"])

    def test_chat_without_an_answer(self):
        """When no message could be answered, the exit code says so."""
        result = self.run_tool("--chat", input="x" * (text_model.CONTEXT + 1) + "\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no message was answered", result.stderr)

    def test_progress_on_a_terminal(self):
        """On a terminal many samples show how many are done, their rate and the time left; the line is gone at the end."""
        command = (f"{BIN}/m1-run {self.art} --prompt p --samples 40 --slots 4 --max-new-tokens 2000 --ignore-eos --temperature 1 --vote "
                   "--time-budget 4; echo ended with $?")
        self.assertEqual(self.tmux("new-session", "-d", "-s", "chat", "-x", "200", "-y", "50", "sh").returncode, 0)
        try:
            self.tmux("send-keys", "-t", "chat", command, "Enter")
            screen = self.wait_for(" s left")
            self.assertRegex(screen, r"\d+/40 samples, \d+ tokens/s, \d s left")
            self.assertNotIn(" s left", self.wait_for("ended with 0"))
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

    def test_chat_survives_bad_turns(self):
        """A turn that is too long or no UTF-8 gets an error and is forgotten; blank lines are none; /new forgets, /exit ends."""
        limits = ["--max-new-tokens", "12", "--ignore-eos"]
        turns = b"one\n" + b"x" * (text_model.CONTEXT + 1) + b"\n\n   \nbad \xff\n/new\none\n/exit\nnever\n"
        result = self.run_tool("--chat", *limits, input=turns, text=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        first = self.json("--prompt", "one", *limits)["samples"][0]["text"]
        self.assertEqual(result.stdout.decode(), 2 * (first + "\n"))
        errors = result.stderr.decode()
        self.assertEqual(errors.count("error:"), 2, errors)
        self.assertIn(f"does not fit the context of {text_model.CONTEXT} tokens; send a shorter one", errors)
        self.assertIn("not valid UTF-8", errors)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
