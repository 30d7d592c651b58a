"""Configurations of the size of M1-3B, and what its artifacts ask of a chip.

chips.py write DIR              configurations of M1-3B (DIR/m1), its Mamba-2 variant (DIR/m1-mamba2)
                                and a model with heads of 256 (DIR/wide)
chips.py check CHIP BYTES FILE  every kernel of a plan, or of m1-dump's JSON, which also has the
                                code, fits CHIP's shared memory a block
"""
import json
import os
import re
import sys

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 3072,
    "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 8192, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "max_position_embeddings": 131072, "vocab_size": 128256, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]}
MIXERS = {"d_model": 3072, "rms_norm_eps": 1e-5, "vocab_size": None, "d_inner": 3072, "d_xb": 1024,
          "intermediate_size": 8192, "hidden_act": "silu", "n_layer": 28,
          "attn_layers": [3, 8, 13, 18, 23, 27]}
M1 = dict(MIXERS, ssm_cfg={"expand": 1})
M1_MAMBA2 = dict(MIXERS, ssm_cfg={"expand": 1, "ngroups": 24, "d_state": 128})


def write(directory, config, mamba):
    os.makedirs(directory)
    for name, value in (("config.json", config), ("mamba_config.json", mamba)):
        if value:
            with open(os.path.join(directory, name), "w") as file:
                json.dump(value, file)


if sys.argv[1] == "write":
    root = sys.argv[2]
    for name, shared in (("m1", M1), ("m1-mamba2", M1_MAMBA2)):
        write(os.path.join(root, name), LLAMA, shared)
    wide = dict(LLAMA, num_attention_heads=12, num_key_value_heads=4, head_dim=256,
                num_hidden_layers=1)
    write(os.path.join(root, "wide"), wide, None)
else:
    chip, limit, path = sys.argv[2], int(sys.argv[3]), sys.argv[4]
    with open(path) as file:
        text = file.read()
    if text.startswith("{"):
        (target,) = json.loads(text)["targets"]
        assert {entry["chip"] for entry in target["code"]} == {chip}, target["code"]
        sizes = {kernel["symbol"]: kernel["shared_bytes"] for kernel in target["kernels"]}
    else:
        assert 'chip = "%s"' % chip in text
        sizes = {symbol: int((re.findall("shared_bytes = ([0-9]+)", rest) or [0])[0])
                 for symbol, rest in re.findall(r"plan.kernel @(\S+) ({.*})", text)}
    assert len(sizes) > 8, sizes
    for symbol, size in sizes.items():
        assert size <= limit, (chip, limit, symbol, size)
