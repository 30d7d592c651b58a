#!/usr/bin/env python3
"""Every way in which a checkpoint can be wrong is a clear error that names the file, tensor or field: errors_test.py BIN_DIR GOLDENS_DIR.
Each case: what it proves, the golden or family that is changed, the changes (see checkpoint.py; word:W is a word for import-messages), and a regular expression of the expected error."""
import copy
import json
import os
import re
import sys
import tempfile

from importer import Importer

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "Inputs"))
import checkpoint

# Configurations that say no more than they must; their weights stay names.
COMMON = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 96, "eos_token_id": 7}
FAMILIES = {
    "falcon_h1": {"intermediate_size": 96, "mamba_d_ssm": 128, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16},
    "granitemoehybrid": {"shared_intermediate_size": 96, "num_local_experts": 0, "layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_head": "auto", "mamba_n_groups": 1},
    "lfm2": {"block_ff_dim": 96, "layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"intermediate_size": 96, "moe_intermediate_size": 32, "num_dense_layers": 1, "num_experts": 4, "num_experts_per_tok": 2, "layer_types": ["conv", "full_attention"]},
    "nemotron_h": {"num_hidden_layers": 4, "hybrid_override_pattern": "M-*E", "head_dim": 32, "intermediate_size": 96, "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16,
                   "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32},
    "qwen3_5": {"text_config": {**COMMON, "head_dim": 16, "intermediate_size": 96, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16}},
    "recurrent_gemma": {"intermediate_size": 96, "num_hidden_layers": 3},
    "zamba2": {"intermediate_size": 96, "layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 8, "adapter_rank": 8},
    "qwen3_moe": {"intermediate_size": 96, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}

CASES = [
    # A missing tensor is named.
    ("m1-mamba1-f32", ["drop:layers.2.mamba.D"], r"error: missing tensor 'model\.layers\.2\.mamba\.D'"),
    # A surplus tensor is named.
    ("m1-mamba1-f32", ["add:layers.0.mamba.extra.weight=4x8"], r"error: surplus tensor 'model\.layers\.0\.mamba\.extra\.weight' in .*model\.safetensors"),
    # Beyond a few, surplus tensors are counted.
    ("m1-mamba1-f32", ["config:num_hidden_layers=3", "mamba:n_layer=3", "mamba:attn_layers=[1]"], r"error: 2 further surplus tensors"),
    # A wrong shape says what was expected.
    ("m1-mamba1-f32", ["resize:layers.1.mha.in_proj.weight=120x64"], r"error: tensor 'model\.layers\.1\.mha\.in_proj\.weight': expected shape \[128, 64\], got \[120, 64\]"),
    # A value as long as its file is quoted by its beginning.
    ("m1-mamba1-f32", ["config:hidden_size=" + json.dumps(["\u00e9"] * 100000)], r"field 'hidden_size': expected an integer from 1 to \d+, got \[(\"\u00e9\",){39}(\"\u00e9)?\"?…\n"),
    # A transposed tensor with as many elements is a wrong shape too.
    ("m1-mamba1-f32", ["shape:layers.0.mlp.down_proj.weight=160x64"], r"error: tensor 'model\.layers\.0\.mlp\.down_proj\.weight': expected shape \[64, 160\], got \[160, 64\]"),
    # A type that no weight can have is refused by name.
    ("m1-mamba1-f32", ["dtype:norm.weight=I64"], r"model\.safetensors: tensor 'model\.norm\.weight': expected dtype F32, BF16 or F16, got I64"),
    # A truncated file says where it ends.
    ("m1-mamba1-f32", ["truncate:5"], r"model\.safetensors: truncated: tensor '.*' ends at byte"),
    # A file cut inside its header.
    ("m1-mamba1-f32", ["truncate:872000"], r"model\.safetensors: truncated: the header takes"),
    # A file too short for a header.
    ("m1-mamba1-f32", ["raw:model.safetensors=abc"], r"model\.safetensors: truncated: 3 bytes hold no safetensors header"),
    # Neither weights nor an index.
    ("m1-mamba1-f32", ["shards:2", "raw:model.safetensors.index.json={}"], r"model\.safetensors\.index\.json: missing field 'weight_map'"),
    *[("m1-mamba1-f32", ["shards:2", 'raw:model.safetensors.index.json={"weight_map": ' + map_ + "}"],
       r"model\.safetensors\.index\.json: field 'weight_map': expected an object that names the file of every tensor, got " + got) for map_, got in (("{}", r"\{\}"), ("[]", r"\[\]"))],
    # A directory without any weights.
    ("m1-mamba1-f32", ["no-weights"], r"neither model\.safetensors nor model\.safetensors\.index\.json can be read"),
    # The same tensor in two shards.
    ("m1-mamba1-f32", ["shards:2", "twice:model.embed_tokens.weight"], r"tensor 'model\.embed_tokens\.weight' is also in .*model-00001-of-00002\.safetensors"),
    # A header entry without its type.
    ("m1-mamba1-f32", ["header:norm.weight=dtype:null"], r"tensor 'model\.norm\.weight': field 'dtype': expected a string, got null"),
    # A header entry with a negative size.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[-64]"], r"tensor 'model\.norm\.weight': field 'shape': expected a list of integers from 0 to 2\^63 - 1, got \[-64\]"),
    # A size that is no integer, though a whole number.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[64.0]"], r"tensor 'model\.norm\.weight': field 'shape': expected a list of integers from 0 to 2\^63 - 1, got \[64"),
    # A header entry whose range is backwards.
    ("m1-mamba1-f32", ["header:norm.weight=data_offsets:[256, 0]"], r"tensor 'model\.norm\.weight': field 'data_offsets': expected two integers, where the tensor begins and ends, got \[256,0\]"),
    # A range that does not hold the stated shape.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[63]"], r"tensor 'model\.norm\.weight': data_offsets span 256 bytes, shape \[63\] of F32 needs 252"),
    # A size whose product overflows.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[4294967296, 4294967296, 4]"], r"tensor 'model\.norm\.weight': data_offsets span 256 bytes, .* needs more"),
    # An index that leads out of the directory, or names what no file is called.
    *[("m1-mamba1-f32", ["shards:2", "index:model.norm.weight=" + name], r"index\.json: expected the name of a file in the same directory for 'model\.norm\.weight', got")
      for name in ("../model-00001-of-00002.safetensors", "/etc/passwd", ".", "..", "a\nb", "")],
    # An index that is not JSON.
    ("m1-mamba1-f32", ["shards:2", "raw:model.safetensors.index.json={"], r"model\.safetensors\.index\.json: .*"),
    # An index that names the wrong shard.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=model-00001-of-00002.safetensors"], r"model\.safetensors\.index\.json: tensor 'model\.norm\.weight' is not in model-00001-of-00002\.safetensors"),
    # An index that names a shard that is not there.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=model-00003-of-00003.safetensors"], r"model-00003-of-00003\.safetensors: cannot open: No such file or directory"),
    # An index that leads out of the directory.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=../x.safetensors"], r"model\.safetensors\.index\.json: expected the name of a file in the same directory for 'model\.norm\.weight'"),
    # No config.json.
    ("m1-mamba1-f32", ["no-config"], r"config\.json: cannot open: No such file or directory"),
    # A config.json that is not JSON.
    ("m1-mamba1-f32", ["raw:config.json={"], r"config\.json: parse error at line 1, column 2: .*expected"),
    # A config.json that would exhaust the stack of a recursive parser.
    ("m1-mamba1-f32", ["raw:config.json=" + 100000 * "["], r"config\.json: nested deeper than 100 levels"),
    # A config.json that is no object.
    ("m1-mamba1-f32", ["raw:config.json=[]"], r"config\.json: expected an object"),
    # Mamba layers without mamba_config.json.
    ("m1-mamba2-f32", ["no-mamba-config"], r"mamba_config\.json: missing, but the checkpoint holds Mamba layers"),
    # An unknown architecture.
    ("hf-llama", ['config:model_type="gemma2"'], r"config\.json: field 'model_type': expected bamba.*llama.* or .*, got gemma2"),
    # Two tensors for one.
    ("hf-llama", ["add:x.layers.0.mlp.up_proj.weight=4x4", "prefix:model.x.=Q", "prefix:model.=language_model.model.", "prefix:Q=model."], r"two tensors are 'model\.layers\.0\.mlp\.up_proj\.weight' of the language model"),
    # The configuration that the authors of Mamba write.
    ("hf-llama", ['raw:config.json={"d_model": 64, "n_layer": 2, "vocab_size": 96, "ssm_cfg": {}}'], r"config\.json: field 'model_type': missing: this is the authors' own configuration of Mamba"),
    # A missing field.
    ("hf-llama", ["config:model_type"], r"config\.json: field 'model_type': missing"),
    # A size that is that of the class where it is missing, which the weights contradict.
    ("hf-llama", ["config:hidden_size"], r"tensor 'model\.embed_tokens\.weight': expected shape \[320, 4096\], got \[320, 64\] in .*/model\.safetensors\n(.*\n)*remark: names and shapes of tensors follow from .*/config\.json: .*vocab_size 320; from defaults of what it does not say: hidden_size 4096"),
    # A size that is there, which the weights contradict: whether it or they are wrong, nobody can tell, but both are named.
    ("hf-llama", ["config:num_key_value_heads=1"], r"tensor 'model\.layers\.0\.self_attn\.k_proj\.weight': expected shape \[16, 64\], got \[32, 64\] in .*/model\.safetensors\n(.*\n)*remark: names and shapes .* from .*/config\.json: .*num_key_value_heads 1,"),
    ("m1-mamba1-f32", ["mamba:d_xb=16"], r"tensor 'model\.layers\.0\.mamba\.in_proj\.weight': expected shape (.*\n)*remark: names and shapes .* from .*/config\.json: .*; from .*/mamba_config\.json: .*d_xb 16"),
    # A field of the wrong type.
    ("hf-llama", ['config:vocab_size="many"'], r'''config\.json: field 'vocab_size': expected an integer from 1 to 16777216, got "many"'''),
    # One mistake is one message, although the sizes of mamba_config.json no longer fit either.
    ("m1-mamba1-f32", ["config:hidden_size=-1"], r"/config\.json: field 'hidden_size': expected an integer from 1 to 16777216, got -1\s*\Z"),
    # More layers than any model has, which would fill the memory before a tensor is found missing.
    ("hf-llama", ["config:num_hidden_layers=2147483647"], r"config\.json: field 'num_hidden_layers': expected an integer from 1 to 10000, got 2147483647"),
    # Of many tensors that one wrong field makes wrong, a few are named.
    ("m1-mamba1-f32", ["mamba:attn_layers=[]"], r"error: missing tensor 'model\.layers\.1\.mamba\.in_proj\.weight'(\n.*error: .*){4}\n.*error: 11 further tensors are missing or wrong\n"),
    # Sizes that no machine could hold.
    ("hf-llama", ["config:head_dim=2147483646"], r"config\.json: field 'head_dim': expected an integer from 1 to 4096, got 2147483646"),
    ("hf-llama", ["config:num_attention_heads=65536", "config:head_dim=128"], r"config\.json: field 'num_attention_heads': expected at most 262144 values in all heads, got 65536 heads of 128"),
    ("m1-mamba1-f32", ["mamba:d_inner", "mamba:ssm_cfg.expand=1000000"], r"mamba_config\.json: field 'ssm_cfg\.expand': expected d_inner = expand \* d_model of at most 16777216, got 64000000"),
    # A number beyond f32.
    ("hf-llama", ["config:rope_parameters.rope_theta=1e39"], r"config\.json: field 'rope_parameters\.rope_theta': expected a positive number that f32 can hold, got 1e\+39"),
    ("hf-llama", ["raw:config.json=" + '{"model_type": "llama", "rms_norm_eps": Infinity}'], r"config\.json: field 'rms_norm_eps': expected a non-negative number, got Infinity"),
    *[("hf-llama", ['raw:config.json={"model_type": "llama", "rms_norm_eps": ' + word + "}"], rf"config\.json: field 'rms_norm_eps': expected a non-negative number, got {word}\n") for word in ("-Infinity", "NaN")],
    # A size that is not positive.
    ("hf-llama", ["config:num_attention_heads=0"], r"config\.json: field 'num_attention_heads': expected an integer from 1 to 65536, got 0"),
    # Another activation function.
    ("hf-llama", ['config:hidden_act="xielu"'], r"config\.json: field 'hidden_act': expected gelu, gelu_10, gelu_accurate, gelu_fast, gelu_new, gelu_python, gelu_python_tanh, gelu_pytorch_tanh, laplace, leaky_relu, linear, mish, quick_gelu, relu, relu2, relu6, sigmoid, silu, swish or tanh, got xielu"),
    # Rotary scaling of an unknown type, first generation of config.json.
    ("m1-mamba1-f32", ["no-mamba-config", 'config:rope_scaling={"rope_type": "ntk", "factor": 4.0}', "drop:layers.*"], r"config\.json: field 'rope_scaling\.rope_type': expected default, linear, llama3, yarn, dynamic or longrope, got ntk"),
    # Rotary scaling of an unknown type, second generation.
    ("hf-llama", ['config:rope_parameters.rope_type="proportional"'], r"config\.json: field 'rope_parameters\.rope_type': expected default, linear, llama3, yarn, dynamic or longrope, got proportional"),
    # The older key of the same.
    ("hf-llama", ['config:rope_parameters={"type": "ntk", "rope_theta": 1e4}'], r"config\.json: field 'rope_parameters\.type': expected default, linear, llama3, yarn, dynamic or longrope, got ntk"),
    # Both generations, with different scaling.
    ("hf-llama", ['config:rope_scaling={"rope_type": "linear", "factor": 4.0}'], r"config\.json: field 'rope_scaling': differs from 'rope_parameters'"),
    # And with different bases.
    ("hf-llama", ["config:rope_theta=1e4"], r"config\.json: field 'rope_theta': differs from 'rope_parameters\.rope_theta': .*10000.* and .*500000"),
    # A field of the scaling that its type does not have.
    ("hf-llama", ["config:rope_parameters.wobble=2"], r"config\.json: field 'rope_parameters\.wobble': not understood with rope_type llama3, got 2"),
    # End tokens outside of the vocabulary, negative ones, in either file.
    ("hf-llama", ["config:eos_token_id=[2, 320]"], r"/config\.json: field 'eos_token_id': expected integers from 0 to 319, got \[2,320\]"),
    ("hf-llama", ["config:eos_token_id=-2"], r"/config\.json: field 'eos_token_id': expected integers from 0 to 319, got -2"),
    ("hf-llama", ['raw:generation_config.json={"eos_token_id": [5, 999]}'], r"generation_config\.json: field 'eos_token_id': expected integers from 0 to 319, got \[5,999\]"),
    # Sampling that is none.
    ("hf-llama", ['raw:generation_config.json={"temperature": -1}'], r"generation_config\.json: field 'temperature': expected a non-negative number, got -1"),
    ("hf-llama", ['raw:generation_config.json={"top_p": 1.5}'], r"generation_config\.json: field 'top_p': expected a number from 0 to 1, got"),
    ("hf-llama", ['raw:generation_config.json={'], r"generation_config\.json: parse error"),
    # Tensors that overlap, leave holes, or end before the file.
    ("hf-llama", ["header:norm.weight=data_offsets:[0, 256]"], r"model\.safetensors: tensors '.*' and '.*' overlap: bytes"),
    # llama3 scaling without one of its numbers.
    ("hf-llama", ["config:rope_parameters.low_freq_factor"], r"config\.json: field 'rope_parameters\.low_freq_factor': missing"),
    # llama3 scaling with its limits swapped.
    ("hf-llama", ["config:rope_parameters.high_freq_factor=0.5"], r"config\.json: field 'rope_parameters\.high_freq_factor': expected more than low_freq_factor"),
    # A rotary base that is no number.
    ("hf-llama", ['config:rope_parameters.rope_theta="big"'], r"config\.json: field 'rope_parameters\.rope_theta': expected a positive number"),
    # Rotation of a part of the head only.
    ("hf-llama", ["config:partial_rotary_factor=0.5"], r"config\.json: field 'partial_rotary_factor': value 0\.5 changes the maths and is not supported"),
    # The same inside rope_parameters.
    ("hf-llama", ["config:rope_parameters.partial_rotary_factor=0.5"], r"config\.json: field 'rope_parameters\.partial_rotary_factor': value 0\.5 changes the maths and is not supported"),
    # Quantised weights.
    ("hf-llama", ['config:quantization_config={"bits": 4}'], r"config\.json: field 'quantization_config\.quant_method': missing"),
    # A layer with a sliding window.
    ("hf-qwen2", ['config:layer_types=["full_attention", "sliding_attention", "full_attention", "full_attention"]'], r"""config\.json: field 'layer_types': expected full_attention in every layer, got sliding_attention in layer 1"""),
    # Layer types that are no list.
    ("hf-qwen2", ['config:layer_types="full_attention"'], r'''config\.json: field 'layer_types': expected a list of strings, one for each layer, got "full_attention"'''),
    # Rotary parameters for kinds of layers.
    ("hf-llama", ['config:rope_parameters={"full_attention": {"rope_theta": 1e4}}'], r"config\.json: field 'rope_parameters\.full_attention': expected one set of rotary parameters for all layers"),
    # A stored type that is none.
    ("hf-llama", ['config:dtype="int8"'], r"config\.json: field 'dtype': expected float32, bfloat16 or float16, got int8"),
    # Heads that do not divide the hidden size.
    ("hf-qwen2", ["config:num_attention_heads=5", "config:num_key_value_heads=1"], r"config\.json: field 'num_attention_heads': expected a divisor of hidden_size 64, got 5"),
    # Query heads that do not share the kv heads evenly.
    ("hf-llama", ["config:num_key_value_heads=3"], r"config\.json: field 'num_key_value_heads': expected a divisor of num_attention_heads 4, got 3"),
    # A head that cannot be rotated.
    ("hf-llama", ["config:head_dim=15"], r"config\.json: field 'head_dim': expected an even number, which rotary embeddings need, got 15"),
    ("qwen3_5", ["config:text_config.head_dim=17"], r"config\.json: field 'text_config\.head_dim': expected an even number, which rotary embeddings need, got 17"),
    # A number where a list is meant.
    ("qwen3_moe", ["config:mlp_only_layers=0"], r"config\.json: field 'mlp_only_layers': expected a list of integers, got 0"),
    # Sizes on which the two files disagree.
    ("m1-mamba1-f32", ["mamba:d_model=128"], r"mamba_config\.json: field 'd_model': expected 64 as 'hidden_size' of .*config\.json, got 128"),
    # Numbers of layers on which they disagree.
    ("m1-mamba1-f32", ["mamba:n_layer=5"], r"mamba_config\.json: field 'n_layer': expected 4 as 'num_hidden_layers' of .*config\.json, got 5"),
    # Norm constants on which they disagree.
    ("m1-mamba1-f32", ["mamba:rms_norm_eps=1e-6"], r"mamba_config\.json: field 'rms_norm_eps': expected .*, got"),
    # An attention layer beyond the last.
    ("m1-mamba1-f32", ["mamba:attn_layers=[1, 4]"], r"mamba_config\.json: field 'attn_layers': expected layers below 4, got 4"),
    # No list of attention layers: it is never assumed.
    ("m1-mamba1-f32", ["mamba:attn_layers"], r"mamba_config\.json: field 'attn_layers': missing"),
    # An attention layer that is no number.
    ("m1-mamba1-f32", ['mamba:attn_layers=["1"]'], r"mamba_config\.json: field 'attn_layers': expected integers from 0 to 2147483647"),
    # No d_xb.
    ("m1-mamba1-f32", ["mamba:d_xb"], r"mamba_config\.json: field 'd_xb': missing"),
    # d_xb that does not divide d_inner.
    ("m1-mamba1-f32", ["mamba:d_xb=48"], r"mamba_config\.json: field 'd_xb': expected a divisor of d_inner 64, got 48"),
    # d_xb of broken heads.
    ("m1-mamba1-f32", ["mamba:d_xb=8"], r"mamba_config\.json: field 'd_xb': expected a multiple of d_state 16, got 8"),
    # d_inner of broken groups.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.d_state=24"], r"mamba_config\.json: field 'd_inner': expected a multiple of d_state 24, got 64"),
    # Another norm than M1's.
    ("m1-mamba1-f32", ["mamba:rms_norm=false"], r"mamba_config\.json: field 'rms_norm': expected true, got false"),
    # An unknown argument of the layer.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.wobble=3"], r"mamba_config\.json: field 'ssm_cfg\.wobble': unknown argument of the Mamba layers"),
    # An argument that changes the maths.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.out_proj_bias=true"], r"mamba_config\.json: field 'ssm_cfg\.out_proj_bias': expected false, got true"),
    # Another number of groups than heads.
    ("m1-mamba2-f32", ["mamba:ssm_cfg.ngroups=2"], r"mamba_config\.json: field 'ssm_cfg\.ngroups': expected d_inner / d_state = 4, got 2"),
    # In Mamba-1 layers, too, ngroups has one value that fits, if it is stated.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.ngroups=2"], r"mamba_config\.json: field 'ssm_cfg\.ngroups': expected d_inner / d_state = 4, got 2"),
    # A kind of layer that the weights contradict, or that is unknown.
    ("m1-mamba1-f32", ['mamba:ssm_cfg.layer="Mamba2"'], r"mamba_config\.json: field 'ssm_cfg\.layer': expected Mamba1 as the rest of the checkpoint says, got Mamba2"),
    ("m1-mamba2-f32", ['mamba:ssm_cfg.layer="Mamba3"'], r"mamba_config\.json: field 'ssm_cfg\.layer': expected Mamba2 as the rest of the checkpoint says, got Mamba3"),
    # An argument of the layer that the file states twice.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.d_xb=16"], r"mamba_config\.json: field 'ssm_cfg\.d_xb': expected 32 as 'd_xb' of the file itself, got 16"),
    # Another head size than the state size.
    ("m1-mamba2-f32", ["mamba:ssm_cfg.headdim=32"], r"mamba_config\.json: field 'ssm_cfg\.headdim': expected d_state = 16, got 32"),
    # ssm_cfg that is no object.
    ("m1-mamba1-f32", ["mamba:ssm_cfg=3"], r"mamba_config\.json: field 'ssm_cfg': expected an object, got 3"),
    # A flag that is none.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.conv_bias=1"], r"mamba_config\.json: field 'ssm_cfg\.conv_bias': expected true or false, got 1"),
    # A bias that the configuration does not have.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.conv_bias=false"], r"error: surplus tensor 'model\.layers\.0\.mamba\.conv1d\.bias'"),
    # A head that is stored although the configuration ties it.
    ("hf-llama", ["add:lm_head.weight=320x64"], r"error: tensor 'lm_head\.weight' differs from the embeddings, but tie_word_embeddings is true"),
    # A head that is not stored although the configuration does not tie it.
    ("hf-llama", ["config:tie_word_embeddings=false"], r"error: missing tensor 'lm_head\.weight'"),
    # Bytes that belong to no tensor.
    ("hf-llama", ["header:embed_tokens.weight=data_offsets:[0, 256]", "header:embed_tokens.weight=shape:[1, 64]"], r"model\.safetensors: bytes \d+ to \d+ of the data, before tensor '.*', belong to no tensor"),
    # A header that is not JSON, and one that is no object.
    ("hf-llama", ["raw:model.safetensors=\x04\0\0\0\0\0\0\0{{{{"], r"model\.safetensors: malformed safetensors header: .*expected"),
    ("hf-llama", ["raw:model.safetensors=\x02\0\0\0\0\0\0\0[]"], r"model\.safetensors: malformed safetensors header: expected an object"),
    # A string that is none.
    ("hf-llama", ["config:hidden_act=3"], r"config\.json: field 'hidden_act': expected a string, got 3"),
    # Numbers of positions that cannot be served.
    ("hf-llama", ["word:max-positions=-1"], r"expected a number of positions from 1 to 2147483647, got -1"),
    ("hf-llama", ["word:max-positions=2147483648"], r"expected a number of positions from 1 to 2147483647, got 2147483648"),
    ("hf-llama", ['config:rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}', "config:max_position_embeddings=256", "word:max-positions=512"],
     r"the context is limited to 256 positions by rotary scaling, whose angles depend on the length of a sequence beyond, got 512"),
    # A type of activations that is none.
    ("hf-llama", ["word:activation-type=f16"], r"expected activation type f32 or bf16, got 'f16'"),
    # What single families demand.
    ("nemotron_h", ["config:hybrid_override_pattern=\"MX\""], r"config\.json: field 'hybrid_override_pattern': expected mamba \(M\), mlp \(-\), attention \(\*\) or moe \(E\) in every layer, got X in layer 1"),
    ("nemotron_h", ["config:num_hidden_layers=3"], r"config\.json: field 'num_hidden_layers': expected 4 as the pattern of layers has, got 3"),
    ("nemotron_h", ["config:n_group=3"], r"config\.json: field 'n_group': expected n_routed_experts 8 in equal groups of two or more, got 3"),
    ("nemotron_h", ["config:topk_group=5"], r"config\.json: field 'topk_group': expected at most n_group 4, got 5"),
    ("nemotron_h", ["config:topk_group=1", "config:num_experts_per_tok=3"], r"config\.json: field 'num_experts_per_tok': expected at most the 2 experts of topk_group groups, got 3"),
    ("nemotron_h", ["config:num_experts_per_tok=9"], r"config\.json: field 'num_experts_per_tok': expected at most n_routed_experts 8, got 9"),
    ("nemotron_h", ['config:mamba_hidden_act="prelu"'], r"config\.json: field 'mamba_hidden_act': expected gelu, .* or tanh, got prelu"),
    ("nemotron_h", ["config:time_step_limit=[0.5, 0.25]"], r"config\.json: field 'time_step_limit': expected two numbers from 0 to Infinity, the second larger, got \[0\.5,0\.25\]"),
    ("nemotron_h", ["config:time_step_limit=[0, Infinity]", "config:n_groups=3"], r"config\.json: field 'n_groups': expected a divisor of mamba_num_heads 4, got 3"),
    ("nemotron_h", ["config:mamba_num_heads=65536", "config:mamba_head_dim=128"], r"config\.json: field 'mamba_num_heads': expected at most 262144 values in all heads, got 65536 heads of 128"),
    ("granitemoehybrid", ["config:mamba_n_heads=7"], r"config\.json: field 'mamba_n_heads': expected a divisor of the 128 channels of all heads, got 7"),
    ("granitemoehybrid", ['config:position_embedding_type="alibi"'], r"config\.json: field 'position_embedding_type': expected rope or nope, got alibi"),
    ("granitemoehybrid", ['config:layer_types=["mamba", "conv"]'], r"config\.json: field 'layer_types': expected mamba or attention, got conv in layer 1"),
    ("granitemoehybrid", ['config:normalization_function="layernorm"'], r"config\.json: field 'normalization_function': expected rmsnorm, got layernorm"),
    ("granitemoehybrid", ['config:embedding_multiplier="big"'], r"""config\.json: field 'embedding_multiplier': expected a number, got "big\""""),
    # Factors that leave no scale of attention, and numbers that are none in f32.
    ("falcon_h1", ["config:key_multiplier=-1"], r"config\.json: field 'key_multiplier': expected a positive number, got -1"),
    ("granitemoehybrid", ["config:attention_multiplier=0"], r"config\.json: field 'attention_multiplier': expected a positive number, got 0"),
    ("granitemoehybrid", ["config:residual_multiplier=1e300"], r"config\.json: field 'residual_multiplier': expected a number that f32 can hold, got 1e\+300"),
    ("falcon_h1", ["config:mamba_d_ssm=96", "config:mamba_d_head=16"], r"config\.json: field 'mamba_d_ssm': expected mamba_n_heads \* mamba_d_head = 128, got 96"),
    ("falcon_h1", ["config:ssm_multipliers=[1, 2]"], r"config\.json: field 'ssm_multipliers': expected a list of 5 numbers, got \[1,2\]"),
    ("lfm2", ["config:conv_dim=32"], r"config\.json: field 'conv_dim': expected hidden_size 64, got 32"),
    ("lfm2", ["config:num_heads=4"], r"config\.json: field 'num_heads': expected num_attention_heads 2, got 4"),
    ("lfm2", ['config:layer_types=["conv", "mamba"]'], r"config\.json: field 'layer_types': expected conv or full_attention, got mamba in layer 1"),
    ("lfm2", ["config:theta=1e4", "config:rope_theta=2e4"], r"config\.json: field 'theta': differs from 'rope_theta'"),
    ("lfm2_moe", ["config:layer_types"], r"config\.json: field 'layer_types': missing"),
    ("lfm2_moe", ["config:num_experts_per_tok=5"], r"config\.json: field 'num_experts_per_tok': expected at most num_experts 4, got 5"),
    ("lfm2_moe", ["config:num_dense_layers=null"], r"config\.json: field 'num_dense_layers': expected a value, got null"),
    ("lfm2_moe", ["config:n_group=2"], r"config\.json: field 'n_group': value 2 changes the maths and is not supported"),
    ("qwen3_5", ["config:tie_word_embeddings=true", "config:text_config.tie_word_embeddings=false"], r"config\.json: field 'tie_word_embeddings': differs from 'text_config\.tie_word_embeddings'"),
    ("qwen3_5", ["config:text_config.linear_num_value_heads=3"], r"config\.json: field 'text_config\.linear_num_value_heads': expected a multiple of linear_num_key_heads 2, got 3"),
    ("qwen3_5", ["config:text_config.mlp_only_layers=[1]"], r"config\.json: field 'text_config\.mlp_only_layers': expected \[\], got \[1\]"),
    ("qwen3_5", ['config:text_config.layer_types=["full_attention", "conv"]'], r"config\.json: field 'text_config\.layer_types': expected linear_attention or full_attention, got conv in layer 1"),
    ("qwen3_5", ["config:text_config.partial_rotary_factor=0.2"], r"config\.json: field 'text_config\.partial_rotary_factor': expected an even number of rotated elements of the 16 of a head, got 3"),
    ("recurrent_gemma", ['config:block_types=["recurrent", "conv"]'], r"config\.json: field 'block_types': expected recurrent or attention, got conv in place 1"),
    ("recurrent_gemma", ["config:block_types=[]"], r"config\.json: field 'block_types': expected recurrent or attention, at least once"),
    ("recurrent_gemma", ["config:lru_width=63"], r"config\.json: field 'lru_width': expected a multiple of num_attention_heads 2, got 63"),
    ("recurrent_gemma", ["config:head_dim=16"], r"config\.json: field 'head_dim': expected hidden_size / num_attention_heads, got 16"),
    ("recurrent_gemma", ['config:rope_parameters={"rope_type": "linear", "factor": 2.0}'], r"config\.json: field 'rope_parameters': expected rope_type default"),
    ("recurrent_gemma", ["config:embeddings_scale_by_sqrt_dim=false"], r"config\.json: field 'embeddings_scale_by_sqrt_dim': expected true, got false"),
    # The blocks of a gate are square, and as many as the heads.
    ("hf-recurrent_gemma", ["resize:layers.0.temporal_block.rg_lru.input_gate_weight=3x8x4"],
     r"tensor 'model\.layers\.0\.temporal_block\.rg_lru\.input_gate_weight': expected shape \[48, 48\], got \[3, 8, 4\]"),
    # What a shared block needs, and sizes that follow from others.
    ("zamba2", ['config:layers_block_type=["mamba", "attention"]'], r"config\.json: field 'layers_block_type': expected mamba or hybrid, got attention in layer 1"),
    ("zamba2", ['config:layer_types=["hybrid", "mamba"]'], r"config\.json: field 'layer_types': differs from 'layers_block_type'"),
    # Lists that are longer than a message quotes differ where they end.
    ("zamba2", ["config:num_hidden_layers=54", "config:layers_block_type=" + json.dumps(["hybrid"] + ["mamba"] * 53), "config:layer_types=" + json.dumps(["hybrid"] + ["mamba"] * 52 + ["hybrid"])],
     r"config\.json: field 'layer_types': differs from 'layers_block_type'"),
    ("zamba2", ["config:layers_block_type=null"], r"config\.json: field 'layers_block_type': expected a value, got null"),
    ("zamba2", ["config:hybrid_layer_ids=[0]"], r"config\.json: field 'hybrid_layer_ids': expected the hybrid layers of 'layers_block_type', got \[0\]"),
    ("zamba2", ["config:num_attention_heads=3"], r"config\.json: field 'num_attention_heads': expected a divisor of 2 · hidden_size 128, got 3"),
    ("zamba2", ["config:attention_head_dim=32"], r"config\.json: field 'attention_head_dim': expected 2 · hidden_size / num_attention_heads 64, got 32"),
    ("zamba2", ["config:attention_hidden_size=64"], r"config\.json: field 'attention_hidden_size': expected 2 · hidden_size 128, got 64"),
    ("zamba2", ["config:use_shared_attention_adapter=true"], r"config\.json: field 'num_key_value_heads': expected num_attention_heads 2 with use_shared_attention_adapter, got 1"),
    ("zamba2", ["config:n_mamba_heads=3"], r"config\.json: field 'n_mamba_heads': expected a divisor of the 128 channels of all heads, got 3"),
    ("zamba2", ["config:mamba_headdim=8"], r"config\.json: field 'mamba_headdim': expected mamba_expand · hidden_size / n_mamba_heads 16, got 8"),
    ("zamba2", ["config:use_long_context=true"], r"config\.json: field 'use_long_context': expected false, got true"),
    ("zamba2", ["config:use_conv_bias=false"], r"config\.json: field 'use_conv_bias': expected true, got false"),
    ("zamba2", ["config:lora_rank=8"], r"config\.json: field 'lora_rank': expected adapter_rank, use_shared_mlp_adapter and use_shared_attention_adapter, as transformers calls them"),
    ("qwen3_moe", ["config:num_experts=4", "config:num_local_experts=8"], r"config\.json: field 'num_local_experts': expected num_experts 4, got 8"),
    ("qwen3_moe", ["config:use_sliding_window=true", "config:sliding_window=0"], r"config\.json: field 'sliding_window': expected an integer from 1 to 2147483647, got 0"),
    # Rotary scaling with factors for each pair.
    ("qwen3_moe", ['config:rope_parameters={"rope_type": "longrope", "short_factor": [1, 1]}'], r"config\.json: field 'rope_parameters\.long_factor': missing\n.*field 'rope_parameters\.short_factor': expected a list of 16 numbers, got \[1,1\]"),
    ("qwen3_moe", ["config:use_sliding_window=true", "config:sliding_window=4", 'config:layer_types=["full_attention", "chunked"]'],
     r"config\.json: field 'layer_types': expected full_attention or sliding_attention, got chunked in layer 1"),
    # M1's own file.
    ("m1-mamba1-f32", ["mamba:ssm_cfg.headdim=16"], r"mamba_config\.json: field 'ssm_cfg\.headdim': not an argument of Mamba-1 layers"),
]

# Checkpoints that are right, however their tensors' names begin: each is the model of the golden itself.
NAMES = [
    ("hf-llama", ["prefix:model.="]),  # of the class without a head
    ("hf-llama", ["prefix:=language_model."]),
    ("hf-qwen2", ["prefix:model.=language_model.", "prefix:lm_head.=language_model.lm_head."]),
    ("hf-qwen2", ["prefix:model.=language_model.", "shards:2"]),
]

# One after the other for every field of the configurations.
VALUES = [None, True, 0, -1, 0.5, 3, 1 << 31, 1 << 63, 1e308, float("nan"), -float("inf"), "", "64", [], [None], [1] * 1000, {"a": [1]}]


def fields_of(config, path=()):
    for name, value in config.items():
        yield path + (name,)
        if isinstance(value, dict):
            yield from fields_of(value, path + (name,))


def sweep(name, config, file="config.json"):
    """A configuration with one odd field is a model, or one error that names the file and a field."""
    global failed
    count = 0
    for path in fields_of(config):
        for value in VALUES:
            changed = copy.deepcopy(config)
            inner = changed
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = value
            with open(os.path.join(work, file), "w") as out:
                json.dump(changed, out)
            imported, said = importer.read(work, "dummy")
            errors = re.findall("^error: .*", said, re.M)
            count += 1
            if imported != (not errors) or len(errors) > 1 or (errors and not re.search(r"config\.json: field '", errors[0])):
                failed += 1
                print(f"{name}: {'.'.join(path)} {str(value)[:40]}: {said[:500]!r}")
    return count


failed = 0
importer = Importer(os.path.join(sys.argv[1], "import-messages"))


def check(name, words, expected):
    global failed
    imported, said = importer.read(work, *words)
    if imported or not re.search("error: .*" + expected.removeprefix("error: "), said):
        failed += 1
        print(f"{name}: {'imported' if imported else 'refused'}, expected {expected!r}, got {said.strip()!r}")


with tempfile.TemporaryDirectory() as work:
    for family, fields in FAMILIES.items():  # as they are, they are right
        checkpoint.change(None, work, [f"raw:config.json={json.dumps({**COMMON, 'model_type': family, **fields})}"])
        imported, said = importer.read(work, "dummy")
        if not imported:
            failed += 1
            print(f"{family}: {said}")
    for base, changes in NAMES:
        said = []
        for change in ([], changes):
            checkpoint.change(os.path.join(sys.argv[2], base), work, change)
            said.append(importer.read(work, "digest"))
        if not said[0][0] or said[0] != said[1]:
            failed += 1
            print(f"{base} {changes}: {said[1][1]}, expected {said[0][1]}")
    for base, changes, expected in CASES:
        words = [change.removeprefix("word:") for change in changes if change.startswith("word:")]
        changes = [change for change in changes if not change.startswith("word:")]
        if base in FAMILIES:
            config = copy.deepcopy({**COMMON, "model_type": base, **FAMILIES[base]})
            for change in changes:
                checkpoint.set_field(config, change.removeprefix("config:"))
            checkpoint.change(None, work, [f"raw:config.json={json.dumps(config)}"])
            words.append("dummy")
        else:
            checkpoint.change(os.path.join(sys.argv[2], base), work, changes)
        check(f"{base} {changes}", words, expected)
    swept = 0
    for family, fields in FAMILIES.items():
        config = {**COMMON, "model_type": family, **fields}
        checkpoint.change(None, work, [f"raw:config.json={json.dumps(config)}"])
        swept += sweep(family, config)
    for base in sorted(os.listdir(sys.argv[2])):
        for file in "config.json", "mamba_config.json":
            checkpoint.change(os.path.join(sys.argv[2], base), work, [])
            if os.path.exists(os.path.join(work, file)):
                with open(os.path.join(work, file)) as source:
                    swept += sweep(f"{base} {file}", json.load(source), file)
importer.close()
print(f"{swept} odd fields")
print(f"{failed} of {len(CASES)} errors not as expected")
sys.exit(1 if failed else 0)
