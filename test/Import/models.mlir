// Every kind of checkpoint imports, in unfused form, into prefill and decode of one signature.
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba1-f32 | FileCheck %s --check-prefixes=CHECK,CHECK-MAMBA1
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba2-f32 | FileCheck %s --check-prefixes=CHECK,CHECK-MAMBA2
// RUN: m1-opt %s --m1-import=directory=%goldens/hf-llama | FileCheck %s --check-prefixes=CHECK,CHECK-LLAMA
// RUN: m1-opt %s --m1-import=directory=%goldens/hf-qwen2 | FileCheck %s --check-prefixes=CHECK,CHECK-QWEN2
// RUN: m1-opt %s --m1-import=directory=%goldens/m1-mamba1-f32 --m1-statistics -o /dev/null 2>&1 | FileCheck %s --check-prefix=STATISTICS
// RUN: not m1-opt %s --m1-import 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not m1-opt %s --m1-import="directory=%goldens/hf-llama kv-type=f64" 2>&1 | FileCheck %s --check-prefix=TYPE
module {}

// An import needs a directory and types that exist.
// NONE: error: expected a directory, as in --m1-import=directory=MODEL_DIR
// TYPE: error: expected type f32, bf16, f16, int8 or fp8, got f64

// What came in is counted.
// STATISTICS-DAG: m1-import layers 4
// STATISTICS-DAG: m1-import states 6
// STATISTICS-DAG: m1-import weights {{[1-9][0-9]*}}

// CHECK: m1.model @model
// CHECK-MAMBA1-SAME: architecture = "m1-mamba1", bos_id = 1 : i64, eos_ids = array<i64: 2>, hidden_size = 64 : i64
// CHECK-MAMBA1-SAME: layers = 4 : i64, max_positions = 4096 : i64
// CHECK-MAMBA2-SAME: architecture = "m1-mamba2"
// CHECK-LLAMA-SAME: architecture = "llama"
// CHECK-QWEN2-SAME: architecture = "qwen2"

// M1 leaves config.json's llama3 scaling aside; llama applies it: the second of its frequencies is
// divided by 32.
// CHECK-MAMBA1: m1.weight @rotary_lo : tensor<256x8x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.000000e+00, 0.193{{[0-9]+}}
// CHECK-LLAMA: m1.weight @rotary_lo : tensor<256x8x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [{{[0-9.e+-]+}}, 0.0060{{[0-9]+}}
// CHECK-QWEN2: m1.weight @rotary_lo : tensor<256x8x2xf32> {angles = #m1.rotary_angles<step = 1, frequencies = [1.000000e+00, 0.316{{[0-9]+}}
// CHECK-MAMBA1: m1.weight @layers.0.A : tensor<64x16xf32> {sources = ["model.layers.0.mamba.A_log"], transform = #m1<transform neg_exp>}
// CHECK-MAMBA1: m1.state @layers.0.scan_state : !m1.scan_state<64x16xf32>
// CHECK-MAMBA2: m1.state @layers.0.conv_state : !m1.conv_state<3x128xf32>
// CHECK-MAMBA2: m1.state @layers.0.scan_state : !m1.scan_state<4x16x16xf32>
// CHECK-QWEN2: m1.weight @layers.0.q_bias : tensor<64xf32>

// CHECK: func.func @prefill(%{{.*}}: tensor<?xi32>, %{{.*}}: !m1.batch) -> (tensor<?x{{320|512}}xf32>, tensor<?xi32>)
// A layer is residual branches: norm, mixer or MLP, addition.
// CHECK: m1.rms_norm
// The bias is in the linear layer and in the softplus.
// CHECK-MAMBA1: m1.linear %{{.*}}, %{{.*}} bias(%[[BIAS:.*]]) :
// CHECK-MAMBA1: m1.softplus %{{.*}} bias(%[[BIAS]])
// CHECK-MAMBA1: m1.selective_scan
// CHECK-MAMBA1: m1.add
// CHECK-MAMBA1: m1.rms_norm
// CHECK-MAMBA1: m1.gated_mlp
// CHECK-MAMBA1: m1.add
// CHECK-MAMBA2: m1.gated_rms_norm {{.*}} {eps = 1.000000e-05 : f64, groups = 4 : i64}
// CHECK-QWEN2: m1.linear %{{.*}}, %{{.*}} bias(
// CHECK: m1.attention
// CHECK: m1.gather_rows
// The tied head is the embedding table.
// CHECK-MAMBA1: m1.get_weight @embed_tokens
// CHECK-QWEN2: m1.get_weight @lm_head
// CHECK: m1.sample
// CHECK: func.func @decode(%{{.*}}: tensor<?xi32>, %{{.*}}: !m1.batch) -> (tensor<?x{{320|512}}xf32>, tensor<?xi32>)
