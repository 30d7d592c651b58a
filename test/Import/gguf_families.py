"""Tiny models of the families that GGUF files are read of: config.json, tensors, and their names and orders as llama.cpp's conversion writes them."""
import math
import re
import struct

from gguf_files import floats


def turned(rows, heads):
    """llama.cpp's order of the rows of q and k: the halves of each head take turns."""
    d = len(rows) // heads
    return [rows[h * d + a * (d // 2) + b] for h in range(heads) for b in range(d // 2) for a in (0, 1)]


PARTS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm",
         # Of hybrids.
         "operator_norm": "attn_norm", "norm": "attn_norm", "pre_ff_layernorm": "ffn_norm", "ffn_norm": "ffn_norm",
         "self_attn.out_proj": "attn_output", "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
         "conv.in_proj": "shortconv.in_proj", "conv.conv": "shortconv.conv", "conv.out_proj": "shortconv.out_proj",
         "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down",
         "feed_forward.gate_proj": "ffn_gate", "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down",
         "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp", "mlp.shared_expert.down_proj": "ffn_down_shexp",
         "mlp.shared_expert_gate": "ffn_gate_inp_shexp", "mlp.gate": "ffn_gate_inp", "feed_forward.router": "ffn_gate_inp", "mamba.dt_layernorm": "ssm_dt_norm", "mamba.b_layernorm": "ssm_b_norm", "mamba.c_layernorm": "ssm_c_norm", "block_sparse_moe.router.layer": "ffn_gate_inp", "block_sparse_moe.output_linear": "ffn_down_exps",
         **{f"{module}.{name}": place for module in ("mixer", "mamba") for name, place in
            {"in_proj": "ssm_in", "conv1d": "ssm_conv1d", "x_proj": "ssm_x", "dt_proj": "ssm_dt", "A_log": "ssm_a", "D": "ssm_d", "norm": "ssm_norm", "out_proj": "ssm_out",
             "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "up_proj": "ffn_up", "down_proj": "ffn_down"}.items()}}
OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "backbone.embeddings.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "backbone.norm_f.weight": "output_norm.weight", "model.final_layernorm.weight": "output_norm.weight", "model.embedding_norm.weight": "token_embd_norm.weight",
           "lm_head.weight": "output.weight"}


def gguf_name(name, of_delta=False, is_falcon=False):
    layer = re.match(r"(?:model|backbone)\.layers\.(\d+)\.(.*?)(\.weight|\.bias|)$", name)
    if not layer:
        return OUTSIDE[name]
    part, suffix = layer[2], layer[3]
    if part.endswith(".dt_bias"):
        return f"blk.{layer[1]}.ssm_dt.bias"
    if of_delta and part == "post_attention_layernorm":
        part = "post_attention_norm"
    if is_falcon and part == "pre_ff_layernorm":  # gguf-py's tensor_mapping.py has this name with its end
        suffix = ""
    return f"blk.{layer[1]}.{PARTS.get(part, part)}{suffix}"


def tiled(items, keys):
    """Heads of values, those of a key head side by side, as the first of every key head, then the second."""
    share = len(items) // keys
    return [items[key * share + i] for i in range(share) for key in range(keys)]


def delta_net(config, name, shape, values):
    """Tensors of qwen3_5 and qwen3_next whose values or orders the conversion changes: name, shape and rows; None: as they are."""
    part = name.split("linear_attn.")[-1]
    keys, heads, key, value = (config[f"linear_{field}"] for field in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim"))
    size = shape[-1] if len(shape) > 1 else 1
    rows = [values[i:i + size] for i in range(0, len(values), size)]
    grouped = lambda rows, width: [rows[i:i + width] for i in range(0, len(rows), width)]
    moved = lambda rows, width: sum(tiled(grouped(rows, width), keys), [])
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return [(None, shape, [[row[0] + 1] for row in rows])]
    if config["model_type"] == "qwen3_next":
        if part == "in_proj_qkvz.weight":
            per = heads // keys * value
            q, k, v, z = [], [], [], []
            for block in grouped(rows, 2 * key + 2 * per):
                q, k, v, z = q + block[:key], k + block[key:2 * key], v + block[2 * key:2 * key + per], z + block[2 * key + per:]
            return [("attn_qkv.weight", [len(q + k + v), size], q + k + v), ("attn_gate.weight", [len(z), size], z)]
        if part == "A_log":
            return [("ssm_a", shape, [[-math.exp(row[0])] for row in rows])]
        if part == "conv1d.weight":
            return [("ssm_conv1d.weight", [shape[0], shape[2]], rows)]
        places = {"in_proj_ba.weight": "ssm_ba.weight", "dt_bias": "ssm_dt.bias", "norm.weight": "ssm_norm.weight", "out_proj.weight": "ssm_out.weight"}
    else:
        if part in ("in_proj_qkv.weight", "conv1d.weight"):
            rows = rows[:2 * keys * key] + moved(rows[2 * keys * key:], value)
            return [("attn_qkv.weight" if part.startswith("in") else "ssm_conv1d.weight", [shape[0], shape[-1]], rows)]
        if part == "in_proj_z.weight":
            return [("attn_gate.weight", shape, moved(rows, value))]
        if part == "A_log":
            return [("ssm_a", shape, moved([[-math.exp(row[0])] for row in rows], 1))]
        if part == "out_proj.weight":
            return [("ssm_out.weight", shape, [moved(row, value) for row in rows])]
        if part in ("in_proj_a.weight", "in_proj_b.weight", "dt_bias"):
            return [({"in_proj_a.weight": "ssm_alpha.weight", "in_proj_b.weight": "ssm_beta.weight", "dt_bias": "ssm_dt.bias"}[part], shape, moved(rows, 1))]
        places = {"norm.weight": "ssm_norm.weight"}
    return [(places[part], shape, rows)] if part in places else None


def llama_cpp(config, tensors):
    """What llama.cpp's conversion makes of the F32 tensors of a hybrid or a mixture of experts."""
    out, experts = {}, {}
    for name, (_, shape, data) in tensors.items():
        values = list(struct.unpack(f"<{len(data) // 4}f", data))
        changed = "linear_num_key_heads" in config and delta_net(config, name, shape, values)
        if changed:
            for place, shape, rows in changed:
                layer = re.match(r"model\.layers\.(\d+)\.", name)
                out[f"blk.{layer[1]}.{place}" if place else gguf_name(name, True)] = ("F32", shape, floats(sum(rows, [])))
            continue
        expert = re.match(r"model\.layers\.(\d+)\.(?:mlp|feed_forward)\.experts\.\d+\.(gate|up|down)_proj\.weight", name)
        if expert:
            experts.setdefault((f"blk.{expert[1]}.ffn_{expert[2]}_exps.weight", *shape), []).append(data)
            continue
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if name.endswith("_mlp.input_linear.weight") or name.endswith("_moe.input_linear.weight"):
            kind = "_exps" if "_moe" in name else "_shexp" if config.get("num_local_experts") else ""
            half, size = shape[-2] // 2, shape[-1]
            for i, part in enumerate(("gate", "up")):
                rows = [values[(group * 2 + i) * half * size:(group * 2 + i + 1) * half * size] for group in range(len(values) // (2 * half * size))]
                out[f"blk.{layer[1]}.ffn_{part}{kind}.weight"] = ("F32", [*shape[:-2], half, size], floats(sum(rows, [])))
            continue
        if name.endswith("shared_mlp.output_linear.weight"):
            out[f"blk.{layer[1]}.ffn_down{'_shexp' if config.get('num_local_experts') else ''}.weight"] = ("F32", shape, data)
            continue
        if config["model_type"] == "granitemoehybrid" and re.search(r"\.[qk]_proj\.", name):
            rows = [values[i:i + shape[1]] for i in range(0, len(values), shape[1])]
            data = floats(sum(turned(rows, config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"]), []))
        elif name.endswith(".A_log"):
            data = floats([-math.exp(value) for value in values])
        is_second = config["model_type"] not in ("mamba", "falcon_mamba", "jamba")
        if is_second and name.endswith((".A_log", ".D")):
            shape = [*shape, 1]
        elif "conv1d.weight" in name or "conv.conv" in name:
            shape = [shape[0], shape[2]]
        elif is_second and name.endswith((".mixer.norm.weight", ".mamba.norm.weight")):
            groups = config.get("n_groups", config.get("mamba_n_groups"))
            shape = [groups, shape[0] // groups]
        out[gguf_name(name, is_falcon=config["model_type"] == "falcon_h1")] = ("F32", shape, data)
    for (name, *shape), matrices in experts.items():
        out[name] = ("F32", [len(matrices), *shape], b"".join(matrices))
    return out


def attention_fields(arch, config):
    return {f"{arch}.attention.head_count": config["num_attention_heads"], f"{arch}.attention.head_count_kv": config["num_key_value_heads"]}


def metadata(config, **more):
    arch = config["model_type"]
    fields = {"general.architecture": arch, "general.name": "test", f"{arch}.block_count": config["num_hidden_layers"], f"{arch}.context_length": config["max_position_embeddings"],
              f"{arch}.embedding_length": config["hidden_size"], f"{arch}.feed_forward_length": config["intermediate_size"], **attention_fields(arch, config),
              f"{arch}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"], f"{arch}.rope.freq_base": config["rope_parameters"]["rope_theta"],
              "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.bos_token_id": 1}
    if "head_dim" in config:
        fields[f"{arch}.attention.key_length"] = fields[f"{arch}.attention.value_length"] = fields[f"{arch}.rope.dimension_count"] = config["head_dim"]
    return {**fields, **more}


# ---- tiny models of further families: config.json, tensors and their shapes, fields of a GGUF file

COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
HYBRID = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_conv_bias": True, "mamba_proj_bias": False}


def attention_shapes(prefix, names="qkvo", output="o_proj"):
    return {f"{prefix}.q_proj.weight": [32, 32], f"{prefix}.k_proj.weight": [16, 32], f"{prefix}.v_proj.weight": [16, 32], f"{prefix}.{output}.weight": [32, 32]}


def mamba2_shapes(prefix, hidden=32, groups=2):
    both = 16 * groups  # B and C
    return {f"{prefix}.in_proj.weight": [68 + both, hidden], f"{prefix}.conv1d.weight": [32 + both, 1, 4], f"{prefix}.conv1d.bias": [32 + both], f"{prefix}.dt_bias": [4], f"{prefix}.A_log": [4],
            f"{prefix}.D": [4], f"{prefix}.norm.weight": [32], f"{prefix}.out_proj.weight": [hidden, 32]}


def ssm_fields(arch, groups=2):
    return {f"{arch}.ssm.conv_kernel": 4, f"{arch}.ssm.inner_size": 32, f"{arch}.ssm.state_size": 8, f"{arch}.ssm.time_step_rank": 4, f"{arch}.ssm.group_count": groups}


def lfm2():
    config = {**COMMON, **HEADS, "model_type": "lfm2", "intermediate_size": 48, "norm_eps": 1e-5, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "conv_bias": False,
              "block_auto_adjust_ff_dim": False, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    shapes = {"model.embed_tokens.weight": [64, 32], "model.embedding_norm.weight": [32], "model.layers.0.conv.in_proj.weight": [96, 32], "model.layers.0.conv.conv.weight": [32, 1, 3],
              "model.layers.0.conv.out_proj.weight": [32, 32], **attention_shapes("model.layers.1.self_attn", output="out_proj"),
              "model.layers.1.self_attn.q_layernorm.weight": [16], "model.layers.1.self_attn.k_layernorm.weight": [16]}
    for layer in range(2):
        for part, shape in {"operator_norm": [32], "ffn_norm": [32], "feed_forward.w1": [48, 32], "feed_forward.w3": [48, 32], "feed_forward.w2": [32, 48]}.items():
            shapes[f"model.layers.{layer}.{part}.weight"] = shape
    return config, shapes, "lfm2", {"lfm2.attention.head_count": 2, "lfm2.attention.head_count_kv": [0, 1], "lfm2.feed_forward_length": 48, "lfm2.rope.freq_base": 1e6,
                                    "lfm2.shortconv.l_cache": 3, "lfm2.vocab_size": 64}


def mamba(model_type="mamba"):
    config = {**COMMON, "model_type": model_type, "intermediate_size": 64, "state_size": 8, "conv_kernel": 4, "time_step_rank": 2, "use_conv_bias": True, "use_bias": False,
              "layer_norm_epsilon": 1e-5}
    shapes = {"backbone.embeddings.weight": [64, 32], "backbone.norm_f.weight": [32]}
    for layer in range(2):
        for part, shape in {"norm.weight": [32], "mixer.in_proj.weight": [128, 32], "mixer.conv1d.weight": [64, 1, 4], "mixer.conv1d.bias": [64], "mixer.x_proj.weight": [18, 64],
                            "mixer.dt_proj.weight": [64, 2], "mixer.dt_proj.bias": [64], "mixer.A_log": [64, 8], "mixer.D": [64], "mixer.out_proj.weight": [32, 64]}.items():
            shapes[f"backbone.layers.{layer}.{part}"] = shape
    return config, shapes, "mamba", {"mamba.feed_forward_length": 0, "mamba.attention.head_count": 0, "mamba.ssm.conv_kernel": 4, "mamba.ssm.inner_size": 64, "mamba.ssm.state_size": 8,
                                     "mamba.ssm.time_step_rank": 2, "mamba.ssm.dt_b_c_rms": model_type == "falcon_mamba"}


def mamba2():
    config = {**COMMON, "model_type": "mamba2", "num_heads": 4, "head_dim": 8, "n_groups": 1, "state_size": 8, "conv_kernel": 4, "use_conv_bias": True, "use_bias": False,
              "layer_norm_epsilon": 1e-5, "tie_word_embeddings": False}
    shapes = {"backbone.embeddings.weight": [64, 32], "backbone.norm_f.weight": [32], "lm_head.weight": [64, 32]}
    for layer in range(2):
        shapes.update({f"backbone.layers.{layer}.norm.weight": [32], **mamba2_shapes(f"backbone.layers.{layer}.mixer", groups=1)})
    return config, shapes, "mamba2", {"mamba2.feed_forward_length": 0, "mamba2.attention.head_count": 0, **ssm_fields("mamba2", groups=1)}


def falcon_h1(**multipliers):
    config = {**COMMON, **HEADS, **HYBRID, "model_type": "falcon_h1", "intermediate_size": 48, "rms_norm_eps": 1e-5, "mamba_d_ssm": 32, "mamba_rms_norm": True,
              "mamba_norm_before_gate": False, "rope_theta": 1e11, "tie_word_embeddings": False, **multipliers}
    shapes = {"model.embed_tokens.weight": [64, 32], "model.final_layernorm.weight": [32], "lm_head.weight": [64, 32]}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes.update({**attention_shapes(prefix + ".self_attn"), **mamba2_shapes(prefix + ".mamba"), prefix + ".input_layernorm.weight": [32],
                       prefix + ".pre_ff_layernorm.weight": [32], prefix + ".feed_forward.gate_proj.weight": [48, 32], prefix + ".feed_forward.up_proj.weight": [48, 32],
                       prefix + ".feed_forward.down_proj.weight": [32, 48]})
    return config, shapes, "falcon-h1", {**attention_fields("falcon-h1", config), "falcon-h1.attention.key_length": 16, "falcon-h1.attention.value_length": 16,
                                         "falcon-h1.feed_forward_length": 48, "falcon-h1.rope.freq_base": 1e11, "falcon-h1.vocab_size": 64, **ssm_fields("falcon-h1")}


def granite(experts=0):
    config = {**COMMON, **HEADS, **HYBRID, "model_type": "granitemoehybrid", "mamba_expand": 1, "intermediate_size": 24 if experts else 48, "shared_intermediate_size": 48,
              "rms_norm_eps": 1e-5, "layer_types": ["mamba", "attention"], "num_local_experts": experts, "num_experts_per_tok": min(experts, 2), "attention_multiplier": 0.0078125,
              "embedding_multiplier": 12, "residual_multiplier": 0.22, "logits_scaling": 8, "position_embedding_type": "nope"}
    shapes = {"model.embed_tokens.weight": [64, 32], "model.norm.weight": [32], **mamba2_shapes("model.layers.0.mamba"), **attention_shapes("model.layers.1.self_attn")}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes.update({prefix + ".input_layernorm.weight": [32], prefix + ".post_attention_layernorm.weight": [32], prefix + ".shared_mlp.input_linear.weight": [96, 32],
                       prefix + ".shared_mlp.output_linear.weight": [32, 48]})
        if experts:
            shapes.update({prefix + ".block_sparse_moe.router.layer.weight": [experts, 32], prefix + ".block_sparse_moe.input_linear.weight": [experts, 48, 32],
                           prefix + ".block_sparse_moe.output_linear.weight": [experts, 32, 24]})
    arch = "granitehybrid"
    return config, shapes, arch, {f"{arch}.attention.head_count": 2, f"{arch}.attention.head_count_kv": [0, 1], f"{arch}.rope.dimension_count": 16,
                                  f"{arch}.rope.scaling.finetuned": False, f"{arch}.rope.freq_base": 10000.0, f"{arch}.feed_forward_length": config["intermediate_size"],
                                  f"{arch}.expert_shared_feed_forward_length": 48, f"{arch}.expert_count": experts, f"{arch}.expert_used_count": min(experts, 2),
                                  f"{arch}.attention.scale": 0.0078125, f"{arch}.embedding_scale": 12.0, f"{arch}.residual_scale": 0.22, f"{arch}.logit_scale": 8.0,
                                  f"{arch}.vocab_size": 64, **ssm_fields(arch)}


def nemotron_h():
    config = {**COMMON, **HEADS, "model_type": "nemotron_h", "num_hidden_layers": 3, "hybrid_override_pattern": "M*-", "intermediate_size": 48, "layer_norm_epsilon": 1e-5,
              "mamba_num_heads": 4, "mamba_head_dim": 8, "n_groups": 2, "ssm_state_size": 8, "conv_kernel": 4, "use_conv_bias": True, "tie_word_embeddings": False}
    shapes = {"backbone.embeddings.weight": [64, 32], "backbone.norm_f.weight": [32], "lm_head.weight": [64, 32], **mamba2_shapes("backbone.layers.0.mixer"),
              **attention_shapes("backbone.layers.1.mixer"), "backbone.layers.2.mixer.up_proj.weight": [48, 32], "backbone.layers.2.mixer.down_proj.weight": [32, 48],
              **{f"backbone.layers.{layer}.norm.weight": [32] for layer in range(3)}}
    arch = "nemotron_h"
    return config, shapes, arch, {f"{arch}.attention.head_count": 2, f"{arch}.attention.head_count_kv": [0, 1, 0], f"{arch}.feed_forward_length": [0, 0, 48],
                                  f"{arch}.attention.key_length": 16, f"{arch}.attention.value_length": 16, f"{arch}.rope.dimension_count": 16,
                                  f"{arch}.rope.scaling.finetuned": False, f"{arch}.attention.layer_norm_epsilon": 1e-5, f"{arch}.vocab_size": 64, **ssm_fields(arch)}


def jamba():
    config = {**COMMON, "num_attention_heads": 2, "num_key_value_heads": 1, "model_type": "jamba", "num_hidden_layers": 4, "intermediate_size": 48, "rms_norm_eps": 1e-6,
              "attn_layer_period": 3, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 4, "num_experts_per_tok": 2, "mamba_expand": 2,
              "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_dt_rank": 2, "tie_word_embeddings": False}
    shapes = {"model.embed_tokens.weight": [64, 32], "model.final_layernorm.weight": [32], "lm_head.weight": [64, 32]}
    for layer in range(4):
        prefix = f"model.layers.{layer}"
        shapes.update({prefix + ".input_layernorm.weight": [32], prefix + ".pre_ff_layernorm.weight": [32]})
        if layer == 1:
            shapes.update(attention_shapes(prefix + ".self_attn"))
        else:
            shapes.update({f"{prefix}.mamba.{part}": shape for part, shape in
                           {"in_proj.weight": [128, 32], "conv1d.weight": [64, 1, 4], "conv1d.bias": [64], "x_proj.weight": [18, 64], "dt_proj.weight": [64, 2], "dt_proj.bias": [64],
                            "dt_layernorm.weight": [2], "b_layernorm.weight": [8], "c_layernorm.weight": [8], "A_log": [64, 8], "D": [64], "out_proj.weight": [32, 64]}.items()})
        if layer % 2:
            shapes[prefix + ".feed_forward.router.weight"] = [4, 32]
        for module in [f"feed_forward.experts.{expert}" for expert in range(4)] if layer % 2 else ["feed_forward"]:
            shapes.update({f"{prefix}.{module}.gate_proj.weight": [48, 32], f"{prefix}.{module}.up_proj.weight": [48, 32], f"{prefix}.{module}.down_proj.weight": [32, 48]})
    return config, shapes, "jamba", {"jamba.attention.head_count": 2, "jamba.attention.head_count_kv": [0, 1, 0, 0], "jamba.feed_forward_length": 48, "jamba.expert_count": 4,
                                     "jamba.expert_used_count": 2, "jamba.ssm.conv_kernel": 4, "jamba.ssm.inner_size": 64, "jamba.ssm.state_size": 8, "jamba.ssm.time_step_rank": 2}


def delta_shapes(experts):
    shapes = {"model.embed_tokens.weight": [64, 32], "model.norm.weight": [32], "lm_head.weight": [64, 32]}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes.update({prefix + ".input_layernorm.weight": [32], prefix + ".post_attention_layernorm.weight": [32]})
        if layer == 1:
            shapes.update({**attention_shapes(prefix + ".self_attn"), prefix + ".self_attn.q_proj.weight": [64, 32], prefix + ".self_attn.q_norm.weight": [16],
                           prefix + ".self_attn.k_norm.weight": [16]})
        else:
            net = prefix + ".linear_attn"
            shapes.update({f"{net}.conv1d.weight": [64, 1, 4], f"{net}.dt_bias": [4], f"{net}.A_log": [4], f"{net}.norm.weight": [8], f"{net}.out_proj.weight": [32, 32],
                           **({f"{net}.in_proj_qkvz.weight": [96, 32], f"{net}.in_proj_ba.weight": [8, 32]} if experts else
                              {f"{net}.in_proj_qkv.weight": [64, 32], f"{net}.in_proj_z.weight": [32, 32], f"{net}.in_proj_a.weight": [4, 32], f"{net}.in_proj_b.weight": [4, 32]})})
        if experts:
            shapes.update({f"{prefix}.mlp.gate.weight": [4, 32], f"{prefix}.mlp.shared_expert_gate.weight": [1, 32]})
        for module in [f"mlp.experts.{expert}" for expert in range(4)] + ["mlp.shared_expert"] if experts else ["mlp"]:
            shapes.update({f"{prefix}.{module}.gate_proj.weight": [24, 32], f"{prefix}.{module}.up_proj.weight": [24, 32], f"{prefix}.{module}.down_proj.weight": [32, 24]})
    return shapes


def qwen3_5(next_model=False):
    arch = "qwen3next" if next_model else "qwen35"
    config = {**COMMON, **HEADS, "model_type": "qwen3_next" if next_model else "qwen3_5_text", "intermediate_size": 24, "rms_norm_eps": 1e-6, "linear_num_key_heads": 2,
              "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "full_attention_interval": 2,
              "rope_parameters": {"rope_theta": 1e6, "rope_type": "default", "partial_rotary_factor": 0.25}, "tie_word_embeddings": False}
    fields = {**attention_fields(arch, config), f"{arch}.attention.key_length": 16, f"{arch}.attention.value_length": 16, f"{arch}.rope.dimension_count": 4,
              f"{arch}.rope.freq_base": 1e6, f"{arch}.feed_forward_length": 24, f"{arch}.full_attention_interval": 2, f"{arch}.ssm.conv_kernel": 4, f"{arch}.ssm.state_size": 8,
              f"{arch}.ssm.group_count": 2, f"{arch}.ssm.time_step_rank": 4, f"{arch}.ssm.inner_size": 32}
    if next_model:
        config.update({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "norm_topk_prob": True})
        fields.update({f"{arch}.expert_count": 4, f"{arch}.expert_used_count": 2, f"{arch}.expert_feed_forward_length": 24, f"{arch}.expert_shared_feed_forward_length": 24})
    else:
        # And a layer that predicts further tokens.
        fields.update({f"{arch}.rope.dimension_sections": [11, 11, 10, 0], f"{arch}.nextn_predict_layers": 1, f"{arch}.block_count": 3})
    return config, delta_shapes(next_model), arch, fields


def qwen3_moe():
    config = {**COMMON, **HEADS, "model_type": "qwen3_moe", "intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True,
              "mlp_only_layers": [1], "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": False}
    shapes = {"model.embed_tokens.weight": [64, 32], "model.norm.weight": [32], "lm_head.weight": [64, 32], "model.layers.0.mlp.gate.weight": [4, 32]}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        shapes.update({**attention_shapes(prefix + ".self_attn"), prefix + ".self_attn.q_norm.weight": [16], prefix + ".self_attn.k_norm.weight": [16],
                       prefix + ".input_layernorm.weight": [32], prefix + ".post_attention_layernorm.weight": [32]})
        for module, size in ([(f"mlp.experts.{expert}", 24) for expert in range(4)] if layer == 0 else [("mlp", 48)]):
            shapes.update({f"{prefix}.{module}.gate_proj.weight": [size, 32], f"{prefix}.{module}.up_proj.weight": [size, 32], f"{prefix}.{module}.down_proj.weight": [32, size]})
    return config, shapes, "qwen3moe", {**attention_fields("qwen3moe", config), "qwen3moe.attention.key_length": 16, "qwen3moe.attention.value_length": 16,
                                        "qwen3moe.feed_forward_length": 48, "qwen3moe.expert_feed_forward_length": 24, "qwen3moe.expert_count": 4, "qwen3moe.expert_used_count": 2,
                                        "qwen3moe.rope.freq_base": 1e6}
