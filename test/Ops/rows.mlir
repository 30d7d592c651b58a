// Rows that are copied: heads repeated, pieces, rows by their index. Rows by token, wanted rows and
// the likeliest token are part of every case.
// RUN: m1-opt %s -o /dev/null

func.func @repeat_heads(%x: tensor<?x21xbf16>) -> tensor<?x42xbf16> {
  %y = m1.repeat_heads %x {head_size = 7 : i64, repeat = 2 : i64}
      : tensor<?x21xbf16> -> tensor<?x42xbf16>
  return %y : tensor<?x42xbf16>
}

func.func @repeat_heads_aligned(%x: tensor<?x64xf32>) -> tensor<?x192xf32> {
  %y = m1.repeat_heads %x {head_size = 16 : i64, repeat = 3 : i64}
      : tensor<?x64xf32> -> tensor<?x192xf32>
  return %y : tensor<?x192xf32>
}

// A view that begins at an odd column.
func.func @split(%x: tensor<?x40xbf16>) -> tensor<?x16xbf16> {
  %p:3 = m1.split %x : tensor<?x40xbf16> -> tensor<?x17xbf16>, tensor<?x16xbf16>, tensor<?x7xbf16>
  return %p#1 : tensor<?x16xbf16>
}
