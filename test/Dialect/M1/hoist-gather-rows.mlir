// RUN: m1-opt %s --m1-hoist-gather-rows --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-hoist-gather-rows operations 8

// The whole tail after attention runs on the wanted rows; each value is gathered once, also where
// two operations read it.
// CHECK-LABEL: func @prefill
// CHECK-SAME: %[[H:[^:]*]]: tensor<?x4xf32>
func.func @prefill(%h: tensor<?x4xf32>, %q: tensor<?x4xf32>, %w: tensor<4x4xf32>, %gu:
    tensor<12x4xf32>, %down: tensor<4x6xf32>,
                   %n: tensor<4xf32>, %batch: !m1.batch, %cache: !m1.kv_cache<1x64x4xf32>)
                       -> tensor<?x4xf32> {
  // CHECK-NEXT: %[[RH:.*]] = m1.gather_rows %[[H]]
  // CHECK-NEXT: %[[A:.*]] = m1.attention
  // CHECK-NEXT: %[[RA:.*]] = m1.gather_rows %[[A]]
  // CHECK-NEXT: %[[O:.*]] = m1.linear %[[RA]]
  // CHECK-NEXT: %[[S:.*]] = m1.add %[[RH]], %[[O]]
  // CHECK-NEXT: %[[N:.*]] = m1.rms_norm %[[S]]
  // CHECK-NEXT: %[[G:.*]] = m1.linear %[[N]]
  // CHECK-NEXT: %[[P:.*]]:2 = m1.split %[[G]]
  // CHECK-NEXT: %[[M:.*]] = m1.silu_mul %[[P]]#0, %[[P]]#1
  // CHECK-NEXT: %[[D:.*]] = m1.linear %[[M]]
  // CHECK-NEXT: %[[R:.*]] = m1.add %[[S]], %[[D]]
  // CHECK-NEXT: return %[[R]]
  %a = m1.attention %q, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x4xf32>
  %o = m1.linear %a, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %s = m1.add %h, %o : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %x = m1.rms_norm %s, %n {eps = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %g = m1.linear %x, %gu : (tensor<?x4xf32>, tensor<12x4xf32>) -> tensor<?x12xf32>
  %p:2 = m1.split %g : tensor<?x12xf32> -> tensor<?x6xf32>, tensor<?x6xf32>
  %m = m1.silu_mul %p#0, %p#1 : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x6xf32>
  %d = m1.linear %m, %down : (tensor<?x6xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  %t = m1.add %s, %d : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = m1.gather_rows %t, %batch : (tensor<?x4xf32>, !m1.batch) -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}

// What is read whole as well, and what mixes tokens, stays.
// CHECK-LABEL: func @refuses
func.func @refuses(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>, %cw: tensor<4x2xf32>, %batch:
    !m1.batch, %state: !m1.conv_state<1x4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-NEXT: m1.linear
  // CHECK-NEXT: m1.gather_rows
  // CHECK-NEXT: m1.causal_conv1d
  // CHECK-NEXT: m1.gather_rows
  %y = m1.linear %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %r = m1.gather_rows %y, %batch : (tensor<?x4xf32>, !m1.batch) -> tensor<?x4xf32>
  %c = m1.causal_conv1d %x, %cw, %batch, %state
      : (tensor<?x4xf32>, tensor<4x2xf32>, !m1.batch, !m1.conv_state<1x4xf32>) -> tensor<?x4xf32>
  %rc = m1.gather_rows %c, %batch : (tensor<?x4xf32>, !m1.batch) -> tensor<?x4xf32>
  return %y, %r, %rc : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// In decode every token's logits are wanted.
// CHECK-LABEL: func @decode
func.func @decode(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>, %batch: !m1.batch) -> tensor<?x4xf32> {
  // CHECK-NEXT: m1.linear
  // CHECK-NEXT: m1.gather_rows
  %y = m1.linear %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %r = m1.gather_rows %y, %batch : (tensor<?x4xf32>, !m1.batch) -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
