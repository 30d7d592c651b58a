// Every message about quantised weights and rows.
// RUN: m1-opt %s --split-input-file --verify-diagnostics

// Elements of i8 are quantised ones.
// expected-error @+1 {{expected transform int8_rows or int8_groups_… for elements of 'i8', got none}}
m1.weight @w : tensor<4x2xi8> {sources = ["a"]}

// -----

// Quantised weights are matrices of i8.
// expected-error @+1 {{expected a matrix of i8 with transform int8_rows, got 'tensor<4x2xbf16>'}}
m1.weight @w : tensor<4x2xbf16> {sources = ["a"], transform = #m1<transform int8_rows>}

// -----

// With scales of groups, too.
// expected-error @+1 {{expected a matrix of i8 with transform int8_groups_64, got 'tensor<4x64xui8>'}}
m1.weight @w : tensor<4x64xui8> {sources = ["a"], transform = #m1<transform int8_groups_64>}

// -----

// Scales are those of a quantised weight.
m1.weight @w : tensor<4x2xbf16> {sources = ["a"]}
// expected-error @+1 {{refers to @w, which is no m1.weight with transform int8_rows, fp8_rows, int8_groups_… or int4_groups_…}}
m1.weight @s : tensor<4xf32> {scales_of = @w}

// -----

// There is one for each row.
m1.weight @w : tensor<4x2xi8> {sources = ["a"], transform = #m1<transform int8_rows>}
// expected-error @+1 {{expected scales of type 'tensor<4xf32>', got 'tensor<2xf32>'}}
m1.weight @s : tensor<2xf32> {scales_of = @w}

// -----

// A linear with a quantised weight needs its scales.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<6x4xi8>) {
  // expected-error @+1 {{expected scale with a weight of i8, ui8 or f8E4M3FN, got none with 'tensor<6x4xi8>'}}
  %y = m1.linear %x, %w : (tensor<?x4xf32>, tensor<6x4xi8>) -> tensor<?x6xf32>
  return
}

// -----

// Other weights have none.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<6x4xbf16>, %s: tensor<6xf32>) {
  // expected-error @+1 {{expected scale only with a weight of i8, ui8 or f8E4M3FN, got one with 'tensor<6x4xbf16>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x4xf32>, tensor<6x4xbf16>, tensor<6xf32>) -> tensor<?x6xf32>
  return
}

// -----

// A linear's scales are those of the weight's rows.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<6x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{expected scale of shape [N] = [6], got [4]}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x4xf32>, tensor<6x4xi8>, tensor<4xf32>) -> tensor<?x6xf32>
  return
}

// -----

// Pairs of int4 are quantised ones.
// expected-error @+1 {{expected transform int4_groups_… for elements of 'ui8', got none}}
m1.weight @w : tensor<4x64xui8> {sources = ["a"]}

// -----

// Rows of int4 are whole blocks of 128.
// expected-error @+1 {{expected a matrix of ui8 with rows of whole blocks of 64 bytes with transform int4_groups_64, got 'tensor<4x32xui8>'}}
m1.weight @w : tensor<4x32xui8> {sources = ["a"], transform = #m1<transform int4_groups_64>}

// -----

// There is a scale for each group, between those of the last block's first column and of its last.
m1.weight @w : tensor<4x128xui8> {sources = ["a"], transform = #m1<transform int4_groups_64>}
m1.weight @fits : tensor<4x3xbf16> {scales_of = @w}
// expected-error @+1 {{expected scales [4, groups of 64 columns] of bf16 or f16, or […, 2] of f32, got 'tensor<4x2xbf16>'}}
m1.weight @s : tensor<4x2xbf16> {scales_of = @w}

// -----

// Of i8 as many as its columns make, of bf16 or f16.
m1.weight @w : tensor<4x130xi8> {sources = ["a"], transform = #m1<transform int8_groups_64>}
m1.weight @fits : tensor<4x3xf16> {scales_of = @w}
// expected-error @+1 {{expected scales [4, groups of 64 columns] of bf16 or f16, or […, 2] of f32, got 'tensor<4x2xbf16>'}}
m1.weight @s : tensor<4x2xbf16> {scales_of = @w}

// -----

m1.weight @w : tensor<4x130xi8> {sources = ["a"], transform = #m1<transform int8_groups_64>}
// expected-error @+1 {{expected scales [4, groups of 64 columns] of bf16 or f16, or […, 2] of f32, got 'tensor<4x3xf32>'}}
m1.weight @t : tensor<4x3xf32> {scales_of = @w}

// -----

// A group with a minimum has two numbers of f32.
m1.weight @w : tensor<4x130xi8> {sources = ["a"], transform = #m1<transform int8_groups_64>}
m1.weight @fits : tensor<4x3x2xf32> {scales_of = @w}
// expected-error @+1 {{expected scales [4, groups of 64 columns] of bf16 or f16, or […, 2] of f32, got 'tensor<4x3x3xf32>'}}
m1.weight @t : tensor<4x3x3xf32> {scales_of = @w}

// -----

// Groups of 16 have scales of two levels.
m1.weight @w : tensor<4x256xi8> {sources = ["a"], transform = #m1<transform int8_groups_16>}
m1.weight @fits : tensor<4x2x10xi8> {scales_of = @w}
// expected-error @+1 {{expected scales [4, groups of 16 columns] of two levels, […, 10] of i8, got 'tensor<4x16xbf16>'}}
m1.weight @t : tensor<4x16xbf16> {scales_of = @w}

// -----

// Groups of 32 may have such, with minimums.
m1.weight @w : tensor<4x128xui8> {sources = ["a"], transform = #m1<transform int4_groups_32>}
m1.weight @fits : tensor<4x2x12xi8> {scales_of = @w}
// expected-error @+1 {{expected scales [4, groups of 32 columns] of bf16 or f16, or […, 2] of f32, or two levels, […, 12] of i8, got 'tensor<4x8x12xi8>'}}
m1.weight @t : tensor<4x8x12xi8> {scales_of = @w}

// -----

// int4 has no groups of 16.
func.func @f(%x: tensor<?x256xf32>, %w: tensor<6x128xui8>, %s: tensor<6x2x10xi8>) {
  // expected-error @+1 {{expected scale [N, groups] of bf16 or f16 or [N, groups, 2] of f32, groups of 32, 64 or 128 of 256 columns, or [N, 256 / 128, 12] of i8, with 'tensor<6x128xui8>', got 'tensor<6x2x10xi8>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x256xf32>, tensor<6x128xui8>, tensor<6x2x10xi8>) -> tensor<?x6xf32>
  return
}

// -----

// Scales of two levels are those of whole blocks of 128 columns.
func.func @f(%x: tensor<?x130xf32>, %w: tensor<6x130xi8>, %s: tensor<6x2x12xi8>) {
  // expected-error @+1 {{or [N, 130 / 128, 12 or 10] of i8, with 'tensor<6x130xi8>', got 'tensor<6x2x12xi8>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x130xf32>, tensor<6x130xi8>, tensor<6x2x12xi8>) -> tensor<?x6xf32>
  return
}

// -----

// Minimums are f32, as their scales.
func.func @f(%x: tensor<?x130xf32>, %w: tensor<6x128xui8>, %s: tensor<6x3x2xf16>) {
  // expected-error @+1 {{with 'tensor<6x128xui8>', got 'tensor<6x3x2xf16>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x130xf32>, tensor<6x128xui8>, tensor<6x3x2xf16>) -> tensor<?x6xf32>
  return
}

// -----

// A linear on int4 needs as many bytes as its rows take.
func.func @f(%x: tensor<?x130xf32>, %w: tensor<6x64xui8>, %s: tensor<6x3xbf16>) {
  // expected-error @+1 {{expected weight of shape [N, bytes of K columns of int4] = [6, 128], got [6, 64]}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x130xf32>, tensor<6x64xui8>, tensor<6x3xbf16>) -> tensor<?x6xf32>
  return
}

// -----

// Its scales are those of groups.
func.func @f(%x: tensor<?x130xf32>, %w: tensor<6x128xui8>, %s: tensor<6x4xbf16>) {
  // expected-error @+1 {{expected scale [N, groups] of bf16 or f16 or [N, groups, 2] of f32, groups of 32, 64 or 128 of 130 columns, or [N, 130 / 128, 12] of i8, with 'tensor<6x128xui8>', got 'tensor<6x4xbf16>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x130xf32>, tensor<6x128xui8>, tensor<6x4xbf16>) -> tensor<?x6xf32>
  return
}

// -----

// Of i8, too.
func.func @f(%x: tensor<?x130xf32>, %w: tensor<6x130xi8>, %s: tensor<6x4xf16>) {
  // expected-error @+1 {{expected scale [N, groups] of bf16 or f16 or [N, groups, 2] of f32, groups of 32, 64 or 128 of 130 columns, or [N, 130 / 128, 12 or 10] of i8, with 'tensor<6x130xi8>', got 'tensor<6x4xf16>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x130xf32>, tensor<6x130xi8>, tensor<6x4xf16>) -> tensor<?x6xf32>
  return
}

// -----

// Scales of rows are f32.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<6x4xi8>, %s: tensor<6xbf16>) {
  // expected-error @+1 {{expected scale of f32 with a weight of 'i8', got 'tensor<6xbf16>'}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x4xf32>, tensor<6x4xi8>, tensor<6xbf16>) -> tensor<?x6xf32>
  return
}

// -----

// Elements of f8E4M3FN are quantised ones.
// expected-error @+1 {{expected transform fp8_rows for elements of 'f8E4M3FN', got none}}
m1.weight @w : tensor<4x2xf8E4M3FN> {sources = ["a"]}

// -----

// Weights with transform fp8_rows are matrices of f8E4M3FN.
// expected-error @+1 {{expected a matrix of f8E4M3FN with transform fp8_rows, got 'tensor<4x2xi8>'}}
m1.weight @w : tensor<4x2xi8> {sources = ["a"], transform = #m1<transform fp8_rows>}

// -----

// Only what multiplies e4m3 numbers has a scale of its rows.
func.func @f(%x: tensor<?x4xbf16>, %w: tensor<6x4xi8>, %s: tensor<6xf32>, %r: tensor<?xf32>) {
  // expected-error @+1 {{expected row_scale only with a weight of f8E4M3FN, got one with 'tensor<6x4xi8>'}}
  %y = m1.linear %x, %w scale(%s) row_scale(%r)
      : (tensor<?x4xbf16>, tensor<6x4xi8>, tensor<6xf32>, tensor<?xf32>) -> tensor<?x6xf32>
  return
}

// -----

// Codes have a scale.
func.func @f(%x: tensor<?x4xf8E4M3FN>, %w: tensor<6x4xf8E4M3FN>, %s: tensor<6xf32>) {
  // expected-error @+1 {{expected row_scale with x of f8E4M3FN, got none}}
  %y = m1.linear %x, %w scale(%s)
      : (tensor<?x4xf8E4M3FN>, tensor<6x4xf8E4M3FN>, tensor<6xf32>) -> tensor<?x6xf32>
  return
}

// -----

// Codes are no f32.
func.func @f(%x: tensor<?x4xf32>, %w: tensor<6x4xf8E4M3FN>, %s: tensor<6xf32>, %r: tensor<?xf32>) {
  // expected-error @+1 {{expected x of f8E4M3FN or bf16 with row_scale, got 'tensor<?x4xf32>'}}
  %y = m1.linear %x, %w scale(%s) row_scale(%r)
      : (tensor<?x4xf32>, tensor<6x4xf8E4M3FN>, tensor<6xf32>, tensor<?xf32>) -> tensor<?x6xf32>
  return
}

// -----

// There is a scale for each row of codes.
func.func @f(%x: tensor<?x4xbf16>, %w: tensor<6x4xf8E4M3FN>, %s: tensor<6xf32>, %r: tensor<2xf32>) {
  // expected-error @+1 {{expected row_scale of shape [rows] = [?], got [2]}}
  %y = m1.linear %x, %w scale(%s) row_scale(%r)
      : (tensor<?x4xbf16>, tensor<6x4xf8E4M3FN>, tensor<6xf32>, tensor<2xf32>) -> tensor<?x6xf32>
  return
}

// -----

// Rows keep their columns …
func.func @f(%x: tensor<?x4xbf16>) {
  // expected-error @+1 {{expected codes of shape [rows, K] = [?, 4], got [?, 5]}}
  %c, %s = m1.quantize_rows %x : (tensor<?x4xbf16>) -> (tensor<?x5xbf16>, tensor<?xf32>)
  return
}

// -----

// … and their number.
func.func @f(%x: tensor<?x4xbf16>) {
  // expected-error @+1 {{expected scale of shape [rows] = [?], got [3]}}
  %c, %s = m1.quantize_rows %x : (tensor<?x4xbf16>) -> (tensor<?x4xbf16>, tensor<3xf32>)
  return
}
