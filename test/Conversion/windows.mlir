// RUN: m1-opt %s --m1-convert-to-plan | FileCheck %s

// The conversion leaves at each KV cache how many positions are seen at most: the widest of its
// windows, and nothing where one of them is everything.
m1.weight @embed : tensor<32x8xf32> {sources = ["e"]}
// CHECK-DAG: m1.state @narrow : !m1.kv_cache<2x64x4xf32> {window = 16 : i64}
m1.state @narrow : !m1.kv_cache<2x64x4xf32>
// CHECK-DAG: m1.state @whole : !m1.kv_cache<2x64x4xf32>{{$}}
m1.state @whole : !m1.kv_cache<2x64x4xf32>
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x32xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<32x8xf32>
  %narrow = m1.get_state @narrow : !m1.kv_cache<2x64x4xf32>
  %whole = m1.get_state @whole : !m1.kv_cache<2x64x4xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<32x8xf32>) -> tensor<?x8xf32>
  m1.kv_write %h, %h, %batch, %narrow
      : tensor<?x8xf32>, tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>
  %a = m1.attention %h, %batch, %narrow {scale = 0.5 : f64, window = 8 : i64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  %b = m1.attention %a, %batch, %narrow {scale = 0.5 : f64, window = 16 : i64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  m1.kv_write %b, %b, %batch, %whole
      : tensor<?x8xf32>, tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>
  %c = m1.attention %b, %batch, %whole {scale = 0.5 : f64, window = 8 : i64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  %d = m1.attention %c, %batch, %whole {scale = 0.5 : f64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<2x64x4xf32>) -> tensor<?x8xf32>
  %r = m1.gather_rows %d, %batch : (tensor<?x8xf32>, !m1.batch) -> tensor<?x8xf32>
  %l = m1.linear %r, %e : (tensor<?x8xf32>, tensor<32x8xf32>) -> tensor<?x32xf32>
  %s = m1.sample %l : (tensor<?x32xf32>) -> tensor<?xi32>
  return %l, %s : tensor<?x32xf32>, tensor<?xi32>
}
