// RUN: m1-opt %s --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s

// Experts are chosen in a kernel of two results. Their products go by expert where rows are many,
// by row in the function for few rows.
// CHECK: plan.kernel @router_2 {{.*}}kExperts = 6;{{.*}}kChosen = 2;
// CHECK: plan.kernel @[[MANY:expert_linear_64]] {{.*}}expert_linear_grouped<
// CHECK: plan.kernel @combine_32 {{.*}}kParts = 2;
// CHECK: plan.kernel @[[FEW:expert_linear_64_decode_v1]] {{.*}}m1k::expert_linear<
// CHECK-LABEL: plan.function @prefill
// CHECK: plan.launch @router_2(ro %{{.*}}, wo %[[WEIGHTS:.*]], wo %[[EXPERTS:.*]]) over tokens
// CHECK: plan.launch @[[MANY]](ro %{{.*}}, ro %[[EXPERTS]], ro %{{.*}}, wo %{{.*}}) over tokens
// CHECK: plan.launch @combine_32(ro %{{.*}}, ro %[[WEIGHTS]], wo %{{.*}}) over tokens
// CHECK-LABEL: plan.function @decode_8
// CHECK: plan.launch @[[FEW]](

// Weights of i8 come with their scales, to the same kernels.
// RUN: m1-opt %s --m1-quantize-weights --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s --check-prefix=INT8
// INT8: plan.kernel @[[MANY:expert_linear_64]] {{.*}} WT = m1k::i8;{{.*}}expert_linear_grouped<
// INT8: plan.kernel @[[FEW:expert_linear_64_decode_v1]] {{.*}} WT = m1k::i8;{{.*}}m1k::expert_lin
// INT8-LABEL: plan.function @prefill
// INT8: %[[SCALE:.*]] = plan.weight @up.scale
// INT8: plan.launch @[[MANY]](ro %{{.*}}, ro %{{.*}}, ro %{{.*}}, ro %[[SCALE]], wo %{{.*}}) over
// INT8-LABEL: plan.function @decode_8
// INT8: plan.launch @[[FEW]](

// Likewise of int4.
// RUN: m1-opt %s --m1-quantize-weights=format=int4 --m1-convert-to-plan=target=cuda:sm_90 | FileCheck %s --check-prefix=INT4
// INT4: plan.kernel @expert_linear_64 {{.*}} WT = m1k::i4x2;{{.*}}kK = 32;{{.*}}kGroup = 32;
// INT4: plan.kernel @expert_linear_64_decode_v1 {{.*}} WT = m1k::i4x2;{{.*}}m1k::expert_linear<

m1.weight @embed : tensor<96x32xbf16> {sources = ["e"]}
m1.weight @gate : tensor<6x32xbf16> {sources = ["g"]}
m1.weight @up : tensor<384x32xbf16> {sources = ["u"]}
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x32xbf16>
  %g = m1.get_weight @gate : tensor<6x32xbf16>
  %u = m1.get_weight @up : tensor<384x32xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x32xbf16>) -> tensor<?x32xf32>
  %x = m1.silu %h : (tensor<?x32xf32>) -> tensor<?x32xbf16>
  %s = m1.linear %x, %g : (tensor<?x32xbf16>, tensor<6x32xbf16>) -> tensor<?x6xf32>
  %w, %n = m1.router %s {normalize, scale = 1.0 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %y = m1.expert_linear %x, %n, %u {count = 6 : i64, first = 32 : i64}
      : (tensor<?x32xbf16>, tensor<?x2xi32>, tensor<384x32xbf16>) -> tensor<?x64xbf16>
  %c = m1.combine %y, %w : (tensor<?x64xbf16>, tensor<?x2xf32>) -> tensor<?x32xbf16>
  %r = m1.gather_rows %c, %batch : (tensor<?x32xbf16>, !m1.batch) -> tensor<?x32xbf16>
  %l = m1.linear %r, %e : (tensor<?x32xbf16>, tensor<96x32xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x96xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<96x32xbf16>
  %g = m1.get_weight @gate : tensor<6x32xbf16>
  %u = m1.get_weight @up : tensor<384x32xbf16>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<96x32xbf16>) -> tensor<?x32xf32>
  %x = m1.silu %h : (tensor<?x32xf32>) -> tensor<?x32xbf16>
  %s = m1.linear %x, %g : (tensor<?x32xbf16>, tensor<6x32xbf16>) -> tensor<?x6xf32>
  %w, %n = m1.router %s {normalize, scale = 1.0 : f64}
      : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %y = m1.expert_linear %x, %n, %u {count = 6 : i64, first = 32 : i64}
      : (tensor<?x32xbf16>, tensor<?x2xi32>, tensor<384x32xbf16>) -> tensor<?x64xbf16>
  %c = m1.combine %y, %w : (tensor<?x64xbf16>, tensor<?x2xf32>) -> tensor<?x32xbf16>
  %r = m1.gather_rows %c, %batch : (tensor<?x32xbf16>, !m1.batch) -> tensor<?x32xbf16>
  %l = m1.linear %r, %e : (tensor<?x32xbf16>, tensor<96x32xbf16>) -> tensor<?x96xf32>
  %t = m1.sample %l : (tensor<?x96xf32>) -> tensor<?xi32>
  return %l, %t : tensor<?x96xf32>, tensor<?xi32>
}
