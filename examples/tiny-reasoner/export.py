#!/usr/bin/env python3
"""Makes a checkpoint in the Hugging Face layout of one stage's weights, with golden.safetensors beside it: logits of this training code in
float64, which the compiled model must reproduce (test/Examples/tiny_reasoner_model_test.py).

usage: export.py RUN_DIR/grpo.safetensors -o model"""
import argparse
import json
import os
import shutil
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import m1_init
import model
import problems
import tokenizer as tokenizer_module

DECODED = 24  # tokens after each prompt


def golden(values, config, prompts):
    """Prompt ids, logits over the prompt, greedy continuation and the logits after each of its tokens, by prompt length."""
    out = {}
    for ids in prompts:
        logits = model.forward(values, config, torch.tensor(ids), model.Rows(config, 1, len(ids), "cpu", torch.float64), True)
        decoder = model.Decoder(values, config, 1, len(ids) + DECODED, True, "cpu")
        for token in ids:
            last = decoder.step(torch.tensor([token]))
        assert (last[0] - logits[-1]).abs().max() < 1e-9
        greedy, decoded = [], []
        for _ in range(DECODED):
            greedy.append(int(last.argmax()))
            last = decoder.step(torch.tensor([greedy[-1]]))
            decoded.append(last[0])
        at = f"len{len(ids)}."
        floats = lambda rows: ("F32", list(rows.shape), rows.float().contiguous().numpy().tobytes())
        ints = lambda numbers: ("I32", [len(numbers)], torch.tensor(numbers, dtype=torch.int32).numpy().tobytes())
        out.update({at + "input_ids": ints(ids), at + "prefill_logits": floats(logits), at + "greedy_ids": ints(greedy),
                    at + "decode_logits": floats(torch.stack(decoded))})
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("-o", dest="out", required=True)
    options = parser.parse_args()
    config = model.Config()
    stored = m1_init.read_safetensors(options.weights)
    if {name: tuple(shape) for name, (_, shape, _) in stored.items()} != model.shapes(config, True):
        sys.exit(f"export.py: {options.weights} does not hold a student of model.Config's sizes")
    tokenizer_module.build(options.out)
    tokens = tokenizer_module.Tokenizer(options.out)
    shutil.copyfile(options.weights, os.path.join(options.out, "model.safetensors"))
    hugging = config.hugging_face((tokens.begin, tokens.end))
    for name, value in (("config.json", hugging), ("mamba_config.json", m1_init.Sizes(hugging, config.attention_layers).mamba_config(hugging))):
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as target:
            json.dump(value, target, indent=2)
            target.write("\n")
    values = {name: torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(shape).double() for name, (_, shape, data) in stored.items()}
    items = problems.distinct(1, "test", 2, "hard")
    prompts = {len(ids): ids for ids in ([tokens.begin, tokens.user], *(tokens.prompt(item["problem"]) for item in items))}
    with torch.no_grad():
        m1_init.write_safetensors(os.path.join(options.out, "golden.safetensors"), golden(values, config, prompts.values()))


if __name__ == "__main__":
    main()
