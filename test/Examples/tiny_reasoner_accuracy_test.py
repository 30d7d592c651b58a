"""The compiled model still reasons as well as when it was recorded: pass@1 of the first problems of the test set stays within the
interval of examples/tiny-reasoner/expected.json. usage: tiny_reasoner_accuracy_test.py BIN_DIR"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "tiny-reasoner")


def main():
    tools = sys.argv[1]
    with open(os.path.join(HERE, "expected.json"), encoding="utf-8") as source:
        expected = json.load(source)
    with tempfile.TemporaryDirectory() as directory:
        artifact, out = os.path.join(directory, "tiny.m1a"), os.path.join(directory, "scores")
        subprocess.run([os.path.join(tools, "m1-compile"), os.path.join(HERE, "model"), "-o", artifact], check=True)
        subprocess.run([os.path.join(tools, "m1-eval"), artifact, "--dataset", os.path.join(HERE, "test.jsonl"), "--limit", str(expected["problems"]),
                        "--samples", str(expected["samples"]), "--temperature", "0.7", "--max-new-tokens", "400", "--out", out],
                       check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "summary.json"), encoding="utf-8") as source:
            scores = json.load(source)
    low, high = expected["pass@1"]
    print(f"pass@1 {scores['pass@1']:.3f}, recorded interval {low} to {high}")
    assert scores["samples"] == expected["problems"] * expected["samples"]
    assert low <= scores["pass@1"] <= high, "pass@1 left the recorded interval"


if __name__ == "__main__":
    main()
