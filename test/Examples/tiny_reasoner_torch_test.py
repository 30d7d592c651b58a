"""The training code's model is M1's maths: in float64 it computes the golden logits, whole and token by token, and its scan has the right
gradient. Skipped (77) without PyTorch. usage: tiny_reasoner_torch_test.py GOLDENS_DIR"""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "tiny-reasoner"))
try:
    import torch
except ImportError:
    print("skipped: no PyTorch")
    sys.exit(77)
import m1_init
import model
import scan

GOLDENS = sys.argv.pop(1)
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I32": torch.int32}


def load(path):
    return {name: torch.frombuffer(bytearray(data), dtype=TYPES[dtype]).view(shape) for name, (dtype, shape, data) in m1_init.read_safetensors(path).items()}


class Model(unittest.TestCase):
    def test_goldens(self):
        # Both ways of running the model give the logits of the authors' code, on f32 and on bf16 weights.
        for name in ("m1-mamba1-f32", "m1-mamba1-bf16"):
            at = os.path.join(GOLDENS, name)
            with open(os.path.join(at, "config.json"), encoding="utf-8") as a, open(os.path.join(at, "mamba_config.json"), encoding="utf-8") as b:
                base, mamba = json.load(a), json.load(b)
            config = model.Config(vocab=base["vocab_size"], d_model=base["hidden_size"], layers=base["num_hidden_layers"], heads=base["num_attention_heads"],
                                  kv_heads=base["num_key_value_heads"], head_dim=base["head_dim"], mlp=base["intermediate_size"],
                                  theta=base["rope_theta"], attention_layers=tuple(mamba["attn_layers"]))
            values = {key: value.double() for key, value in load(os.path.join(at, "model.safetensors")).items()}
            self.assertEqual({key: tuple(value.shape) for key, value in values.items()}, model.shapes(config, True))
            golden = load(os.path.join(at, "golden.safetensors"))
            for length in sorted({int(key.split(".")[0][3:]) for key in golden}):
                ids, want = golden[f"len{length}.input_ids"].long(), golden[f"len{length}.prefill_logits"]
                whole = model.forward(values, config, ids, model.Rows(config, 1, length, "cpu", torch.float64), True)
                decoder = model.Decoder(values, config, 1, length, True, "cpu")
                one = torch.cat([decoder.step(token.view(1)) for token in ids])
                for got in (whole, one):
                    self.assertLess(float((got - want).abs().max() / want.std()), 1e-4)

    def test_scan_gradient(self):
        # The parallel scan's gradient, by which the fused one is checked on a GPU, agrees with finite differences.
        torch.manual_seed(0)
        N, inner, shared, length, rows = 4, 8, 4, 3, 2
        shapes = ((rows * length, inner), (inner,), (inner, N), (rows * length, shared), (rows * length, inner), (rows * length, inner), (inner,),
                  (rows * length, inner))
        inputs = tuple(torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
        self.assertTrue(torch.autograd.gradcheck(lambda *args: scan.scan_reference(*args, length), inputs))


if __name__ == "__main__":
    unittest.main()
