#!/usr/bin/env python3
"""What m1-compile makes of the files beside the weights: checkpoint_files_test.py BIN_DIR.

End tokens of every source, sampling defaults, tokenizers and templates that are missing, elsewhere or another model's, and files that are not what
their names say."""
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import text_model

BIN = os.path.abspath(sys.argv[1])
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17209920\n"


def run(name, *arguments, **options):
    return subprocess.run([os.path.join(BIN, name), *arguments], capture_output=True, text=True, timeout=120, **options)


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.model = os.path.join(self.directory.name, "model")
        self.artifact = os.path.join(self.directory.name, "out.m1a")
        text_model.write(self.model)
        for name in os.listdir(self.model):
            os.chmod(os.path.join(self.model, name), 0o644)

    def tearDown(self):
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.model, name)

    def write(self, name, content):
        with open(self.path(name), "w" if isinstance(content, str) else "wb") as file:
            file.write(content)

    def edit(self, name, change):
        with open(self.path(name)) as file:
            content = json.load(file)
        change(content)
        self.write(name, json.dumps(content))

    def compile(self, *flags, **options):
        return run("m1-compile", self.model, "-o", self.artifact, *flags, **options)

    def compiled(self, *flags):
        """The warnings, without the progress that a busy machine shows, and what m1-dump says."""
        result = self.compile(*flags)
        self.assertEqual(result.returncode, 0, result)
        warnings = "".join(line for line in result.stderr.splitlines(True) if "..." not in line)
        return warnings, json.loads(run("m1-dump", self.artifact, "--json").stdout)

    def refuses(self, *expected, **options):
        result = self.compile(**options)
        self.assertEqual(result.returncode, 1, result)
        self.assertFalse(os.path.exists(self.artifact))
        for text in expected:
            self.assertIn(text, result.stderr)

    # -- end tokens and sampling

    def test_complete(self):
        """A checkpoint with everything compiles without a word."""
        warnings, dump = self.compiled()
        self.assertEqual(warnings, "")
        self.assertEqual(dump["eos_ids"], [2])

    def test_end_tokens(self):
        """Those of config.json, generation_config.json and tokenizer_config.json together."""
        self.write("generation_config.json", json.dumps({"eos_token_id": [5, 2]}))
        self.edit("tokenizer_config.json", lambda config: config.update(eos_token={"content": "w300"}))
        warnings, dump = self.compiled()
        self.assertEqual(dump["eos_ids"], [2, 5, 300])
        self.assertNotIn("generation_defaults", dump)

    def test_no_end_token(self):
        """None at all is a warning, and a line of m1-dump. What no file says is as transformers' class has it."""
        self.edit("config.json", lambda config: config.update(eos_token_id=None))
        self.edit("tokenizer_config.json", lambda config: config.pop("eos_token"))
        if os.path.exists(self.path("generation_config.json")):
            os.remove(self.path("generation_config.json"))
        warnings, dump = self.compiled()
        self.assertIn("warning: ", warnings)
        self.assertIn("no end token", warnings)
        self.assertEqual(dump["eos_ids"], [])
        self.assertIn("eos none", run("m1-dump", self.artifact).stdout)

    def test_unknown_end_token(self):
        """An end token that the tokenizer does not have ends nothing: a warning with its name."""
        self.edit("tokenizer_config.json", lambda config: config.update(eos_token="<nosuch>"))
        warnings, dump = self.compiled()
        self.assertIn("tokenizer_config.json: field 'eos_token': '<nosuch>' is no token of tokenizer.json", warnings)
        self.assertEqual(dump["eos_ids"], [2])

    def test_sampling(self):
        """The authors' sampling is kept; do_sample false is temperature 0."""
        self.write("generation_config.json", json.dumps({"temperature": 0.5, "top_k": 20, "top_p": 0.75, "min_p": 0.125, "repetition_penalty": 1.5}))
        self.assertEqual(self.compiled()[1]["generation_defaults"],
                         {"temperature": 0.5, "top_k": 20, "top_p": 0.75, "min_p": 0.125, "repetition_penalty": 1.5})
        self.assertIn("sampling of the checkpoint: temperature 0.5, top_k 20", run("m1-dump", self.artifact).stdout)
        self.write("generation_config.json", json.dumps({"temperature": 0.5, "do_sample": False}))
        self.assertEqual(self.compiled()[1]["generation_defaults"], {"temperature": 0})

    # -- tokenizers and templates

    def test_no_tokenizer(self):
        """A missing tokenizer is a warning; one in another format says how to convert it; benchmarks need none."""
        os.remove(self.path("tokenizer.json"))
        self.assertIn("no tokenizer.json; the artifact takes and gives token ids alone", self.compiled()[0])
        self.write("tokenizer.model", b"\x0a\x0b")
        self.assertIn("no tokenizer.json, only tokenizer.model: make one with transformers (AutoTokenizer.from_pretrained(DIR), save_pretrained(DIR)); the artifact takes", self.compiled()[0])
        self.assertEqual(self.compiled("--weights", "dummy:1")[0], "")

    def test_templates(self):
        """A template may lie in a file of its own, which comes before tokenizer_config.json's."""
        rendered = {}
        for name, content in [("tokenizer_config.json", None), ("chat_template.json", json.dumps({"chat_template": "J{{ messages[0]['content'] }}"})),
                              ("chat_template.jinja", "F{{ messages[0]['content'] }}")]:
            if content:
                self.write(name, content)
                if name == "chat_template.json":
                    self.edit("tokenizer_config.json", lambda config: config.pop("chat_template"))
            warnings, dump = self.compiled()
            self.assertEqual(warnings, "")
            with open(self.artifact, "rb") as file:
                rendered[name] = content is None or (content if name.endswith("jinja") else "J{{ messages[0]['content'] }}").encode() in file.read()
        self.assertEqual(set(rendered.values()), {True})
        os.remove(self.path("tokenizer_config.json"))
        self.edit("config.json", lambda config: None)
        self.assertNotIn("chat template", self.compiled()[0])

    def test_no_template(self):
        """No template, or one that does not parse, is a warning."""
        self.edit("tokenizer_config.json", lambda config: config.pop("chat_template"))
        self.assertIn("no chat template", self.compiled()[0])
        self.write("chat_template.jinja", "{% for x in %}")
        self.assertIn("the chat template cannot be used: ", self.compiled()[0])

    def test_calibration(self):
        """A line to calibrate with that is none is an error with its number."""
        self.edit("tokenizer_config.json", lambda config: config.pop("chat_template"))
        for line, expected, *flags in [("", ": no prompts"), ("[1]", ":1: not a JSON object"), ('{"text": "x"', ":1: not a JSON object: column 13: syntax error"),
                                       ('{"text": 5, "prompt": "x"}', ':1: field "text" is not a string'), ('version https://git-lfs.github.com/spec/v1', ": is a Git LFS pointer"), ('{"messages": [{"role": "user"}]}', ':1: a message is not {"role": text, "content": text}'),
                                       ('{"prompt": "x"}', ':1: the model has no chat template; give "text"'),
                                       ('{"text": "a b c d"}', " tokens, where the model has 2 positions", "--max-context", "2")]:
            self.write("lines.jsonl", line + "\n")
            result = self.compile("--quantize", "int4", "--calibrate", self.path("lines.jsonl"), *flags)
            self.assertEqual(result.returncode, 1, result)
            self.assertRegex(result.stderr, r"error: --calibrate: .*lines\.jsonl[:\d ]*" + re.escape(expected))

    def test_other_vocabulary(self):
        """A tokenizer with more ids than the model is refused; with far fewer it is a warning, with a few less nothing."""

        def words(count):
            def change(tokenizer):
                vocabulary = tokenizer["model"]["vocab"]
                for word in [word for word, number in vocabulary.items() if number >= count]:
                    del vocabulary[word]
                for number in range(len(vocabulary), count):
                    vocabulary[f"v{number}"] = number

            return change

        self.edit("tokenizer.json", words(505))
        self.assertEqual(self.compiled()[0], "")
        self.edit("tokenizer.json", words(300))
        self.assertIn("has ids up to 299, the model's vocabulary has 512: is it this model's? The 212 ids that it lacks are never drawn", self.compiled()[0])
        os.remove(self.artifact)
        self.edit("tokenizer.json", words(513))
        self.refuses("the tokenizer has 513 ids, more than vocab_size 512 of config.json: it is another model's")
        # The same beside a module.
        module = os.path.join(self.directory.name, "module.mlir")
        self.edit("tokenizer.json", words(512))
        self.assertEqual(run("m1-compile", self.model, "--emit", "m1", "-o", module).returncode, 0)
        self.edit("tokenizer.json", words(513))
        result = run("m1-compile", module, "--checkpoint", self.model, "-o", self.artifact)
        self.assertIn(f"error: {self.model}: the tokenizer has 513 ids, more than vocab_size 512 of {module}: it is another model's", result.stderr)
        self.edit("tokenizer_config.json", lambda config: config.update(eos_token="v512"))
        self.refuses("tokenizer_config.json: field 'eos_token': the end token has id 512, vocab_size of config.json is 512")

    def test_end_token_outside(self):
        """An end token that the model does not have is refused, with the file and the field."""
        self.edit("generation_config.json" if os.path.exists(self.path("generation_config.json")) else "config.json",
                  lambda config: config.update(eos_token_id=[2, 512]))
        self.refuses("field 'eos_token_id': expected integers from 0 to 511, got [2,512]")

    # -- files that are something else

    def test_pointers(self):
        """Git LFS pointers are called by their name, whichever file they stand for."""
        for name in ("config.json", "model.safetensors", "tokenizer.json", "mamba_config.json", "tokenizer_config.json", "generation_config.json",
                     "chat_template.jinja", "chat_template.json"):
            with self.subTest(name=name):
                shutil.rmtree(self.model)
                self.setUp()
                self.write(name, POINTER)
                self.refuses(f"{name}: is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'")

    def test_other_files(self):
        """Files given in the place of a directory."""
        for name, content, expected in [("m.gguf", b"GGUF\3\0\0\0" + bytes(64), "is a GGUF file"), ("m.zip", b"PK\3\4" + bytes(64), "is a zip archive"),
                                        ("m.bin", b"PK\3\4" + bytes(64), "is a zip archive (pytorch_model.bin is one, too)"),
                                        ("m.pt", b"\x80\2}q\0" + bytes(64), "is a pickle of PyTorch")]:
            path = os.path.join(self.directory.name, name)
            with open(path, "wb") as file:
                file.write(content)
            for tool in ["m1-compile", path, "-o", self.artifact], ["m1-convert", path, "-o", self.artifact, "--attention-layers", "0"], ["m1-run", path]:
                result = run(*tool, *(["--prompt", "x"] if tool[0] == "m1-run" else []))
                self.assertEqual(result.returncode, 1, result)
                # m1-compile takes GGUF files, but not one that says nothing.
                gguf = name == "m.gguf" and tool[0] == "m1-compile"
                self.assertIn("m.gguf: field 'general.architecture': missing" if gguf else expected, result.stderr)
        result = run("m1-compile", self.path("model.safetensors"), "-o", self.artifact)
        self.assertIn("model.safetensors: not a directory: give the one that holds the file", result.stderr)
        self.compiled()
        self.assertIn(": belongs to the artifact that is read", run("m1-compile", self.artifact, "-o", self.artifact).stderr)

    def test_temporary_files(self):
        """A TMPDIR that is no directory is named; one without a value is none."""
        environment = dict(os.environ)
        environment.pop("M1_CACHE", None)  # code from there takes no temporary files
        for value, expected in (("/nonexistent", "No such file or directory"), (self.path("config.json"), "Not a directory")):
            self.refuses(f"TMPDIR={value}: expected a directory for temporary files: {expected}", env=dict(environment, TMPDIR=value))
        self.assertEqual(self.compile(env=dict(os.environ, TMPDIR="")).returncode, 0)

    def test_modules_that_are_none(self):
        """A file in the place of a module that is empty, another thing by its name, or without an end."""
        for name, content, expected in (("m.gguf", b"", "the file is empty"), ("m.mlir", b" \n", "the file is empty"), ("m.gguf", b"GG", 'no GGUF file: the first 4 bytes are not "GGUF"'),
                                        ("m.m1a", b"M1ART", "not an M1 artifact: the first 8 bytes are not"), ("/dev/zero", None, "is a device, expected a file")):
            path = os.path.join(self.directory.name, name)
            if content is not None:
                with open(path, "wb") as file:
                    file.write(content)
            result = run("m1-compile", path, "-o", self.artifact)
            self.assertEqual((result.returncode, result.stderr.count("error:")), (1, 1), result)
            self.assertIn(f"{path}: {expected}", result.stderr)

    def test_other_weights(self):
        """Directories with weights of another kind."""
        os.remove(self.path("model.safetensors"))
        for name, expected in [("m.gguf", "; m.gguf is a GGUF file: give the file itself to m1-compile"),
                               ("m.zip", "; m.zip is a zip archive: unpack it"),
                               ("adapter_config.json", "; it is an adapter (LoRA): merge it into its base model"),
                               ("pytorch_model.bin", "pytorch_model.bin holds the weights as a pickle of PyTorch")]:
            self.write(name, b"")
            self.refuses("neither model.safetensors nor model.safetensors.index.json", expected)
            os.remove(self.path(name))

    def test_pipes_devices_and_links(self):
        """In the place of any file: a pipe or a device is refused at once, and a link that leads nowhere is no file that is left out."""
        for name in ("config.json", "mamba_config.json", "generation_config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
                     "tokenizer_config.json", "chat_template.jinja", "chat_template.json"):
            path = self.path(name)
            aside = self.path("model.safetensors") if name == "model.safetensors.index.json" else path
            kept = os.path.join(self.directory.name, "kept")
            if os.path.exists(aside):
                os.rename(aside, kept)
            for make, expected in [(os.mkfifo, "is a pipe, expected a file"), (lambda path: os.symlink("/dev/zero", path), "is a device, expected a file"),
                                   (lambda path: os.symlink("nowhere", path), "No such file or directory")]:
                with self.subTest(name=name, expected=expected):
                    make(path)
                    result = run("m1-compile", self.model, "--emit", "m1")
                    self.assertEqual(result.returncode, 1, result)
                    self.assertRegex(result.stderr, f"error: .*{re.escape(path)}: .*{expected}")
                    os.remove(path)
            if os.path.exists(kept):
                os.rename(kept, aside)
        pipe = self.path("tokenizer.json")
        os.remove(pipe)
        os.mkfifo(pipe)
        self.assertIn("is a pipe, expected a file", run("m1-tokenize", pipe, stdin=subprocess.DEVNULL).stderr)

    def test_module_from_a_pipe(self):
        """The text of a module is read once."""
        text = run("m1-compile", self.model, "--emit", "m1-optimized").stdout
        result = subprocess.run(["bash", "-c", f"{os.path.join(BIN, 'm1-compile')} <(cat) --weights dummy:1 --emit m1"], input=text, capture_output=True,
                                text=True, timeout=120)
        self.assertEqual((result.returncode, "m1.model" in result.stdout), (0, True), result.stderr)

    def test_messages(self):
        """What a message quotes gives no orders to the terminal, and has an end."""
        for word, expected, limit in [("\x1b]0;x\x07\x9b", "got \\x1b]0;x\\x07\\xc2\\x9b\n", 1000), ("é" * 500000, " bytes) ... é", 20000)]:
            self.edit("config.json", lambda config: config.update(hidden_act=word))
            result = run("m1-compile", self.model, "--emit", "m1")
            self.assertEqual(result.returncode, 1)
            self.assertIn(expected, result.stderr)
            self.assertIn("field 'hidden_act'", result.stderr)
            self.assertLess(len(result.stderr), limit)

    # -- limits of the process, and flags

    def limited(self, limit, value, name, *arguments):
        """Error messages of a tool under a limit; no signal."""
        result = run(name, *arguments, preexec_fn=lambda: resource.setrlimit(limit, (value, value)))
        self.assertEqual(result.returncode, 1, result)
        return result.stderr

    def test_limits(self):
        self.compiled("--cpu", "x86-64-v3")
        prompt = [self.artifact, "--prompt", "x"]
        self.assertIn("cannot read /proc/cpuinfo: Too many open files", self.limited(resource.RLIMIT_NOFILE, 4, "m1-run", *prompt))
        for tool in ["m1-run", *prompt], ["m1-compile", self.model, "--emit", "m1"]:
            self.assertIn("the stack is limited to 64 kB (ulimit -s), expected 256 or more", self.limited(resource.RLIMIT_STACK, 64 << 10, *tool))

    def test_output(self):
        """What could not be printed is an error of every tool, of --help, too."""
        self.compiled()
        tools = [[name, "--help"] for name in sorted(os.listdir(BIN)) if re.fullmatch("m1-(run|dump|bench|sign|tokenize|eval|serve|compile|convert|reduce|reference|opt)", name)]
        self.assertEqual(len(tools), 12)
        for tool in [*tools, ["m1-dump", self.artifact, "--json"], ["m1-bench", self.artifact, "--prefill", "1x8", "--repeat", "1"]]:
            with open("/dev/full", "w") as full:
                result = subprocess.run([os.path.join(BIN, tool[0]), *tool[1:]], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(result.returncode, 1, (tool, result))
            self.assertRegex(result.stderr, f"^{tool[0]}: error: .*output")

    def test_empty_numbers(self):
        """A flag that takes a number takes no empty text for 0."""
        tried = 0
        for name in "m1-run", "m1-eval", "m1-bench", "m1-serve", "m1-compile", "m1-reference", "m1-convert":
            words = re.sub(r"\s+", " ", run(name, "--help").stdout)
            for flag in set(re.findall(r"(--[a-z-]+) (?:U?INT|FLOAT|NUMBER|K|N|S)[ :\[]", words)):
                result = run(name, flag, "")
                self.assertEqual(result.returncode, 2, (name, flag))
                self.assertIn(flag, result.stderr)
                tried += 1
        self.assertGreater(tried, 40)

    def test_repository(self):
        """The id of a repository is no directory: how to get one."""
        for flags in [], ["--weights", "dummy:1"]:
            result = run("m1-compile", "org/Model-3B", "-o", self.artifact, *flags)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn("org/Model-3B: no such directory; if it is a repository of the Hugging Face hub, download it first: "
                          "hf download org/Model-3B --local-dir Model-3B", result.stderr)
        for tail in "", "/", "/tree/main":
            result = run("m1-compile", "https://huggingface.co/org/Model-3B" + tail, "-o", self.artifact)
            self.assertIn("hf download org/Model-3B --local-dir Model-3B", result.stderr)

    def test_no_artifact(self):
        """What is given in the place of an artifact, and what to do with it."""
        for path, says in [(self.model, "is a directory, expected a file; a model in Hugging Face layout is compiled first: m1-compile " + self.model),
                           (self.path("model.safetensors"), "model.safetensors: is a safetensors file; the directory that holds it is compiled first"),
                           ("-", "-: cannot open: No such file or directory; standard input will not do here"),
                           ("org/Model-3B", "hf download org/Model-3B --local-dir Model-3B")]:
            for tool in ["m1-run", path, "--prompt", "x"], ["m1-dump", path], ["m1-bench", path, "--prefill", "1x8"]:
                result = run(*tool)
                self.assertEqual(result.returncode, 1, result)
                self.assertIn(says, result.stderr)

    def test_weights_that_change_under_the_reference(self):
        """What m1-reference has printed by then is not passed off for a result."""
        ids = self.path("ids.txt")
        self.write("ids.txt", "1 2 3")
        process = subprocess.Popen([os.path.join(BIN, "m1-reference"), self.model, "--input-ids", ids, "--max-new-tokens", "20"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        process.stdout.read(1)
        os.utime(self.path("model.safetensors"), (1, 1))
        _, errors = process.communicate(timeout=120)
        self.assertEqual((process.returncode, errors), (1, f"m1-reference: error: {self.path('model.safetensors')}: was changed while in use\n"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
