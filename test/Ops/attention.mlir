// Attention and what it reads: angles at positions, rotations of whole heads and of their first
// columns, keys and values in pages, as numbers and as codes with scales, windows.
// RUN: m1-opt %s -o /dev/null

m1.weight @hi : tensor<16x3x2xf32>
    {angles = #m1.rotary_angles<step = 256, frequencies = [1.0, 0.1, 0.01]>}
m1.weight @lo : tensor<256x3x2xf32>
    {angles = #m1.rotary_angles<step = 1, frequencies = [1.0, 0.1, 0.01]>}

func.func @rotary_table(%x: tensor<?x6xf32>, %batch: !m1.batch) -> tensor<?x6xf32> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %y = m1.mul %x, %r : (tensor<?x6xf32>, tensor<?x6xf32>) -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

func.func @rotary_whole(%x: tensor<?x18xf32>, %batch: !m1.batch) -> tensor<?x18xf32> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %y = m1.rotary_embedding %x, %r {head_dim = 6 : i64}
      : (tensor<?x18xf32>, tensor<?x6xf32>) -> tensor<?x18xf32>
  return %y : tensor<?x18xf32>
}

func.func @rotary_part(%x: tensor<?x30xbf16>, %batch: !m1.batch) -> tensor<?x30xbf16> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %y = m1.rotary_embedding %x, %r {head_dim = 10 : i64}
      : (tensor<?x30xbf16>, tensor<?x6xf32>) -> tensor<?x30xbf16>
  return %y : tensor<?x30xbf16>
}

func.func @attention(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
                     %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xf32>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xf32>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_bf16(%q: tensor<?x64xbf16>, %k: tensor<?x16xbf16>, %v: tensor<?x16xbf16>,
                     %batch: !m1.batch, %cache: !m1.kv_cache<1x64x16xbf16>) -> tensor<?x64xbf16> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x16xbf16>, tensor<?x16xbf16>, !m1.batch, !m1.kv_cache<1x64x16xbf16>
  %y = m1.attention %q, %batch, %cache {scale = 0.25 : f64}
      : (tensor<?x64xbf16>, !m1.batch, !m1.kv_cache<1x64x16xbf16>) -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

func.func @attention_window(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
                     %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xf32>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xf32>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64, window = 3 : i64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xf32>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_64(%q: tensor<?x128xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>,
                     %batch: !m1.batch, %cache: !m1.kv_cache<2x64x64xbf16>) -> tensor<?x128xbf16> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x128xbf16>, tensor<?x128xbf16>, !m1.batch, !m1.kv_cache<2x64x64xbf16>
  %y = m1.attention %q, %batch, %cache {scale = 0.125 : f64}
      : (tensor<?x128xbf16>, !m1.batch, !m1.kv_cache<2x64x64xbf16>) -> tensor<?x128xbf16>
  return %y : tensor<?x128xbf16>
}

func.func @bench_attention(%q: tensor<?x3072xbf16>, %k: tensor<?x1024xbf16>,
    %v: tensor<?x1024xbf16>,
                     %batch: !m1.batch, %cache: !m1.kv_cache<8x64x128xbf16>)
                         -> tensor<?x3072xbf16> attributes {m1.bench} {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x1024xbf16>, tensor<?x1024xbf16>, !m1.batch, !m1.kv_cache<8x64x128xbf16>
  %y = m1.attention %q, %batch, %cache {scale = 0.088 : f64}
      : (tensor<?x3072xbf16>, !m1.batch, !m1.kv_cache<8x64x128xbf16>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @rotary_kv_write_f32(%q: tensor<?x40xf32>, %k: tensor<?x20xf32>, %v: tensor<?x20xf32>,
                           %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xf32>)
    -> tensor<?x40xf32> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xf32>, tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xf32>) -> tensor<?x40xf32>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xf32>, !m1.batch, !m1.kv_cache<2x64x10xf32>) -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

func.func @rotary_kv_write_bf16(%q: tensor<?x40xbf16>, %k: tensor<?x20xbf16>, %v: tensor<?x20xbf16>,
                           %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xbf16>)
    -> tensor<?x40xbf16> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xbf16>, tensor<?x20xbf16>, tensor<?x20xbf16>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xbf16>) -> tensor<?x40xbf16>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xbf16>, !m1.batch, !m1.kv_cache<2x64x10xbf16>) -> tensor<?x40xbf16>
  return %y : tensor<?x40xbf16>
}

func.func @attention_i8(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xi8>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xi8>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xi8>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_window_i8(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xi8>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xi8>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64, window = 3 : i64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xi8>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_64_i8(%q: tensor<?x256xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x64xi8>) -> tensor<?x256xbf16> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x128xbf16>, tensor<?x128xbf16>, !m1.batch, !m1.kv_cache<2x64x64xi8>
  %y = m1.attention %q, %batch, %cache {scale = 0.125 : f64}
      : (tensor<?x256xbf16>, !m1.batch, !m1.kv_cache<2x64x64xi8>) -> tensor<?x256xbf16>
  return %y : tensor<?x256xbf16>
}

func.func @rotary_kv_write_f32_i8(%q: tensor<?x40xf32>, %k: tensor<?x20xf32>, %v: tensor<?x20xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xf32> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xf32>, tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xf32>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xf32>, !m1.batch, !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

func.func @rotary_kv_write_bf16_i8(%q: tensor<?x40xbf16>, %k: tensor<?x20xbf16>,
    %v: tensor<?x20xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xbf16> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xbf16>, tensor<?x20xbf16>, tensor<?x20xbf16>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xbf16>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xbf16>, !m1.batch, !m1.kv_cache<2x64x10xi8>) -> tensor<?x40xbf16>
  return %y : tensor<?x40xbf16>
}

func.func @bench_attention_i8(%q: tensor<?x3072xbf16>, %k: tensor<?x1024xbf16>,
    %v: tensor<?x1024xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<8x64x128xi8>) -> tensor<?x3072xbf16>
    attributes {m1.bench} {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x1024xbf16>, tensor<?x1024xbf16>, !m1.batch, !m1.kv_cache<8x64x128xi8>
  %y = m1.attention %q, %batch, %cache {scale = 0.088 : f64}
      : (tensor<?x3072xbf16>, !m1.batch, !m1.kv_cache<8x64x128xi8>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}

func.func @attention_e4m3(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xf8E4M3FN>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xf8E4M3FN>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xf8E4M3FN>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_window_e4m3(%q: tensor<?x24xf32>, %k: tensor<?x12xf32>, %v: tensor<?x12xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x6xf8E4M3FN>) -> tensor<?x24xf32> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x12xf32>, tensor<?x12xf32>, !m1.batch, !m1.kv_cache<2x64x6xf8E4M3FN>
  %y = m1.attention %q, %batch, %cache {scale = 0.5 : f64, window = 3 : i64}
      : (tensor<?x24xf32>, !m1.batch, !m1.kv_cache<2x64x6xf8E4M3FN>) -> tensor<?x24xf32>
  return %y : tensor<?x24xf32>
}

func.func @attention_64_e4m3(%q: tensor<?x256xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x64xf8E4M3FN>) -> tensor<?x256xbf16> {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x128xbf16>, tensor<?x128xbf16>, !m1.batch, !m1.kv_cache<2x64x64xf8E4M3FN>
  %y = m1.attention %q, %batch, %cache {scale = 0.125 : f64}
      : (tensor<?x256xbf16>, !m1.batch, !m1.kv_cache<2x64x64xf8E4M3FN>) -> tensor<?x256xbf16>
  return %y : tensor<?x256xbf16>
}

func.func @rotary_kv_write_f32_e4m3(%q: tensor<?x40xf32>, %k: tensor<?x20xf32>,
    %v: tensor<?x20xf32>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xf32> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xf32>, tensor<?x20xf32>, tensor<?x20xf32>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xf32>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xf32>, !m1.batch, !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

func.func @rotary_kv_write_bf16_e4m3(%q: tensor<?x40xbf16>, %k: tensor<?x20xbf16>,
    %v: tensor<?x20xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xbf16> {
  %hi = m1.get_weight @hi : tensor<16x3x2xf32>
  %lo = m1.get_weight @lo : tensor<256x3x2xf32>
  %r = m1.rotary_table %batch, %hi, %lo
      : (!m1.batch, tensor<16x3x2xf32>, tensor<256x3x2xf32>) -> tensor<?x6xf32>
  %turned = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
      : (tensor<?x40xbf16>, tensor<?x20xbf16>, tensor<?x20xbf16>, tensor<?x6xf32>, !m1.batch,
         !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xbf16>
  %y = m1.attention %turned, %batch, %cache {scale = 0.5 : f64}
      : (tensor<?x40xbf16>, !m1.batch, !m1.kv_cache<2x64x10xf8E4M3FN>) -> tensor<?x40xbf16>
  return %y : tensor<?x40xbf16>
}

func.func @bench_attention_e4m3(%q: tensor<?x3072xbf16>, %k: tensor<?x1024xbf16>,
    %v: tensor<?x1024xbf16>,
    %batch: !m1.batch, %cache: !m1.kv_cache<8x64x128xf8E4M3FN>) -> tensor<?x3072xbf16>
    attributes {m1.bench} {
  m1.kv_write %k, %v, %batch, %cache
      : tensor<?x1024xbf16>, tensor<?x1024xbf16>, !m1.batch, !m1.kv_cache<8x64x128xf8E4M3FN>
  %y = m1.attention %q, %batch, %cache {scale = 0.088 : f64}
      : (tensor<?x3072xbf16>, !m1.batch, !m1.kv_cache<8x64x128xf8E4M3FN>) -> tensor<?x3072xbf16>
  return %y : tensor<?x3072xbf16>
}
