// RUN: m1-opt %s --m1-quantize-weights=format=stored | FileCheck %s

// Scales and minimums of the checkpoint's groups lie side by side.
// CHECK: m1.weight @minimums : tensor<4x64xui8> {m1.stored_scales = vector<2xf32>, sources = ["m"], transform = #m1<transform int4_groups_32>}
// CHECK: m1.weight @minimums.scale : tensor<4x2x2xf32> {scales_of = @minimums}
m1.weight @minimums : tensor<4x64xbf16>
    {sources = ["m"], m1.stored_codes = #m1<transform int4_groups_32>,
     m1.stored_scales = vector<2xf32>}
// Scales of two levels are bytes for each 128 columns: of groups of 16, and of 32 with minimums.
// CHECK: m1.weight @fine : tensor<4x256xi8> {m1.stored_scales = vector<10xi8>, sources = ["f"], transform = #m1<transform int8_groups_16>}
// CHECK: m1.weight @fine.scale : tensor<4x2x10xi8> {scales_of = @fine}
m1.weight @fine : tensor<4x256xbf16>
    {sources = ["f"], m1.stored_codes = #m1<transform int8_groups_16>,
     m1.stored_scales = vector<10xi8>}
// CHECK: m1.weight @paired : tensor<4x128xui8> {m1.stored_scales = vector<12xi8>, sources = ["p"], transform = #m1<transform int4_groups_32>}
// CHECK: m1.weight @paired.scale : tensor<4x2x12xi8> {scales_of = @paired}
m1.weight @paired : tensor<4x256xbf16>
    {sources = ["p"], m1.stored_codes = #m1<transform int4_groups_32>,
     m1.stored_scales = vector<12xi8>}
// No groups have these.
// CHECK: m1.weight @none : tensor<4x64xbf16> {sources = ["n"]}
m1.weight @none : tensor<4x64xbf16>
    {sources = ["n"], m1.stored_codes = #m1<transform int8_groups_32>, m1.stored_scales = f32}
// CHECK: m1.weight @swapped : tensor<4x256xbf16> {sources = ["s"]}
m1.weight @swapped : tensor<4x256xbf16>
    {sources = ["s"], m1.stored_codes = #m1<transform int8_groups_64>,
     m1.stored_scales = vector<12xi8>}

// CHECK-LABEL: func @linears
func.func @linears(%x: tensor<?x64xbf16>, %long: tensor<?x256xbf16>) {
  // CHECK-DAG: %[[W:.*]] = m1.get_weight @minimums : tensor<4x64xui8>
  // CHECK-DAG: %[[S:.*]] = m1.get_weight @minimums.scale : tensor<4x2x2xf32>
  %w = m1.get_weight @minimums : tensor<4x64xbf16>
  // CHECK: m1.linear %{{.*}}, %[[W]] scale(%[[S]])
  %y = m1.linear %x, %w : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> tensor<?x4xbf16>
  %f = m1.get_weight @fine : tensor<4x256xbf16>
  // CHECK: m1.linear %{{.*}} scale(%{{.*}}) : (tensor<?x256xbf16>, tensor<4x256xi8>, tensor<4x2x10xi8>)
  %z = m1.linear %long, %f : (tensor<?x256xbf16>, tensor<4x256xbf16>) -> tensor<?x4xbf16>
  %p = m1.get_weight @paired : tensor<4x256xbf16>
  // CHECK: m1.linear %{{.*}} scale(%{{.*}}) : (tensor<?x256xbf16>, tensor<4x128xui8>, tensor<4x2x12xi8>)
  %v = m1.linear %long, %p : (tensor<?x256xbf16>, tensor<4x256xbf16>) -> tensor<?x4xbf16>
  %s = m1.get_weight @swapped : tensor<4x256xbf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} : (tensor<?x256xbf16>, tensor<4x256xbf16>)
  %t = m1.linear %long, %s : (tensor<?x256xbf16>, tensor<4x256xbf16>) -> tensor<?x4xbf16>
  %n = m1.get_weight @none : tensor<4x64xbf16>
  // CHECK: m1.linear %{{.*}}, %{{.*}} : (tensor<?x64xbf16>, tensor<4x64xbf16>)
  %u = m1.linear %x, %n : (tensor<?x64xbf16>, tensor<4x64xbf16>) -> tensor<?x4xbf16>
  return
}
