#!/usr/bin/env python3
"""The tokens of samples that run together are those of each alone: batches, forks, and the engine's running ahead change nothing.

usage: check_samples.py BIN_DIR ARTIFACT...   (f32 artifacts: there, rounding differences between batch sizes do not reach the tokens)"""
import json
import subprocess
import sys
import tempfile

SAMPLES, SEED = 6, 41


def draw(run, artifact, ids, samples, first, filters):
    command = [run, artifact, "--device", "cuda", "--input-ids", ids, "--samples", str(samples), "--seed", str(SEED), "--first-sample", str(first), "--max-new-tokens", "48",
               "--temperature", "0.8", "--json", *filters]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return [sample["tokens"] for sample in result["samples"]]


def main():
    run = sys.argv[1] + "/m1-run"
    wrong = 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as ids:
        ids.write(" ".join(str(7 * i % 61 + 3) for i in range(75)))  # more than a page, not a multiple
        ids.flush()
        for artifact in sys.argv[2:]:
            for filters in [[], ["--top-k", "20"], ["--top-p", "0.9"], ["--min-p", "0.05", "--top-k", "40", "--top-p", "0.95"],
                            ["--repetition-penalty", "1.3"]]:
                together = draw(run, artifact, ids.name, SAMPLES, 0, filters)
                alone = [draw(run, artifact, ids.name, 1, i, filters)[0] for i in range(SAMPLES)]
                same = together == alone
                wrong += not same
                print(f"{artifact} {' '.join(filters) or 'temperature alone'}: {'equal' if same else f'differ: {together} {alone}'}")
    return 1 if wrong else 0


sys.exit(main())
