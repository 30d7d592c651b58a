// RUN: m1-opt %s --m1-fuse-conv-silu --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-conv-silu activations 3
// STATISTICS: m1-fuse-conv-silu repeats 2

// The state of fused repetitions holds the heads before them; the others keep theirs.
// CHECK: m1.state @shrinks : !m1.conv_state<3x4xbf16>
m1.state @shrinks : !m1.conv_state<3x8xbf16>
// CHECK: m1.state @plain : !m1.conv_state<3x8xf32>
m1.state @plain : !m1.conv_state<3x8xf32>
// CHECK: m1.state @mixed : !m1.conv_state<3x8xf32>
m1.state @mixed : !m1.conv_state<3x8xf32>

// Both the silu and the repetition fuse, in every function on the state.
// CHECK-LABEL: func @prefill
// CHECK-SAME: %[[X:.*]]: tensor<?x4xbf16>
func.func @prefill(%x: tensor<?x4xbf16>, %w: tensor<8x4xf32>, %b: tensor<8xf32>, %batch: !m1.batch)
    -> tensor<?x8xbf16> {
  // CHECK: %[[S:.*]] = m1.get_state @shrinks : !m1.conv_state<3x4xbf16>
  // CHECK-NEXT: %[[Y:.*]] = m1.causal_conv1d %[[X]], %{{.*}} bias(%{{.*}}), %{{.*}}, %[[S]] {activation = #m1<activation silu>, head_size = 2 : i64, repeat = 2 : i64} : {{.*}} -> tensor<?x8xbf16>
  // CHECK-NEXT: return %[[Y]]
  %s = m1.get_state @shrinks : !m1.conv_state<3x8xbf16>
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xbf16>
      -> tensor<?x8xbf16>
  %c = m1.causal_conv1d %r, %w bias(%b), %batch, %s
      : (tensor<?x8xbf16>, tensor<8x4xf32>, tensor<8xf32>, !m1.batch, !m1.conv_state<3x8xbf16>)
          -> tensor<?x8xf32>
  %y = m1.silu %c : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %y : tensor<?x8xbf16>
}

// CHECK-LABEL: func @decode
func.func @decode(%x: tensor<?x4xbf16>, %w: tensor<8x4xf32>, %batch: !m1.batch) -> tensor<?x8xf32> {
  // CHECK: m1.get_state @shrinks : !m1.conv_state<3x4xbf16>
  // CHECK-NEXT: m1.causal_conv1d {{.*}} {activation = #m1<activation silu>, head_size = 2 : i64, repeat = 2 : i64}
  // CHECK-NEXT: return
  %s = m1.get_state @shrinks : !m1.conv_state<3x8xbf16>
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xbf16>
      -> tensor<?x8xbf16>
  %c = m1.causal_conv1d %r, %w, %batch, %s
      : (tensor<?x8xbf16>, tensor<8x4xf32>, !m1.batch, !m1.conv_state<3x8xbf16>) -> tensor<?x8xf32>
  %y = m1.silu %c : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A convolution whose result is read twice keeps it; a repetition that is read twice stays.
// CHECK-LABEL: func @other_uses
func.func @other_uses(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %batch: !m1.batch)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: m1.repeat_heads
  // CHECK: m1.causal_conv1d %{{[^{]*}} :
  // CHECK: m1.silu
  %s = m1.get_state @plain : !m1.conv_state<3x8xf32>
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  %c = m1.causal_conv1d %r, %w, %batch, %s
      : (tensor<?x8xf32>, tensor<8x4xf32>, !m1.batch, !m1.conv_state<3x8xf32>) -> tensor<?x8xf32>
  %y = m1.silu %c : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %r, %c, %y : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// Where another function feeds the state without repetition, its type cannot change; the silu fuses
// all the same.
// CHECK-LABEL: func @mixed_repeat
func.func @mixed_repeat(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %batch: !m1.batch)
    -> tensor<?x8xf32> {
  // CHECK: m1.repeat_heads
  // CHECK: m1.causal_conv1d {{.*}} {activation = #m1<activation silu>} :
  %s = m1.get_state @mixed : !m1.conv_state<3x8xf32>
  %r = m1.repeat_heads %x {head_size = 2 : i64, repeat = 2 : i64} : tensor<?x4xf32>
      -> tensor<?x8xf32>
  %c = m1.causal_conv1d %r, %w, %batch, %s
      : (tensor<?x8xf32>, tensor<8x4xf32>, !m1.batch, !m1.conv_state<3x8xf32>) -> tensor<?x8xf32>
  %y = m1.silu %c : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func @mixed_plain
func.func @mixed_plain(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>, %batch: !m1.batch)
    -> tensor<?x8xf32> {
  // CHECK: m1.get_state @mixed : !m1.conv_state<3x8xf32>
  %s = m1.get_state @mixed : !m1.conv_state<3x8xf32>
  %c = m1.causal_conv1d %x, %w, %batch, %s
      : (tensor<?x8xf32>, tensor<8x4xf32>, !m1.batch, !m1.conv_state<3x8xf32>) -> tensor<?x8xf32>
  return %c : tensor<?x8xf32>
}
