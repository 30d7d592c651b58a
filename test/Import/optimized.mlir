// The pipeline fuses every imported model completely, and identically in prefill and decode.
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba1-f32 --m1-optimize | FileCheck %s --check-prefixes=CHECK,CHECK-MAMBA1
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba2-bf16 --m1-optimize | FileCheck %s --check-prefixes=CHECK,CHECK-MAMBA2
// RUN: m1-opt %s --m1-import=directory=%goldens/hf-qwen2 --m1-optimize | FileCheck %s --check-prefixes=CHECK,CHECK-QWEN2
module {}

// CHECK-NOT: {{gated_mlp|m1\.silu |m1\.skip|m1\.repeat_heads|m1\.kv_write|m1\.rotary_embedding|m1\.softplus}}
// CHECK-QWEN2-DAG: m1.weight @layers.0.q_k_v : tensor<128x64xf32> {sources = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight"]}
// CHECK-QWEN2-DAG: m1.weight @layers.0.q_bias_k_bias_v_bias : tensor<128xf32>
// CHECK-QWEN2-DAG: m1.weight @layers.0.gate_up : tensor<192x64xf32>
// CHECK-LABEL: func.func @prefill
// CHECK-MAMBA1: m1.rms_norm
// CHECK-MAMBA1: m1.linear
// CHECK-MAMBA1: m1.split
// CHECK-MAMBA1: m1.causal_conv1d {{.*}} {activation = #m1<activation silu>, head_size = 16 : i64, repeat = 2 : i64}
// CHECK-MAMBA1: m1.linear
// CHECK-MAMBA1: m1.selective_scan {{.*}} skip({{.*}}) gate({{.*}}) dt_bias({{.*}}), {{.*}} {delta_softplus}
// CHECK-MAMBA1: m1.linear
// CHECK-MAMBA1: m1.add_rms_norm
// CHECK-MAMBA1: m1.linear
// CHECK-MAMBA1: m1.linear
// CHECK-MAMBA1: m1.add_rms_norm
// CHECK-MAMBA2: m1.causal_conv1d {{.*}} {activation = #m1<activation silu>}
// CHECK-MAMBA2: m1.ssd_scan {{.*}} skip({{.*}}) dt_bias({{.*}}), {{.*}} {delta_softplus}
// CHECK-MAMBA2: m1.gated_rms_norm
// CHECK-QWEN2: m1.linear {{.*}} bias(
// CHECK-QWEN2-NEXT: m1.split
// CHECK: m1.rotary_kv_write
// CHECK-NEXT: m1.attention
// CHECK-LABEL: func.func @decode
// CHECK-MAMBA1: m1.selective_scan {{.*}} skip({{.*}}) gate({{.*}}) dt_bias({{.*}}), {{.*}} {delta_softplus}
// CHECK-MAMBA2: m1.ssd_scan {{.*}} skip({{.*}}) dt_bias({{.*}}), {{.*}} {delta_softplus}
// CHECK: m1.rotary_kv_write
