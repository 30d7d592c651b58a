// RUN: m1-opt %s --pass-pipeline='builtin.module(m1-convert-to-plan{target=cuda:sm_90},plan.target(plan-fuse-launches{chains=false}))' --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics

// Products of few rows take the maps that read them alone: of columns and a vector, of both halves,
// of what a residual's sum or its norm adds. A map of rows that something else reads, too,
// and one that has no text in CUDA C++, stay.
// STATISTICS: plan-fuse-launches gates 1
// STATISTICS: plan-fuse-launches maps 3
// STATISTICS: plan-fuse-launches norms 1
// STATISTICS: plan-fuse-launches residuals 1

// CHECK-DAG: plan.kernel @scaled_mapped_linear_32{{.*}}v0 != v0 || v0 > t0 ? v0 : t0;
// CHECK-DAG: plan.kernel @mapped_residual_linear_norm_64{{.*}}const float t0 = 2.500000000e-01f; const float t1 = v0 * t0; return t1;
// CHECK-DAG: plan.kernel @gated_linear_128{{.*}}v0 * t0;{{.*}} * v1; return
// CHECK-DAG: plan.kernel @mapped_linear_64{{.*}}= v0 * v2; return t0; }{{.*}}kMapShare = 4
// CHECK-LABEL: plan.function @decode
// CHECK: plan.launch @scale_columns_64
// CHECK-LABEL: plan.function @decode_8
// CHECK: %[[VECTOR:.*]] = plan.weight @columns
// CHECK: plan.launch @mapped_linear_64(ro %{{.*}}, ro %{{.*}}, ro %[[VECTOR]], wo %[[Y:[0-9]+]])
// CHECK: plan.launch @gated_linear_128(ro %[[Y]], ro %{{.*}}, wo %[[G:[0-9]+]])
// CHECK: plan.launch @mapped_residual_linear_norm_64(ro %[[G]],
// CHECK: plan.launch @scaled_mapped_linear_32({{.*}}, wo %[[A:[0-9]+]])
// CHECK: plan.launch @mapped_residual_linear_64(ro %[[A]], {{.*}}, wo %{{[0-9]+}})
// CHECK: plan.launch @linear_64
// CHECK: plan.launch @scale_64
// CHECK: plan.launch @linear_64
// CHECK: plan.launch @ordered_64
// CHECK: plan.launch @mapped_linear_96({{.*}}, wo %[[LOGITS:[0-9]+]]) over logit_rows {{.*}} {logit_row_bytes = 512 : i64}
// CHECK-NEXT: plan.launch @sample(ro %[[LOGITS]]

m1.weight @embed : tensor<96x64xbf16> {sources = ["e"]}
m1.weight @norm : tensor<64xf32> {sources = ["n"]}
m1.weight @columns : tensor<16xf32> {sources = ["c"]}
m1.weight @out : tensor<64x64xbf16> {sources = ["o"]}
m1.weight @up : tensor<256x64xbf16> {sources = ["u"]}
m1.weight @down : tensor<64x128xbf16> {sources = ["d"]}
m1.weight @narrow : tensor<32x64xbf16> {sources = ["w"]}
m1.weight @wide : tensor<64x32xbf16> {sources = ["v"]}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x64xbf16>
  %v = m1.get_weight @norm : tensor<64xf32>
  %c = m1.get_weight @columns : tensor<16xf32>
  %wo = m1.get_weight @out : tensor<64x64xbf16>
  %u = m1.get_weight @up : tensor<256x64xbf16>
  %d = m1.get_weight @down : tensor<64x128xbf16>
  %nw = m1.get_weight @narrow : tensor<32x64xbf16>
  %ww = m1.get_weight @wide : tensor<64x32xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x64xbf16>) -> tensor<?x64xf32>
  %n0 = m1.rms_norm %h, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %y0 = m1.linear %n0, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y1 = m1.map %y0, %c {label = "scale_columns"}
      : (tensor<?x64xbf16>, tensor<16xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %b : f32
    m1.yield %p : f32
  }
  %g = m1.linear %y1, %u : (tensor<?x64xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  %g0, %g1 = m1.split %g : tensor<?x256xbf16> -> tensor<?x128xbf16>, tensor<?x128xbf16>
  %s = m1.map %g0, %g1 {label = "silu_mul"}
      : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16> {
  ^bb0(%a: f32, %b: f32):
    %half = arith.constant 0.5 : f32
    %one = arith.constant 1.0 : f32
    %x = arith.mulf %a, %half : f32
    %m = arith.negf %x : f32
    %z = math.exp %m : f32
    %o = arith.addf %one, %z : f32
    %q = arith.divf %x, %o : f32
    %p = arith.mulf %q, %b : f32
    m1.yield %p : f32
  }
  %y2 = m1.linear %s, %d : (tensor<?x128xbf16>, tensor<64x128xbf16>) -> tensor<?x64xbf16>
  %h1, %n1 = m1.add_rms_norm %h, %y2, %v {eps = 1.0e-5 : f64, factor = 0.25 : f64}
      : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xbf16>)
  %y3 = m1.linear %n1, %nw : (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xbf16>
  %y4 = m1.map %y3 {label = "relu"} : (tensor<?x32xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %p = arith.maximumf %a, %zero : f32
    m1.yield %p : f32
  }
  %y5 = m1.linear %y4, %ww : (tensor<?x32xbf16>, tensor<64x32xbf16>) -> tensor<?x64xbf16>
  %h2 = m1.map %h1, %y5 {label = "add"}
    : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32> {
  ^bb0(%a: f32, %b: f32):
    %k = arith.constant 0.5 : f32
    %x = arith.mulf %b, %k : f32
    %p = arith.addf %a, %x : f32
    m1.yield %p : f32
  }
  %r = m1.gather_rows %h2, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>
  %n2 = m1.rms_norm %r, %v {eps = 1.0e-5 : f64}
      : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
  %y6 = m1.linear %n2, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y7 = m1.map %y6 {label = "scale"} : (tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: f32):
    %k = arith.constant 0.5 : f32
    %x = arith.mulf %a, %k : f32
    m1.yield %x : f32
  }
  %y8 = m1.mul %y6, %y7 : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %y9 = m1.linear %y8, %wo : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %y10 = m1.map %y9 {label = "ordered"} : (tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: f32):
    %k = arith.constant 0.5 : f32
    %o = arith.cmpf ord, %a, %k : f32
    %x = arith.select %o, %a, %k : f32
    m1.yield %x : f32
  }
  %l0 = m1.linear %y10, %e : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xf32>
  %l = m1.map %l0 {label = "scale"} : (tensor<?x96xf32>) -> tensor<?x96xf32> {
  ^bb0(%a: f32):
    %k = arith.constant 0.125 : f32
    %x = arith.mulf %a, %k : f32
    m1.yield %x : f32
  }
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
