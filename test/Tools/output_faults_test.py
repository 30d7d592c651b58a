#!/usr/bin/env python3
"""Output is the old state or the new one, whatever fails: output_faults_test.py BIN_DIR GOLDENS_DIR FAULT_LIBRARY.

And no thread more than there is ends a program by a signal.

Every call with which a program opens, writes, synchronises, renames or closes its output fails in turn, or ends the program there (SIGKILL, and
SIGTERM, after which no temporary may be left). Afterwards the old model runs, or the new one does."""
import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import text_model

BIN, GOLDENS, FAULT = (os.path.abspath(argument) for argument in sys.argv[1:4])


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def snapshot(directory):
    content = {}
    for base, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                content[os.path.relpath(path, directory)] = file.read()
    return content


class Faults(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.root = os.path.realpath(self.directory.name)
        self.out = os.path.join(self.root, "out")
        os.mkdir(self.out)
        self.ids = os.path.join(self.root, "ids")
        with open(self.ids, "w") as file:
            file.write("1 17 300 45")

    def tearDown(self):
        self.directory.cleanup()

    def checkpoint(self, golden, name, **changes):
        """A copy of a golden, with other values in a tensor that no file of the checkpoint holds as the artifact needs it."""
        path = os.path.join(self.root, name)
        shutil.copytree(os.path.join(GOLDENS, golden), path)
        return path

    def answer(self, artifact):
        result = run(os.path.join(BIN, "m1-run"), artifact, "--input-ids", self.ids, "--max-new-tokens", "6", "--ignore-eos", "--allow-external", self.root)
        return result.stdout if result.returncode == 0 else None

    def faults(self, command, old, check):
        """Runs `command` with every call at fault, in every way; `check(changed)` after each."""
        for how in "fail", "kill", "terminate":
            for at in range(1, 1000):
                shutil.rmtree(self.out)
                shutil.copytree(old, self.out, symlinks=True)
                mark = os.path.join(self.root, "mark")
                if os.path.exists(mark):
                    os.remove(mark)
                environment = dict(os.environ, LD_PRELOAD=FAULT, M1_FAULT_DIRECTORY=self.out, M1_FAULT_AT=str(at), M1_FAULT_HOW=how, M1_FAULT_MARK=mark)
                result = run(*command, env=environment)
                case = f"{how} at call {at}: {result}"
                if not os.path.exists(mark):
                    self.assertEqual(result.returncode, 0, case)
                    self.assertGreater(at, 5, case)
                    break
                if how == "fail":
                    self.assertIn(result.returncode, (0, 1), case)
                    self.assertEqual(result.returncode == 0, "error:" not in result.stderr, case)
                else:
                    self.assertEqual(result.returncode, -(signal.SIGKILL if how == "kill" else signal.SIGTERM), case)
                left = [name for name in os.listdir(self.out) + os.listdir(self.root) if name.endswith(".tmp")]
                # After a success the failed call may be the removal of the old output itself: then that stays.
                if how == "terminate" or (how == "fail" and result.returncode != 0):
                    self.assertEqual(left, [], case)
                for name in os.listdir(self.root):  # what a kill left beside the directory
                    if name.endswith(".tmp"):
                        shutil.rmtree(os.path.join(self.root, name))
                check(case)
            else:
                self.fail("too many calls")

    def compile_case(self, *flags):
        first, second = self.checkpoint("m1-mamba1-bf16", "first"), self.checkpoint("m1-mamba2-bf16", "second")
        old = os.path.join(self.root, "old")
        os.mkdir(old)
        artifact, compiler = os.path.join(self.out, "model.m1a"), os.path.join(BIN, "m1-compile")
        flags = ("--cpu", "x86-64-v3", "--cache", os.path.join(self.root, "cache"), *flags)  # compiled once; written each time
        self.assertEqual(run(compiler, first, "-o", artifact, *flags).returncode, 0)
        before = self.answer(artifact)
        shutil.rmtree(old)
        shutil.copytree(self.out, old)
        self.assertEqual(run(compiler, second, "-o", artifact, *flags).returncode, 0)
        after = self.answer(artifact)
        self.assertTrue(before and after and before != after)
        seen = set()

        def check(case):
            answer = self.answer(artifact)
            self.assertIn(answer, (before, after), case)
            seen.add(answer)

        self.faults([compiler, second, "-o", artifact, *flags], old, check)
        self.assertIn(before, seen)

    def test_compile(self):
        self.compile_case()

    def test_compile_external(self):
        self.compile_case("--weights", "external")

    def test_convert(self):
        source, old = os.path.join(GOLDENS, "hf-llama"), os.path.join(self.root, "old")
        convert = os.path.join(BIN, "m1-convert")
        base = [convert, source, "-o", self.out, "--overwrite"]
        self.assertEqual(run(*base, "--attention-layers", "1", "--seed", "1").returncode, 0)
        os.mkdir(os.path.join(self.out, "notes"))
        for name in "log.txt", "notes/more.txt":
            with open(os.path.join(self.out, name), "w") as file:
                file.write("kept")
        shutil.copytree(self.out, old)
        before = snapshot(old)
        command = [*base, "--attention-layers", "2", "--seed", "2"]
        self.assertEqual(run(*command).returncode, 0)
        after = snapshot(self.out)
        self.assertEqual(after["log.txt"], b"kept")
        self.assertEqual(after["notes/more.txt"], b"kept")
        self.assertNotEqual(before["model.safetensors"], after["model.safetensors"])
        self.faults(command, old, lambda case: self.assertIn(snapshot(self.out), (before, after), case))

    def test_size_limit(self):
        """A file size limit is a message, and the old model stays."""
        artifact = os.path.join(self.out, "model.m1a")
        compile = [os.path.join(BIN, "m1-compile"), os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", artifact, "--cpu", "x86-64-v3"]
        self.assertEqual(run(*compile).returncode, 0)
        before = self.answer(artifact)
        result = run("bash", "-c", 'ulimit -f 300; exec "$@"', "bash", *compile)
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, r"error: cannot write .*model\.m1a: File too large")
        result = run("bash", "-c", 'ulimit -f 30; exec "$@"', "bash", *compile)  # what the linker gets is larger
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, r"error: cannot write .*: File too large")
        self.assertEqual(os.listdir(self.out), ["model.m1a"])
        self.assertEqual(self.answer(artifact), before)
        ir = [os.path.join(BIN, "m1-opt"), "--m1-import=directory=" + os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", os.path.join(self.out, "m.mlir")]
        result = run("bash", "-c", 'ulimit -f 1; echo "module {}" | "$@"', "bash", *ir)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("File too large", result.stderr)

    def test_full_temporary_directory(self):
        """The linker maps its output: that there is room for it is asked first, and nothing is left."""
        temporary = os.path.join(self.root, "tmp")
        os.mkdir(temporary)
        environment = {name: value for name, value in os.environ.items() if name != "M1_CACHE"}
        result = run(os.path.join(BIN, "m1-compile"), os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", os.path.join(self.out, "model.m1a"), "--cpu", "x86-64-v3",
                     env=dict(environment, TMPDIR=temporary, LD_PRELOAD=FAULT, M1_FAULT_DIRECTORY=temporary, M1_FAULT_FULL="1"))
        self.assertEqual((result.returncode, result.stderr.count("error:")), (1, 1), result)
        self.assertRegex(result.stderr, r"error: cannot write .*/kernels\.so: No space left on device\n")
        self.assertEqual(os.listdir(temporary) + os.listdir(self.out), [])

    def test_little_memory(self):
        """Memory that runs out at any time, also before main(), is a message, or one of the system's loader (127; that it
        ends by SIGSEGV counts only before it has handed control to the program)."""
        debug = os.path.join(self.root, "loader")
        ends = set()
        for kilobytes in range(10000, 24000, 60):
            limit = kilobytes << 10
            for log in glob.glob(debug + ".*"):
                os.remove(log)
            result = run(os.path.join(BIN, "m1-run"), "nosuch.m1a", "--prompt", "a", env=dict(os.environ, LD_DEBUG="files", LD_DEBUG_OUTPUT=debug),
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
            if result.returncode == -signal.SIGSEGV:
                for log in glob.glob(debug + ".*"):
                    with open(log) as file:
                        self.assertNotIn("transferring control", file.read(), kilobytes)
            elif result.returncode != 127:
                self.assertEqual((result.returncode, result.stderr.count("error:")), (1, 1), (kilobytes, result))
                ends.add(re.search("error: (.*)", result.stderr)[1])
        self.assertIn("out of memory", ends)
        self.assertIn("nosuch.m1a: cannot open: No such file or directory", ends)

    def test_threads(self):
        """Where the system has no more threads, programs do with fewer, or end with a message; whichever thread is the first that there is not."""
        artifact, mark, data = (os.path.join(self.root, name) for name in ("model.m1a", "mark", "data.jsonl"))
        text_model.write(os.path.join(self.root, "text"))
        self.assertEqual(run(os.path.join(BIN, "m1-compile"), os.path.join(self.root, "text"), "-o", artifact).returncode, 0)
        with open(data, "w") as file:
            file.write('{"problem": "1+1", "answer": "2"}\n')
        few = ["--max-new-tokens", "2", "--threads", "2"]
        ends = {}
        for name, *command in [
                ["m1-run", artifact, "--prompt", "a", "--samples", "2", "--device", "cpu,cpu", *few], ["m1-serve", artifact, "--port", "0", "--threads", "2"],
                ["m1-eval", artifact, "--dataset", data, "--out", os.path.join(self.root, "eval"), "--device", "cpu,cpu", *few],
                ["m1-bench", artifact, "--batch", "1", "--context", "8", "--repeat", "1", "--threads", "2"]]:
            for at in range(1, 100):
                environment = dict(os.environ, LD_PRELOAD=FAULT, M1_FAULT_THREAD=str(at), M1_FAULT_MARK=mark)
                process = subprocess.Popen([os.path.join(BIN, name), *command], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, text=True)
                if name == "m1-serve" and process.stdout.readline():
                    process.terminate()
                _, errors = process.communicate(timeout=60)
                case = f"{name} without thread {at}: {process.returncode} {errors}"
                self.assertIn(process.returncode, (0, 1), case)
                self.assertEqual(errors.count("error: "), process.returncode, case)
                if process.returncode == 1:
                    ends.setdefault(name, set()).add(re.search("error: (.*)", errors)[1])
                if "to measure memory" in errors:  # m1-bench goes on for long, with more of the same
                    break
                if not os.path.exists(mark):
                    self.assertGreater(at, 3, case)
                    break
                os.remove(mark)
            if os.path.exists(mark):
                os.remove(mark)
        said = {name: " ".join(messages) for name, messages in ends.items()}
        self.assertIn("cannot start a thread for each of 2 devices", said["m1-run"] + said["m1-eval"])
        self.assertIn("cannot start a thread that sends answers", said["m1-serve"])
        self.assertIn("cannot start a thread that takes connections", said["m1-serve"])
        self.assertIn("threads to measure memory", said["m1-bench"])

    def test_permissions_and_links(self):
        """What is written has the permissions that the umask leaves; a link stays a link."""
        real, link = os.path.join(self.out, "real.m1a"), os.path.join(self.out, "link.m1a")
        os.symlink("real.m1a", link)
        with open(real, "w"):
            pass
        compile = [os.path.join(BIN, "m1-compile"), os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", link, "--cpu", "x86-64-v3"]
        self.assertEqual(run("bash", "-c", 'umask 027; exec "$@"', "bash", *compile).returncode, 0)
        self.assertTrue(os.path.islink(link))
        self.assertEqual(os.stat(real).st_mode & 0o777, 0o640)
        self.assertIsNotNone(self.answer(real))
        os.remove(real)  # the link leads to what does not exist yet
        self.assertEqual(run(*compile).returncode, 0)
        self.assertTrue(os.path.islink(link))
        self.assertIsNotNone(self.answer(real))
        os.remove(link)
        os.symlink("link.m1a", link)
        result = run(*compile)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("link.m1a: Too many levels of symbolic links", result.stderr)

    def test_interrupted(self):
        """Ctrl-C, or another signal that ends the program, leaves nothing behind at any time."""
        signals = [signal.SIGINT, signal.SIGPIPE, signal.SIGXCPU, signal.SIGUSR1]
        temporary = os.path.join(self.root, "tmp")
        os.mkdir(temporary)
        command = [os.path.join(BIN, "m1-compile"), os.path.join(GOLDENS, "m1-mamba1-bf16"), "-o", os.path.join(self.out, "model.m1a"), "--weights", "external"]
        for milliseconds in range(20, 900, 80):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=temporary))
            try:
                process.wait(milliseconds / 1000)
            except subprocess.TimeoutExpired:
                process.send_signal(signals[milliseconds // 80 % len(signals)])
                process.wait(60)
            self.assertEqual(os.listdir(temporary), [])
            left = [name for name in os.listdir(self.out) if not re.fullmatch(r"model\.m1a(\.[0-9a-f]{12}\.weights)?", name)]
            self.assertEqual(left, [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
