#!/usr/bin/env python3
"""The Python package on the toy model: python_test.py SOURCE_DIR LIBM1RT TOY_ARTIFACT.

Its structs are those of the headers, and what it gives is what the engine gives."""
import array
import asyncio
import copy
import ctypes
import os
import pathlib
import pickle
import re
import struct
import sys
import unittest

SOURCE, LIBRARY, ARTIFACT = sys.argv[1:]
os.environ["M1RT_LIBRARY"] = LIBRARY
sys.path.insert(0, os.path.join(SOURCE, "runtime", "python"))
import m1rt  # noqa: E402
from m1rt import _library, _tensors  # noqa: E402

TYPES = {"uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64, "int32_t": ctypes.c_int32, "size_t": ctypes.c_size_t, "bool": ctypes.c_bool,
         "float": ctypes.c_float, "double": ctypes.c_double, "m1_sequence": ctypes.c_uint64, "m1_deadline_action": ctypes.c_int,
         "m1_finish_reason": ctypes.c_int, "m1_memory": ctypes.c_int, "m1_element_type": ctypes.c_int}


def c_structs():
    """The structs of the headers: name to a list of (field, type or None for a pointer)."""
    text = ""
    for name in "runtime.h", "engine.h":
        with open(os.path.join(SOURCE, "runtime", "include", "m1", name)) as file:
            text += re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
    out = {}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, flags=re.S):
        fields = []
        for declaration in filter(None, (part.strip() for part in body.split(";"))):
            function = re.fullmatch(r".*\(\*(\w+)\)\(.*\)", declaration, flags=re.S)
            if function:
                fields.append((function[1], None))
            elif "*" in declaration:
                fields.append((declaration.split("*")[-1].replace("const", "").strip(), None))
            else:
                kind, names = declaration.split(None, 1)
                fields += [(field.strip(), TYPES[kind]) for field in names.split(",")]
        out[name] = fields
    return out


class Python(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = m1rt.Model(ARTIFACT)

    def test_structs_are_those_of_the_headers(self):
        """Every struct has the header's fields, in order and of the same type."""
        headers = c_structs()
        for name, struct in _library.STRUCTS.items():
            ours = [(field, None if ctypes.sizeof(kind) == 8 and kind not in TYPES.values() else kind) for field, kind in struct._fields_]
            self.assertEqual(ours, headers[name], name)

    def test_model(self):
        """What the artifact says of itself."""
        info = self.model.info
        self.assertEqual((info.vocab_size, info.max_positions), (97, 200))
        self.assertRegex(self.model.weights_digest, "^[0-9a-f]{64}$")
        with self.assertRaises(m1rt.Error) as caught:
            m1rt.Model("absent.m1a")
        self.assertEqual(caught.exception.code, "not found")
        self.assertIn("absent.m1a", str(caught.exception))
        with self.assertRaises(m1rt.Error) as caught:
            self.model.encode("text")
        self.assertEqual(caught.exception.code, "unsupported")

    def test_many_prompts(self):
        """Samples of prompts together are those of each alone; streamed updates add up to them."""
        prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
        params = m1rt.Params(max_new_tokens=12, temperature=1.0, seed=3, ignore_eos=True, logprobs=True, top_logprobs=2)
        together = self.model.generate(prompts, 3, params)
        self.assertEqual([c.prompt for c in together], [0, 1, 2])
        for prompt, completion in zip(prompts, together):
            alone = self.model.generate([prompt], 3, params)[0]
            self.assertEqual([s.tokens for s in completion.samples], [s.tokens for s in alone.samples])
            for sample in completion.samples:
                self.assertEqual((len(sample.tokens), sample.finish_reason), (12, "length"))
                self.assertEqual([len(top) for top in sample.top_logprobs], [2] * 12)
        parts = {}
        for update in self.model.stream(prompts, 3, params):
            parts.setdefault((update.prompt, update.sample), []).extend(update.tokens)
        self.assertEqual(parts, {(c.prompt, j): s.tokens for c in together for j, s in enumerate(c.samples)})
        again = self.model.generate([prompts[0]], 1, m1rt.Params(max_new_tokens=12, temperature=1.0, seed=3, ignore_eos=True, first_sample=2))
        self.assertEqual(again[0].samples[0].tokens, together[0].samples[2].tokens)

    def test_samples_run_together(self):
        """An engine without a number of samples runs as many as suit the device, not one after another."""
        with self.model.engine() as engine:
            engine.submit([1, 2, 3], 16, m1rt.Params(max_new_tokens=20, ignore_eos=True, temperature=1.0))
            most = 0
            while not engine.idle:
                engine.step()
                most = max(most, engine.stats.running_samples)
            self.assertEqual(most, 16)

    def test_score(self):
        """The score of what was said is the log probability with which it was said."""
        prompt = [1, 2, 3]
        sample = self.model.generate([prompt], 1, m1rt.Params(max_new_tokens=20, temperature=1.0, ignore_eos=True, logprobs=True))[0].samples[0]
        scores = self.model.score(prompt + sample.tokens)
        self.assertEqual(len(scores), len(prompt) + 19)
        for got, wanted in zip(scores[len(prompt) - 1:], sample.logprobs):
            self.assertAlmostEqual(got, wanted, places=4)
        self.assertEqual(self.model.score([1]), [])

    def test_cancel_and_stats(self):
        """A cancelled sample ends with what it has; leaving a stream ends the rest; the counters count."""
        with self.model.engine(max_samples=8) as engine:
            request = engine.submit([1, 2], 2, m1rt.Params(max_new_tokens=150, ignore_eos=True))
            engine.step()
            engine.cancel(request, 1)
            ends = {}
            while not engine.idle:
                for update in engine.step():
                    if update.finish_reason:
                        ends[update.sample] = update.finish_reason
            self.assertEqual(ends, {0: "length", 1: "cancelled"})
            for update in engine.stream([[1, 2]], 4, m1rt.Params(max_new_tokens=150, ignore_eos=True)):
                break
            self.assertTrue(engine.idle)
            self.assertGreater(engine.stats.generated_tokens, 150)

    def test_runs_side_by_side(self):
        """What is said to one stream, or to step(), is not lost to the others; a run that fails leaves nothing behind."""
        params = m1rt.Params(max_new_tokens=20, ignore_eos=True)
        wanted = [self.model.generate([prompt], 1, params)[0].samples[0].tokens for prompt in ([1, 2], [3, 4])]
        with self.model.engine(max_samples=4, max_context=64) as engine:
            submitted, told = engine.submit([1, 2], 1, params), []
            streams, got = [engine.stream([prompt], 1, params) for prompt in ([1, 2], [3, 4])], [[], []]
            for _ in range(30):
                for stream, tokens in zip(streams, got):
                    update = next(stream, None)
                    tokens += update.tokens if update else []
            while not engine.idle or not told:
                told += engine.step()
            self.assertEqual(got, wanted)
            self.assertEqual({update.prompt for update in told}, {submitted})
            self.assertEqual([token for update in told for token in update.tokens], wanted[0])
            with self.assertRaises(m1rt.Error):
                engine.generate([[1, 2], [1] * 100], 1, params)
            while not engine.idle:
                self.assertEqual(engine.step(), [])
            self.assertEqual(engine.generate([[3, 4]], 1, params)[0].samples[0].tokens, wanted[1])
            self.assertEqual((engine._runs, engine._abandoned), ({}, {}))
        with self.assertRaises(ValueError):
            engine.stats

    def test_asyncio(self):
        """Tasks of an event loop stream in the same steps; one that is cancelled ends its samples and no others."""
        params = m1rt.Params(max_new_tokens=40, ignore_eos=True)
        wanted = self.model.generate([[1, 2]], 1, params)[0].samples[0].tokens

        async def tokens(engine, started=None):
            out = []
            async for update in engine.stream_async([[1, 2]], 1, params):
                out += update.tokens
                if started:
                    started.set()
            return out

        async def both(engine):
            started = asyncio.Event()
            tasks = [asyncio.ensure_future(tokens(engine, started)), asyncio.ensure_future(tokens(engine))]
            await started.wait()
            for _ in range(2):
                tasks[0].cancel()
                await asyncio.sleep(0)
            return await asyncio.gather(*tasks, return_exceptions=True)

        with self.model.engine(max_samples=4, max_context=64) as engine:
            for _ in range(2):  # in one event loop after the other
                first, second = asyncio.run(both(engine))
                self.assertIsInstance(first, asyncio.CancelledError)
                self.assertEqual(second, wanted)
                while not engine.idle:
                    self.assertEqual(engine.step(), [])

    def toy_checkpoint(self, scale):
        """Tensors of the shapes that the toy artifact names, without numpy."""
        def floats(rows, begin):
            values = array.array("f", [scale * ((begin + i) * 37 % 64 - 32) / 64 for i in range(rows * 12)])
            return memoryview(values).cast("B").cast("f", (rows, 12))
        return {"embed": floats(97, 0), "head.first": floats(50, 5), "head.second": floats(47, 9)}

    def test_update_weights(self):
        """New weights change what is said, the same ones again say the same; the artifact and other models of it stay."""
        params = m1rt.Params(max_new_tokens=16, ignore_eos=True)
        def said(model):
            return model.generate([[1, 2, 3]], 1, params)[0].samples[0].tokens
        old = said(self.model)
        with m1rt.Model(ARTIFACT) as model:
            self.assertEqual(said(model), old)
            model.update_weights(self.toy_checkpoint(1))
            first = said(model)
            self.assertNotEqual(first, old)
            model.update_weights(self.toy_checkpoint(-0.5), running="keep")
            model.update_weights(self.toy_checkpoint(1), running="restart")
            self.assertEqual(said(model), first)
            # The bits of bfloat16, read-only: these numbers have no others.
            halves = {name: memoryview(array.array("H", [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for row in view.tolist() for value in row])
                                       ).cast("B").cast("H", view.shape).toreadonly() for name, view in self.toy_checkpoint(1).items()}
            model.update_weights(self.toy_checkpoint(-0.5))
            model.update_weights(halves)
            self.assertEqual(said(model), first)
        self.assertEqual(said(self.model), old)

    def test_updates_restart_samples(self):
        """A restarted sample's updates begin anew, and what it says is the new model's."""
        params = m1rt.Params(max_new_tokens=30, ignore_eos=True, logprobs=True)
        with m1rt.Model(ARTIFACT) as model, model.engine(max_samples=2) as engine:
            engine.submit([1, 2, 3], 1, params)
            sample = m1rt.Sample()
            for _ in range(5):
                for update in engine.step():
                    sample.take(update)
            self.assertGreater(len(sample.tokens), 2)
            model.update_weights(self.toy_checkpoint(1), running="restart")
            restarted = 0
            while not engine.idle:
                for update in engine.step():
                    restarted += update.restarted
                    sample.take(update)
            wanted = model.generate([[1, 2, 3]], 1, params)[0].samples[0]
            self.assertEqual((restarted, sample.tokens, len(sample.logprobs)), (1, wanted.tokens, 30))

    def test_arrays_of_others(self):
        """__cuda_array_interface__ and DLPack are read as they are written; what a model cannot take is refused by name."""
        class Cuda:
            __cuda_array_interface__ = {"shape": (97, 12), "typestr": "<f4", "data": (4096, False), "version": 3, "strides": None}
        with self.assertRaises(m1rt.Error) as caught:
            self.model.update_weights({"embed": Cuda()})
        self.assertEqual(caught.exception.code, "unsupported")
        self.assertIn("tensor 'embed': memory of a GPU, and the model is on the cpu", str(caught.exception))

        class Gaps:
            __cuda_array_interface__ = {"shape": (97, 12), "typestr": "<f4", "data": (4096, False), "version": 3, "strides": (96, 4)}

        class Tensor:  # of torch, as far as it is asked
            """DLPack of floats of the host, in a capsule as Python's C API makes it."""
            def __init__(self, view, bits=32):
                self.data = (ctypes.c_char * view.nbytes).from_buffer_copy(view)
                self.shape = (ctypes.c_int64 * view.ndim)(*view.shape)
                self.tensor = _tensors._DLTensor(ctypes.addressof(self.data), 1, 0, view.ndim, 2, bits, 1, self.shape, None, 0)

            def __dlpack_device__(self):
                return (1, 0)

            def __dlpack__(self, stream=None):
                new = ctypes.pythonapi.PyCapsule_New
                new.argtypes, new.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p], ctypes.py_object
                return new(ctypes.addressof(self.tensor), b"dltensor", None)

        params = m1rt.Params(max_new_tokens=16, ignore_eos=True)
        with m1rt.Model(ARTIFACT) as model, m1rt.Model(ARTIFACT) as other:
            model.update_weights(self.toy_checkpoint(1))
            other.update_weights({name: Tensor(view) for name, view in self.toy_checkpoint(1).items()})
            self.assertEqual([m.generate([[1, 2]], 1, params)[0].samples[0].tokens for m in (model, other)][0],
                             other.generate([[1, 2]], 1, params)[0].samples[0].tokens)
        good = self.toy_checkpoint(1)["embed"]
        for array_, error, says in ((Gaps(), ValueError, "without gaps"), (Tensor(good, 64), TypeError, "got DLPack's type 2 of 64 bits"),
                                    (good.cast("B").cast("i", good.shape), TypeError, "format 'i'"), ([1.0], TypeError, "got list"),
                                    (good.cast("B").cast("f", (12, 97)), m1rt.Error, "expected shape [97, 12], got [12, 97]")):
            with self.assertRaises(error) as caught:
                self.model.update_weights({"embed": array_})
            self.assertIn(says, str(caught.exception))
            self.assertIn("embed", str(caught.exception))
        with self.assertRaises(ValueError):
            self.model.update_weights({}, running="stop")
        with self.assertRaises(ValueError) as caught:  # C would take it for "embed"
            self.model.update_weights({"embed\0": good})
        self.assertIn("NUL", str(caught.exception))

    def test_bad_requests(self):
        """A request that cannot be is refused by the name of its field."""
        for prompt, params, says in (([], m1rt.Params(), "prompt"), ([97], m1rt.Params(), "token 0 is 97"),
                                     ([1], m1rt.Params(top_p=2.0), "top-p"), ([1], m1rt.Params(stop_tokens=[-1]), "stop token")):
            with self.assertRaises(m1rt.Error) as caught:
                self.model.generate([prompt], 1, params)
            self.assertIn(says, str(caught.exception))
        # C would take these modulo 2^32.
        for prompt, n, params, says in (([1], 1, m1rt.Params(max_new_tokens=2**32 + 1), "max_new_tokens"), ([1], 1, m1rt.Params(seed=-1), "seed"),
                                        ([1], 2**32 + 1, m1rt.Params(), "n"), ([1], -1, m1rt.Params(), "n"), ([2**32 + 1], 1, m1rt.Params(), "token ids"),
                                        ([1], 1, m1rt.Params(logit_bias={2**32: 1.0}), "token ids"), ([1], 1, m1rt.Params(top_k=-1), "top_k")):
            with self.assertRaises(ValueError) as caught:
                self.model.generate([prompt], n, params)
            self.assertIn(says, str(caught.exception))
        for call in (lambda: self.model.score([1, -1]), lambda: self.model.score([1, 97]), lambda: self.model.decode([2**32 + 1]),
                     lambda: self.model.engine(max_samples=-1), lambda: m1rt.Model(ARTIFACT, threads=-1)):
            self.assertRaises(ValueError, call)
        for call, says in ((lambda: self.model.generate([[1]], 1, m1rt.Params(stop=["\ud800"])), "stop[0]: "), (lambda: m1rt.answer_of("a\udcff"), "text: ")):
            with self.assertRaises(ValueError) as caught:
                call()
            self.assertIn(says, str(caught.exception))
        with self.assertRaisesRegex(ValueError, r"messages\[0\]\.content: character 1 is '\\udc00', half of one"):
            self.model.chat([{"role": "user", "content": "a\udc00"}])
        for path in (3, None):
            with self.assertRaisesRegex(TypeError, f"path: expected the name of a file, got {path}"):
                m1rt.Model(path)
        self.assertRaises(TypeError, self.model.generate, [[1]], 1, m1rt.Params(top_k=1.5))
        for values, says in (({"max_new_tokens": None}, "max_new_tokens"), ({"temperature": "hot"}, "temperature"), ({"ignore_eos": "no"}, "ignore_eos"),
                             ({"logprobs": "no"}, "logprobs"), ({"stop": [1]}, "stop[0]"), ({"stop": [b"a"]}, "stop[0]"), ({"stop": 5}, "stop"), ({"stop_tokens": 5}, "stop_tokens"),
                             ({"logit_bias": [1]}, "logit_bias"), ({"logit_bias": {1: "a"}}, "logit_bias")):
            with self.assertRaises(TypeError) as caught:
                self.model.generate([[1]], 1, m1rt.Params(**values))
            self.assertIn(says, str(caught.exception))

    def test_one_prompt_is_no_list(self):
        """A prompt where several are expected would be one for each of its characters or bytes; any iterable of prompts is taken, once."""
        params = m1rt.Params(max_new_tokens=3, ignore_eos=True)
        wanted = [c.samples[0].tokens for c in self.model.generate([[1, 2], [3]], 1, params)]
        self.assertEqual([c.samples[0].tokens for c in self.model.generate((prompt for prompt in ([1, 2], [3])), 1, params)], wanted)
        for prompts, says in (("12", "prompts"), (b"12", "prompts"), ({"1": 1}, "prompts"), (None, "prompts"), ([1, 2], "prompts[0]"), ([[1], b"12"], "prompts[1]"),
                              ([["a"]], "token ids"), ([[1.0]], "token ids")):
            for call in self.model.generate, lambda *args: list(self.model.stream(*args)):
                with self.assertRaises(TypeError) as caught:
                    call(prompts, 1, params)
                self.assertIn(says if says != "token ids" else "prompt", str(caught.exception))
        for call, says in ((lambda: self.model.generate([[1]], 1.5, params), "n"), (lambda: self.model.generate([[1]], 1, {"max_new_tokens": 1}), "Params"),
                           (lambda: self.model.chat("hi"), "messages[0]"), (lambda: self.model.chat([{"role": "user"}]), "messages[0]"),
                           (lambda: self.model.chat([{"role": "user", "content": 5}]), "messages[0].content"), (lambda: self.model.encode(5), "text"),
                           (lambda: self.model.decode("ab"), "token ids"), (lambda: self.model.update_weights([1]), "tensors"),
                           (lambda: self.model.update_weights({5: array.array("f", [1])}), "names"), (lambda: m1rt.answer_of(5), "text")):
            with self.assertRaises(TypeError) as caught:
                call()
            self.assertIn(says, str(caught.exception))

    def test_one_owner(self):
        """A handle has one owner, which knows when it is closed; a path may be any that Python has."""
        for thing in self.model, self.model.engine():
            for take in copy.copy, copy.deepcopy, pickle.dumps:
                self.assertRaises(TypeError, take, thing)
        with m1rt.Model(pathlib.Path(ARTIFACT)) as model:
            engine = model.engine(max_samples=2, max_context=64)
        self.assertEqual(len(engine.generate([[1, 2]], 1, m1rt.Params(max_new_tokens=2))), 1, "an engine outlives its model's handle")
        stream = engine.stream([[1, 2]], 1, m1rt.Params(max_new_tokens=20, ignore_eos=True))
        next(stream)
        engine.close()
        for call in (lambda: list(stream), engine.step, lambda: engine.submit([1]), lambda: engine.idle, lambda: engine.cancel(1), lambda: engine.stats,
                     lambda: model.info, lambda: model.encode("a"), lambda: model.decode([1]), lambda: model.weights_digest,
                     lambda: model.generation_defaults, lambda: model.generate([[1]]), lambda: model.update_weights({}), model.engine):
            with self.assertRaises(ValueError) as caught:
                call()
            self.assertIn("is closed", str(caught.exception))
        with self.model.engine() as engine:
            for request, sample in ((-1, None), (1, -1), (2**64, None)):
                self.assertRaises(ValueError, engine.cancel, request, sample)
            self.assertRaises(TypeError, engine.cancel, 1, "")

    def test_long_values_are_quoted_by_their_ends(self):
        """A message holds no more of a wrong value than says which it is."""
        for call in (lambda: m1rt.Model(ARTIFACT, threads="7" * 1000000), lambda: m1rt.vote(["7" * 1000000]), lambda: m1rt.answer_of(list(range(1000000)))):
            with self.assertRaisesRegex(TypeError, r"got .*\.\.\.") as caught:
                call()
            self.assertLess(len(str(caught.exception)), 300)
        # Of integers that Python itself does not write the message is the same.
        for call, what in ((lambda: m1rt.Model(ARTIFACT, threads=10**5000), "threads: expected an integer from 0"),
                           (lambda: m1rt.answer_of([10**5000]), "expected a str, got")):
            with self.assertRaisesRegex((TypeError, ValueError), what):
                call()

    def test_votes(self):
        """Answers of equal value are one; ties go to the earlier sample; samples that were cut are silent."""
        def sample(text, reason="stop_token", forced=False):
            return m1rt.Sample(text=text, finish_reason=reason, forced=forced)

        self.assertEqual(m1rt.answer_of("so \\boxed{42}."), "42")
        self.assertIsNone(m1rt.answer_of("so"))
        self.assertTrue(m1rt.answers_equal("1/2", "0.5"))
        self.assertFalse(m1rt.answers_equal("1/2", "0.51"))
        result = m1rt.vote([sample("\\boxed{7}"), sample("\\boxed{0.5}"), sample("\\boxed{\\frac12}"), sample("\\boxed{7}", "length"), sample("\\boxed{}"),
                            sample("\\boxed{7.0}", "length", True), sample("nothing")])
        self.assertEqual((result.answer, result.tally), ("7", {"7": 2, "0.5": 2}))
        self.assertEqual(m1rt.vote([]).answer, None)
        with self.assertRaisesRegex(TypeError, r"samples\[1\]: expected a Sample, got '7'"):
            m1rt.vote([sample("\\boxed{7}"), "7"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
