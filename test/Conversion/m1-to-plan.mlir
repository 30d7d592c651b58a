// RUN: m1-opt %s --m1-convert-to-plan --canonicalize --split-input-file --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics

// A split is a view with the row stride of the whole, results go to the ports, and equal ops of
// both functions share their kernels.
m1.weight @embed : tensor<515x70xbf16> {sources = ["e"]}
m1.weight @norm : tensor<70xf32> {sources = ["n"]}
m1.weight @up : tensor<132x70xf32> {sources = ["u"]}
m1.weight @head : tensor<515x66xbf16> {sources = ["h"]}
// CHECK-LABEL: plan.target @cpu
// CHECK-DAG: plan.kernel @embedding_70 {key = "embedding tokens:i32 table:515x70xbf16 -> out:70xf32/70 over tokens", origin = "generated"}
// CHECK-DAG: plan.kernel @silu_mul_66 {key = "map {body = {{.*}}} a:66xf32/132 b:66xf32/132 -> out:66xf32/66 over tokens", origin = "generated"}
// CHECK-DAG: plan.kernel @linear_515 {key = "linear x:66xf32/66 weight:515x66xbf16 -> out:515xf32/515 over logit_rows", origin = "generated"}
// CHECK-NOT: plan.kernel {{.*}}_v1
// CHECK: plan.function @prefill
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x515xf32>, tensor<?xi32>) {
  // CHECK-DAG: %[[TOKENS:.*]] = plan.port tokens
  // CHECK-DAG: %[[LOGITS:.*]] = plan.port logits
  // CHECK-DAG: %[[ROWS:.*]] = plan.port logit_rows
  // CHECK-DAG: %[[NEXT:.*]] = plan.port next_tokens
  // CHECK-DAG: %[[E:.*]] = plan.weight @embed
  %t = m1.get_weight @embed : tensor<515x70xbf16>
  %n = m1.get_weight @norm : tensor<70xf32>
  %u = m1.get_weight @up : tensor<132x70xf32>
  %w = m1.get_weight @head : tensor<515x66xbf16>
  // CHECK: %[[H:.*]] = plan.temporary tokens 280
  // CHECK: plan.launch @embedding_70(ro %[[TOKENS]], ro %[[E]], wo %[[H]]) over tokens grid 1 by 64 label "embedding" {token_bytes = 420 : i64, written_rows = {{\[\[}}2, f32, 70, 70]]}
  %h = m1.embedding %tokens, %t : (tensor<?xi32>, tensor<515x70xbf16>) -> tensor<?x70xf32>
  %x = m1.rms_norm %h, %n {eps = 1.0e-5 : f64}
      : (tensor<?x70xf32>, tensor<70xf32>) -> tensor<?x70xf32>
  // CHECK: %[[Y:.*]] = plan.temporary tokens 528
  // CHECK: plan.launch @linear_132({{.*}}, wo %[[Y]]) over tokens grid 11 by 64 label "linear"
  %y = m1.linear %x, %u : (tensor<?x70xf32>, tensor<132x70xf32>) -> tensor<?x132xf32>
  // CHECK: %[[UP:.*]] = plan.view %[[Y]] + 264
  %a, %b = m1.split %y : tensor<?x132xf32> -> tensor<?x66xf32>, tensor<?x66xf32>
  // CHECK: plan.launch @silu_mul_66(ro %[[Y]], ro %[[UP]], wo %{{.*}}){{.*}} {token_bytes = 792 : i64{{.*}}}
  %g = m1.silu_mul %a, %b : (tensor<?x66xf32>, tensor<?x66xf32>) -> tensor<?x66xf32>
  // CHECK: %[[R:.*]] = plan.temporary logit_rows 264
  // CHECK: plan.launch @gather_rows_66({{.*}}, ro %[[ROWS]], wo %[[R]]) over logit_rows{{.*}} {logit_row_bytes = 528 : i64{{.*}}}
  %r = m1.gather_rows %g, %batch : (tensor<?x66xf32>, !m1.batch) -> tensor<?x66xf32>
  // CHECK: plan.launch @linear_515(ro %[[R]], {{.*}}, wo %[[LOGITS]]) over logit_rows
  %l = m1.linear %r, %w : (tensor<?x66xf32>, tensor<515x66xbf16>) -> tensor<?x515xf32>
  // CHECK: plan.launch @sample(ro %[[LOGITS]], wo %[[NEXT]]) over logit_rows
  %s = m1.sample %l : (tensor<?x515xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x515xf32>, tensor<?xi32>
}
// CHECK: plan.function @decode
func.func @decode(%tokens: tensor<?xi32>, %batch: !m1.batch) -> (tensor<?x515xf32>, tensor<?xi32>) {
  %t = m1.get_weight @embed : tensor<515x70xbf16>
  %n = m1.get_weight @norm : tensor<70xf32>
  %u = m1.get_weight @up : tensor<132x70xf32>
  %w = m1.get_weight @head : tensor<515x66xbf16>
  %h = m1.embedding %tokens, %t : (tensor<?xi32>, tensor<515x70xbf16>) -> tensor<?x70xf32>
  %x = m1.rms_norm %h, %n {eps = 1.0e-5 : f64}
      : (tensor<?x70xf32>, tensor<70xf32>) -> tensor<?x70xf32>
  %y = m1.linear %x, %u : (tensor<?x70xf32>, tensor<132x70xf32>) -> tensor<?x132xf32>
  %a, %b = m1.split %y : tensor<?x132xf32> -> tensor<?x66xf32>, tensor<?x66xf32>
  %g = m1.silu_mul %a, %b : (tensor<?x66xf32>, tensor<?x66xf32>) -> tensor<?x66xf32>
  %r = m1.gather_rows %g, %batch : (tensor<?x66xf32>, !m1.batch) -> tensor<?x66xf32>
  %l = m1.linear %r, %w : (tensor<?x66xf32>, tensor<515x66xbf16>) -> tensor<?x515xf32>
  %s = m1.sample %l : (tensor<?x515xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x515xf32>, tensor<?xi32>
}

// What the pass did is counted.
// STATISTICS-DAG: m1-convert-to-plan kernels 7
// STATISTICS-DAG: m1-convert-to-plan launches 14
