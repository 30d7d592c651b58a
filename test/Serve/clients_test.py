#!/usr/bin/env python3
"""m1-serve with clients of others: clients_test.py BIN_DIR. The npm package `openai` is installed outside the tree; without npm or its registry that part
is skipped, and without curl the other one."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import server

BIN = server.bin_dir()


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server.Server(BIN, server.tiny_reasoner(BIN), "--slots", "8")
        cls.url = f"http://{cls.server.host}:{cls.server.port}"

    @classmethod
    def tearDownClass(cls):
        assert cls.server.close() == 0

    @unittest.skipUnless(shutil.which("npm") and shutil.which("node"), "there is no npm")
    def test_npm_openai(self):
        with tempfile.TemporaryDirectory() as directory:
            install = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", directory, "openai"],
                                     capture_output=True, text=True, timeout=240)
            if install.returncode != 0:
                self.skipTest("npm cannot install openai: " + install.stderr.strip().splitlines()[-1])
            shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients.mjs"), directory)
            result = subprocess.run(["node", "clients.mjs", self.url], cwd=directory, capture_output=True, text=True, timeout=120)
            self.assertEqual((result.returncode, result.stdout), (0, "ok\n"), result.stderr)

    @unittest.skipUnless(shutil.which("curl"), "there is no curl")
    def test_curl(self):
        """curl with and without a stream, a body over its 1 MiB limit of Expect: 100-continue, and HTTP/1.0."""
        def curl(*arguments, body=None):
            return subprocess.run(["curl", "-sS", "--max-time", "60", "-H", "Content-Type: application/json", *arguments], input=body,
                                  capture_output=True, text=True, timeout=90)
        chat = self.url + "/v1/chat/completions"
        message = {"messages": [{"role": "user", "content": "What is 2+3?"}], "temperature": 0}
        whole = json.loads(curl(chat, "-d", json.dumps(message)).stdout)["choices"][0]["message"]["content"]
        lines = curl("-N", chat, "-d", json.dumps({**message, "stream": True})).stdout.split("\n\n")
        self.assertEqual(lines[-2:], ["data: [DONE]", ""])
        chunks = [json.loads(line[6:]) for line in lines[:-2]]
        self.assertEqual("".join(c["choices"][0]["delta"].get("content", "") for c in chunks), whole)
        large = json.dumps({**message, "user": "x" * (2 << 20)})
        self.assertIn("choices", json.loads(curl(chat, "-d", "@-", body=large).stdout))
        self.assertEqual(json.loads(curl("-0", self.url + "/health").stdout)["status"], "ok")
        refused = curl("-o", os.devnull, "-w", "%{http_code}", self.url + "/v1/completions", "-d", "{")
        self.assertEqual(refused.stdout, "400")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
