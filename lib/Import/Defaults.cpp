// What the configuration classes of transformers 5.17 take for fields that config.json does not
// have (src/transformers/models/*/configuration_*.py), as far as families read them. A class that
// computes a value has none here: the family does as the class. What a class does with null stands
// where the field is read.
#include "Family.h"

using namespace m1c;

namespace {

struct Defaults {
  llvm::StringLiteral modelTypes; // with blanks between them
  const char *fields;
};

constexpr Defaults table[] = {
    {"bamba", R"({
      "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 262144, "rms_norm_eps": 1e-5, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "attention_bias": false, "mlp_bias": false,
      "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
      "mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1, "mamba_d_state": 256,
      "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true, "mamba_proj_bias": false})"},
    {"falcon_h1", R"({
      "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "attention_bias": false, "mlp_bias": false, "projectors_bias": false,
      "rope_theta": 10000.0,
      "mamba_d_ssm": 1024, "mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1,
      "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true,
      "mamba_proj_bias": false, "mamba_norm_before_gate": true, "mamba_rms_norm": false,
      "lm_head_multiplier": 1.0, "embedding_multiplier": 1.0, "key_multiplier": 1.0,
      "attention_in_multiplier": 1.0, "attention_out_multiplier": 1.0,
      "ssm_in_multiplier": 1.0, "ssm_out_multiplier": 1.0})"},
    {"granitemoehybrid", R"({
      "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
      "num_hidden_layers": 32, "num_attention_heads": 32,
      "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "attention_bias": false, "rope_theta": 10000.0,
      "embedding_multiplier": 1.0, "logits_scaling": 1.0, "residual_multiplier": 1.0,
      "attention_multiplier": 1.0,
      "num_local_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 1024,
      "mamba_n_heads": 128, "mamba_d_head": "auto", "mamba_n_groups": 1, "mamba_d_state": 256,
      "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true, "mamba_proj_bias": false})"},
    {"jamba", R"({
      "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 262144, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "num_experts": 16, "num_experts_per_tok": 2,
      "expert_layer_period": 2, "expert_layer_offset": 1,
      "attn_layer_period": 8, "attn_layer_offset": 4,
      "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto",
      "mamba_conv_bias": true, "mamba_proj_bias": false})"},
    {"lfm2", R"({
      "vocab_size": 65536, "hidden_size": 2560, "intermediate_size": 12288,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 128000, "norm_eps": 1e-5,
      "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "rope_theta": 1e6,
      "conv_bias": false, "conv_L_cache": 3, "block_multiple_of": 256,
      "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": true})"},
    {"lfm2_moe", R"({
      "vocab_size": 65536, "hidden_size": 2048, "intermediate_size": 7168,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 128000, "norm_eps": 1e-5,
      "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "rope_theta": 1e6,
      "conv_bias": false, "conv_L_cache": 3,
      "num_dense_layers": 2, "moe_intermediate_size": 1792, "num_experts": 32,
      "num_experts_per_tok": 4, "use_expert_bias": true, "routed_scaling_factor": 1.0,
      "norm_topk_prob": true})"},
    {"llama", R"({
      "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
      "num_hidden_layers": 32, "num_attention_heads": 32,
      "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "attention_bias": false, "mlp_bias": false, "rope_theta": 10000.0})"},
    // Nothing in the models without attention ends at a position: the bound is for sizes in int32.
    {"mamba falcon_mamba", R"({
      "vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 32,
      "max_position_embeddings": 1048576, "layer_norm_epsilon": 1e-5, "hidden_act": "silu",
      "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0,
      "state_size": 16, "expand": 2, "conv_kernel": 4, "use_bias": false, "use_conv_bias": true,
      "time_step_rank": "auto", "mixer_rms_eps": 1e-6})"},
    {"mamba2", R"({
      "vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 64,
      "max_position_embeddings": 1048576, "layer_norm_epsilon": 1e-5, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 2,
      "num_heads": 128, "head_dim": 64, "n_groups": 8, "state_size": 128, "conv_kernel": 4,
      "use_bias": false, "use_conv_bias": true})"},
    {"mistral ministral", R"({
      "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
      "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "rope_theta": 10000.0, "sliding_window": 4096})"},
    {"nemotron_h", R"({
      "vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 21504,
      "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
      "max_position_embeddings": 4096, "layer_norm_epsilon": 1e-5,
      "mlp_hidden_act": "relu2", "mamba_hidden_act": "silu",
      "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
      "attention_bias": false, "mlp_bias": false, "use_bias": false,
      "mamba_num_heads": 128, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128,
      "conv_kernel": 4, "use_conv_bias": true,
      "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 7688,
      "moe_shared_expert_intermediate_size": 7688, "norm_topk_prob": true,
      "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1})"},
    // The biases of q, k and v are no choice in the class.
    {"qwen2", R"({
      "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "attention_bias": true, "rope_theta": 10000.0,
      "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28})"},
    {"qwen3", R"({
      "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016,
      "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
      "head_dim": 128,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "attention_bias": false, "rope_theta": 10000.0,
      "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28})"},
    {"qwen3_moe", R"({
      "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
      "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 4,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "attention_bias": false, "rope_theta": 10000.0,
      "use_sliding_window": false, "sliding_window": 4096,
      "decoder_sparse_step": 1, "moe_intermediate_size": 768, "num_experts_per_tok": 8,
      "num_experts": 128, "norm_topk_prob": false})"},
    {"qwen3_next", R"({
      "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632,
      "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
      "head_dim": 256,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "rope_theta": 10000.0, "partial_rotary_factor": 0.25,
      "attn_output_gate": true, "full_attention_interval": 4,
      "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
      "linear_num_key_heads": 16, "linear_num_value_heads": 32,
      "decoder_sparse_step": 1, "moe_intermediate_size": 512,
      "shared_expert_intermediate_size": 512, "num_experts_per_tok": 10, "num_experts": 512,
      "norm_topk_prob": true})"},
    // The class has no bound of positions; this one is the published models'.
    {"recurrent_gemma", R"({
      "vocab_size": 256000, "hidden_size": 2560, "intermediate_size": 7680,
      "num_hidden_layers": 26, "num_attention_heads": 10,
      "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
      "hidden_activation": "gelu_pytorch_tanh",
      "tie_word_embeddings": true, "bos_token_id": 2, "eos_token_id": 1,
      "attention_bias": false, "attention_window_size": 2048,
      "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "logits_soft_cap": 30.0,
      "conv1d_width": 4, "block_types": ["recurrent", "recurrent", "attention"]})"},
    {"qwen3_5 qwen3_5_text", R"({
      "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288,
      "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4,
      "head_dim": 256,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
      "tie_word_embeddings": false, "rope_theta": 10000.0, "partial_rotary_factor": 0.25,
      "attn_output_gate": true, "full_attention_interval": 4,
      "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
      "linear_num_key_heads": 16, "linear_num_value_heads": 32})"},
    // Without layers_block_type, those of the class, which are Zamba2-2.7B's.
    {"zamba2", R"({
      "vocab_size": 32000, "hidden_size": 2560, "num_hidden_layers": 54,
      "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
      "hidden_act": "gelu", "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
      "rope_theta": 10000.0, "use_mem_rope": false, "use_long_context": false,
      "add_bias_linear": false, "num_mem_blocks": 1, "adapter_rank": 128,
      "use_shared_attention_adapter": false, "use_shared_mlp_adapter": true,
      "n_mamba_heads": 8, "mamba_ngroups": 1, "mamba_d_state": 64, "mamba_d_conv": 4,
      "mamba_expand": 2, "use_conv_bias": true,
      "layers_block_type": ["mamba", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba",
        "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba",
        "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba",
        "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba",
        "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "hybrid",
        "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba"]})"},
};

} // namespace

const llvm::json::Object &m1c::classDefaults(llvm::StringRef modelType) {
  static const llvm::StringMap<llvm::json::Object> parsed = [] {
    llvm::StringMap<llvm::json::Object> result;
    for (const Defaults &entry : table) {
      llvm::SmallVector<llvm::StringRef> types;
      entry.modelTypes.split(types, ' ');
      for (llvm::StringRef type : types)
        result[type] = *llvm::cantFail(llvm::json::parse(entry.fields)).getAsObject();
    }
    return result;
  }();
  static const llvm::json::Object none;
  auto found = parsed.find(modelType);
  return found == parsed.end() ? none : found->second;
}
