// RUN: m1-opt %s --m1-convert-to-plan | FileCheck %s

// Every operation that has a kernel, with all optional operands somewhere: the key names what the
// kernel's code depends on (shapes, strides, types, attributes), in the order of the operands that
// it receives.
m1.weight @embed : tensor<96x64xf32> {sources = ["embed"]}
m1.weight @norm : tensor<64xf32> {sources = ["norm"]}
m1.weight @A : tensor<64x16xf32> {sources = ["A"]}
m1.weight @D : tensor<64xf32> {sources = ["D"]}
m1.weight @dt_bias : tensor<64xf32> {sources = ["dt_bias"]}
m1.weight @conv : tensor<64x4xf32> {sources = ["conv"]}
m1.weight @conv_bias : tensor<64xf32> {sources = ["conv_bias"]}
m1.weight @A2 : tensor<4xf32> {sources = ["A2"]}
m1.weight @D2 : tensor<4xf32> {sources = ["D2"]}
m1.weight @dt2 : tensor<4x64xf32> {sources = ["dt2"]}
m1.weight @quantised : tensor<4x64xi8> {sources = ["q"], transform = #m1<transform int8_rows>}
m1.weight @quantised.scale : tensor<4xf32> {scales_of = @quantised}
m1.weight @int4 : tensor<4x64xui8> {sources = ["q"], transform = #m1<transform int4_groups_32>}
m1.weight @int4.scale : tensor<4x2xbf16> {scales_of = @int4}
m1.weight @fp8 : tensor<4x64xf8E4M3FN> {sources = ["q"], transform = #m1<transform fp8_rows>}
m1.weight @fp8.scale : tensor<4xf32> {scales_of = @fp8}
m1.weight @kv_proj : tensor<32x64xf32> {sources = ["kv_proj"]}
m1.weight @hi : tensor<2x8x2xf32> {sources = ["hi"]}
m1.weight @lo : tensor<256x8x2xf32> {sources = ["lo"]}
m1.state @conv_state : !m1.conv_state<3x32xf32>
m1.state @scan_state : !m1.scan_state<64x16xf32>
m1.state @scan2_state : !m1.scan_state<4x16x16xbf16>
m1.state @channels : !m1.scan_state<64xf32>
m1.state @cache : !m1.kv_cache<2x64x16xbf16>
m1.state @cache1 : !m1.kv_cache<2x64x16xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %embed = m1.get_weight @embed : tensor<96x64xf32>
  %norm = m1.get_weight @norm : tensor<64xf32>
  %A = m1.get_weight @A : tensor<64x16xf32>
  %D = m1.get_weight @D : tensor<64xf32>
  %dt_bias = m1.get_weight @dt_bias : tensor<64xf32>
  %conv = m1.get_weight @conv : tensor<64x4xf32>
  %conv_bias = m1.get_weight @conv_bias : tensor<64xf32>
  %A2 = m1.get_weight @A2 : tensor<4xf32>
  %D2 = m1.get_weight @D2 : tensor<4xf32>
  %dt2 = m1.get_weight @dt2 : tensor<4x64xf32>
  %kv_proj = m1.get_weight @kv_proj : tensor<32x64xf32>
  %hi = m1.get_weight @hi : tensor<2x8x2xf32>
  %lo = m1.get_weight @lo : tensor<256x8x2xf32>
  %conv_state = m1.get_state @conv_state : !m1.conv_state<3x32xf32>
  %scan_state = m1.get_state @scan_state : !m1.scan_state<64x16xf32>
  %scan2_state = m1.get_state @scan2_state : !m1.scan_state<4x16x16xbf16>
  %cache = m1.get_state @cache : !m1.kv_cache<2x64x16xbf16>
  %cache1 = m1.get_state @cache1 : !m1.kv_cache<2x64x16xf32>
  // CHECK: plan.kernel @embedding_64 {key = "embedding tokens:i32 table:96x64xf32 -> out:64xf32/64 over tokens", origin = "generated"}
  %h = m1.embedding %tokens, %embed : (tensor<?xi32>, tensor<96x64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @linear_32 {key = "linear x:64xf32/64 weight:32x64xf32 -> out:32xf32/32 over tokens", origin = "generated"}
  %x = m1.linear %h, %kv_proj : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  // CHECK: plan.kernel @causal_conv1d_64 {key = "causal_conv1d {activation = #m1<activation silu>, head_size = 16 : i64, repeat = 2 : i64} x:32xf32/32 weight:64x4xf32 bias:64xf32 state:3x32xf32 sequence_starts:i32 slots:i32 positions:i32 -> out:64xf32/64 over sequences", origin = "causal_conv1d"}
  %c = m1.causal_conv1d %x, %conv bias(%conv_bias), %batch, %conv_state {activation = #m1<activation
      silu>, repeat = 2 : i64, head_size = 16 : i64}
    : (tensor<?x32xf32>, tensor<64x4xf32>, tensor<64xf32>, !m1.batch, !m1.conv_state<3x32xf32>)
        -> tensor<?x64xf32>
  // CHECK: plan.kernel @repeat_heads_64 {key = "repeat_heads {head_size = 16 : i64, repeat = 2 : i64} x:32xf32/32 -> out:64xf32/64 over tokens", origin = "generated"}
  %r = m1.repeat_heads %x {head_size = 16 : i64, repeat = 2 : i64} : tensor<?x32xf32>
      -> tensor<?x64xf32>
  // CHECK: plan.kernel @softplus_64 {key = "map {body = {{.*}}} x:64xf32/64 bias:64xf32 -> out:64xf32/64 over tokens", origin = "generated"}
  %dt = m1.softplus %h bias(%dt_bias) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @selective_scan_64 {key = "selective_scan x:64xf32/64 dt:64xf32/64 a:64x16xf32 b:32xf32/32 c:64xf32/64 d:64xf32 z:64xf32/64 state:64x16xf32 sequence_starts:i32 slots:i32 positions:i32 -> out:64xf32/64 over sequences", origin = "selective_scan"}
  %y1 = m1.selective_scan %c, %dt, %A, %x, %h skip(%D) gate(%r), %batch, %scan_state
    : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x16xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
        tensor<64xf32>, tensor<?x64xf32>, !m1.batch, !m1.scan_state<64x16xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @linear_4 {key = "linear x:64xf32/64 weight:4x64xf32 -> out:4xf32/4 over tokens", origin = "generated"}
  %d4 = m1.linear %h, %dt2 : (tensor<?x64xf32>, tensor<4x64xf32>) -> tensor<?x4xf32>
  // CHECK: plan.kernel @linear_4_v1 {key = "linear x:64xf32/64 weight:4x64xi8 scale:4xf32 bias:4xf32 -> out:4xf32/4 over tokens", origin = "generated"}
  %quantised = m1.get_weight @quantised : tensor<4x64xi8>
  %scale = m1.get_weight @quantised.scale : tensor<4xf32>
  %q4 = m1.linear %h, %quantised scale(%scale) bias(%D2)
      : (tensor<?x64xf32>, tensor<4x64xi8>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: plan.kernel @linear_4_v2 {key = "linear x:64xf32/64 weight:4x64xui8 scale:4x2xbf16 -> out:4xf32/4 over tokens", origin = "generated"}
  %int4 = m1.get_weight @int4 : tensor<4x64xui8>
  %scale4 = m1.get_weight @int4.scale : tensor<4x2xbf16>
  %i4 = m1.linear %h, %int4 scale(%scale4)
      : (tensor<?x64xf32>, tensor<4x64xui8>, tensor<4x2xbf16>) -> tensor<?x4xf32>
  // Rows are rounded to e4m3 by a kernel of its own.
  // CHECK: plan.kernel @quantize_rows {key = "quantize_rows x:64xf32/64 -> codes:64xbf16/64 scale:f32/1 over tokens", origin = "generated"}
  // CHECK: plan.kernel @linear_4_v3 {key = "linear x:64xbf16/64 weight:4x64xf8E4M3FN scale:4xf32 row_scale:f32/1 bias:4xf32 -> out:4xf32/4 over tokens", origin = "generated"}
  %fp8 = m1.get_weight @fp8 : tensor<4x64xf8E4M3FN>
  %scale8 = m1.get_weight @fp8.scale : tensor<4xf32>
  %i8 = m1.linear %h, %fp8 scale(%scale8) bias(%D2)
      : (tensor<?x64xf32>, tensor<4x64xf8E4M3FN>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: plan.kernel @ssd_scan_64 {key = "ssd_scan {delta_softplus} x:32xf32/32 dt:4xf32/4 a:4xf32 b:32xf32/32 c:64xf32/64 dt_bias:4xf32 state:4x16x16xbf16 sequence_starts:i32 slots:i32 positions:i32 -> out:64xf32/64 over sequences", origin = "ssd_scan"}
  %y2 = m1.ssd_scan %x, %d4, %A2, %x, %h dt_bias(%D2), %batch, %scan2_state {delta_softplus}
    : (tensor<?x32xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
        tensor<4xf32>, !m1.batch, !m1.scan_state<4x16x16xbf16>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @rg_lru_64 {key = "rg_lru x:64xf32/64 input_gate:64xf32/64 recurrence_gate:64xf32/64 lambda:64xf32 state:64xf32 sequence_starts:i32 slots:i32 positions:i32 -> out:64xf32/64 over sequences", origin = "generated"}
  %channels = m1.get_state @channels : !m1.scan_state<64xf32>
  %y3 = m1.rg_lru %y1, %h, %dt, %D, %batch, %channels
    : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>, !m1.batch,
        !m1.scan_state<64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @skip_64 {key = "map {body = {{.*}}} y:64xf32/64 x:64xf32/64 d:4xf32 -> out:64xf32/64 over tokens", origin = "generated"}
  %k = m1.skip %y2, %y3, %D2 : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<4xf32>)
      -> tensor<?x64xf32>
  // CHECK: plan.kernel @gated_rms_norm_64 {key = "gated_rms_norm {eps = 1.000000e-05 : f64, groups = 4 : i64} y:64xf32/64 z:64xf32/64 weight:64xf32 -> out:64xf32/64 over tokens", origin = "generated"}
  %g = m1.gated_rms_norm %k, %y1, %norm {groups = 4 : i64, eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @silu_64 {key = "map {body = {{.*}}} a:64xf32/64 -> out:64xf32/64 over tokens", origin = "generated"}
  %s = m1.silu %g : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @mul_64 {key = "map {body = {{.*}}} a:64xf32/64 b:64xf32/64 -> out:64xf32/64 over tokens", origin = "generated"}
  %m = m1.mul %s, %r : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // The code of a map is in its key; its label names the kernel.
  // CHECK: plan.kernel @scaled_64 {key = "map {body = {{\[\[}}\22arith.constant\22, array<i64>, {value = 5.000000e-01 : f32}], [\22arith.mulf\22, array<i64: 0, 2>], [\22arith.addf\22, array<i64: 3, 1>], [\22m1.yield\22, array<i64: 4>]]} inputs:64xf32/64 inputs:4xf32 -> out:64xf32/64 over tokens", origin = "generated"}
  %scaled = m1.map %m, %D2 {label = "scaled"} : (tensor<?x64xf32>, tensor<4xf32>)
      -> tensor<?x64xf32> {
  ^bb0(%u: f32, %v: f32):
    %half = arith.constant 0.5 : f32
    %p = arith.mulf %u, %half : f32
    %sum = arith.addf %p, %v : f32
    m1.yield %sum : f32
  }
  // CHECK: plan.kernel @add_64 {key = "map {body = {{.*}}} residual:64xf32/64 x:64xf32/64 -> out:64xf32/64 over tokens", origin = "generated"}
  %a = m1.add %h, %scaled : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @add_rms_norm_64 {key = "add_rms_norm {eps = 1.000000e-05 : f64} residual:64xf32/64 x:64xf32/64 weight:64xf32 -> sum:64xf32/64 normed:64xf32/64 over tokens", origin = "generated"}
  %sum, %n = m1.add_rms_norm %a, %m, %norm {eps = 1.0e-5 : f64} : (tensor<?x64xf32>,
      tensor<?x64xf32>, tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  // CHECK: plan.kernel @rotary_table_16 {key = "rotary_table hi:2x8x2xf32 lo:256x8x2xf32 positions:i32 -> out:16xf32/16 over tokens", origin = "generated"}
  %t = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<2x8x2xf32>, tensor<256x8x2xf32>) -> tensor<?x16xf32>
  // CHECK: plan.kernel @rotary_embedding_64 {key = "rotary_embedding {head_dim = 16 : i64} x:64xf32/64 table:16xf32/16 -> out:64xf32/64 over tokens", origin = "generated"}
  %q = m1.rotary_embedding %n, %t {head_dim = 16 : i64}
      : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @kv_write {key = "kv_write k:32xf32/32 v:32xf32/32 cache:2x64x16xbf16 positions:i32 token_sequence:i32 block_tables:i32 over tokens", origin = "generated"}
  m1.kv_write %x, %x, %batch, %cache
      : tensor<?x32xf32>, tensor<?x32xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>
  // CHECK: plan.kernel @attention_64 {key = "attention {scale = 2.500000e-01 : f64, window = 0 : i64} q:64xf32/64 cache:2x64x16xbf16 sequence_starts:i32 context_lengths:i32 block_tables:i32 -> out:64xf32/64 over tokens", origin = "attention"}
  %o = m1.attention %q, %batch, %cache {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<2x64x16xbf16>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @rotary_kv_write_64 {key = "rotary_kv_write q:64xf32/64 k:32xf32/32 v:32xf32/32 table:16xf32/16 cache:2x64x16xf32 positions:i32 token_sequence:i32 block_tables:i32 -> out:64xf32/64 over tokens", origin = "generated"}
  %q1 = m1.rotary_kv_write %o, %x, %x, %t, %batch, %cache1 : (tensor<?x64xf32>, tensor<?x32xf32>,
      tensor<?x32xf32>, tensor<?x16xf32>, !m1.batch, !m1.kv_cache<2x64x16xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @attention_64_v1 {key = "attention {scale = 2.500000e-01 : f64, window = 0 : i64} q:64xf32/64 cache:2x64x16xf32 sequence_starts:i32 context_lengths:i32 block_tables:i32 -> out:64xf32/64 over tokens", origin = "attention"}
  %o1 = m1.attention %q1, %batch, %cache1 {scale = 0.25 : f64}
      : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<2x64x16xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @gather_rows_64 {key = "gather_rows x:64xf32/64 logit_rows:i32 -> out:64xf32/64 over logit_rows", origin = "generated"}
  %rows = m1.gather_rows %o1, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  // CHECK: plan.kernel @rms_norm_64 {key = "rms_norm {eps = 9.9999999999999995E-7 : f64, groups = 1 : i64} x:64xf32/64 weight:64xf32 -> out:64xf32/64 over logit_rows", origin = "generated"}
  %last = m1.rms_norm %rows, %norm {eps = 1.0e-6 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK: plan.kernel @linear_96 {key = "linear x:64xf32/64 weight:96x64xf32 -> out:96xf32/96 over logit_rows", origin = "generated"}
  %l = m1.linear %last, %embed : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
  // CHECK: plan.kernel @sample {key = "sample logits:96xf32/96 -> out:i32/1 over logit_rows", origin = "generated"}
  %next = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  // CHECK: plan.kernel @sample_v1 {key = "sample {ids = 90 : i64} logits:96xf32/96 -> out:i32/1 over logit_rows", origin = "generated"}
  %known = m1.sample %l {ids = 90 : i64} : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %next : tensor<?x96xf32>, tensor<?xi32>
}

// Scans and convolutions go over sequences, the head over the wanted rows; states are operands
// after the inputs, then the batch arrays.
// CHECK: plan.function @prefill
// CHECK-DAG: %[[STARTS:.*]] = plan.port sequence_starts
// CHECK-DAG: %[[SLOTS:.*]] = plan.port slots
// CHECK-DAG: %[[POSITIONS:.*]] = plan.port positions
// CHECK-DAG: %[[LENGTHS:.*]] = plan.port context_lengths
// CHECK-DAG: %[[TABLES:.*]] = plan.port block_tables
// CHECK-DAG: %[[SEQUENCE:.*]] = plan.port token_sequence
// CHECK-DAG: %[[CONV:.*]] = plan.state @conv_state
// CHECK-DAG: %[[SCAN:.*]] = plan.state @scan_state
// CHECK-DAG: %[[SCAN2:.*]] = plan.state @scan2_state
// CHECK-DAG: %[[CACHE:.*]] = plan.state @cache :
// CHECK: plan.launch @causal_conv1d_64({{.*}}, rw %[[CONV]], ro %[[STARTS]], ro %[[SLOTS]], ro %[[POSITIONS]], wo %{{.*}}) over sequences
// CHECK: plan.launch @selective_scan_64({{.*}}, rw %[[SCAN]], ro %[[STARTS]], ro %[[SLOTS]], ro %[[POSITIONS]], wo %{{.*}}) over sequences
// CHECK: plan.launch @ssd_scan_64({{.*}}, rw %[[SCAN2]], ro %[[STARTS]], ro %[[SLOTS]], ro %[[POSITIONS]], wo %{{.*}}) over sequences
// CHECK: plan.launch @kv_write({{.*}}, wo %[[CACHE]], ro %[[POSITIONS]], ro %[[SEQUENCE]], ro %[[TABLES]]) over tokens
// CHECK: plan.launch @attention_64(ro %{{.*}}, ro %[[CACHE]], ro %[[STARTS]], ro %[[LENGTHS]], ro %[[TABLES]], wo %{{.*}}) over tokens grid 2 by 4
// CHECK: plan.launch @rms_norm_64({{.*}}) over logit_rows
