// What m1.model says holds for the whole module.
// RUN: m1-opt %s --split-input-file --verify-diagnostics

// There is one model.
m1.model @first {architecture = "llama", vocab_size = 8 : i64, hidden_size = 8
    : i64, layers = 1 : i64, max_positions = 512 : i64, activation_type = f32, state_type = f32,
    kv_type = f32}
// expected-error @+1 {{'m1.model' op expected one m1.model in a module, got a second beside @first}}
m1.model @second {architecture = "llama", vocab_size = 8 : i64, hidden_size = 8
    : i64, layers = 1 : i64, max_positions = 512 : i64, activation_type = f32, state_type = f32,
    kv_type = f32}

// -----

// Its page size is that of every cache.
m1.state @cache : !m1.kv_cache<1x32x4xf32>
// expected-error @+1 {{'m1.state' op expected pages of page_size = 32 positions, as @model says, got 16}}
m1.state @other : !m1.kv_cache<1x16x4xf32>
m1.model @model {architecture = "llama", vocab_size = 8 : i64, hidden_size = 8
    : i64, layers = 1 : i64, max_positions = 512 : i64, page_size = 32
    : i64, activation_type = f32, state_type = f32, kv_type = f32}

// -----

// Rotary tables serve its longest context.
m1.model @model {architecture = "llama", vocab_size = 8 : i64, hidden_size = 8
    : i64, layers = 1 : i64, max_positions = 513 : i64, activation_type = f32, state_type = f32,
    kv_type = f32}
func.func @f(%batch: !m1.batch, %hi: tensor<2x4x2xf32>, %lo: tensor<256x4x2xf32>) {
  // expected-error @+1 {{'m1.rotary_table' op expected hi for max_positions = 513 positions, got 2 blocks of 256}}
  %t = m1.rotary_table %batch, %hi, %lo
    : (!m1.batch, tensor<2x4x2xf32>, tensor<256x4x2xf32>) -> tensor<?x8xf32>
  return
}
