#!/usr/bin/env python3
"""Fields that config.json does not have are those of the configuration class in transformers: defaults_test.py BIN_DIR.
For each family and field: the model without the field is the model with the class's default, and another value makes another model or is refused, so that no field goes unread."""
import json
import os
import sys
import tempfile

from importer import Importer

# As the classes' signatures have them (src/transformers/models/*/configuration_*.py of transformers 5.17); rope_theta is that of rope_parameters.
COMMON = {"tie_word_embeddings": False, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
ATTENTION = {"num_attention_heads": 32, "num_key_value_heads": 8, "attention_bias": False, "rope_theta": 10000.0, **COMMON}
SSD = {"mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": True, "mamba_proj_bias": False}
MAMBA = {"vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32, "layer_norm_epsilon": 1e-5, **COMMON, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True,
         "state_size": 16, "expand": 2, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": "auto"}
LLAMA = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, **ATTENTION, "num_key_value_heads": 32, "mlp_bias": False}
QWEN = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, **ATTENTION, "num_key_value_heads": 32,
        "use_sliding_window": False, "bos_token_id": None, "eos_token_id": None}
DELTA = {**QWEN, "num_attention_heads": 16, "head_dim": 256, "partial_rotary_factor": 0.25, "attn_output_gate": True, "full_attention_interval": 4,
         "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32}
del DELTA["use_sliding_window"]
MISTRAL = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, **ATTENTION, "sliding_window": 4096}
del MISTRAL["attention_bias"]

# Of each family: its fields, what else to say so that they count, and fields that come to nothing there.
FAMILIES = {
    "bamba": ({"vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "max_position_embeddings": 262144, "rms_norm_eps": 1e-5, **ATTENTION, "mlp_bias": False,
               "partial_rotary_factor": 0.5, **SSD}, {"attn_layer_indices": [1]}),
    "falcon_h1": ({"vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, **ATTENTION, "mlp_bias": False,
                   "projectors_bias": False, **{name: value for name, value in SSD.items() if name != "mamba_expand"}, "mamba_d_ssm": 1024, "mamba_rms_norm": False, **{name: 1.0 for name in (
                       "lm_head_multiplier", "embedding_multiplier", "key_multiplier", "attention_in_multiplier", "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier")},
                   "mlp_multipliers": [1.0, 1.0], "ssm_multipliers": [1.0] * 5}, {}),
    "falcon_h1 normed": ({"mamba_norm_before_gate": True}, {"mamba_rms_norm": True}),
    "falcon_h1 expanded": ({"mamba_expand": 2}, {"mamba_d_ssm": None}),
    "granitemoehybrid": ({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, **ATTENTION,
                          "num_key_value_heads": 32, "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0, "attention_multiplier": 1.0, "num_local_experts": 8,
                          "num_experts_per_tok": 2, "shared_intermediate_size": 1024, **SSD},
                         {"num_hidden_layers": 2, "layer_types": ["mamba", "attention"], "position_embedding_type": "rope"}),
    "granitemoehybrid plain": ({"layer_types": ["mamba"] * 32}, {}),
    "granitemoehybrid nope": ({"position_embedding_type": "nope"}, {"layer_types": ["attention"], "num_hidden_layers": 1}),
    "jamba": ({"vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "max_position_embeddings": 262144, "rms_norm_eps": 1e-6, **COMMON,
               "num_attention_heads": 32, "num_key_value_heads": 8, "num_experts": 16, "num_experts_per_tok": 2, "expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 8,
               "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto", "mamba_conv_bias": True, "mamba_proj_bias": False}, {}),
    "lfm2": ({"vocab_size": 65536, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 128000,
              "norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "rope_theta": 1e6, "conv_bias": False, "conv_L_cache": 3, "block_multiple_of": 256,
              "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": True}, {"full_attn_idxs": [1]}),
    "lfm2_moe": ({"vocab_size": 65536, "hidden_size": 2048, "intermediate_size": 7168, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 128000, "norm_eps": 1e-5,
                  "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "rope_theta": 1e6, "conv_bias": False, "conv_L_cache": 3, "moe_intermediate_size": 1792, "num_experts": 32,
                  "num_experts_per_tok": 4, "use_expert_bias": True, "routed_scaling_factor": 1.0, "norm_topk_prob": True},
                 {"num_hidden_layers": 3, "num_dense_layers": 1, "layer_types": ["conv", "full_attention", "conv"]}),
    "lfm2_moe dense": ({"num_dense_layers": 2}, {"num_hidden_layers": 4, "layer_types": ["conv"] * 4, "num_experts": 4}),
    "lfm2_moe layers": ({"num_hidden_layers": 32}, {"layer_types": ["conv"] * 32, "num_dense_layers": 32}),
    "llama": (LLAMA, {}),
    "mamba": (MAMBA, {}),
    "falcon_mamba": ({**MAMBA, "mixer_rms_eps": 1e-6}, {}),
    "mamba2": ({"vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64, "layer_norm_epsilon": 1e-5, **COMMON, "bos_token_id": 0, "num_heads": 128, "head_dim": 64, "n_groups": 8,
                "state_size": 128, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True}, {}),
    "ministral": (MISTRAL, {}),
    "mistral": (MISTRAL, {}),
    "nemotron_h": ({"vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 21504, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 4096,
                    "layer_norm_epsilon": 1e-5, "mlp_hidden_act": "relu2", "mamba_hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False,
                    "mlp_bias": False, "use_bias": False, "mamba_num_heads": 128, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "use_conv_bias": True,
                    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 7688, "moe_shared_expert_intermediate_size": 7688, "norm_topk_prob": True,
                    "routed_scaling_factor": 1.0, "n_group": 1}, {"hybrid_override_pattern": "M-*E"}),
    "nemotron_h grouped": ({"topk_group": 1}, {"hybrid_override_pattern": "ME", "n_group": 4}),
    "qwen2": ({**{name: value for name, value in QWEN.items() if name != "attention_bias"}, "sliding_window": 4096}, {"use_sliding_window": True, "max_window_layers": 0}),
    "qwen2 windows": ({"max_window_layers": 28}, {"use_sliding_window": True, "num_hidden_layers": 29}),
    "qwen2 plain": ({"use_sliding_window": False}, {"max_window_layers": 0, "num_hidden_layers": 1}),
    "qwen3": ({**QWEN, "head_dim": 128, "sliding_window": 4096}, {"use_sliding_window": True, "max_window_layers": 0}),
    "qwen3 windows": ({"max_window_layers": 28}, {"use_sliding_window": True, "num_hidden_layers": 29}),
    "qwen3 plain": ({"use_sliding_window": False}, {"max_window_layers": 0, "num_hidden_layers": 1}),
    "qwen3_moe": ({**QWEN, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_key_value_heads": 4, "decoder_sparse_step": 1, "moe_intermediate_size": 768,
                   "num_experts_per_tok": 8, "num_experts": 128, "norm_topk_prob": False, "sliding_window": 4096}, {"use_sliding_window": True, "num_hidden_layers": 2, "mlp_only_layers": [1], "num_experts": 16}),
    "qwen3_moe plain": ({"use_sliding_window": False, "mlp_only_layers": []}, {"num_hidden_layers": 2, "num_experts": 16}),
    "qwen3_next": ({**DELTA, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 48, "num_key_value_heads": 2, "decoder_sparse_step": 1, "moe_intermediate_size": 512,
                    "shared_expert_intermediate_size": 512, "num_experts_per_tok": 10, "num_experts": 512, "norm_topk_prob": True}, {"num_hidden_layers": 4, "mlp_only_layers": [1, 2, 3], "num_experts": 16}),
    "recurrent_gemma": ({"vocab_size": 256000, "hidden_size": 2560, "intermediate_size": 7680, "num_hidden_layers": 26, "num_attention_heads": 10, "rms_norm_eps": 1e-6,
                         "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1, "attention_bias": False, "attention_window_size": 2048,
                         "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "logits_soft_cap": 30.0, "conv1d_width": 4, "block_types": ["recurrent", "recurrent", "attention"]}, {}),
    "zamba2": ({"vocab_size": 32000, "hidden_size": 2560, "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, **COMMON, "hidden_act": "gelu", "tie_word_embeddings": True,
                "rope_theta": 10000.0, "use_mem_rope": False, "use_long_context": False, "add_bias_linear": False, "num_mem_blocks": 1, "adapter_rank": 128, "use_shared_attention_adapter": False,
                "use_shared_mlp_adapter": True, "n_mamba_heads": 8, "mamba_ngroups": 1, "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2, "use_conv_bias": True},
               {"num_hidden_layers": 3, "layers_block_type": ["hybrid", "mamba", "hybrid"], "use_mem_rope": True}),
    "zamba2 layers": ({"num_hidden_layers": 54, "layers_block_type": ["hybrid" if i in (6, 12, 18, 24, 30, 36, 42, 47, 51) else "mamba" for i in range(54)]}, {}),
    "qwen3_5_text": ({**DELTA, "vocab_size": 248320, "intermediate_size": 12288, "num_key_value_heads": 4}, {}),
}
# A number of layers that keeps imports short, where more is no other test.
FEW = {"bamba": 2, "falcon_h1": 1, "falcon_mamba": 1, "jamba": 5, "lfm2": 2, "llama": 1, "mamba": 1, "mamba2": 1, "ministral": 1, "mistral": 1, "nemotron_h": 4, "qwen2": 1, "qwen3": 1, "qwen3_5_text": 4, "recurrent_gemma": 3}
# What null means: the same as the value.
NULLS = [
    ("bamba", "num_key_value_heads", 32), ("falcon_h1", "num_key_value_heads", 32), ("jamba", "num_key_value_heads", 32), ("mistral", "num_key_value_heads", 32),
    ("nemotron_h", "num_key_value_heads", 32), ("qwen2", "num_key_value_heads", 32), ("llama", "head_dim", 128), ("falcon_h1", "mlp_multipliers", [1, 1]),
    ("falcon_h1", "key_multiplier", 1), ("qwen3_moe", "mlp_only_layers", []), ("bamba", "attn_layer_indices", []), ("mamba", "use_bias", False), ("mamba", "use_conv_bias", False),
    ("granitemoehybrid", "position_embedding_type", "nope"), ("mistral", "eos_token_id", []), ("lfm2", "layer_types", ["conv", "full_attention"]),
    ("recurrent_gemma", "num_key_value_heads", 10), ("recurrent_gemma", "lru_width", 2560),
    ("zamba2", "num_key_value_heads", 32), ("zamba2", "intermediate_size", 10240),
]
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 1e4}
LONG = {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.5] * 64, "long_factor": [2.0] * 64, "rope_theta": 1e4}
TRAINED = "original_max_position_embeddings"
# What two configurations say alike. The context of the training counts at top level before what the parameters say.
SAME = [("llama", {"rope_parameters": {**scaling, TRAINED: 64}}, {"rope_parameters": {**scaling, **inner}, TRAINED: 64}) for scaling in (YARN, LLAMA3, LONG) for inner in ({}, {TRAINED: 512})]
SAME += [("llama", {"rope_parameters": {**scaling, TRAINED: 2048}}, {"rope_parameters": scaling}) for scaling in (YARN, LLAMA3, LONG)]
SAME += [("llama", {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0}}, {"rope_parameters": YARN}),
         ("bamba", {"attn_layer_indices": [1]}, {"attn_layer_indices": [1], "attn_rotary_emb": 64}),
         ("bamba", {"attn_layer_indices": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}},
          {"attn_layer_indices": [1], "attn_rotary_emb": 128, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}})]
# What transformers takes otherwise than it stands there is refused by name.
CONTRADICTIONS = [
    ("bamba", {"attn_layer_indices": [1], "partial_rotary_factor": 0.25}, "field 'partial_rotary_factor': expected 0.5, or another within 'rope_parameters', got 0.25"),
    ("bamba", {"attn_layer_indices": [1], "attn_rotary_emb": 32}, "field 'attn_rotary_emb': expected 64 rotated elements of the 128 of a head, got 32"),
    ("bamba", {"attn_layer_indices": [1], "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.0234375}},
     "field 'rope_parameters.partial_rotary_factor': expected an even number of rotated elements of the 128 of a head, got 3"),
    ("bamba", {"attn_layer_indices": [1], "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1e30}},
     "field 'rope_parameters.partial_rotary_factor': expected an even number of rotated elements of the 128 of a head, got 1.28e+32"),
]
# Without a value there is no model.
REFUSED = [("llama", "hidden_size"), ("llama", "rms_norm_eps"), ("mamba2", "n_groups"), ("jamba", "num_experts"), ("qwen3_next", "linear_num_value_heads")]


def other(name, value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [2 * entry for entry in value] if value and isinstance(value[0], float) else [0] if not value else ["attention"] * len(value)
    if isinstance(value, str):
        return {"auto": 32, "nope": "rope", "gelu": "silu"}.get(value, "gelu")
    if value is None or name.endswith("_token_id"):
        return 5
    return {"attn_layer_period": 4, "block_multiple_of": 3}.get(name, value * 2)


def main():
    importer = Importer(os.path.join(sys.argv[1], "import-messages"))
    count = failed = 0
    with tempfile.TemporaryDirectory() as work:
        def read(config):
            with open(os.path.join(work, "config.json"), "w") as file:
                json.dump(config, file)
            return importer.read(work, "dummy", "digest")

        def expect(good, text):
            nonlocal count, failed
            count += 1
            if not good:
                failed += 1
                print(text)

        for title, (fields, more) in FAMILIES.items():
            family = title.split()[0]
            few = {"num_hidden_layers": FEW[family]} if title in FEW else {}
            for name, value in fields.items():
                base = {"model_type": family, **fields, **(few if name != "num_hidden_layers" else {}), **{key: also for key, also in more.items() if key != name}}
                if name == "num_hidden_layers":
                    base.pop("mlp_only_layers", None)
                    if len(base.get("layer_types", [])) != value:
                        base.pop("layer_types", None)
                whole = read({**base, name: value})
                expect(whole[0], f"{title}: {whole[1]}")
                rest = {key: also for key, also in base.items() if key != name}
                expect(read(rest) == whole, f"{title} without {name}: not as with {value}")
                expect(read({**rest, name: other(name, value)}) != whole, f"{title}: {name} = {other(name, value)} is as {value}")
        for family, name, value in NULLS:
            fields, more = FAMILIES[family]
            base = {"model_type": family, **fields, "num_hidden_layers": FEW.get(family, 2), **more}
            whole = read({**base, name: value})
            expect(whole[0] and read({**base, name: None}) == whole, f"{family}: {name} of null is not as {value}: {whole[1]}")
        for family, one, other_one in SAME:
            base = {"model_type": family, **{name: value for name, value in FAMILIES[family][0].items() if name not in ("rope_theta", "partial_rotary_factor")}, "num_hidden_layers": 2}
            first, second = read({**base, **one}), read({**base, **other_one})
            expect(first[0] and first == second, f"{family}: {one} is not as {other_one}: {first[1]} {second[1]}")
        for family, fields, message in CONTRADICTIONS:
            imported, said = read({"model_type": family, **FAMILIES[family][0], "num_hidden_layers": 2, **fields})
            expect(not imported and message in said, f"{family}: {fields}: {said}")
        for family, name in REFUSED:
            imported, said = read({"model_type": family, **FAMILIES[family][0], name: None})
            expect(not imported and f"field '{name}': expected a value, got null" in said, f"{family}: {name} of null: {said}")
    importer.close()
    print(f"{failed} of {count} not as expected")
    return 1 if failed else 0


sys.exit(main())
