// Every kind of checkpoint imports, in unfused form, into prefill and decode of one signature.
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba1-f32 | FileCheck %s --check-prefixes=CHECK,MAMBA1
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba2-f32 | FileCheck %s --check-prefixes=CHECK,MAMBA2
// RUN: m1-opt %s --m1-import=directory=%goldens/hf-llama | FileCheck %s --check-prefixes=CHECK,LLAMA
// RUN: m1-opt %s --m1-import=directory=%goldens/hf-qwen2 | FileCheck %s --check-prefixes=CHECK,QWEN2
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba1-f32 --m1-statistics -o /dev/null 2>&1 | FileCheck %s --check-prefix=STATISTICS
// RUN: not m1-opt %s --m1-import 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not m1-opt %s --m1-import="directory=%goldens/hf-llama kv-type=f64" 2>&1 | FileCheck %s --check-prefix=TYPE
module {}

// An import needs a directory and types that exist.
// NONE: error: expected a directory, as in --m1-import=directory=MODEL_DIR
// TYPE: error: expected type f32, bf16 or f16, got f64

// What came in is counted.
// STATISTICS-DAG: m1-import layers 4
// STATISTICS-DAG: m1-import states 6
// STATISTICS-DAG: m1-import weights {{[1-9][0-9]*}}

// CHECK: m1.model @model
// MAMBA1-SAME: architecture = "m1-mamba1", bos_id = 1 : i64, eos_ids = array<i64: 2>, hidden_size =
// 64 : i64 MAMBA1-SAME: layers = 4 : i64, max_positions = 4096 : i64 MAMBA2-SAME: architecture =
// "m1-mamba2" LLAMA-SAME: architecture = "llama" QWEN2-SAME: architecture = "qwen2"

// M1 leaves config.json's llama3 scaling aside; llama applies it. MAMBA1: m1.weight @rotary_lo :
// tensor<256x8x2xf32> {angles = #m1.rotary_angles<theta = 5.000000e+05, step = 1>} LLAMA: m1.weight
// @rotary_lo : tensor<256x8x2xf32> {angles = #m1.rotary_angles<theta = 5.000000e+05, step = 1,
// scaling = llama3, factor = 3.200000e+01, low = 1.000000e+00, high = 4.000000e+00, original =
// 3.200000e+01>} QWEN2: m1.weight @rotary_lo : tensor<256x8x2xf32> {angles =
// #m1.rotary_angles<theta = 1.000000e+04, step = 1>} MAMBA1: m1.weight @layers.0.A :
// tensor<64x16xf32> {sources = ["model.layers.0.mamba.A_log"], transform = #m1<transform neg_exp>}
// MAMBA1: m1.state @layers.0.scan_state : !m1.scan_state<64x16xf32> MAMBA2: m1.state
// @layers.0.conv_state : !m1.conv_state<3x128xf32> MAMBA2: m1.state @layers.0.scan_state :
// !m1.scan_state<4x16x16xf32> QWEN2: m1.weight @layers.0.q_bias : tensor<64xf32>

// CHECK: func.func @prefill(%{{.*}}: tensor<?xi32>, %{{.*}}: !m1.batch) -> (tensor<?x{{320|512}}xf32>, tensor<?xi32>)
// MAMBA1: m1.hybrid_layer mamba1
// The bias is in the linear layer and in the softplus.
// MAMBA1: m1.linear %{{.*}}, %{{.*}} bias(%[[BIAS:.*]]) :
// MAMBA1: m1.softplus %{{.*}} bias(%[[BIAS]])
// MAMBA2: m1.hybrid_layer mamba2
// MAMBA2: m1.gated_rms_norm {{.*}} {eps = 1.000000e-05 : f64, groups = 4 : i64}
// CHECK: m1.hybrid_layer attention
// QWEN2: m1.linear %{{.*}}, %{{.*}} bias(
// CHECK: m1.gather_rows
// The tied head is the embedding table.
// MAMBA1: m1.get_weight @embed_tokens
// QWEN2: m1.get_weight @lm_head
// CHECK: m1.sample
// CHECK: func.func @decode(%{{.*}}: tensor<?xi32>, %{{.*}}: !m1.batch) -> (tensor<?x{{320|512}}xf32>, tensor<?xi32>)
