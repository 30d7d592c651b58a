#!/usr/bin/env python3
"""Imports broken checkpoints and compares what m1-opt says. Usage: import_errors.py GOLDENS_DIR WORK_DIR
Each case: what it proves, the golden that is changed, the changes (see checkpoint.py), and a regular expression of the expected error."""
import os
import re
import subprocess
import sys

CASES = [
    # A missing tensor is named.
    ("m1-mamba1-f32", ["drop:layers.2.mamba.D"], r"error: missing tensor 'model\.layers\.2\.mamba\.D'"),
    # A surplus tensor is named.
    ("m1-mamba1-f32", ["add:layers.0.mamba.extra.weight=4x8"], r"error: surplus tensor 'model\.layers\.0\.mamba\.extra\.weight' in .*model\.safetensors"),
    # Beyond a few, surplus tensors are counted.
    ("m1-mamba1-f32", ["config:num_hidden_layers=3", "mamba:n_layer=3", "mamba:attn_layers=[1]"], r"error: 2 further surplus tensors"),
    # A wrong shape says what was expected.
    ("m1-mamba1-f32", ["resize:layers.1.mha.in_proj.weight=120x64"], r"error: tensor 'model\.layers\.1\.mha\.in_proj\.weight': expected shape \[128, 64\], got \[120, 64\]"),
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
    # A directory without any weights.
    ("m1-mamba1-f32", ["no-weights"], r"neither model\.safetensors nor model\.safetensors\.index\.json can be read"),
    # The same tensor in two shards.
    ("m1-mamba1-f32", ["shards:2", "twice:model.embed_tokens.weight"], r"tensor 'model\.embed_tokens\.weight' is also in .*model-00001-of-00002\.safetensors"),
    # A header entry without its type.
    ("m1-mamba1-f32", ["header:norm.weight=dtype:null"], r"tensor 'model\.norm\.weight': missing or malformed field 'dtype'"),
    # A header entry with a negative size.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[-64]"], r"tensor 'model\.norm\.weight': missing or malformed field 'shape'"),
    # A header entry whose range is backwards.
    ("m1-mamba1-f32", ["header:norm.weight=data_offsets:[256, 0]"], r"tensor 'model\.norm\.weight': missing or malformed field 'data_offsets'"),
    # A range that does not hold the stated shape.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[63]"], r"tensor 'model\.norm\.weight': data_offsets span 256 bytes, shape \[63\] of F32 needs 252"),
    # A size whose product overflows.
    ("m1-mamba1-f32", ["header:norm.weight=shape:[4294967296, 4294967296, 4]"], r"tensor 'model\.norm\.weight': data_offsets span 256 bytes, .* needs more"),
    # An index that is not JSON.
    ("m1-mamba1-f32", ["shards:2", "raw:model.safetensors.index.json={"], r"model\.safetensors\.index\.json: .*"),
    # An index that names the wrong shard.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=model-00001-of-00002.safetensors"], r"model\.safetensors\.index\.json: tensor 'model\.norm\.weight' is not in model-00001-of-00002\.safetensors"),
    # An index that names a shard that is not there.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=model-00003-of-00003.safetensors"], r"model-00003-of-00003\.safetensors: No such file or directory"),
    # An index that leads out of the directory.
    ("m1-mamba1-f32", ["shards:2", "index:norm.weight=../x.safetensors"], r"model\.safetensors\.index\.json: expected the name of a file in the same directory for 'model\.norm\.weight'"),
    # No config.json.
    ("m1-mamba1-f32", ["no-config"], r"config\.json: No such file or directory"),
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
    # A missing field.
    ("hf-llama", ["config:hidden_size"], r"config\.json: field 'hidden_size': missing"),
    # A field of the wrong type.
    ("hf-llama", ['config:vocab_size="many"'], r'''config\.json: field 'vocab_size': expected an integer from 1 to 16777216, got "many"'''),
    # One mistake is one message, although the sizes of mamba_config.json no longer fit either.
    ("m1-mamba1-f32", ["config:hidden_size=-1"], r"/config\.json: field 'hidden_size': expected an integer from 1 to 16777216, got -1\s*\Z"),
    # More layers than any model has, which would fill the memory before a tensor is found missing.
    ("hf-llama", ["config:num_hidden_layers=2147483647"], r"config\.json: field 'num_hidden_layers': expected an integer from 1 to 10000, got 2147483647"),
    # Of many tensors that one wrong field makes wrong, a few are named.
    ("m1-mamba1-f32", ["mamba:attn_layers=[]"], r"error: missing tensor 'model\.layers\.1\.mamba\.in_proj\.weight'(\n.*error: .*){4}\n.*error: 11 further tensors are missing or of a wrong shape\n"),
    # Sizes that no machine could hold.
    ("hf-llama", ["config:head_dim=2147483646"], r"config\.json: field 'head_dim': expected an integer from 1 to 4096, got 2147483646"),
    ("hf-llama", ["config:num_attention_heads=65536", "config:head_dim=128"], r"config\.json: field 'num_attention_heads': expected at most 262144 values in all heads, got 65536 heads of 128"),
    ("m1-mamba1-f32", ["mamba:d_inner", "mamba:ssm_cfg.expand=1000000"], r"mamba_config\.json: field 'ssm_cfg\.expand': expected d_inner = expand \* d_model of at most 16777216, got 64000000"),
    # A size that is not positive.
    ("hf-llama", ["config:num_attention_heads=0"], r"config\.json: field 'num_attention_heads': expected an integer from 1 to 65536, got 0"),
    # Another activation function.
    ("hf-llama", ['config:hidden_act="gelu"'], r"config\.json: field 'hidden_act': expected relu, relu2, silu or swish, got gelu"),
    # Rotary scaling of an unknown type, first generation of config.json.
    ("m1-mamba1-f32", ["no-mamba-config", 'config:rope_scaling={"rope_type": "longrope", "factor": 4.0}', "drop:layers.*"], r"config\.json: field 'rope_scaling\.rope_type': expected default, linear, llama3, yarn or dynamic, got longrope"),
    # Rotary scaling of an unknown type, second generation.
    ("hf-llama", ['config:rope_parameters.rope_type="proportional"'], r"config\.json: field 'rope_parameters\.rope_type': expected default, linear, llama3, yarn or dynamic, got proportional"),
    # The older key of the same.
    ("hf-llama", ['config:rope_parameters={"type": "longrope", "rope_theta": 1e4}'], r"config\.json: field 'rope_parameters\.type': expected default, linear, llama3, yarn or dynamic, got longrope"),
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
    # A sliding window in use.
    # A layer with a sliding window.
    ("hf-qwen2", ['config:layer_types=["full_attention", "sliding_attention", "full_attention", "full_attention"]'], r"""config\.json: field 'layer_types': expected full_attention in every layer, got sliding_attention in layer 1"""),
    # Layer types that are no list.
    ("hf-qwen2", ['config:layer_types="full_attention"'], r'''config\.json: field 'layer_types': expected a list of 4 strings, one for each layer, got "full_attention"'''),
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
]

goldens, work = sys.argv[1:]
mutate = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checkpoint.py")
empty = os.path.join(os.path.dirname(os.path.abspath(__file__)), "empty.mlir")
failed = 0
for golden, changes, expected in CASES:
    subprocess.run([sys.executable, mutate, os.path.join(goldens, golden), work, *changes], check=True)
    run = subprocess.run(["m1-opt", empty, f"--m1-import=directory={work}"], capture_output=True, text=True)
    # 1: an error, not a crash.
    if run.returncode != 1 or run.stdout or not re.search("error: .*" + expected.removeprefix("error: "), run.stderr):
        failed += 1
        print(f"{golden} {changes}: exit code {run.returncode}, expected {expected!r}, got {run.stderr.strip()!r}")
print(f"{len(CASES) - failed} of {len(CASES)} errors as expected")
sys.exit(1 if failed else 0)
