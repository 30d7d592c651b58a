// RUN: m1-opt %s --m1-eliminate-dead --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-eliminate-dead operations 6
// STATISTICS: m1-eliminate-dead states 2
// STATISTICS: m1-eliminate-dead weights 2

// What no result depends on goes: the cache that is only written, the convolution that only that
// write reads, and their weights.
// CHECK-NOT: @dead
// CHECK: m1.weight @w
// CHECK: m1.state @live_in_decode
// CHECK: m1.state @live
// CHECK: m1.weight @planned
// CHECK: m1.state @planned_state
m1.weight @dead_weight : tensor<4x2xf32> {sources = ["a"]}
m1.weight @dead_unused : tensor<4xf32> {sources = ["b"]}
m1.weight @w : tensor<4x2xf32> {sources = ["c"]}
m1.state @dead_cache : !m1.kv_cache<1x64x4xf32>
m1.state @dead_conv : !m1.conv_state<1x4xf32>
m1.state @live_in_decode : !m1.conv_state<1x4xf32>
m1.state @live : !m1.conv_state<1x4xf32>
m1.weight @planned : tensor<4xf32> {sources = ["d"]}
m1.state @planned_state : !m1.conv_state<1x4xf32>

// CHECK-LABEL: func @prefill
func.func @prefill(%x: tensor<?x4xf32>, %batch: !m1.batch) -> tensor<?x4xf32> {
  // CHECK-NOT: kv_write
  // CHECK: m1.get_state @live_in_decode
  // CHECK: m1.causal_conv1d
  // CHECK: m1.get_state @live
  // CHECK: %[[Y:.*]] = m1.causal_conv1d
  // CHECK: return %[[Y]]
  %cache = m1.get_state @dead_cache : !m1.kv_cache<1x64x4xf32>
  %conv = m1.get_state @dead_conv : !m1.conv_state<1x4xf32>
  %a = m1.get_weight @dead_weight : tensor<4x2xf32>
  %k = m1.causal_conv1d %x, %a, %batch, %conv
      : (tensor<?x4xf32>, tensor<4x2xf32>, !m1.batch, !m1.conv_state<1x4xf32>) -> tensor<?x4xf32>
  %k1 = m1.silu %k : (tensor<?x4xf32>) -> tensor<?x4xf32>
  m1.kv_write %k1, %k, %batch, %cache
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  // Its result is unused here, but decode reads what it leaves in the state.
  %other = m1.get_state @live_in_decode : !m1.conv_state<1x4xf32>
  %w = m1.get_weight @w : tensor<4x2xf32>
  %unused = m1.causal_conv1d %x, %w, %batch, %other
      : (tensor<?x4xf32>, tensor<4x2xf32>, !m1.batch, !m1.conv_state<1x4xf32>) -> tensor<?x4xf32>
  %live = m1.get_state @live : !m1.conv_state<1x4xf32>
  %y = m1.causal_conv1d %x, %w, %batch, %live
      : (tensor<?x4xf32>, tensor<4x2xf32>, !m1.batch, !m1.conv_state<1x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// CHECK-LABEL: func @decode
func.func @decode(%x: tensor<?x4xf32>, %batch: !m1.batch) -> tensor<?x4xf32> {
  // CHECK: m1.causal_conv1d
  %w = m1.get_weight @w : tensor<4x2xf32>
  %s = m1.get_state @live_in_decode : !m1.conv_state<1x4xf32>
  %y = m1.causal_conv1d %x, %w, %batch, %s
      : (tensor<?x4xf32>, tensor<4x2xf32>, !m1.batch, !m1.conv_state<1x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// A plan names weights and states as well.
plan.target @cpu {
  plan.kernel @k {key = "k", origin = "generated"}
  plan.function @prefill {
    %w = plan.weight @planned : tensor<4xf32>
    %s = plan.state @planned_state : !m1.conv_state<1x4xf32>
    %logits = plan.port logits
    plan.launch @k(ro %w, rw %s, wo %logits) over tokens grid 1 by 1 label ""
  }
}
