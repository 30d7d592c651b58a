// Every operation, type and attribute parses, prints and parses again to the same text, in both
// forms.
// RUN: m1-opt %s | m1-opt | FileCheck %s
// RUN: m1-opt %s --mlir-print-op-generic | m1-opt | FileCheck %s
// Text and bytecode are one module: through either, the same text comes back.
// RUN: m1-opt %s -o %t.mlir && m1-opt %t.mlir | diff - %t.mlir
// RUN: m1-opt %s --emit-bytecode | m1-opt | diff - %t.mlir

// CHECK: m1.model @model {activation_type = f32, architecture = "m1-mamba1"
m1.model @model {architecture = "m1-mamba1", vocab_size = 512 : i64, hidden_size = 64
    : i64, layers = 4 : i64, max_positions = 4096 : i64,
                 bos_id = 1 : i64, eos_ids = array<i64: 2>, activation_type = f32, state_type = f32,
                     kv_type = bf16}
// CHECK: m1.weight @table : tensor<512x64xbf16> {sources = ["model.embed_tokens.weight"]}
m1.weight @table : tensor<512x64xbf16> {sources = ["model.embed_tokens.weight"]}
// CHECK: m1.weight @A : tensor<64x16xf32> {sources = ["A_log"], transform = #m1<transform neg_exp>}
m1.weight @A : tensor<64x16xf32> {sources = ["A_log"], transform = #m1<transform neg_exp>}
// CHECK: m1.weight @joined : tensor<128x64xf32> {sources = ["a", "b"]}
m1.weight @joined : tensor<128x64xf32> {sources = ["a", "b"]}
// CHECK: m1.weight @parts : tensor<3x64xf32> {rows = array<i64: 2, 1, 0, 2>, sources = ["a", "a"], transform = #m1<transform plus_one>}
m1.weight @parts : tensor<3x64xf32> {sources = ["a", "a"], rows = array<i64: 2, 1, 0, 2>,
    transform = #m1<transform plus_one>}
// CHECK: m1.weight @norm : tensor<64xf32> {value = dense<1.000000e+00> : tensor<64xf32>}
m1.weight @norm : tensor<64xf32> {value = dense<1.0> : tensor<64xf32>}
// CHECK: #m1.rotary_angles<step = 256, frequencies = [1.000000e+00, 0.1234567890123{{[0-9]*}}, 1.000000e-01, {{.*}}], scale = 1.000000e+00>
m1.weight @hi : tensor<16x8x2xf32> {angles = #m1.rotary_angles<step = 256,
    frequencies = [1.0, 0.1234567890123, 0.1, 0.01, 1.0e-3, 1.0e-4, 1.0e-5, 1.0e-6]>}
// CHECK: #m1.rotary_angles<step = 1, {{.*}}, scale = 1.250000e+00>
m1.weight @lo : tensor<256x8x2xf32> {angles = #m1.rotary_angles<step = 1,
    frequencies = [1.0, 0.1234567890123, 0.1, 0.01, 1.0e-3, 1.0e-4, 1.0e-5, 1.0e-6],
    scale = 1.25>}
// CHECK: m1.state @scan : !m1.scan_state<64x16xf32>
m1.state @scan : !m1.scan_state<64x16xf32>
// CHECK: m1.state @ssd : !m1.scan_state<4x16x16xbf16>
m1.state @ssd : !m1.scan_state<4x16x16xbf16>
// CHECK: m1.state @channels : !m1.scan_state<64xf32>
m1.state @channels : !m1.scan_state<64xf32>
// CHECK: m1.state @conv : !m1.conv_state<3x32xf32>
m1.state @conv : !m1.conv_state<3x32xf32>
// CHECK: m1.state @conv1 : !m1.conv_state<0x32xf16>
m1.state @conv1 : !m1.conv_state<0x32xf16>
// CHECK: m1.state @kv : !m1.kv_cache<2x64x16xbf16>
m1.state @kv : !m1.kv_cache<2x64x16xbf16>
// CHECK: m1.state @kv8 : !m1.kv_cache<2x64x16xi8>
m1.state @kv8 : !m1.kv_cache<2x64x16xi8>
// CHECK: m1.state @kvf8 : !m1.kv_cache<2x64x16xf8E4M3FN>
m1.state @kvf8 : !m1.kv_cache<2x64x16xf8E4M3FN>

// CHECK-LABEL: func @rows
func.func @rows(%tokens: tensor<?xi32>, %batch: !m1.batch, %w: tensor<64xf32>, %up:
    tensor<160x64xf32>, %down: tensor<64x160xf32>,
                %b: tensor<160xf32>, %logits: tensor<?x512xf32>) -> tensor<?xi32> {
  // CHECK: m1.get_weight @table : tensor<512x64xbf16>
  %table = m1.get_weight @table : tensor<512x64xbf16>
  // CHECK: m1.embedding %{{.*}}, %{{.*}} : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  %h = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  // CHECK: m1.rms_norm %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %n = m1.rms_norm %h, %w {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} bias(%{{.*}}) : (tensor<?x64xbf16>, tensor<160x64xf32>, tensor<160xf32>) -> tensor<?x160xbf16>
  %y = m1.linear %n, %up bias(%b)
      : (tensor<?x64xbf16>, tensor<160x64xf32>, tensor<160xf32>) -> tensor<?x160xbf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} : (tensor<?x160xbf16>, tensor<64x160xf32>) -> tensor<?x64xbf16>
  %y1 = m1.linear %y, %down : (tensor<?x160xbf16>, tensor<64x160xf32>) -> tensor<?x64xbf16>
  // CHECK: m1.add %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  %h1 = m1.add %h, %y1 : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>
  // CHECK: %{{.*}}, %{{.*}} = m1.add_rms_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64}
  %h2, %n2 = m1.add_rms_norm %h1, %y1, %w {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
          -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  // CHECK: m1.split %{{.*}} : tensor<?x160xbf16> -> tensor<?x60xbf16>, tensor<?x100xbf16>
  %p:2 = m1.split %y : tensor<?x160xbf16> -> tensor<?x60xbf16>, tensor<?x100xbf16>
  // CHECK: m1.repeat_heads %{{.*}} {head_size = 20 : i64, repeat = 2 : i64} : tensor<?x60xbf16> -> tensor<?x120xbf16>
  %r = m1.repeat_heads %p#0 {head_size = 20 : i64, repeat = 2 : i64} : tensor<?x60xbf16>
      -> tensor<?x120xbf16>
  // CHECK: m1.softplus %{{.*}} bias(%{{.*}}) : (tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %s = m1.softplus %y1 bias(%w) : (tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  // CHECK: m1.softplus %{{.*}} : (tensor<?x64xbf16>) -> tensor<?x64xf32>
  %s1 = m1.softplus %y1 : (tensor<?x64xbf16>) -> tensor<?x64xf32>
  // CHECK: m1.silu %{{.*}} : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %si = m1.silu %y1 : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // CHECK: m1.mul %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %m = m1.mul %si, %s : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // CHECK: m1.silu_mul %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %sm = m1.silu_mul %y1, %m : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // CHECK: m1.skip %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  %sk = m1.skip %sm, %si, %w : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>)
      -> tensor<?x64xbf16>
  // CHECK: m1.gated_rms_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64, groups = 4 : i64}
  %g = m1.gated_rms_norm %sk, %sm, %w {groups = 4 : i64, eps = 1.0e-5 : f64}
      : (tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<64xf32>) -> tensor<?x64xbf16>
  // CHECK: m1.gated_mlp %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<160x64xf32>, tensor<160x64xf32>, tensor<64x160xf32>) -> tensor<?x64xbf16>
  %mlp = m1.gated_mlp %g, %up, %up, %down
      : (tensor<?x64xbf16>, tensor<160x64xf32>, tensor<160x64xf32>, tensor<64x160xf32>)
          -> tensor<?x64xbf16>
  // CHECK: m1.gather_rows %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  %rows = m1.gather_rows %mlp, %batch : (tensor<?x64xbf16>, !m1.batch) -> tensor<?x64xbf16>
  // CHECK: m1.sample %{{.*}} : (tensor<?x512xf32>) -> tensor<?xi32>
  %next = m1.sample %logits : (tensor<?x512xf32>) -> tensor<?xi32>
  // CHECK: m1.sample %{{.*}} {ids = 500 : i64} : (tensor<?x512xf32>) -> tensor<?xi32>
  %known = m1.sample %logits {ids = 500 : i64} : (tensor<?x512xf32>) -> tensor<?xi32>
  return %next : tensor<?xi32>
}

// CHECK-LABEL: func @mamba
func.func @mamba(%batch: !m1.batch, %x: tensor<?x32xf32>, %w: tensor<64x4xf32>, %bias:
    tensor<64xf32>, %A: tensor<64x16xf32>,
                 %dt: tensor<?x64xf32>, %C: tensor<?x64xf32>, %z: tensor<?x64xf32>, %dt4:
                     tensor<?x4xf32>, %A4: tensor<4xf32>) {
  // CHECK: m1.get_state @conv : !m1.conv_state<3x32xf32>
  %conv = m1.get_state @conv : !m1.conv_state<3x32xf32>
  %scan = m1.get_state @scan : !m1.scan_state<64x16xf32>
  %ssd = m1.get_state @ssd : !m1.scan_state<4x16x16xbf16>
  // CHECK: m1.causal_conv1d %{{.*}}, %{{.*}} bias(%{{.*}}), %{{.*}}, %{{.*}} {activation = #m1<activation silu>, head_size = 16 : i64, repeat = 2 : i64}
  %c = m1.causal_conv1d %x, %w bias(%bias), %batch, %conv {activation = #m1<activation silu>, repeat
      = 2 : i64, head_size = 16 : i64}
      : (tensor<?x32xf32>, tensor<64x4xf32>, tensor<64xf32>, !m1.batch, !m1.conv_state<3x32xf32>) ->
          tensor<?x64xf32>
  // CHECK: m1.selective_scan %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} skip(%{{.*}}) gate(%{{.*}}) dt_bias(%{{.*}}), %{{.*}}, %{{.*}} {delta_softplus}
  %y = m1.selective_scan %c, %dt, %A, %x, %C skip(%bias) gate(%z) dt_bias(%bias), %batch, %scan
      {delta_softplus}
      : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x16xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
          tensor<64xf32>, tensor<?x64xf32>,
         tensor<64xf32>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xf32>
  // CHECK: m1.selective_scan %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} :
  %y1 = m1.selective_scan %x, %dt, %A, %x, %C, %batch, %scan
      : (tensor<?x32xf32>, tensor<?x64xf32>, tensor<64x16xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
          !m1.batch, !m1.scan_state<64x16xf32>)
        -> tensor<?x64xf32>
  // CHECK: m1.ssd_scan %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} skip(%{{.*}}) dt_bias(%{{.*}}), %{{.*}}, %{{.*}} {delta_softplus}
  %y2 = m1.ssd_scan %x, %dt4, %A4, %x, %C skip(%A4) dt_bias(%A4), %batch, %ssd {delta_softplus}
      : (tensor<?x32xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
          tensor<4xf32>, tensor<4xf32>, !m1.batch,
         !m1.scan_state<4x16x16xbf16>) -> tensor<?x64xf32>
  return
}

// CHECK-LABEL: func @gated_delta
func.func @gated_delta(%q: tensor<?x8xf32>, %v: tensor<?x12xf32>, %a: tensor<?x4xf32>,
                       %d: tensor<4xf32>, %w: tensor<3xf32>, %batch: !m1.batch,
                       %s: !m1.scan_state<4x4x3xf32>) {
  // CHECK: m1.gated_delta %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} dt_bias(%{{.*}}), %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64, scale = 5.000000e-01 : f64}
  %y = m1.gated_delta %q, %q, %v, %a, %a, %d dt_bias(%d), %batch, %s
      {eps = 1.0e-5 : f64, scale = 0.5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x12xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x4x3xf32>) -> tensor<?x12xf32>
  // CHECK: m1.gated_rms_norm %{{.*}} {eps = 1.000000e-05 : f64, groups = 4 : i64, norm_first}
  %g = m1.gated_rms_norm %y, %v, %w {groups = 4 : i64, eps = 1.0e-5 : f64, norm_first}
      : (tensor<?x12xf32>, tensor<?x12xf32>, tensor<3xf32>) -> tensor<?x12xf32>
  return
}

// CHECK-LABEL: func @rg_lru
func.func @rg_lru(%x: tensor<?x64xbf16>, %i: tensor<?x64xf32>, %lambda: tensor<64xf32>,
                  %batch: !m1.batch) {
  %s = m1.get_state @channels : !m1.scan_state<64xf32>
  // CHECK: m1.rg_lru %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>, !m1.batch, !m1.scan_state<64xf32>) -> tensor<?x64xbf16>
  %y = m1.rg_lru %x, %i, %i, %lambda, %batch, %s
      : (tensor<?x64xbf16>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>, !m1.batch,
         !m1.scan_state<64xf32>) -> tensor<?x64xbf16>
  return
}

// Mamba's heads of B and C: one, or n_groups of a size of their own.
// CHECK-LABEL: func @mamba_groups
func.func @mamba_groups(%batch: !m1.batch, %x: tensor<?x60xf32>, %A: tensor<60x16xf32>,
                        %A6: tensor<6xf32>, %dt6: tensor<?x6xf32>, %B: tensor<?x16xf32>,
                        %B3: tensor<?x48xf32>, %s: !m1.scan_state<60x16xf32>,
                        %s6: !m1.scan_state<6x10x16xf32>) {
  // CHECK: m1.selective_scan
  %y = m1.selective_scan %x, %x, %A, %B, %B, %batch, %s
      : (tensor<?x60xf32>, tensor<?x60xf32>, tensor<60x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>,
         !m1.batch, !m1.scan_state<60x16xf32>) -> tensor<?x60xf32>
  // CHECK: m1.ssd_scan
  %y1 = m1.ssd_scan %x, %dt6, %A6, %B3, %B3, %batch, %s6
      : (tensor<?x60xf32>, tensor<?x6xf32>, tensor<6xf32>, tensor<?x48xf32>, tensor<?x48xf32>,
         !m1.batch, !m1.scan_state<6x10x16xf32>) -> tensor<?x60xf32>
  return
}

// CHECK-LABEL: func @attention
func.func @attention(%batch: !m1.batch, %q: tensor<?x64xf32>, %k: tensor<?x32xf32>)
    -> tensor<?x64xf32> {
  %hi = m1.get_weight @hi : tensor<16x8x2xf32>
  %lo = m1.get_weight @lo : tensor<256x8x2xf32>
  %kv = m1.get_state @kv : !m1.kv_cache<2x64x16xbf16>
  // CHECK: m1.rotary_table %{{.*}}, %{{.*}}, %{{.*}} : (!m1.batch, tensor<16x8x2xf32>, tensor<256x8x2xf32>) -> tensor<?x16xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x8x2xf32>, tensor<256x8x2xf32>) -> tensor<?x16xf32>
  // CHECK: m1.rotary_embedding %{{.*}}, %{{.*}} {head_dim = 16 : i64} : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
  %q1 = m1.rotary_embedding %q, %r {head_dim = 16 : i64}
      : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
  // CHECK: m1.kv_write %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x32xf32>, tensor<?x32xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>
  m1.kv_write %k, %k, %batch, %kv
      : tensor<?x32xf32>, tensor<?x32xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>
  // CHECK: m1.rotary_kv_write %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} :
  %q2 = m1.rotary_kv_write %q, %k, %k, %r, %batch, %kv
      : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x16xf32>, !m1.batch,
          !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xf32>
  // CHECK: m1.rms_norm %{{.*}} {eps = 1.000000e-05 : f64, groups = 4 : i64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %q3 = m1.rms_norm %q {eps = 1.0e-5 : f64, groups = 4 : i64}
      : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: m1.rotary_embedding %{{.*}} : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
  %q4 = m1.rotary_embedding %q3, %r {head_dim = 32 : i64}
      : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
  // CHECK: m1.attention %{{.*}} {scale = 1.000000e+00 : f64, window = 8 : i64}
  %y1 = m1.attention %q4, %batch, %kv {scale = 1.0 : f64, window = 8 : i64}
      : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xf32>
  // CHECK: m1.attention %{{.*}}, %{{.*}}, %{{.*}} {scale = 2.500000e-01 : f64}
  %y = m1.attention %q2, %batch, %kv {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// Maps keep their label and body; vectors may be shared by neighbouring columns.
// CHECK-LABEL: func @map
func.func @map(%x: tensor<?x64xbf16>, %d: tensor<4xf32>) -> tensor<?x64xf32> {
  // CHECK: m1.map %{{.*}}, %{{.*}} {label = "gate"} : (tensor<?x64xbf16>, tensor<4xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: ^bb0(%[[X:.*]]: f32, %[[D:.*]]: f32):
  // CHECK-NEXT: %[[T:.*]] = math.tanh %[[X]] : f32
  // CHECK-NEXT: %[[Y:.*]] = arith.mulf %[[T]], %[[D]] : f32
  // CHECK-NEXT: m1.yield %[[Y]] : f32
  %y = m1.map %x, %d {label = "gate"} : (tensor<?x64xbf16>, tensor<4xf32>) -> tensor<?x64xf32> {
  ^bb0(%u: f32, %v: f32):
    %t = math.tanh %u : f32
    %p = arith.mulf %t, %v : f32
    m1.yield %p : f32
  }
  return %y : tensor<?x64xf32>
}

// Routing by softmax and by sigmoids, with groups and a bias; experts that share a row, and experts
// with columns of their own.
// CHECK-LABEL: func @experts
func.func @experts(%x: tensor<?x8xf32>, %l: tensor<?x6xf32>, %c: tensor<6xf32>,
                   %up: tensor<30x8xf32>, %down: tensor<48x5xf32>) {
  // CHECK: m1.router %{{.*}} {normalize, scale = 1.000000e+00 : f64} : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %w, %e = m1.router %l {normalize, scale = 1.0 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  // CHECK: m1.router %{{.*}} correction(%{{.*}}) {groups = 3 : i64, kept_groups = 2 : i64, scale = 2.500000e+00 : f64, sigmoid}
  %w1, %e1 = m1.router %l correction(%c)
      {sigmoid, groups = 3 : i64, kept_groups = 2 : i64, scale = 2.5 : f64}
      : (tensor<?x6xf32>, tensor<6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} {count = 6 : i64}
  %h = m1.expert_linear %x, %e, %up {count = 6 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<30x8xf32>) -> tensor<?x10xf32>
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} {count = 6 : i64, first = 4 : i64}
  %y = m1.expert_linear %h, %e, %down {count = 6 : i64, first = 4 : i64}
      : (tensor<?x10xf32>, tensor<?x2xi32>, tensor<48x5xf32>) -> tensor<?x8xf32>
  // CHECK: m1.combine %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %z = m1.combine %y, %w : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  return
}

// Quantised weights and their scales.
// CHECK: m1.weight @quantised : tensor<6x8xi8> {sources = ["q"], transform = #m1<transform int8_rows>}
m1.weight @quantised : tensor<6x8xi8> {sources = ["q"], transform = #m1<transform int8_rows>}
// CHECK: m1.weight @quantised.scale : tensor<6xf32> {scales_of = @quantised}
m1.weight @quantised.scale : tensor<6xf32> {scales_of = @quantised}
// CHECK-LABEL: func @quantised_linears
func.func @quantised_linears(%x: tensor<?x8xf32>, %e: tensor<?x2xi32>, %b: tensor<6xf32>) {
  %w = m1.get_weight @quantised : tensor<6x8xi8>
  %s = m1.get_weight @quantised.scale : tensor<6xf32>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) : (tensor<?x8xf32>, tensor<6x8xi8>, tensor<6xf32>) -> tensor<?x6xf32>
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x8xf32>, tensor<6x8xi8>, tensor<6xf32>) -> tensor<?x6xf32>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) bias(%{{.*}}) : (tensor<?x8xf32>, tensor<6x8xi8>, tensor<6xf32>, tensor<6xf32>) -> tensor<?x6xf32>
  %z = m1.linear %x, %w scale(%s) bias(%b)
      : (tensor<?x8xf32>, tensor<6x8xi8>, tensor<6xf32>, tensor<6xf32>) -> tensor<?x6xf32>
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}}) {count = 3 : i64}
  %h = m1.expert_linear %x, %e, %w scale(%s) {count = 3 : i64}
      : (tensor<?x8xf32>, tensor<?x2xi32>, tensor<6x8xi8>, tensor<6xf32>) -> tensor<?x4xf32>
  return
}

// CHECK: m1.weight @int4 : tensor<6x128xui8> {sources = ["q"], transform = #m1<transform int4_groups_64>}
m1.weight @int4 : tensor<6x128xui8> {sources = ["q"], transform = #m1<transform int4_groups_64>}
// CHECK: m1.weight @int4.scale : tensor<6x4xbf16> {scales_of = @int4}
m1.weight @int4.scale : tensor<6x4xbf16> {scales_of = @int4}
// CHECK-LABEL: func @int4_linears
func.func @int4_linears(%x: tensor<?x200xf32>, %x2: tensor<?x400xf32>, %e: tensor<?x2xi32>) {
  %w = m1.get_weight @int4 : tensor<6x128xui8>
  %s = m1.get_weight @int4.scale : tensor<6x4xbf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) : (tensor<?x200xf32>, tensor<6x128xui8>, tensor<6x4xbf16>) -> tensor<?x6xf32>
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x200xf32>, tensor<6x128xui8>, tensor<6x4xbf16>) -> tensor<?x6xf32>
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}}) {count = 3 : i64} : (tensor<?x400xf32>
  %h = m1.expert_linear %x2, %e, %w scale(%s) {count = 3 : i64}
      : (tensor<?x400xf32>, tensor<?x2xi32>, tensor<6x128xui8>, tensor<6x4xbf16>) -> tensor<?x4xf32>
  return
}

// CHECK: m1.weight @int8_groups : tensor<6x200xi8> {sources = ["q"], transform = #m1<transform int8_groups_64>}
m1.weight @int8_groups : tensor<6x200xi8>
    {sources = ["q"], transform = #m1<transform int8_groups_64>}
// CHECK: m1.weight @int8_groups.scale : tensor<6x4xf16> {scales_of = @int8_groups}
m1.weight @int8_groups.scale : tensor<6x4xf16> {scales_of = @int8_groups}
// CHECK-LABEL: func @int8_groups_linears
func.func @int8_groups_linears(%x: tensor<?x200xf32>, %e: tensor<?x2xi32>) {
  %w = m1.get_weight @int8_groups : tensor<6x200xi8>
  %s = m1.get_weight @int8_groups.scale : tensor<6x4xf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) : (tensor<?x200xf32>, tensor<6x200xi8>, tensor<6x4xf16>) -> tensor<?x6xf32>
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x200xf32>, tensor<6x200xi8>, tensor<6x4xf16>) -> tensor<?x6xf32>
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}}) {count = 3 : i64} : (tensor<?x200xf32>
  %h = m1.expert_linear %x, %e, %w scale(%s) {count = 3 : i64}
      : (tensor<?x200xf32>, tensor<?x2xi32>, tensor<6x200xi8>, tensor<6x4xf16>) -> tensor<?x4xf32>
  return
}

// CHECK: m1.weight @fp8 : tensor<6x8xf8E4M3FN> {sources = ["q"], transform = #m1<transform fp8_rows>}
m1.weight @fp8 : tensor<6x8xf8E4M3FN> {sources = ["q"], transform = #m1<transform fp8_rows>}
// CHECK: m1.weight @fp8.scale : tensor<6xf32> {scales_of = @fp8}
m1.weight @fp8.scale : tensor<6xf32> {scales_of = @fp8}
// CHECK-LABEL: func @fp8_linears
func.func @fp8_linears(%x: tensor<?x8xf32>, %b: tensor<6xf32>) {
  %w = m1.get_weight @fp8 : tensor<6x8xf8E4M3FN>
  %s = m1.get_weight @fp8.scale : tensor<6xf32>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) : (tensor<?x8xf32>, tensor<6x8xf8E4M3FN>, tensor<6xf32>) -> tensor<?x6xf32>
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x8xf32>, tensor<6x8xf8E4M3FN>, tensor<6xf32>) -> tensor<?x6xf32>
  // CHECK: %[[C:.*]], %[[R:.*]] = m1.quantize_rows %{{.*}} : (tensor<?x8xf32>) -> (tensor<?x8xf8E4M3FN>, tensor<?xf32>)
  %c, %r = m1.quantize_rows %x : (tensor<?x8xf32>) -> (tensor<?x8xf8E4M3FN>, tensor<?xf32>)
  // CHECK: m1.linear %[[C]], %{{.*}} scale(%{{.*}}) row_scale(%[[R]]) bias(%{{.*}})
  %z = m1.linear %c, %w scale(%s) row_scale(%r) bias(%b)
      : (tensor<?x8xf8E4M3FN>, tensor<6x8xf8E4M3FN>, tensor<6xf32>, tensor<?xf32>, tensor<6xf32>)
      -> tensor<?x6xbf16>
  return
}
