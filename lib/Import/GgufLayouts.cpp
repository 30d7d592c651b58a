// Names and orders as llama.cpp's conversion writes them (conversion/, gguf-py's constants.py and
// tensor_mapping.py).
#include "GgufModel.h"

using namespace m1c;

namespace {

using Form = GgufForm;

constexpr GgufRule attentionRules[] = {
    {"attn_q.weight", "self_attn.q_proj.weight", Form::heads},
    {"attn_q.bias", "self_attn.q_proj.bias", Form::heads},
    {"attn_k.weight", "self_attn.k_proj.weight", Form::heads},
    {"attn_k.bias", "self_attn.k_proj.bias", Form::heads},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
};
constexpr GgufRule outputRules[] = {
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
};
constexpr GgufRule transformerRules[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_gate.bias", "mlp.gate_proj.bias"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_up.bias", "mlp.up_proj.bias"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_down.bias", "mlp.down_proj.bias"},
};
constexpr GgufRule expertRules[] = {
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"ffn_gate_exps.weight", "mlp.experts.{}.gate_proj.weight", Form::experts},
    {"ffn_up_exps.weight", "mlp.experts.{}.up_proj.weight", Form::experts},
    {"ffn_down_exps.weight", "mlp.experts.{}.down_proj.weight", Form::experts},
};
constexpr GgufRule lfm2Rules[] = {
    {"attn_norm.weight", "operator_norm.weight"},
    {"attn_q_norm.weight", "self_attn.q_layernorm.weight"},
    {"attn_k_norm.weight", "self_attn.k_layernorm.weight"},
    {"attn_output.weight", "self_attn.out_proj.weight"},
    {"shortconv.in_proj.weight", "conv.in_proj.weight"},
    {"shortconv.conv.weight", "conv.conv.weight", Form::conv},
    {"shortconv.out_proj.weight", "conv.out_proj.weight"},
    {"ffn_norm.weight", "ffn_norm.weight"},
    {"ffn_gate.weight", "feed_forward.w1.weight"},
    {"ffn_up.weight", "feed_forward.w3.weight"},
    {"ffn_down.weight", "feed_forward.w2.weight"},
};
constexpr GgufRule mambaRules[] = {
    {"attn_norm.weight", "norm.weight"},
    {"ssm_in.weight", "mixer.in_proj.weight"},
    {"ssm_conv1d.weight", "mixer.conv1d.weight", Form::conv},
    {"ssm_conv1d.bias", "mixer.conv1d.bias"},
    {"ssm_out.weight", "mixer.out_proj.weight"},
};
constexpr GgufRule mamba1Rules[] = {
    {"ssm_x.weight", "mixer.x_proj.weight"}, {"ssm_dt.weight", "mixer.dt_proj.weight"},
    {"ssm_dt.bias", "mixer.dt_proj.bias"},   {"ssm_a", "mixer.A_log", Form::transformed},
    {"ssm_d", "mixer.D", Form::flat},
};
constexpr GgufRule mamba2Rules[] = {
    {"ssm_dt.bias", "mixer.dt_bias"},
    {"ssm_a", "mixer.A_log", Form::flatTransformed},
    {"ssm_d", "mixer.D", Form::flat},
    {"ssm_norm.weight", "mixer.norm.weight", Form::flat},
};
/// Mamba-2 beside attention.
constexpr GgufRule hybridRules[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ssm_in.weight", "mamba.in_proj.weight"},
    {"ssm_conv1d.weight", "mamba.conv1d.weight", Form::conv},
    {"ssm_conv1d.bias", "mamba.conv1d.bias"},
    {"ssm_dt.bias", "mamba.dt_bias"},
    {"ssm_a", "mamba.A_log", Form::flatTransformed},
    {"ssm_d", "mamba.D", Form::flat},
    {"ssm_norm.weight", "mamba.norm.weight", Form::flat},
    {"ssm_out.weight", "mamba.out_proj.weight"},
};
/// The MLP of falcon_h1 and jamba, whose norms have names of their own.
constexpr GgufRule preNormRules[] = {
    {"ffn_gate.weight", "feed_forward.gate_proj.weight"},
    {"ffn_up.weight", "feed_forward.up_proj.weight"},
    {"ffn_down.weight", "feed_forward.down_proj.weight"},
};
/// gguf-py maps the whole name of this norm, with its end.
constexpr GgufRule falconRules[] = {{"ffn_norm", "pre_ff_layernorm.weight"}};
constexpr GgufRule graniteRules[] = {
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "shared_mlp.input_linear.weight", Form::upperRows},
    {"ffn_up.weight", "shared_mlp.input_linear.weight", Form::lowerRows},
    {"ffn_down.weight", "shared_mlp.output_linear.weight"},
    {"ffn_gate_shexp.weight", "shared_mlp.input_linear.weight", Form::upperRows},
    {"ffn_up_shexp.weight", "shared_mlp.input_linear.weight", Form::lowerRows},
    {"ffn_down_shexp.weight", "shared_mlp.output_linear.weight"},
    {"ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight"},
    {"ffn_gate_exps.weight", "block_sparse_moe.input_linear.weight", Form::upperRows},
    {"ffn_up_exps.weight", "block_sparse_moe.input_linear.weight", Form::lowerRows},
    {"ffn_down_exps.weight", "block_sparse_moe.output_linear.weight"},
};
/// The conversion turns heads of q and k here, too; nothing rotates, so that their products are the
/// same in either order.
constexpr GgufRule nemotronRules[] = {
    {"attn_q.weight", "mixer.q_proj.weight"},      {"attn_q.bias", "mixer.q_proj.bias"},
    {"attn_k.weight", "mixer.k_proj.weight"},      {"attn_k.bias", "mixer.k_proj.bias"},
    {"attn_v.weight", "mixer.v_proj.weight"},      {"attn_v.bias", "mixer.v_proj.bias"},
    {"attn_output.weight", "mixer.o_proj.weight"}, {"attn_output.bias", "mixer.o_proj.bias"},
    {"ffn_up.weight", "mixer.up_proj.weight"},     {"ffn_up.bias", "mixer.up_proj.bias"},
    {"ffn_down.weight", "mixer.down_proj.weight"}, {"ffn_down.bias", "mixer.down_proj.bias"},
};

constexpr GgufRule deltaRules[] = {
    {"attn_norm.weight", "input_layernorm.weight", Form::transformed},
    {"post_attention_norm.weight", "post_attention_layernorm.weight", Form::transformed},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", Form::transformed},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", Form::transformed},
    {"ssm_norm.weight", "linear_attn.norm.weight"},
};
constexpr GgufRule qwen35Rules[] = {
    {"attn_qkv.weight", "linear_attn.in_proj_qkv.weight", Form::qkvRows},
    {"attn_gate.weight", "linear_attn.in_proj_z.weight", Form::valueHeads},
    {"ssm_beta.weight", "linear_attn.in_proj_b.weight", Form::valueRows},
    {"ssm_alpha.weight", "linear_attn.in_proj_a.weight", Form::valueRows},
    {"ssm_conv1d.weight", "linear_attn.conv1d.weight", Form::qkvChannels},
    {"ssm_dt.bias", "linear_attn.dt_bias", Form::valueRows},
    {"ssm_a", "linear_attn.A_log", Form::valueRowsTransformed},
    {"ssm_out.weight", "linear_attn.out_proj.weight", Form::valueColumns},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
};
constexpr GgufRule qwen3NextRules[] = {
    {"attn_qkv.weight", "linear_attn.in_proj_qkvz.weight", Form::qkvOfHeads},
    {"attn_gate.weight", "linear_attn.in_proj_qkvz.weight", Form::gateOfHeads},
    {"ssm_ba.weight", "linear_attn.in_proj_ba.weight"},
    {"ssm_conv1d.weight", "linear_attn.conv1d.weight", Form::conv},
    {"ssm_dt.bias", "linear_attn.dt_bias"},
    {"ssm_a", "linear_attn.A_log", Form::transformed},
    {"ssm_out.weight", "linear_attn.out_proj.weight"},
    {"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight"},
    {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", Form::row},
};
constexpr GgufRule jambaRules[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "pre_ff_layernorm.weight"},
    {"ssm_in.weight", "mamba.in_proj.weight"},
    {"ssm_conv1d.weight", "mamba.conv1d.weight", Form::conv},
    {"ssm_conv1d.bias", "mamba.conv1d.bias"},
    {"ssm_x.weight", "mamba.x_proj.weight"},
    {"ssm_dt.weight", "mamba.dt_proj.weight"},
    {"ssm_dt.bias", "mamba.dt_proj.bias"},
    {"ssm_dt_norm.weight", "mamba.dt_layernorm.weight"},
    {"ssm_b_norm.weight", "mamba.b_layernorm.weight"},
    {"ssm_c_norm.weight", "mamba.c_layernorm.weight"},
    {"ssm_a", "mamba.A_log", Form::transformed},
    {"ssm_d", "mamba.D", Form::flat},
    {"ssm_out.weight", "mamba.out_proj.weight"},
    {"ffn_gate_inp.weight", "feed_forward.router.weight"},
    {"ffn_gate_exps.weight", "feed_forward.experts.{}.gate_proj.weight", Form::experts},
    {"ffn_up_exps.weight", "feed_forward.experts.{}.up_proj.weight", Form::experts},
    {"ffn_down_exps.weight", "feed_forward.experts.{}.down_proj.weight", Form::experts},
};

const llvm::ArrayRef<GgufRule>
    ofTransformer[] = {attentionRules, outputRules, transformerRules},
    ofExperts[] = {attentionRules, outputRules, transformerRules, expertRules},
    ofLfm2[] = {attentionRules, lfm2Rules},
    ofJamba[] = {attentionRules, outputRules, preNormRules, jambaRules},
    ofQwen35[] = {attentionRules, outputRules, deltaRules, qwen35Rules},
    ofQwen3Next[] = {attentionRules, outputRules, deltaRules, qwen3NextRules, expertRules},
    ofMamba1[] = {mambaRules, mamba1Rules}, ofMamba2[] = {mambaRules, mamba2Rules},
    ofFalconH1[] = {attentionRules, outputRules, hybridRules, preNormRules, falconRules},
    ofGranite[] = {attentionRules, outputRules, hybridRules, graniteRules},
    ofNemotronH[] = {mambaRules, mamba2Rules, nemotronRules};

const GgufArchitecture architectures[] = {
    {"falcon-h1",
     "falcon_h1",
     {"model.layers", "model.embed_tokens.weight", "model.final_layernorm.weight", ofFalconH1}},
    {"granitehybrid",
     "granitemoehybrid",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofGranite, true}},
    {"jamba",
     "jamba",
     {"model.layers", "model.embed_tokens.weight", "model.final_layernorm.weight", ofJamba}},
    {"lfm2",
     "lfm2",
     {"model.layers", "model.embed_tokens.weight", "model.embedding_norm.weight", ofLfm2, false,
      false, "token_embd_norm.weight"}},
    {"llama",
     "llama",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofTransformer, true, true}},
    {"mamba",
     "mamba",
     {"backbone.layers", "backbone.embeddings.weight", "backbone.norm_f.weight", ofMamba1}},
    {"mamba2",
     "mamba2",
     {"backbone.layers", "backbone.embeddings.weight", "backbone.norm_f.weight", ofMamba2}},
    {"nemotron_h",
     "nemotron_h",
     {"backbone.layers", "backbone.embeddings.weight", "backbone.norm_f.weight", ofNemotronH}},
    {"qwen2",
     "qwen2",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofTransformer}},
    {"qwen3",
     "qwen3",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofTransformer}},
    {"qwen35",
     "qwen3_5_text",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofQwen35, false, false,
      "output_norm.weight", true}},
    {"qwen3moe",
     "qwen3_moe",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofExperts}},
    {"qwen3next",
     "qwen3_next",
     {"model.layers", "model.embed_tokens.weight", "model.norm.weight", ofQwen3Next, false, false,
      "output_norm.weight", true}},
};

} // namespace

llvm::ArrayRef<GgufArchitecture> m1c::ggufArchitectures() { return architectures; }
