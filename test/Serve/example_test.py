#!/usr/bin/env python3
"""examples/serve.sh with the programs of a build: example_test.py BIN_DIR. It says an address, answers there, and ends when it is told to."""
import json
import os
import re
import signal
import subprocess
import sys
import unittest
import urllib.request

import server


class Example(unittest.TestCase):
    def test_serves(self):
        environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        process = subprocess.Popen([os.path.join(server.ROOT, "examples", "serve.sh"), "--bin", server.bin_dir(), "--port", "0"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        try:
            for line in process.stdout:
                found = re.match(r"Open (http://\S+) ", line)
                if found:
                    break
            with urllib.request.urlopen(found[1] + "/v1/models", timeout=30) as answer:
                self.assertEqual(json.load(answer)["data"][0]["id"], "tiny-reasoner")
            with urllib.request.urlopen(found[1], timeout=30) as answer:
                self.assertIn("<!DOCTYPE html>", answer.read().decode())
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)
            with self.assertRaises(OSError):
                urllib.request.urlopen(found[1], timeout=5)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
