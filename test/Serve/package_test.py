#!/usr/bin/env python3
"""What cpack makes is enough to compile and serve: package_test.py BIN_DIR BUILD_DIR CPACK. The packages are unpacked into a scratch root and used there."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import server

BUILD, CPACK = sys.argv[2:4]


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        kinds = "TGZ;DEB" if shutil.which("dpkg-deb") and shutil.which("dpkg-shlibdeps") else "TGZ"
        run(CPACK, "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-G", kinds, "-B", cls.directory.name, cwd=cls.directory.name)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def find(self, pattern):
        found = glob.glob(os.path.join(self.directory.name, pattern))
        self.assertEqual(len(found), 1, pattern)
        return found[0]

    def serves(self, root):
        """Compiles and serves from this tree alone."""
        programs = os.path.join(root, "bin")
        running = server.Server(programs, server.tiny_reasoner(programs))
        self.assertEqual(running.chat("What is 2+3?", max_tokens=3)["usage"]["completion_tokens"], 3)
        self.assertEqual(running.close(), 0)
        documents = os.path.join(root, "share", "doc", "m1-runtime")
        with open(os.path.join(documents, "README.md")) as file:
            pages = re.findall(r"\]\(((?:docs/|LICENSE)[^)#]*)", file.read())
        self.assertEqual([page for page in pages if not os.path.exists(os.path.join(documents, page))], [])
        with open(os.path.join(root, "lib", "systemd", "system", "m1-serve@.service")) as file:
            unit = file.read()
        self.assertIn("ExecStart=/usr/bin/m1-serve", unit)
        if shutil.which("systemd-analyze"):
            name = os.path.join(self.directory.name, "m1-serve@model.service")
            with open(name, "w") as file:
                file.write(unit.replace("/usr/bin/m1-serve", os.path.join(programs, "m1-serve")))
            checked = subprocess.run(["systemd-analyze", "verify", "--man=no", name], capture_output=True, text=True)
            self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_archives(self):
        root = os.path.join(self.directory.name, "archives")
        os.mkdir(root)
        for component in "runtime", "compiler":
            run("tar", "-xzf", self.find(f"m1-runtime-*-{component}.tar.gz"), "-C", root)
        self.serves(root)

    def test_debian(self):
        if not glob.glob(os.path.join(self.directory.name, "*.deb")):
            self.skipTest("there is no dpkg-deb or dpkg-shlibdeps")
        root = os.path.join(self.directory.name, "debian")
        runtime, compiler = self.find("m1-runtime_*.deb"), self.find("m1-compiler_*.deb")
        self.assertNotIn("llvm", run("dpkg-deb", "-f", runtime, "Depends").lower())
        self.assertIn("libcpp-httplib", run("dpkg-deb", "-f", runtime, "Depends"))
        self.assertIn("libmlir", run("dpkg-deb", "-f", compiler, "Depends").lower())
        for package in runtime, compiler:
            run("dpkg-deb", "-x", package, root)
        self.serves(os.path.join(root, "usr"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
