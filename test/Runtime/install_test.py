#!/usr/bin/env python3
"""What `cmake --install` gives is enough to build and run examples/c/generate.c: install_test.py BUILD_DIR CMAKE CC TOY_ARTIFACT.

The installed tree is moved before it is used: nothing in it may point back to where it was built."""
import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

BUILD, CMAKE, CC, ARTIFACT = sys.argv[1:]
EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "c", "generate.c")


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        first, cls.prefix = cls.path("first"), cls.path("moved")
        run(CMAKE, "--install", BUILD, "--prefix", first)
        os.rename(first, cls.prefix)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.directory.name, *names)

    def generates(self, program):
        """The program runs with the installed library alone."""
        environment = dict(os.environ, LD_LIBRARY_PATH=os.path.join(self.prefix, "lib"))
        self.assertIn("15 tokens in", run(program, ARTIFACT, "1 2 3", "3", "5", env=environment).stderr)

    def test_tree(self):
        """Programs, the library under its soname, and the C API's headers and nothing else are there; the programs start."""
        self.assertEqual(sorted(os.listdir(os.path.join(self.prefix, "include", "m1"))), ["engine.h", "runtime.h", "version.h", "vote.h"])
        self.assertIn("libm1rt.so.0", os.listdir(os.path.join(self.prefix, "lib")))
        tools = os.listdir(os.path.join(self.prefix, "bin"))
        self.assertTrue({"m1-run", "m1-eval", "m1-tokenize", "m1-bench", "m1-dump"} <= set(tools), tools)
        for tool in tools:
            self.assertEqual(run(os.path.join(self.prefix, "bin", tool), "--help").returncode, 0)

    def test_python(self):
        """The installed Python package finds the library that was installed with it."""
        environment = {k: v for k, v in os.environ.items() if k != "M1RT_LIBRARY"}
        environment["PYTHONPATH"] = os.path.join(self.prefix, "lib", "python3", "dist-packages")
        program = f"import m1rt; print(len(m1rt.Model({ARTIFACT!r}).generate([[1, 2, 3]], 3, m1rt.Params(max_new_tokens=5))[0].samples))"
        self.assertEqual(run(sys.executable, "-c", program, env=environment).stdout, "3\n")

    def test_wheel(self):
        """A wheel holds the package and the library, with their digests, and works unpacked elsewhere, as pip leaves it."""
        maker = os.path.join(os.path.dirname(EXAMPLE), "..", "..", "runtime", "python", "make_wheel.py")
        path = run(sys.executable, maker, self.prefix, self.path("wheels")).stdout.strip()
        self.assertRegex(os.path.basename(path), r"^m1rt-[0-9.]+-py3-none-linux_\w+\.whl$")
        with zipfile.ZipFile(path) as wheel:
            record = next(name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
            rows = dict(line.split(",", 1) for line in wheel.read(record).decode().split())
            self.assertEqual(sorted(rows), sorted(wheel.namelist()))
            for name in rows:
                if name != record:
                    digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
                    self.assertEqual(rows[name], f"sha256={digest},{len(wheel.read(name))}")
            wheel.extractall(self.path("unpacked"))
        environment = {k: v for k, v in os.environ.items() if k != "M1RT_LIBRARY"}
        environment["PYTHONPATH"] = self.path("unpacked")
        program = f"import m1rt; print(m1rt.__file__, len(m1rt.Model({ARTIFACT!r}).generate([[1]], 2, m1rt.Params(max_new_tokens=3))))"
        self.assertEqual(run(sys.executable, "-c", program, env=environment).stdout, self.path("unpacked", "m1rt", "__init__.py") + " 1\n")

    def test_pkg_config(self):
        """pkg-config's flags build the example, as C11 without a warning."""
        if not shutil.which("pkg-config"):
            self.skipTest("no pkg-config")
        environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(self.prefix, "lib", "pkgconfig"))
        flags = run("pkg-config", "--cflags", "--libs", "m1rt", env=environment).stdout.split()
        run(CC, "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", EXAMPLE, *flags, "-o", self.path("generate"))
        self.generates(self.path("generate"))

    def test_find_package(self):
        """find_package(m1-runtime) and m1::runtime build the example."""
        os.mkdir(self.path("project"))
        with open(self.path("project", "CMakeLists.txt"), "w") as file:
            file.write(f"cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES C)\nfind_package(m1-runtime 0.1 REQUIRED)\n"
                       f"add_executable(generate {EXAMPLE})\ntarget_link_libraries(generate PRIVATE m1::runtime)\n")
        run(CMAKE, "-S", self.path("project"), "-B", self.path("project", "build"), f"-DCMAKE_PREFIX_PATH={self.prefix}",
            f"-DCMAKE_C_COMPILER={CC}")
        run(CMAKE, "--build", self.path("project", "build"))
        self.generates(self.path("project", "build", "generate"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
