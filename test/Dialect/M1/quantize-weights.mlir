// RUN: m1-opt %s --m1-quantize-weights=keep=out_proj --m1-statistics 2>%t.statistics | FileCheck %s
// RUN: FileCheck %s --check-prefix=STATISTICS --input-file=%t.statistics
// RUN: m1-opt %s --m1-quantize-weights=keep=nothing 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not m1-opt %s --m1-quantize-weights=keep='a(' 2>&1 | FileCheck %s --check-prefix=BROKEN
// RUN: m1-opt %s --m1-quantize-weights=format=int4:32 | FileCheck %s --check-prefix=CHECK-INT4
// RUN: m1-opt %s --m1-quantize-weights=format=int4 | FileCheck %s --check-prefix=CHECK-DEFAULT
// RUN: m1-opt %s --m1-quantize-weights=format=fp8 | FileCheck %s --check-prefix=CHECK-FP8
// RUN: not m1-opt %s --m1-quantize-weights=format=int4:48 2>&1 | FileCheck %s --check-prefix=CHECK-UNKNOWN
// CHECK-UNKNOWN: error: m1-quantize-weights: unknown format 'int4:48'; known are int8, int8:32, int8:64, int8:128, fp8, int4, int4:32, int4:64, int4:128, stored
// RUN: m1-opt %s --m1-quantize-weights=format=int8:64 | FileCheck %s --check-prefix=CHECK-INT8
// RUN: m1-opt %s --m1-quantize-weights=format=stored --m1-statistics 2>%t.stored | FileCheck %s --check-prefix=CHECK-STORED --implicit-check-not=m1.stored_codes
// RUN: FileCheck %s --check-prefix=STORED-STATISTICS --input-file=%t.stored
// STORED-STATISTICS: m1-quantize-weights kept 12
// STORED-STATISTICS: m1-quantize-weights quantized 2
// STATISTICS: m1-quantize-weights kept 9
// STATISTICS: m1-quantize-weights quantized 5
// NOTHING: warning: no weight of a linear is named as 'nothing' says
// BROKEN: error: m1-quantize-weights: keep 'a(' is no regular expression: parentheses not balanced

// Joined weights and chosen rows keep their sources.
// CHECK: m1.weight @q_k : tensor<12x8xi8> {rows = array<i64: 0, 8, 4, 4>, sources = ["q", "k"], transform = #m1<transform int8_rows>}
m1.weight @q_k : tensor<12x8xbf16> {sources = ["q", "k"], rows = array<i64: 0, 8, 4, 4>}
// CHECK: m1.weight @q_k.scale : tensor<12xf32> {scales_of = @q_k}
// CHECK-FP8: m1.weight @q_k : tensor<12x8xf8E4M3FN> {rows = array<i64: 0, 8, 4, 4>, sources = ["q", "k"], transform = #m1<transform fp8_rows>}
// CHECK-FP8: m1.weight @q_k.scale : tensor<12xf32> {scales_of = @q_k}
// CHECK-INT4: m1.weight @q_k : tensor<12x64xui8> {rows = array<i64: 0, 8, 4, 4>, sources = ["q", "k"], transform = #m1<transform int4_groups_32>}
// CHECK-INT4: m1.weight @q_k.scale : tensor<12x1xbf16> {scales_of = @q_k}
// CHECK: m1.weight @biased : tensor<8x8xi8>
// CHECK-INT8: m1.weight @biased : tensor<8x8xi8> {sources = ["b"], transform = #m1<transform int8_groups_64>}
// CHECK-INT8: m1.weight @biased.scale : tensor<8x1xbf16> {scales_of = @biased}
m1.weight @biased : tensor<8x8xf32> {sources = ["b"]}
m1.weight @bias : tensor<8xf32> {sources = ["bias"]}
// CHECK: m1.weight @experts : tensor<12x8xi8>
// Experts have no kernels for e4m3.
// CHECK-FP8: m1.weight @experts : tensor<12x8xbf16> {sources = ["e"]}
m1.weight @experts : tensor<12x8xbf16> {sources = ["e"]}
// Two experts' rows of 8 columns each would take one block, as would one of 16.
// CHECK-INT4: m1.weight @short : tensor<12x8xbf16> {sources = ["s"]}
m1.weight @short : tensor<12x8xbf16> {sources = ["s"]}
// A last group of 44 columns.
// CHECK-INT4: m1.weight @long : tensor<12x192xui8>
// CHECK-INT4: m1.weight @long.scale : tensor<12x10xbf16>
// CHECK-DEFAULT: m1.weight @long : tensor<12x192xui8> {sources = ["l"], transform = #m1<transform int4_groups_32>}
// CHECK-DEFAULT: m1.weight @long.scale : tensor<12x10xbf16>
// The checkpoint holds it so: its scales stay where the format is the same.
// CHECK-INT8: m1.weight @long : tensor<12x300xi8> {m1.stored_scales = f16, sources = ["l"], transform = #m1<transform int8_groups_64>}
// CHECK-INT8: m1.weight @long.scale : tensor<12x5xf16> {scales_of = @long}
// CHECK-STORED: m1.weight @q_k : tensor<12x8xbf16>
// CHECK-STORED: m1.weight @long : tensor<12x300xi8> {m1.stored_scales = f16, sources = ["l"], transform = #m1<transform int8_groups_64>}
// CHECK-STORED: m1.weight @long.scale : tensor<12x5xf16> {scales_of = @long}
m1.weight @long : tensor<12x300xbf16>
    {sources = ["l"], m1.stored_codes = #m1<transform int8_groups_64>, m1.stored_scales = f16}
// CHECK: m1.weight @experts.scale : tensor<12xf32>
// CHECK: m1.weight @router : tensor<3x8xbf16> {sources = ["r"]}
m1.weight @router : tensor<3x8xbf16> {sources = ["r"]}
// CHECK: m1.weight @tied : tensor<16x8xbf16> {sources = ["t"]}
m1.weight @tied : tensor<16x8xbf16> {sources = ["t"]}
// What is embedded stays plain beside the integers of the head, that nothing else is rounded for.
// CHECK: m1.weight @stored_tied : tensor<16x40xbf16> {sources = ["st"]}
// CHECK-STORED: m1.weight @stored_tied : tensor<16x40xbf16> {sources = ["st"]}
// CHECK-STORED: m1.weight @stored_tied.codes : tensor<16x64xui8> {m1.stored_scales = bf16, sources = ["st"], transform = #m1<transform int4_groups_32>}
// CHECK-STORED: m1.weight @stored_tied.codes.scale : tensor<16x2xbf16> {scales_of = @stored_tied.codes}
m1.weight @stored_tied : tensor<16x40xbf16>
    {sources = ["st"], m1.stored_codes = #m1<transform int4_groups_32>, m1.stored_scales = bf16}
// CHECK: m1.weight @head : tensor<16x8xbf16> {sources = ["h"]}
m1.weight @head : tensor<16x8xbf16> {sources = ["h"]}
// CHECK: m1.weight @dt : tensor<8x8xbf16> {sources = ["d"]}
m1.weight @dt : tensor<8x8xbf16> {sources = ["d"]}
m1.weight @recurrence : tensor<8x8xbf16> {sources = ["g"]}
m1.weight @lambda : tensor<8xf32> {sources = ["l"]}
// CHECK: m1.weight @mixer : tensor<8x8xbf16> {sources = ["layers.0.out_proj.weight"]}
m1.weight @mixer : tensor<8x8xbf16> {sources = ["layers.0.out_proj.weight"]}
// CHECK: m1.weight @constant : tensor<1x8xf32> {value
m1.weight @constant : tensor<1x8xf32> {value = dense<1.0> : tensor<1x8xf32>}
// CHECK: m1.weight @transformed : tensor<8x8xf32> {sources = ["x"], transform = #m1<transform double>}
m1.weight @transformed : tensor<8x8xf32> {sources = ["x"], transform = #m1<transform double>}

// Two linears on one weight share its scales.
// CHECK-LABEL: func @quantised
func.func @quantised(%x: tensor<?x8xbf16>, %x2: tensor<?x16xbf16>, %x3: tensor<?x600xbf16>,
                     %e: tensor<?x2xi32>) {
  // CHECK: %[[W:.*]] = m1.get_weight @q_k : tensor<12x8xi8>
  // CHECK: %[[S:.*]] = m1.get_weight @q_k.scale : tensor<12xf32>
  %w = m1.get_weight @q_k : tensor<12x8xbf16>
  // CHECK: m1.linear %{{.*}}, %[[W]] scale(%[[S]]) : (tensor<?x8xbf16>, tensor<12x8xi8>, tensor<12xf32>)
  // CHECK-FP8: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) : (tensor<?x8xbf16>, tensor<12x8xf8E4M3FN>, tensor<12xf32>)
  %y = m1.linear %x, %w : (tensor<?x8xbf16>, tensor<12x8xbf16>) -> tensor<?x12xbf16>
  // CHECK: m1.linear %{{.*}}, %[[W]] scale(%[[S]])
  %z = m1.linear %x, %w : (tensor<?x8xbf16>, tensor<12x8xbf16>) -> tensor<?x12xf32>
  %v = m1.get_weight @biased : tensor<8x8xf32>
  %b = m1.get_weight @bias : tensor<8xf32>
  // CHECK: m1.linear %{{.*}}, %{{.*}} scale(%{{.*}}) bias(%{{.*}})
  %u = m1.linear %x, %v bias(%b)
      : (tensor<?x8xbf16>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %we = m1.get_weight @experts : tensor<12x8xbf16>
  // CHECK: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}}) {count = 3 : i64}
  %h = m1.expert_linear %x, %e, %we {count = 3 : i64}
      : (tensor<?x8xbf16>, tensor<?x2xi32>, tensor<12x8xbf16>) -> tensor<?x8xbf16>
  %ws = m1.get_weight @short : tensor<12x8xbf16>
  %s = m1.expert_linear %x2, %e, %ws {count = 3 : i64}
      : (tensor<?x16xbf16>, tensor<?x2xi32>, tensor<12x8xbf16>) -> tensor<?x8xbf16>
  %wl = m1.get_weight @long : tensor<12x300xbf16>
  // CHECK-INT4: m1.expert_linear %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}}) {count = 3 : i64} : (tensor<?x600xbf16>, tensor<?x2xi32>, tensor<12x192xui8>, tensor<12x10xbf16>)
  %l = m1.expert_linear %x3, %e, %wl {count = 3 : i64}
      : (tensor<?x600xbf16>, tensor<?x2xi32>, tensor<12x300xbf16>) -> tensor<?x8xbf16>
  return
}

// Routers, also behind a multiplier; embeddings that are the head; what goes into a scan's dt,
// or says how a recurrent unit forgets; names that keep asks for; constants; transformed weights.
// CHECK-LABEL: func @kept
func.func @kept(%x: tensor<?x8xbf16>, %tokens: tensor<?xi32>, %a: tensor<8x4xf32>,
                %n: tensor<?x4xf32>, %batch: !m1.batch) -> (tensor<?x16xf32>, tensor<?xi32>) {
  %s = m1.get_state @scan : !m1.scan_state<8x4xf32>
  %wr = m1.get_weight @router : tensor<3x8xbf16>
  // CHECK-NOT: scale(
  %r = m1.linear %x, %wr : (tensor<?x8xbf16>, tensor<3x8xbf16>) -> tensor<?x3xf32>
  %m = m1.map %r : (tensor<?x3xf32>) -> tensor<?x3xf32> {
  ^bb0(%u: f32):
    %p = arith.addf %u, %u : f32
    m1.yield %p : f32
  }
  %ws, %es = m1.router %m {scale = 1.0 : f64}
      : (tensor<?x3xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
  %wt = m1.get_weight @tied : tensor<16x8xbf16>
  %h = m1.embedding %tokens, %wt : (tensor<?xi32>, tensor<16x8xbf16>) -> tensor<?x8xf32>
  %tl = m1.linear %h, %wt : (tensor<?x8xf32>, tensor<16x8xbf16>) -> tensor<?x16xf32>
  %wd = m1.get_weight @dt : tensor<8x8xbf16>
  %dt = m1.linear %x, %wd : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %y = m1.selective_scan %x, %dt, %a, %n, %n, %batch, %s
      : (tensor<?x8xbf16>, tensor<?x8xf32>, tensor<8x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
         !m1.batch, !m1.scan_state<8x4xf32>) -> tensor<?x8xf32>
  %wm = m1.get_weight @mixer : tensor<8x8xbf16>
  %wg = m1.get_weight @recurrence : tensor<8x8xbf16>
  %g = m1.linear %x, %wg : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %lambda = m1.get_weight @lambda : tensor<8xf32>
  %hs = m1.get_state @lru : !m1.scan_state<8xf32>
  %u = m1.rg_lru %y, %y, %g, %lambda, %batch, %hs
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>, !m1.batch,
         !m1.scan_state<8xf32>) -> tensor<?x8xf32>
  %o = m1.linear %u, %wm : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %wc = m1.get_weight @constant : tensor<1x8xf32>
  %c = m1.linear %o, %wc : (tensor<?x8xf32>, tensor<1x8xf32>) -> tensor<?x1xf32>
  %wx = m1.get_weight @transformed : tensor<8x8xf32>
  %t = m1.linear %o, %wx : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %wh = m1.get_weight @head : tensor<16x8xbf16>
  %l = m1.linear %t, %wh : (tensor<?x8xf32>, tensor<16x8xbf16>) -> tensor<?x16xf32>
  %next = m1.sample %l : (tensor<?x16xf32>) -> tensor<?xi32>
  return %l, %next : tensor<?x16xf32>, tensor<?xi32>
}
m1.state @scan : !m1.scan_state<8x4xf32>
m1.state @lru : !m1.scan_state<8xf32>

// CHECK-STORED-LABEL: func @stored
func.func @stored(%x: tensor<?x40xbf16>, %tokens: tensor<?xi32>)
    -> (tensor<?x16xf32>, tensor<?xi32>) {
  // CHECK-STORED-DAG: %[[PLAIN:.*]] = m1.get_weight @stored_tied : tensor<16x40xbf16>
  // CHECK-STORED-DAG: %[[CODES:.*]] = m1.get_weight @stored_tied.codes : tensor<16x64xui8>
  // CHECK-STORED-DAG: %[[SCALES:.*]] = m1.get_weight @stored_tied.codes.scale : tensor<16x2xbf16>
  %w = m1.get_weight @stored_tied : tensor<16x40xbf16>
  // CHECK-STORED: m1.embedding %{{.*}}, %[[PLAIN]]
  %h = m1.embedding %tokens, %w : (tensor<?xi32>, tensor<16x40xbf16>) -> tensor<?x40xf32>
  // CHECK-STORED: m1.linear %{{.*}}, %[[CODES]] scale(%[[SCALES]])
  %l = m1.linear %x, %w : (tensor<?x40xbf16>, tensor<16x40xbf16>) -> tensor<?x16xf32>
  %next = m1.sample %l : (tensor<?x16xf32>) -> tensor<?xi32>
  return %l, %next : tensor<?x16xf32>, tensor<?xi32>
}
