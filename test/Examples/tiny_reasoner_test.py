"""The problems, the tokenizer and the checkpoint files of examples/tiny-reasoner. Standard library only."""
import collections
import json
import math
import os
import random
import re
import sys
import tempfile
import unittest

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "tiny-reasoner")
sys.path.insert(0, HERE)
import m1_init
import problems
import tokenizer

SPLITS = ("train", "validation", "test")


def value(expression):
    """An integer expression of the worked solutions; a division must leave no remainder."""
    result = eval(expression.replace("/", "//"), {"__builtins__": {}})
    if "/" in expression:
        top, bottom = expression.split("/")
        assert int(top) % int(bottom) == 0, expression
    return result


def answer(problem):
    """What the problem asks, computed from its words alone, or None for kinds whose words are long."""
    numbers = [int(n) for n in re.findall(r"\d+", problem)]
    if "remainder" in problem or " mod " in problem:
        return numbers[0] % numbers[1]
    if "gcd" in problem or "common divisor" in problem:
        return math.gcd(*numbers)
    if "from base" in problem:
        return int(str(numbers[0]), numbers[1])
    if "in base 10" in problem:
        return int(str(numbers[1]), numbers[0])
    if "Write" in problem or "Convert" in problem:
        digits, rest = "", numbers[0]
        while rest:
            digits, rest = str(rest % numbers[1]) + digits, rest // numbers[1]
        return int(digits)
    plain = re.fullmatch(r"(?:Compute |What is |Evaluate )([-+*()\d]+)[.?]", problem)
    return eval(plain.group(1)) if plain else None


class Problems(unittest.TestCase):
    def test_splits_are_disjoint(self):
        # No two splits share what a problem asks, whatever its wording and however it was drawn.
        keys = {split: {item["key"] for item in problems.distinct(5, split, 1500)} for split in SPLITS}
        for a in SPLITS:
            self.assertEqual(len(keys[a]), 1500)
            self.assertTrue(all(problems.split_of(key) == a for key in keys[a]))
            for b in SPLITS:
                self.assertTrue(a == b or not keys[a] & keys[b])

    def test_split_sizes(self):
        # About 5 % of what can be drawn is held out for each of validation and test.
        counts = collections.Counter(problems.split_of(f"key {i}") for i in range(20000))
        self.assertTrue(900 < counts["test"] < 1100 and 900 < counts["validation"] < 1100)

    def test_same_seed_same_problems(self):
        # The generator is deterministic, and another seed draws other problems.
        self.assertEqual(problems.distinct(1, "train", 50), problems.distinct(1, "train", 50))
        self.assertNotEqual(problems.distinct(1, "train", 50), problems.distinct(2, "train", 50))

    def test_worked_solutions_are_true(self):
        # Every equality of every worked solution holds, and the answer in the box is the one computed from the words.
        checked = collections.Counter()
        for split in SPLITS:
            for item in problems.distinct(9, split, 1500):
                *lines, boxed = item["thought"].split("\n")
                self.assertEqual(boxed, f"\\boxed{{{item['answer']}}}")
                for line in lines:
                    self.assertEqual(len({value(part) for part in line.split("=")}), 1, line)
                wanted = answer(item["problem"])
                if wanted is not None:
                    self.assertEqual(str(wanted), item["answer"], item["problem"])
                    checked[item["kind"]] += 1
                elif lines:  # recurrences and word problems end in their answer
                    self.assertEqual(lines[-1].split("=")[-1], item["answer"])
        self.assertEqual(set(checked), {"arithmetic", "remainder", "base", "gcd"})

    def test_written_test_set(self):
        # test.jsonl is what the generator writes for the test split, so nothing in it was trained on.
        with open(os.path.join(HERE, "test.jsonl"), encoding="utf-8") as source:
            written = [json.loads(line) for line in source]
        drawn = problems.distinct(1, "test", len(written), "test")
        self.assertEqual([(w["id"], w["problem"], w["answer"]) for w in written], [(d["id"], d["problem"], d["answer"]) for d in drawn])
        self.assertGreaterEqual(len(written), 500)

    def test_many_ways_to_one_answer(self):
        # One expression is worked out in different ways, which is what makes samples err independently.
        rng = random.Random(3)
        tree = ("-", ("*", 47, 86), ("+", ("*", 12, 31), 8))
        ways = {problems.chain(rng, tree) for _ in range(60)}
        self.assertGreater(len(ways), 20)
        self.assertEqual({way.split("=")[-1] for way in ways}, {str(47 * 86 - (12 * 31 + 8))})


class Tokenizer(unittest.TestCase):
    def test_files_are_what_is_built(self):
        # tokenizer.json and tokenizer_config.json are reproducible from the generator.
        with tempfile.TemporaryDirectory() as directory:
            tokenizer.build(directory)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                with open(os.path.join(directory, name), encoding="utf-8") as built, open(os.path.join(HERE, "model", name), encoding="utf-8") as kept:
                    self.assertEqual(built.read(), kept.read())

    def test_round_trip(self):
        # Encoding and decoding gives the text back; digits and signs are tokens of their own.
        tokens = tokenizer.Tokenizer(os.path.join(HERE, "model"))
        for item in problems.distinct(4, "validation", 300):
            for text in (item["problem"], item["thought"]):
                self.assertEqual(tokens.decode(tokens.encode(text)), text)
        self.assertEqual(len(tokens.encode("123+45=168")), 10)
        self.assertEqual(len(tokens.encode(" boxes")), 1)


class Checkpoint(unittest.TestCase):
    def test_size_and_layout(self):
        # The checkpoint is small enough for the repository and holds exactly the tensors of a Mamba-1 hybrid of its configs' sizes.
        path = os.path.join(HERE, "model", "model.safetensors")
        self.assertLessEqual(os.path.getsize(path), 12_000_000)
        with open(os.path.join(HERE, "model", "config.json"), encoding="utf-8") as source:
            config = json.load(source)
        with open(os.path.join(HERE, "model", "mamba_config.json"), encoding="utf-8") as source:
            mamba = json.load(source)
        tensors = m1_init.read_safetensors(path)
        self.assertEqual({dtype for dtype, _, _ in tensors.values()}, {"BF16"})
        sizes = m1_init.Sizes(config, mamba["attn_layers"])
        self.assertEqual(mamba, sizes.mamba_config(config))
        for layer in range(sizes.layers):
            at = f"model.layers.{layer}."
            if layer in mamba["attn_layers"]:
                self.assertEqual(tensors[at + "mha.in_proj.weight"][1], [sizes.d_inner + 2 * sizes.d_xb, sizes.d_model])
            else:
                rows = 2 * sizes.d_inner + 2 * sizes.d_xb + sizes.dt_rank
                self.assertEqual(tensors[at + "mamba.in_proj.weight"][1], [rows, sizes.d_model])
                self.assertEqual(tensors[at + "mamba.A_log"][1], [sizes.d_inner, 16])

    def test_initialisation_is_stable(self):
        # Stage 1's draws depend on seed, tensor name and index alone: these values are what m1-convert must draw, too.
        self.assertEqual([f"{v:.9g}" for v in m1_init.uniform(0, "model.layers.0.mamba.D", 3, 0.5)], PINNED_UNIFORM)
        self.assertEqual([f"{v:.6g}" for v in m1_init.dt_bias(7, "a", 3)], PINNED_BIAS)
        self.assertEqual(m1_init.uniform(0, "a", 9, 1.0)[:5], m1_init.uniform(0, "a", 5, 1.0))
        self.assertNotEqual(m1_init.uniform(0, "a", 5, 1.0), m1_init.uniform(1, "a", 5, 1.0))
        for bias in m1_init.dt_bias(0, "steps", 200):
            self.assertTrue(0.00099 < math.log1p(math.exp(2 * bias)) < 0.10001)


PINNED_UNIFORM = ["-0.486375064", "-0.186223119", "-0.295436889"]
PINNED_BIAS = ["-2.90369", "-2.16787", "-2.15909"]

if __name__ == "__main__":
    unittest.main()
