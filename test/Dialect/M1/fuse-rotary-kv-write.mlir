// RUN: m1-opt %s --m1-fuse-rotary-kv-write --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// STATISTICS: m1-fuse-rotary-kv-write writes 1

// Both rotations and the write become one operation in the write's place.
// CHECK-LABEL: func @fuses
// CHECK-SAME: %[[Q:.*]]: tensor<?x8xf32>, %[[K:.*]]: tensor<?x4xf32>, %[[V:.*]]: tensor<?x4xf32>, %[[T:.*]]: tensor<?x4xf32>, %[[BATCH:.*]]: !m1.batch, %[[CACHE:.*]]: !m1.kv_cache
func.func @fuses(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>,
    %batch: !m1.batch,
                 %cache: !m1.kv_cache<1x64x4xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[R:.*]] = m1.rotary_kv_write %[[Q]], %[[K]], %[[V]], %[[T]], %[[BATCH]], %[[CACHE]]
  // CHECK-NEXT: %[[Y:.*]] = m1.attention %[[R]], %[[BATCH]], %[[CACHE]]
  // CHECK-NEXT: return %[[Y]]
  %q1 = m1.rotary_embedding %q, %t {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %k1 = m1.rotary_embedding %k, %t {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  m1.kv_write %k1, %v, %batch, %cache
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  %y = m1.attention %q1, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Keys that are not rotated, or rotated by another table than the queries, stay apart from the
// write.
// CHECK-LABEL: func @tables
func.func @tables(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %t: tensor<?x4xf32>, %t1:
    tensor<?x4xf32>, %batch: !m1.batch,
                  %c0: !m1.kv_cache<1x64x4xf32>, %c1: !m1.kv_cache<1x64x4xf32>)
                      -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-COUNT-2: m1.kv_write
  %q1 = m1.rotary_embedding %q, %t {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  m1.kv_write %k, %k, %batch, %c0
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  %y = m1.attention %q1, %batch, %c0 {scale = 0.5 : f64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x8xf32>
  %q2 = m1.rotary_embedding %q, %t {head_dim = 4 : i64}
      : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %k2 = m1.rotary_embedding %k, %t1 {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  m1.kv_write %k2, %k, %batch, %c1
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  %y1 = m1.attention %q2, %batch, %c1 {scale = 0.5 : f64}
      : (tensor<?x8xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x8xf32>
  return %y, %y1 : tensor<?x8xf32>, tensor<?x8xf32>
}

// A rotated key or query that something else reads, too early, stays.
// CHECK-LABEL: func @uses
func.func @uses(%q: tensor<?x4xf32>, %k: tensor<?x4xf32>, %t: tensor<?x4xf32>, %batch: !m1.batch,
    %c0: !m1.kv_cache<1x64x4xf32>,
                %c1: !m1.kv_cache<1x64x4xf32>)
                    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-COUNT-2: m1.kv_write
  %q1 = m1.rotary_embedding %q, %t {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %k1 = m1.rotary_embedding %k, %t {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  m1.kv_write %k1, %k, %batch, %c0
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  %y = m1.attention %q1, %batch, %c0 {scale = 0.5 : f64}
      : (tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x4xf32>
  %q2 = m1.rotary_embedding %q, %t {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %early = m1.silu %q2 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %k2 = m1.rotary_embedding %k, %t {head_dim = 4 : i64}
      : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  m1.kv_write %k2, %k, %batch, %c1
      : tensor<?x4xf32>, tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>
  %y1 = m1.attention %q2, %batch, %c1 {scale = 0.5 : f64}
      : (tensor<?x4xf32>, !m1.batch, !m1.kv_cache<1x64x4xf32>) -> tensor<?x4xf32>
  return %k1, %y, %y1, %early : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
