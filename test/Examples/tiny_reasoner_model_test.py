"""The trained checkpoint, compiled with f32 activations, computes what the training code computes (golden.safetensors, float64).
usage: tiny_reasoner_model_test.py BIN_DIR"""
import array
import os
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "tiny-reasoner")
sys.path.insert(0, HERE)
import m1_init

TOLERANCE = 1e-3  # largest difference over the standard deviation of the reference logits, as for every golden checkpoint


def numbers(tensors, name):
    dtype, _, data = tensors[name]
    return array.array({"F32": "f", "I32": "i"}[dtype], data)


def relative_error(got, want):
    assert len(got) == len(want), f"{len(got)} logits, expected {len(want)}"
    mean = sum(want) / len(want)
    deviation = (sum((v - mean) ** 2 for v in want) / len(want)) ** 0.5
    return max(abs(a - b) for a, b in zip(got, want)) / deviation


def main():
    tools, model = sys.argv[1], os.path.join(HERE, "model")
    golden = m1_init.read_safetensors(os.path.join(model, "golden.safetensors"))
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory:
        at = lambda name: os.path.join(directory, name)
        subprocess.run([os.path.join(tools, "m1-compile"), model, "-o", at("model.m1a"), "--activation-type", "f32"], check=True)
        for length in sorted({int(name.split(".")[0][3:]) for name in golden}):
            want = {field: numbers(golden, f"len{length}.{field}") for field in ("input_ids", "prefill_logits", "greedy_ids", "decode_logits")}
            with open(at("ids"), "w", encoding="utf-8") as out:
                out.write(" ".join(map(str, want["input_ids"])))
            subprocess.run([os.path.join(tools, "m1-run"), at("model.m1a"), "--input-ids", at("ids"), "--max-new-tokens", str(len(want["greedy_ids"])),
                            "--temperature", "0", "--ignore-eos", "--dump-logits", at("logits")], check=True, stdout=subprocess.DEVNULL)
            got = m1_init.read_safetensors(at("logits"))
            assert list(numbers(got, "output_ids")) == list(want["greedy_ids"]), f"length {length}: other greedy tokens"
            for field in ("prefill_logits", "decode_logits"):
                worst = max(worst, relative_error(numbers(got, field), want[field]))
    print(f"worst relative error {worst:.2e}")
    assert worst <= TOLERANCE, f"relative error {worst:.2e} is over {TOLERANCE}"


if __name__ == "__main__":
    main()
