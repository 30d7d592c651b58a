#!/usr/bin/env python3
"""What m1-run and m1-dump answer to good and bad requests: tools_test.py BIN_DIR TOY_ARTIFACT_PROGRAM.

Every case names one mistake; it must end with one message that names the fault, exit code other than 0, no output file and no crash."""
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BIN, TOY = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])


def call(*arguments, **options):
    return subprocess.run(list(arguments), capture_output=True, text=True, **options)


class Tools(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.art = self.path("toy.m1a")
        self.assertEqual(call(TOY, self.art).returncode, 0)

    def tearDown(self):
        self.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def ids(self, text, name="ids.txt"):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def run_tool(self, *arguments, **options):
        return call(os.path.join(BIN, "m1-run"), *arguments, **options)

    def fails(self, result, *expected):
        self.assertGreater(result.returncode, 0, result)  # negative: killed by a signal
        for text in expected:
            self.assertIn(text, result.stderr + result.stdout)
        self.assertEqual(result.stderr.count("error:"), 1, result.stderr)

    def test_generates(self):
        """Tokens come out separated by blanks, the dump holds what was asked for, chunks and threads change nothing."""
        out = self.path("out.safetensors")
        ids = self.ids("1 2 3\n4 5")
        result = self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "6", "--ignore-eos", "--dump-logits", out, "--stats")
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("6 tokens in", result.stderr)
        tokens = [int(word) for word in result.stdout.split()]
        self.assertEqual(len(tokens), 6)
        with open(out, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            data = file.read()
        self.assertEqual(header["prefill_logits"]["shape"], [5, 97])
        self.assertEqual(header["decode_logits"]["shape"], [6, 97])
        begin, end = header["output_ids"]["data_offsets"]
        self.assertEqual(list(struct.unpack("<6i", data[begin:end])), tokens)
        self.assertEqual(header["decode_logits"]["data_offsets"][1], len(data))
        again = self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "6", "--ignore-eos", "--prefill-chunk", "2", "--threads", "3")
        self.assertEqual(again.stdout, result.stdout)
        self.assertEqual(self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "9", "--max-new-tokens", "6", "--ignore-eos").stdout,
                         result.stdout)  # the last one of a repeated option counts

    def test_help_and_version(self):
        """Both tools have help with an example, and a version."""
        for tool in "m1-run", "m1-dump":
            self.assertIn("Example:", call(os.path.join(BIN, tool), "--help").stdout)
            self.assertRegex(call(os.path.join(BIN, tool), "--version").stdout, tool + r" \d+\.\d+\.\d+")

    def test_missing_file(self):
        """A missing artifact or id file is named."""
        self.fails(self.run_tool("absent.m1a", "--input-ids", self.ids("1")), "absent.m1a", "No such file")
        self.fails(self.run_tool(self.art, "--input-ids", "absent.txt"), "absent.txt", "No such file")
        self.fails(call(os.path.join(BIN, "m1-dump"), "absent.m1a"), "absent.m1a", "No such file")

    def test_damaged_artifact(self):
        """Truncated and bit-flipped artifacts are refused by both tools."""
        with open(self.art, "rb") as file:
            whole = file.read()
        broken = self.path("broken.m1a")
        for size in 0, 10, 63, 4096, len(whole) // 2, len(whole) - 1:
            with open(broken, "wb") as file:
                file.write(whole[:size])
            self.fails(self.run_tool(broken, "--input-ids", self.ids("1")), "broken.m1a")
            self.fails(call(os.path.join(BIN, "m1-dump"), broken), "broken.m1a")
        for at in 3, 20, 100, 5000, 17000:
            damaged = bytearray(whole)
            damaged[at] ^= 4
            with open(broken, "wb") as file:
                file.write(damaged)
            self.fails(self.run_tool(broken, "--input-ids", self.ids("1")), "broken.m1a")

    def test_newer_version(self):
        """An artifact of a newer version says both versions."""
        newer = self.path("newer.m1a")
        call(TOY, newer, "newer")
        self.fails(self.run_tool(newer, "--input-ids", self.ids("1")), "version 7 is newer than version 2")

    def test_foreign_processor(self):
        """Code for another processor names what is missing."""
        foreign = self.path("foreign.m1a")
        call(TOY, foreign, "foreign-cpu")
        self.fails(self.run_tool(foreign, "--input-ids", self.ids("1")), "sapphirerapids", "no_such_feature")

    def test_external_weights(self):
        """External weights are found next to the artifact; when they are gone or changed in size, the file is named."""
        art, weights = self.path("external.m1a"), self.path("weights.bin")
        call(TOY, art, "external", weights)
        expected = self.run_tool(self.art, "--input-ids", self.ids("7 8"), "--max-new-tokens", "4", "--ignore-eos").stdout
        self.assertEqual(self.run_tool(art, "--input-ids", self.ids("7 8"), "--max-new-tokens", "4", "--ignore-eos", cwd="/").stdout, expected)
        os.truncate(weights, 100)
        self.fails(self.run_tool(art, "--input-ids", self.ids("1")), "weights.bin", "100 bytes")
        os.remove(weights)
        self.fails(self.run_tool(art, "--input-ids", self.ids("1")), "weights.bin")

    def test_weights_elsewhere(self):
        """Weights in another directory are used when that is allowed, and else the flag that allows it is named."""
        os.mkdir(self.path("weights"))
        art, weights = self.path("elsewhere.m1a"), self.path("weights/weights.bin")
        call(TOY, art, "elsewhere", weights)
        ids = ["--input-ids", self.ids("7 8"), "--max-new-tokens", "4"]
        self.fails(self.run_tool(art, *ids), weights, "--allow-external " + self.path("weights"))
        self.fails(self.run_tool(art, *ids, "--allow-external", "/usr"), "--allow-external " + self.path("weights"))
        allowed = self.run_tool(art, *ids, "--allow-external", "/usr", "--allow-external", self.directory.name)
        self.assertEqual(allowed.stdout, self.run_tool(self.art, *ids).stdout)

    def test_digest(self):
        """--require-digest runs what m1-dump --digest names and nothing else, the last bit of a weight included."""
        ids = ["--input-ids", self.ids("1 2"), "--max-new-tokens", "3"]
        dump = json.loads(call(os.path.join(BIN, "m1-dump"), self.art, "--digest", "--json").stdout)
        expected = self.run_tool(self.art, *ids)
        self.assertEqual(self.run_tool(self.art, *ids, "--require-digest", dump["digest"].upper()).stdout, expected.stdout)
        self.fails(self.run_tool(self.art, *ids, "--require-digest", dump["digest"][:-1]), "--require-digest", "64 hexadecimal digits")
        with open(self.art, "r+b") as file:
            file.seek(-9000, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-9000, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        self.fails(self.run_tool(self.art, *ids, "--require-digest", dump["digest"]), "is another artifact than the one required", dump["digest"])
        changed = json.loads(call(os.path.join(BIN, "m1-dump"), self.art, "--digest", "--json").stdout)
        self.assertNotEqual(changed["digest"], dump["digest"])
        self.assertEqual(changed["header"]["sha256"], dump["header"]["sha256"])
        self.assertNotIn("digest", json.loads(call(os.path.join(BIN, "m1-dump"), self.art, "--json").stdout))

    def test_signatures(self):
        """--trust runs what a key signed; other keys, other artifacts, no or bad signatures are refused."""
        sign = os.path.join(BIN, "m1-sign")
        ids = ["--input-ids", self.ids("1 2"), "--max-new-tokens", "3"]
        key, other = self.path("key.pem"), self.path("other.pem")
        for path in key, other:
            self.assertEqual(call(sign, "--new-key", path).returncode, 0)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.fails(call(sign, "--new-key", key), "key.pem", "cannot create: File exists")
        self.fails(self.run_tool(self.art, *ids, "--trust", key + ".pub"), "toy.m1a.sig", "no signature")
        self.assertEqual(call(sign, "--key", key, self.art).returncode, 0)
        expected = self.run_tool(self.art, *ids)
        for keys in ["--trust", key + ".pub"], ["--trust", other + ".pub", "--trust", key + ".pub"]:
            self.assertEqual(self.run_tool(self.art, *ids, *keys).stdout, expected.stdout)
        self.fails(self.run_tool(self.art, *ids, "--trust", other + ".pub"), "its signature is none of a trusted key")
        self.fails(self.run_tool(self.art, *ids, "--trust", key), "key.pem", "expected a public Ed25519 key")
        self.fails(call(sign, "--key", key + ".pub", self.art), "expected a private Ed25519 key")
        self.fails(self.run_tool(self.art, *ids, "--trust", "absent.pem"), "absent.pem", "No such file")
        openssl = call("openssl", "pkey", "-in", key, "-pubout")  # keys are OpenSSL's own
        with open(key + ".pub") as file:
            self.assertEqual(file.read(), openssl.stdout)
        with open(self.art, "ab") as file:
            file.write(b"x")  # after the end: not part of the artifact
        self.assertEqual(self.run_tool(self.art, *ids, "--trust", key + ".pub").returncode, 0)
        with open(self.art, "r+b") as file:
            file.seek(-9000, os.SEEK_END)
            file.write(b"\x55\x55\x55\x55")
        self.fails(self.run_tool(self.art, *ids, "--trust", key + ".pub"), "its signature is none of a trusted key")
        with open(self.art + ".sig", "w") as file:
            file.write("00" * 63)
        self.fails(self.run_tool(self.art, *ids, "--trust", key + ".pub"), "toy.m1a.sig", "128 hexadecimal digits")
        for flags in [], ["--key", key], ["--new-key", other, self.art], [self.art]:
            result = call(sign, *flags)
            self.assertEqual(result.returncode, 2)
            self.assertIn("give --key KEY.pem and OUT.m1a, or --new-key KEY.pem alone", result.stderr)

    def test_overwritten_in_use(self):
        """cp over an artifact that runs ends the run with its name, and not with a signal."""
        other = self.path("newer.m1a")
        call(TOY, other)
        for overwrite in lambda: open(self.art, "wb").close(), lambda: call("cp", other, self.art):
            call(TOY, self.art)
            process = subprocess.Popen([os.path.join(BIN, "m1-run"), self.art, "--input-ids", self.ids("1"), "--samples", "100000",
                                        "--temperature", "1", "--ignore-eos", "--max-new-tokens", "190", "--json"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(1)
            overwrite()
            try:
                output, errors = process.communicate(timeout=60)
            finally:
                process.kill()
            self.assertEqual(process.returncode, 1, errors[-300:])
            self.assertIn("toy.m1a: was changed while in use", errors)

    def test_bad_ids(self):
        """Ids out of range, no numbers and empty files are named."""
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("1 97")), "token 1 is 97")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("-4")), "token 0 is -4")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("1 two")), "token 1", "\"two\"")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("99999999999999999999")), "not a token id")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("1 \0")), "token 1", "is not a token id")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids("1 97")), "ids.txt", "ids 0 to 96")
        self.fails(self.run_tool(self.art, "--input-ids", self.directory.name), "Is a directory")
        self.fails(self.run_tool(self.art, "--input-ids", "/dev/zero"), "/dev/zero: is a device, expected a file")
        self.fails(self.run_tool(self.art, "--input-ids", self.ids(" \n")), "holds no token ids")

    def test_context_too_long(self):
        """Prompt plus new tokens beyond the compiled context is refused before any work, and at the limit accepted."""
        ids = self.ids("1 " * 150)
        self.fails(self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "60"), "150 tokens", "at most 200")
        whole = self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "51", "--ignore-eos")
        self.assertEqual(whole.returncode, 0)
        for flags in [], ["--dump-logits", self.path("out.safetensors")]:  # without --max-new-tokens: what the context leaves
            rest = self.run_tool(self.art, "--input-ids", ids, "--ignore-eos", *flags)
            self.assertEqual(rest.returncode, 0, rest.stderr)
            self.assertEqual(rest.stdout.split(), whole.stdout.split()[:len(rest.stdout.split())])
            self.assertGreaterEqual(len(rest.stdout.split()), 50)

    def test_flags(self):
        """Unknown flags and values are named."""
        ids = self.ids("1")
        for flags, text in [(["--frobnicate"], "--frobnicate"), (["--device", "tpu"], "tpu"), (["--max-new-tokens", "-1"], "--max-new-tokens"),
                            (["--threads", "many"], "--threads"), (["--temperature", "hot"], "--temperature")]:
            result = self.run_tool(self.art, "--input-ids", ids, *flags)
            self.assertEqual(result.returncode, 2)
            self.assertIn(text, result.stderr)
            self.assertTrue(result.stderr.startswith("m1-run: error: "), result.stderr)
        for flags, text in [(["--stop", "x"], "compiled without a tokenizer"),
                            (["--max-think-tokens", "1"], "close answers with --close-text: the artifact has no tokenizer to read that text with"),
                            (["--logit-bias", "99999=1"], "--logit-bias 99999=1: the vocabulary has ids 0 to ")]:
            self.fails(self.run_tool(self.art, "--input-ids", ids, *flags), text)
        for tool in "m1-run", "m1-dump", "m1-bench", "m1-eval", "m1-tokenize":
            result = call(os.path.join(BIN, tool), self.art, "--no-such-flag")
            self.assertEqual(result.returncode, 2, result)
            self.assertTrue(result.stderr.startswith(tool + ": error: "), result.stderr)
            self.assertIn("--no-such-flag", result.stderr)

    def test_empty_values(self):
        """The value of a variable of the shell that is not set does not pass for a flag that was not given; of texts it is one."""
        ids = self.ids("1")
        for flag in "--require-digest", "--trust", "--allow-external", "--dump-logits", "--trace", "--tuning", "--stop-token", "--threads", "--prompt-file":
            result = self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "1", flag, "")
            self.assertEqual(result.returncode, 2, result)
            self.assertRegex(result.stderr, rf"^m1-run: error: {flag}: ")
        for tool, flag in ("m1-bench", "--json"), ("m1-bench", "--batch"), ("m1-eval", "--out"), ("m1-serve", "--config"), ("m1-serve", "--require-digest"):
            result = call(os.path.join(BIN, tool), self.art, flag, "")
            self.assertEqual(result.returncode, 2, result)
            self.assertIn(f"error: {flag}: ", result.stderr)
        for flag in "--batch", "--context", "--repeat", "--threads":
            self.assertIn(f"{flag}: expected UINT", call(os.path.join(BIN, "m1-bench"), self.art, flag, "").stderr)
        for tool in "m1-run", "m1-dump", "m1-sign":
            self.assertIn("artifact: expected OUT.m1a, got an empty value", call(os.path.join(BIN, tool), "").stderr)

    def test_outputs_over_inputs(self):
        """A file that is read is not written over, whatever its name; the message has both."""
        key, ids, link = self.path("key.pem"), self.ids("1 2"), self.path("link")
        self.assertEqual(call(os.path.join(BIN, "m1-sign"), "--new-key", key).returncode, 0)
        before = {}
        for path in self.art, key, ids:
            with open(path, "rb") as file:
                before[path] = file.read()
        for target in self.art, key, ids:
            for path in target, link:
                if path == link:
                    os.symlink(target, link)
                for tool, *flags in (("m1-sign", "--key", key, self.art, "-o"), ("m1-run", self.art, "--input-ids", ids, "--dump-logits"),
                                     ("m1-run", self.art, "--input-ids", ids, "--trace"), ("m1-bench", self.art, "--prefill", "1x4", "--json"),
                                     ("m1-bench", self.art, "--tune")):
                    if target == self.art or target in flags:
                        result = call(os.path.join(BIN, tool), *flags, path)
                        self.assertEqual(result.returncode, 2, (tool, flags, path))
                        self.assertIn(f" {path}: would overwrite {target}, which is read", result.stderr)
            os.remove(link)
            with open(target, "rb") as file:
                self.assertEqual(file.read(), before[target])

    def test_named_pipes(self):
        """A named pipe is waited for until its other end is taken, but not without end; where a program writes beside a file, never."""
        pipes = [self.path(f"pipe{number}") for number in range(6)]
        for pipe in pipes:
            os.mkfifo(pipe)
        key = self.path("key.pem")
        self.assertEqual(call(os.path.join(BIN, "m1-sign"), "--new-key", key).returncode, 0)
        run, sign, serve = (os.path.join(BIN, tool) for tool in ("m1-run", "m1-sign", "m1-serve"))
        commands = [([run, self.art, "--max-new-tokens", "3", "--ignore-eos", "--input-ids"], "write to"),
                    ([run, self.art, "--input-ids", self.ids("1"), "--trace"], "read from"), ([sign, self.art, "--key"], "write to"),
                    ([sign, self.art, "--key", key, "-o"], "read from"), ([serve, self.art, "--config"], "write to"),
                    ([serve, self.art, "--api-key-file"], "write to")]
        running = [subprocess.Popen([*command, pipe], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for (command, _), pipe in zip(commands, pipes)]
        time.sleep(0.2)
        with open(pipes[0], "w") as file:
            time.sleep(0.2)  # somebody is there and has nothing to say yet
            file.write("1 2")
        for process, pipe, (command, end) in zip(running, pipes, commands):
            output, errors = process.communicate(timeout=60)
            if pipe == pipes[0]:
                self.assertEqual((process.returncode, len(output.split())), (0, 3), errors)
            else:
                self.assertGreater(process.returncode, 0, command)
                self.assertRegex(errors, rf"error: .*{pipe}: (cannot read: )?is a pipe that nobody has opened to {end} within 5 s\n")
        silent = subprocess.Popen([run, self.art, "--input-ids", pipes[0]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        open(pipes[0], "w").close()  # somebody was there and had nothing to say
        self.assertIn(f"{pipes[0]}: holds no token ids", silent.communicate(timeout=60)[1])
        os.mkfifo(self.art + ".sig")
        self.fails(call(sign, "--key", key, self.art), "toy.m1a.sig: is a pipe, expected a file")

    def test_one_line(self):
        """A message is one line, whatever a name holds; a text that is no UTF-8 is named by its flag."""
        result = self.run_tool(self.path("a\nm1-run: error: b"), "--input-ids", self.ids("1"))
        self.assertEqual((result.returncode, result.stderr.count("\n")), (1, 1), result.stderr)
        self.assertIn("a\\nm1-run: error: b: ", result.stderr)
        for flag in "--prompt", "--system", "--stop", "--template-arg", "--prefill":
            result = self.run_tool(self.art, flag, b"a=c\xff")
            self.assertEqual(result.returncode, 2)
            self.assertIn(f"error: {flag}: not valid UTF-8 at byte 3\n", result.stderr)

    def test_load_without_descriptors(self):
        """m1-bench --serve that cannot watch its connections says so."""
        result = call(os.path.join(BIN, "m1-bench"), "--serve", "http://127.0.0.1:1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)))
        self.fails(result, "cannot watch connections: Too many open files")

    def test_load_on_a_server_without_end(self):
        """An event that never ends is not kept until memory is gone: its request fails."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                client, _ = server.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\ndata: ")
                    while True:
                        client.sendall(b"x" * 65536)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            result = call(os.path.join(BIN, "m1-bench"), "--serve", f"http://127.0.0.1:{server.getsockname()[1]}", "--requests", "1", timeout=60)
            thread.join()
        self.fails(result, "1 of 1 requests failed", "1: no stream of events")

    def test_flags_without_effect(self):
        """A flag that would do nothing beside the others is an error, and one value is one value."""
        for flags, expected in ((["--batch", "1", "--prefill", "1x4"], "--batch: needs --context"), (["--context", "8", "--prefill", "1x4"], "--context: needs --batch"),
                                (["--shared", "4", "--prefill", "1x4"], "--shared: needs --batch"), (["--tune", "x", "--kernels"], "--kernels: needs"),
                                (["--tune", "x", "--json", "y"], "--json: needs"), (["--prefill", "1x4", "--tune", "x", "--json", "x"], "expected different files")):
            result = call(os.path.join(BIN, "m1-bench"), self.art, *flags)
            self.assertEqual((result.returncode, result.stderr.count("error:")), (2, 1), result)
            self.assertIn(expected, result.stderr)
        for flags in ["--device", "cpu"], ["--prefill", "1x4"], ["--kernels"], ["--repeat", "2"], ["--trust", "x"]:
            self.assertIn(f"{flags[0]}: is of a model that is measured here", call(os.path.join(BIN, "m1-bench"), "--serve", "http://127.0.0.1:1", *flags).stderr)
        self.assertIn("--output", call(os.path.join(BIN, "m1-sign"), "--new-key", self.path("new.pem"), "-o", self.path("x")).stderr)
        self.assertFalse(os.path.exists(self.path("new.pem")))
        self.assertIn("--stop-token", self.run_tool(self.art, "--input-ids", self.ids("1"), "--stop-token", "[5,6]").stderr)
        self.assertEqual(self.run_tool("--input-ids", self.ids("1"), "--max-new-tokens", "1", "--stop-token", "5", self.art).returncode, 0)
        # What cannot be written is known before anything is measured.
        result = call(os.path.join(BIN, "m1-bench"), self.art, "--prefill", "1x4", "--json", self.path("nowhere/x"))
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.fails(result, "nowhere/x")

    def test_messages_are_for_a_terminal(self):
        """What a message quotes of flags, names and files gives a terminal no orders, is UTF-8 and not endless."""
        ids = self.ids("1")
        for flags in (["--threads", "VALUE"], ["--device", "VALUE"], ["VALUE"], ["--VALUE"], ["--require-digest", "VALUE"], ["--trust", "VALUE"],
                      ["--logit-bias", "VALUE"], ["--dump-logits", "VALUE/x"], ["--prompt-file", "VALUE"]):
            for value in b"\x1b[31m\r", b"\xff\xfe", b"A" * 100000:
                arguments = [os.fsencode(flag).replace(b"VALUE", value) for flag in flags]
                result = subprocess.run([os.path.join(BIN, "m1-run"), self.art, "--input-ids", ids, *arguments], capture_output=True)
                self.assertIn(result.returncode, (1, 2), arguments)
                self.assertNotRegex(result.stderr.decode(), r"[\x00-\x08\x0b-\x1f\x7f]")
                self.assertLess(len(result.stderr), 9000)

    def test_numbers_do_not_wrap(self):
        """A token id of a bias is one that there is, not the rest of its division by 2^32."""
        for bias in "4294967297=1", "1=1e400", "1=nan", "1=", "=1", "1=1x", "1 =1", "1=+", "1=+-1":
            result = self.run_tool(self.art, "--input-ids", self.ids("1"), "--logit-bias", bias)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn("--logit-bias: expected ID=VALUE", result.stderr)
        for bias in "1=+1.5", "1=-inf", "1=2e-1":
            self.assertEqual(self.run_tool(self.art, "--input-ids", self.ids("1"), "--max-new-tokens", "1", "--logit-bias", bias).returncode, 0)

    def test_written_files_follow_the_umask(self):
        """What is written can be read by whom the umask lets read."""
        ids = self.ids("1 2")
        for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
            out = self.path("out.safetensors")
            result = self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "2", "--dump-logits", out, preexec_fn=lambda: os.umask(mask))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(os.stat(out).st_mode & 0o777, mode)

    def test_unwritable_output(self):
        """An output that cannot be written is named, and nothing is left behind, also when the disk is full."""
        ids = self.ids("1 2")
        target = os.path.join(self.directory.name, "nowhere", "out.safetensors")
        self.fails(self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "2", "--dump-logits", target), "nowhere/out.safetensors")
        ids = self.ids("1 " * 150)
        before = sorted(os.listdir(self.directory.name))

        def limit():  # enough for the code of the model, not for 200 rows of logits
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))

        out = self.path("out.safetensors")
        self.fails(self.run_tool(self.art, "--input-ids", ids, "--max-new-tokens", "50", "--dump-logits", out, preexec_fn=limit), "out.safetensors",
                   "File too large")
        self.assertEqual(sorted(os.listdir(self.directory.name)), before)
        self.fails(self.run_tool(self.art, "--input-ids", ids, "--dump-logits", self.directory.name), "Is a directory")
        if os.path.exists("/dev/full"):
            # A device is written, not replaced by a file.
            self.fails(self.run_tool(self.art, "--input-ids", self.ids("1 2"), "--max-new-tokens", "2", "--dump-logits", "/dev/full"), "No space left")
            self.assertFalse(os.path.isfile("/dev/full"))
            with open("/dev/full", "w") as full:
                result = subprocess.run([os.path.join(BIN, "m1-dump"), self.art], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertGreater(result.returncode, 0)
            self.assertIn("No space left", result.stderr)

    def test_dump(self):
        """m1-dump shows header, kernels with sizes, entry points and weights, and the same as JSON."""
        dump = os.path.join(BIN, "m1-dump")
        text = call(dump, self.art).stdout
        for part in "version 2", "toy_attend", "entry point prefill: 7 commands", "table", "97x12xf32", "state:cache":
            self.assertIn(part, text)
        data = json.loads(call(dump, self.art, "--json").stdout)
        self.assertEqual(data["header"]["version"], 2)
        kernels = {kernel["symbol"]: kernel for kernel in data["targets"][0]["kernels"]}
        self.assertGreater(kernels["toy_scan"]["bytes"], 16)
        self.assertEqual([function["name"] for function in data["targets"][0]["functions"]], ["prefill", "decode"])
        self.assertEqual(data["weight_bytes"], 2 * 97 * 12 * 4)
        self.assertEqual(data["targets"][0]["functions"][0]["commands"][3]["operands"][0], "state:cache")


unittest.main(argv=[sys.argv[0]], verbosity=1)
