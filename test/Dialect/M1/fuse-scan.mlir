// RUN: m1-opt %s --m1-fuse-scan --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-scan gates 2
// STATISTICS: m1-fuse-scan repeats 2
// STATISTICS: m1-fuse-scan skips 3
// STATISTICS: m1-fuse-scan softplus 2

// Softplus, skip and gate all become part of the scan, whose result has the gate's type.
// CHECK-LABEL: func @mamba1
// CHECK-SAME: %[[X:.*]]: tensor<?x8xbf16>, %[[DT:.*]]: tensor<?x8xbf16>, %[[A:.*]]: tensor<8x2xf32>, %[[B:.*]]: tensor<?x4xbf16>, %[[C:.*]]: tensor<?x8xbf16>, %[[Z:.*]]: tensor<?x8xbf16>, %[[V:.*]]: tensor<8xf32>, %[[BATCH:.*]]: !m1.batch, %[[S:.*]]: !m1.scan_state
func.func @mamba1(%x: tensor<?x8xbf16>, %dt: tensor<?x8xbf16>, %A: tensor<8x2xf32>, %B:
    tensor<?x4xbf16>, %C: tensor<?x8xbf16>,
                  %z: tensor<?x8xbf16>, %v: tensor<8xf32>, %batch: !m1.batch, %s:
                      !m1.scan_state<8x2xf32>) -> tensor<?x8xbf16> {
  // CHECK-NEXT: %[[Y:.*]] = m1.selective_scan %[[X]], %[[DT]], %[[A]], %[[B]], %[[C]] skip(%[[V]]) gate(%[[Z]]) dt_bias(%[[V]]), %[[BATCH]], %[[S]] {delta_softplus} : {{.*}} -> tensor<?x8xbf16>
  // CHECK-NEXT: return %[[Y]]
  %d = m1.softplus %dt bias(%v) : (tensor<?x8xbf16>, tensor<8xf32>) -> tensor<?x8xf32>
  %y = m1.selective_scan %x, %d, %A, %B, %C, %batch, %s
      : (tensor<?x8xbf16>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xbf16>, tensor<?x8xbf16>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  %k = m1.skip %y, %x, %v : (tensor<?x8xf32>, tensor<?x8xbf16>, tensor<8xf32>) -> tensor<?x8xf32>
  %g = m1.silu_mul %z, %k : (tensor<?x8xbf16>, tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %g : tensor<?x8xbf16>
}

// Heads that are repeated after the convolution are repeated by the scan; the skip reads the same
// repetition.
// CHECK-LABEL: func @repeat
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf32>
func.func @repeat(%x: tensor<?x4xf32>, %dt: tensor<?x8xf32>, %A: tensor<8x2xf32>, %C:
    tensor<?x8xf32>, %z: tensor<?x8xf32>,
                  %v: tensor<8xf32>, %batch: !m1.batch, %s: !m1.scan_state<8x2xf32>)
                      -> tensor<?x8xf32> {
  // CHECK-NEXT: m1.selective_scan %[[X]], %{{.*}}, %{{.*}}, %[[X]], %{{.*}} skip(%{{.*}}) gate(%{{.*}}), %{{.*}}, %{{.*}} : (tensor<?x4xf32>
  // CHECK-NEXT: return
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  %y = m1.selective_scan %r, %dt, %A, %x, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  %k = m1.skip %y, %r, %v : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %g = m1.silu_mul %z, %k : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %g : tensor<?x8xf32>
}

// ssd_scan repeats x itself, so a skip of the repeated x is its own skip; the repetition goes with
// it.
// CHECK-LABEL: func @mamba2
// CHECK-SAME: %[[X:[^:]*]]: tensor<?x4xf32>
func.func @mamba2(%x: tensor<?x4xf32>, %dt: tensor<?x4xf32>, %A: tensor<4xf32>, %B: tensor<?x4xf32>,
    %C: tensor<?x8xf32>,
                  %batch: !m1.batch, %s: !m1.scan_state<4x2x2xf32>) -> tensor<?x8xbf16> {
  // CHECK-NEXT: m1.ssd_scan %[[X]], %{{.*}} skip(%{{.*}}) dt_bias(%{{.*}}), %{{.*}}, %{{.*}} {delta_softplus} : {{.*}} -> tensor<?x8xbf16>
  // CHECK-NEXT: return
  %d = m1.softplus %dt bias(%A) : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y = m1.ssd_scan %x, %d, %A, %B, %C, %batch, %s
      : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<4x2x2xf32>)
        -> tensor<?x8xf32>
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  %k = m1.skip %y, %r, %A : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xbf16>
  return %k : tensor<?x8xbf16>
}

// Refused: a softplus with another use, a skip of something else, a gate on the wrong side.
// CHECK-LABEL: func @refuses
func.func @refuses(%x: tensor<?x8xf32>, %dt: tensor<?x8xf32>, %A: tensor<8x2xf32>, %B:
    tensor<?x4xf32>, %C: tensor<?x8xf32>,
                   %v: tensor<8xf32>, %batch: !m1.batch, %s: !m1.scan_state<8x2xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: m1.softplus
  // CHECK: m1.selective_scan %{{[^{]*}}, %{{[^{]*}} :
  // CHECK: m1.skip
  // CHECK: m1.selective_scan
  // CHECK: m1.silu_mul
  %d = m1.softplus %dt : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = m1.selective_scan %x, %d, %A, %B, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  %k = m1.skip %y, %C, %v : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %y1 = m1.selective_scan %x, %d, %A, %B, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  %g = m1.silu_mul %y1, %C : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %d, %k, %g : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// x may repeat another number of times than B. Refused: heads of another size than the scan's.
// CHECK-LABEL: func @other_repeat
func.func @other_repeat(%x: tensor<?x2xf32>, %x1: tensor<?x4xf32>, %dt: tensor<?x8xf32>,
                        %A: tensor<8x2xf32>, %B: tensor<?x4xf32>, %C: tensor<?x8xf32>,
                        %batch: !m1.batch, %s: !m1.scan_state<8x2xf32>)
                            -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: m1.repeat_heads
  // CHECK: m1.selective_scan %{{.*}} : (tensor<?x2xf32>,
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 4 : i64} : tensor<?x2xf32>
      -> tensor<?x8xf32>
  %y = m1.selective_scan %r, %dt, %A, %B, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  // CHECK: m1.repeat_heads
  %r1 = m1.repeat_heads %x1 {head_size = 1 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  %y1 = m1.selective_scan %r1, %dt, %A, %B, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  return %y, %y1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// A scan does not move over another operation on its state, even when its skip comes after.
// CHECK-LABEL: func @effects
func.func @effects(%x: tensor<?x8xf32>, %dt: tensor<?x8xf32>, %A: tensor<8x2xf32>, %B:
    tensor<?x4xf32>, %C: tensor<?x8xf32>,
                   %v: tensor<8xf32>, %batch: !m1.batch, %s: !m1.scan_state<8x2xf32>)
                       -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NEXT: m1.selective_scan %{{[^{]*}}, %{{[^{]*}} :
  // CHECK-NEXT: m1.selective_scan
  // CHECK-SAME: skip
  %y = m1.selective_scan %x, %dt, %A, %B, %C, %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          !m1.batch, !m1.scan_state<8x2xf32>)
        -> tensor<?x8xf32>
  %y1 = m1.selective_scan %x, %dt, %A, %B, %C skip(%v), %batch, %s
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8x2xf32>, tensor<?x4xf32>, tensor<?x8xf32>,
          tensor<8xf32>, !m1.batch,
         !m1.scan_state<8x2xf32>) -> tensor<?x8xf32>
  // CHECK-NEXT: m1.skip
  %k = m1.skip %y, %x, %v : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %k, %y1 : tensor<?x8xf32>, tensor<?x8xf32>
}
