// What the CUDA kernels promise without a GPU: contradictory facts are named, launches cover their
// rows, and every family compiles through NVRTC for the oldest and the newest supported
// architecture without spilling registers.
#include "Harness.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace m1k::cuda;

namespace {

SelectiveScan m1_scan() {
  SelectiveScan f;
  f.d_inner = 3072;
  f.b_heads = 64;
  f.c_heads = 192;
  f.x_columns = 3072;
  f.x_stride = f.dt_stride = f.out_stride = 3072;
  f.b_stride = f.c_stride = f.z_stride = 8384;
  return f;
}

Attention m1_attention() {
  Attention f;
  f.heads = 24;
  f.kv_heads = 8;
  f.head_dim = 128;
  f.q_stride = 5120;
  f.out_stride = 3072;
  f.scale = 0.0884f;
  return f;
}

/// Its decode step with the write of keys and values.
AttentionStep m1_attention_step() {
  AttentionStep f;
  f.attention = m1_attention();
  f.attention.decode = true;
  f.turned = f.table_stride = 128;
  f.k_stride = f.v_stride = 5120;
  f.counters = 8;
  return f;
}

GatedDelta qwen_delta() { // of Qwen3-Next
  GatedDelta f;
  f.heads = 32;
  f.key_heads = 16;
  f.key_size = f.value_size = 128;
  f.q_stride = f.k_stride = f.v_stride = 8192;
  f.a_stride = f.b_stride = 64;
  f.out_stride = 4096;
  return f;
}
SsdScan m1_ssd() {
  SsdScan f;
  f.heads = 24;
  f.head_dim = f.d_state = 128;
  f.x_heads = f.b_heads = 8;
  f.c_heads = 24;
  f.x_stride = f.b_stride = f.c_stride = 5120;
  f.dt_stride = 8216;
  f.out_stride = 3072;
  return f;
}

Linear linear(int n, int k) {
  Linear f;
  f.n = n;
  f.k = k;
  f.x_stride = k;
  f.out_stride = n;
  return f;
}

ExpertLinear qwen_experts() { // of Qwen3-30B-A3B, the second half of gate and up
  ExpertLinear f;
  f.experts = 128;
  f.chosen = 8;
  f.rows_per_expert = 1536;
  f.first = f.n = 768;
  f.k = f.x_stride = 2048;
  f.experts_stride = 8;
  f.out_stride = 8 * 768;
  return f;
}

// Facts that contradict each other give an error that names the field, and no kernel.
TEST(Describe, NamesContradictions) {
  SelectiveScan scan = m1_scan();
  scan.b_heads = 1000;
  EXPECT_NE(describe(scan, "k").error.find("b_heads"), std::string::npos);
  SsdScan ssd = m1_ssd();
  ssd.c_heads = 7;
  EXPECT_NE(describe(ssd, "k").error.find("c_heads"), std::string::npos);
  scan = m1_scan();
  scan.d_state = 300;
  EXPECT_FALSE(describe(scan, "k").error.empty());
  Attention attention = m1_attention();
  attention.kv_heads = 5;
  EXPECT_NE(describe(attention, "k").error.find("kv_heads"), std::string::npos);
  attention = m1_attention();
  attention.window = -1;
  EXPECT_NE(describe(attention, "k").error.find("window"), std::string::npos);
  attention.window = 8;
  attention.decode = attention.shared = true;
  EXPECT_NE(describe(attention, "k").error.find("window"), std::string::npos);
  AttentionStep step = m1_attention_step();
  step.turned = 130;
  EXPECT_NE(describe(step, "k").error.find("columns that turn"), std::string::npos);
  step = m1_attention_step();
  step.attention.kv_type = Type::i8;
  EXPECT_NE(describe(step, "k").error.find("a cache of bf16"), std::string::npos);
  step = m1_attention_step();
  step.attention.head_dim = 16;
  step.turned = 16;
  Tuning large;
  large.multiprocessors = 300;
  EXPECT_NE(describe(step, "k", large).error.find("no room"), std::string::npos);
  Linear wide = linear(64, 64);
  wide.max_rows = 17;
  EXPECT_NE(describe(wide, "k").error.find("max_rows"), std::string::npos);
  wide = linear(64, 64);
  wide.gated = wide.has_residual = true;
  EXPECT_NE(describe(wide, "k").error.find("residual"), std::string::npos);
  wide = linear(64, 64);
  wide.squares = 6;
  EXPECT_NE(describe(wide, "k").error.find("squares"), std::string::npos);
  wide = linear(64, 64);
  wide.map_share = 4; // of no map
  EXPECT_NE(describe(wide, "k").error.find("map_share"), std::string::npos);
  wide.map = "return v0 * v2;";
  EXPECT_EQ(describe(wide, "k").error, "");
  wide.map_share = 48;
  EXPECT_NE(describe(wide, "k").error.find("map_share"), std::string::npos);
  wide = linear(64, 64);
  wide.largest = 8; // of weights that are not e4m3
  EXPECT_NE(describe(wide, "k").error.find("largest"), std::string::npos);
  wide.w_type = Type::e4m3;
  EXPECT_EQ(describe(wide, "k").error, "");
  wide.largest = 12;
  EXPECT_NE(describe(wide, "k").error.find("largest"), std::string::npos);
  GatedProduct product;
  product.n = product.out_stride = 64;
  product.k = product.x_stride = 64;
  for (int64_t *stride : {&product.x_stride, &product.out_stride}) {
    *stride += 4;
    EXPECT_NE(describe(product, "k").error.find("stride"), std::string::npos);
    *stride -= 4;
  }
  product.n = 60;
  EXPECT_NE(describe(product, "k").error.find("n of a multiple of 8"), std::string::npos);
  GatedRmsNorm norm;
  norm.features = 100;
  norm.groups = 3;
  EXPECT_TRUE(describe(norm, "k").kernels.empty());
  GatedDelta delta;
  delta.heads = 4;
  delta.key_heads = 3;
  delta.key_size = delta.value_size = 8;
  EXPECT_NE(describe(delta, "k").error.find("key_heads"), std::string::npos);
  delta.key_heads = 2;
  delta.key_size = 257;
  EXPECT_NE(describe(delta, "k").error.find("key_size"), std::string::npos);
  Router router;
  router.experts = 12;
  router.chosen = 5;
  router.groups = 3;
  EXPECT_NE(describe(router, "k").error.find("chosen"), std::string::npos);
  router.kept_groups = 4;
  EXPECT_NE(describe(router, "k").error.find("kept_groups"), std::string::npos);
  router.groups = 5;
  EXPECT_NE(describe(router, "k").error.find("groups"), std::string::npos);
  ExpertLinear experts = qwen_experts();
  experts.first = 1000;
  EXPECT_NE(describe(experts, "k").error.find("first"), std::string::npos);
  EXPECT_FALSE(describe(Combine(), "k").error.empty());
  CausalConv1d conv;
  conv.channels = 10;
  conv.repeat = 3;
  EXPECT_FALSE(describe(conv, "k").error.empty());
  Sample sample;
  sample.vocabulary = 100;
  sample.logits_stride = 99;
  EXPECT_FALSE(describe(sample, "k").error.empty());
}

// What kernels cannot do is said in words that plan passes and selectors hand on.
TEST(Describe, SaysWhatItRefuses) {
  Tuning other;
  other.warpgroups = false;
  Linear facts = linear(64, 64);
  EXPECT_EQ(refusal_of_chain(facts), "");
  EXPECT_EQ(refusal_of_chain(facts, other), "no chip of sm_90");
  facts.max_rows = 9;
  EXPECT_EQ(refusal_of_chain(facts), "expected max_rows of at most 8, got 9");
  facts.w_type = Type::i8;
  EXPECT_EQ(refusal_of_chain(facts), "x and weight are not of bf16");
  EXPECT_NE(describe(LinearChain{}, "k").error.find("expected products, and a chip with "),
            std::string::npos);
  facts = linear(64, 64);
  facts.gated = facts.has_bias = true;
  EXPECT_EQ(describe(facts, "k").error,
            "a gated linear has neither bias nor residual nor a norm of its output");

  KvWrite write;
  write.kv_heads = 2;
  write.head_dim = 64;
  write.kv_type = Type::bf16;
  EXPECT_EQ(describe(write, "k").error, "expected a cache of i8 or e4m3");
  write.head_dim = 0;
  EXPECT_EQ(describe(write, "k").error, "sizes must be positive");
  Attention attention = m1_attention();
  attention.shared = true;
  EXPECT_NE(
      describe(attention, "k").error.find("prefixes are shared in decode only, by bf16 heads"),
      std::string::npos);
  Router router;
  router.experts = 4;
  router.chosen = 5;
  EXPECT_EQ(describe(router, "k").error.rfind("expected chosen from 1 to 4, got 5", 0), 0u);
  GatedRmsNorm norm;
  norm.features = 100;
  norm.groups = 3;
  EXPECT_EQ(describe(norm, "k").error, "expected features in whole groups, got 100 in 3");
  for (const std::vector<int> &counts : {std::vector<int>{}, {1, 2, 3, 4}, {1, 0}})
    EXPECT_EQ(describe(ClearCounters{counts}, "k").error,
              "expected counters in one to three buffers, got " + std::to_string(counts.size()) +
                  " buffers, or one of none");
  EXPECT_EQ(describe(ClearCounters{{2, 1}}, "k").kernels.front().operands,
            (std::vector<std::string>{"counters", "counters_1"}));

  SsdScan ssd = m1_ssd();
  ssd.decode = true;
  ScanNeighbours n;
  n.few = true;
  n.norm_groups = 7;
  EXPECT_NE(describe(ssd, n, "k").error.find("expected channels in whole groups, got "),
            std::string::npos);
}

// Slots of chains fit rows where all of them together are smaller by 5 % then. The ring is as long
// as it was in columns, and what is under way as much, but for chains of two.
TEST(Describe, SlotsOfChainsFitRows) {
  struct Case {
    int products, n, k, depth, slots, in_flight;
  };
  for (const Case &c : {Case{2, 3072, 3072, 1024, 8, 3}, Case{4, 65536, 3072, 1024, 12, 3},
                        Case{4, 2560, 2560, 1280, 6, 2}, Case{2, 2560, 2560, 1280, 6, 3},
                        Case{4, 65536, 1536, 1536, 8, 2}, Case{4, 4096, 8960, 1024, 12, 3}}) {
    LinearChain chain;
    for (int i = 0; i < c.products; ++i)
      chain.products.push_back({linear(c.n, c.k), 0, {}, {}});
    const Description description = describe(chain, "k");
    ASSERT_EQ(description.error, "");
    const Kernel &kernel = description.kernels[0];
    for (auto [name, value] : {std::pair<std::string, int>{"kSlotDepth", c.depth},
                               {"kSlots", c.slots},
                               {"kInFlight", c.in_flight}})
      EXPECT_NE(kernel.source.find(" " + name + " = " + std::to_string(value) + ";"),
                std::string::npos)
          << name << " of " << c.products << " products of " << c.k << " columns";
    EXPECT_LE(kernel.shared_bytes, Tuning().block_shared_bytes);
  }
}

// Blocks of a chain meet before a product that reads what others of them have written, and not
// before one of the same rows, or whose residual they have left themselves.
TEST(Describe, BlocksOfChainsMeetWhereTheyMust) {
  LinearChain chain;
  auto add = [&](Linear f, std::vector<std::pair<std::string, std::string>> operands) {
    chain.products.push_back({f, 0, std::move(operands), {}});
  };
  Linear sum = linear(3072, 3072), wider = linear(4096, 3072), after = linear(4096, 3072);
  sum.has_residual = wider.has_residual = true;
  sum.residual_stride = sum.out_stride;
  wider.residual_stride = sum.out_stride;
  sum.out_type = Type::f32;
  add(sum, {{"x", "x0"}, {"weight", "w0"}, {"residual", "h0"}, {"out", "h1"}});
  add(sum, {{"x", "x1"}, {"weight", "w1"}, {"residual", "h1"}, {"out", "h2"}});  // its own
  add(after, {{"x", "x1"}, {"weight", "w2"}, {"out", "y"}});                     // reads none of it
  add(wider, {{"x", "x0"}, {"weight", "w3"}, {"residual", "h2"}, {"out", "z"}}); // of other blocks
  add(linear(64, 4096), {{"x", "y"}, {"weight", "w4"}, {"out", "last"}}); // written before they met
  add(linear(64, 4096), {{"x", "z"}, {"weight", "w5"}, {"out", "y"}});    // written since
  const Description description = describe(chain, "k");
  ASSERT_EQ(description.error, "");
  const std::string &source = description.kernels[0].source;
  std::string meets;
  for (size_t at = 0; (at = source.find("kMeets = ", at)) != std::string::npos; ++at)
    meets += source[at + 9];
  EXPECT_EQ(meets, "ffftft");
}

// A convolution ends a product of a chain whose first outputs are its inputs as they are left;
// blocks meet before what reads its results.
TEST(Describe, ProductsOfChainsEndWithConvolutions) {
  LinearChain chain;
  CausalConv1d conv;
  conv.channels = 2048;
  conv.x_stride = conv.out_stride = 4096;
  conv.decode = true;
  chain.products.push_back({linear(4096, 1024),
                            0,
                            {{"x", "x"},
                             {"weight", "w0"},
                             {"out", "z"},
                             {"conv_w", "filter"},
                             {"slots", "slots"},
                             {"positions", "positions"},
                             {"conv_state", "state"},
                             {"conv_out", "y"}},
                            conv});
  Linear next = linear(64, 2048);
  next.x_stride = 4096;
  chain.products.push_back({next, 0, {{"x", "y"}, {"weight", "w1"}, {"out", "last"}}, {}});
  chain.products[0].facts.out_stride = 4096;
  const Description description = describe(chain, "k");
  ASSERT_EQ(description.error, "");
  EXPECT_NE(description.kernels[0].source.find("kMeets = true"), std::string::npos);
  EXPECT_EQ(description.kernels[0].operands,
            (std::vector<std::string>{"x", "w0", "filter", "slots", "positions", "z", "state", "y",
                                      "w1", "last", "arrived"}));
  auto refused = [&](auto change, const char *words) {
    LinearChain other = chain;
    change(other.products[0]);
    EXPECT_NE(describe(other, "k").error.find(words), std::string::npos);
  };
  using Product = LinearChain::Product;
  refused([](Product &p) { p.conv.decode = false; }, "the decode step of a convolution");
  refused([](Product &p) { p.conv.repeat = 2; }, "the decode step of a convolution");
  refused([](Product &p) { p.conv.channels = 4097; }, "the first outputs of a product");
  refused([](Product &p) { p.conv.x_type = Type::f32; }, "the first outputs of a product");
  refused([](Product &p) { p.conv.x_stride = 2048; }, "the first outputs of a product");
  refused([](Product &p) { p.facts.gated = true; }, "the first outputs of a product");
}

// Operands come in the order of m1c::KernelSpec, without the absent ones.
TEST(Describe, OperandsFollowTheContract) {
  SelectiveScan scan = m1_scan();
  scan.has_d = false;
  Description d = describe(scan, "k");
  ASSERT_EQ(d.error, "");
  EXPECT_EQ(d.kernels[0].operands,
            (std::vector<std::string>{"x", "dt", "a", "b", "c", "z", "dt_bias", "state",
                                      "sequence_starts", "slots", "positions", "out"}));
  d = describe(m1_attention(), "k");
  ASSERT_EQ(d.kernels.size(), 3u);
  EXPECT_EQ(d.kernels[0].operands,
            (std::vector<std::string>{"q", "cache", "sequence_starts", "context_lengths",
                                      "block_tables", "out", "workspace"}));
  EXPECT_GT(d.workspace_bytes, 0);
  d = describe(m1_attention_step(), "k");
  ASSERT_EQ(d.kernels.size(), 1u);
  EXPECT_EQ(d.kernels[0].operands,
            (std::vector<std::string>{"q", "k", "v", "table", "cache", "sequence_starts",
                                      "context_lengths", "block_tables", "out", "workspace",
                                      "counters"}));
}

// The grid's columns times what a block owns cover all channels, for channel counts that divide by
// nothing.
TEST(Describe, GridCoversTheChannels) {
  for (int heads : {1, 3, 7, 192})
    for (int states : {1, 7, 16, 24, 128})
      for (int expected : {1, 8, 512}) {
        SelectiveScan f = m1_scan();
        f.d_state = states;
        f.d_inner = f.x_columns = heads * states;
        f.b_heads = f.c_heads = heads;
        Tuning tuning;
        tuning.expected_sequences = expected;
        for (bool decode : {false, true}) {
          f.decode = decode;
          Description d = describe(f, "k", tuning);
          ASSERT_EQ(d.error, "");
          EXPECT_LE(d.kernels[0].threads, 1024);
          EXPECT_LE(d.kernels[0].shared_bytes, 227 * 1024);
          EXPECT_GE(d.kernels[0].grid_x, 1);
        }
      }
}

// A block has whole units of a convolution's heads that repeat, which may be more channels than
// threads.
TEST(Describe, UpdatesWithConvolutionFitBlocks) {
  for (Type state : {Type::f32, Type::bf16})
    for (int states : {16, 64, 128, 256})
      for (int repeat : {2, 6}) {
        SelectiveScan f = m1_scan();
        f.decode = true;
        f.state_type = state;
        f.d_state = states;
        f.x_columns = 8 * states;
        f.d_inner = f.x_columns * repeat;
        f.b_heads = 8;
        f.c_heads = 8 * repeat;
        ScanNeighbours neighbours;
        neighbours.conv.width = 4;
        neighbours.conv.channels = f.x_columns;
        Description d = describe(f, neighbours, "k");
        ASSERT_EQ(d.error, "");
        EXPECT_LE(d.kernels[0].threads, 1024);
        EXPECT_EQ(d.kernels[0].threads % 32, 0);
      }
}

// A prompt's scan has a launch for few sequences, with a block a multiprocessor of one sequence's
// channels, and one for many, from the number on that fills the chip; each step is one's.
TEST(Describe, ScansOfFewAndOfManySequences) {
  SelectiveScan f = m1_scan();
  f.d_inner = f.x_columns = 3072;
  f.d_state = 16;
  f.b_heads = f.c_heads = 192;
  Description d = describe(f, "k");
  ASSERT_EQ(d.error, "");
  ASSERT_EQ(d.kernels.size(), 2u);
  const Kernel &few = d.kernels[0], &many = d.kernels[1];
  EXPECT_EQ(few.symbol, "k_to_5"); // 6 · 192 warps are eight for each of 132
  EXPECT_NE(few.source.find("kFewest = 1;"), std::string::npos);
  EXPECT_NE(few.source.find("kMost = 5;"), std::string::npos);
  EXPECT_EQ(few.grid_x, 128);
  EXPECT_EQ(many.symbol, "k_from_6");
  EXPECT_NE(many.source.find("kFewest = 6;"), std::string::npos);
  EXPECT_NE(many.source.find("kMost = 2147483647;"), std::string::npos);
  EXPECT_EQ(many.grid_x, 48);
  Tuning tuning;
  tuning.multiprocessors = 24; // one sequence fills it
  d = describe(f, "k", tuning);
  ASSERT_EQ(d.kernels.size(), 1u);
  EXPECT_EQ(d.kernels[0].symbol, "k");
  EXPECT_EQ(d.kernels[0].grid_x, 48);
  f.d_inner = f.x_columns = 64;
  f.b_heads = f.c_heads = 4;
  d = describe(f, "k"); // hundreds of sequences do not
  ASSERT_EQ(d.kernels.size(), 1u);
  EXPECT_EQ(d.kernels[0].grid_x, 8);
}

// On a chip whose blocks have 99 KB of shared memory (sm_86, sm_89, sm_120) shapes are others that
// fit, for heads and states of the usual sizes, with and without tensor cores.
TEST(Describe, FitsSmallChips) {
  Tuning small;
  small.multiprocessors = 84;
  small.block_shared_bytes = 99 * 1024;
  small.multiprocessor_shared_bytes = 100 * 1024;
  small.warpgroups = false;
  auto check = [&](const Description &d, const std::string &what) {
    ASSERT_EQ(d.error, "") << what;
    for (const Kernel &kernel : d.kernels)
      EXPECT_LE(kernel.shared_bytes, small.block_shared_bytes) << what << ": " << kernel.symbol;
  };
  for (Type type : {Type::bf16, Type::f32})
    for (bool decode : {false, true}) {
      for (int head_dim : {16, 64, 80, 128, 256}) {
        Attention f = m1_attention();
        f.type = f.kv_type = type;
        f.head_dim = head_dim;
        f.decode = decode;
        check(describe(f, "k", small), "attention " + std::to_string(head_dim));
      }
      for (int states : {16, 64, 128}) {
        SelectiveScan f = m1_scan();
        f.x_type = f.dt_type = f.b_type = f.c_type = f.z_type = f.out_type = type;
        f.d_state = states;
        f.d_inner = f.x_columns = 12 * states;
        f.b_heads = 4;
        f.c_heads = 12;
        f.decode = decode;
        check(describe(f, "k", small), "scan " + std::to_string(states));
      }
      SsdScan f = m1_ssd();
      f.x_type = f.dt_type = f.b_type = f.c_type = f.out_type = type;
      f.decode = decode;
      check(describe(f, "k", small), "ssd");
      for (int size : {64, 128, 256}) {
        GatedDelta delta = qwen_delta();
        delta.q_type = delta.k_type = delta.v_type = delta.out_type = type;
        delta.key_size = size;
        delta.decode = decode;
        check(describe(delta, "k", small), "gated delta " + std::to_string(size));
      }
    }
}

// The gated delta rule takes warpgroup products where keys have 128 columns and values whole blocks
// of 64. Then steps of so few sequences that their chains of such blocks leave half of the chip
// have launches of their own, of which the second begins early.
TEST(Describe, GatedDeltaTakesWarpgroupProducts) {
  auto kinds = [](int heads, int key_size, int value_size, bool warpgroups) {
    GatedDelta f = qwen_delta();
    f.heads = heads;
    f.key_heads = 1;
    f.key_size = key_size;
    f.value_size = value_size;
    Tuning tuning;
    tuning.warpgroups = warpgroups;
    Description d = describe(f, "k", tuning);
    EXPECT_EQ(d.error, "");
    std::string result;
    for (const Kernel &kernel : d.kernels) {
      EXPECT_LE(kernel.shared_bytes, tuning.block_shared_bytes);
      result += kernel.symbol + " " + architecture_of(kernel.source, "sm_90") + " " +
                std::to_string(kernel.grid_x) + (kernel.launch_early ? " early; " : "; ");
    }
    return result;
  };
  EXPECT_EQ(kinds(32, 128, 128, true), "k_prepare_to_1 sm_90a 132; k_chunks_to_1 sm_90a 64 early; "
                                       "k_prepare_from_2 sm_90a 32; k_chunks_from_2 sm_90a 64; ");
  EXPECT_EQ(kinds(16, 128, 128, true), "k_prepare_to_2 sm_90a 132; k_chunks_to_2 sm_90a 64 early; "
                                       "k_prepare_from_3 sm_90a 16; k_chunks_from_3 sm_90a 32; ");
  EXPECT_EQ(kinds(32, 128, 192, true), "k_prepare sm_90a 32; k_chunks sm_90a 96; ");
  EXPECT_EQ(kinds(16, 128, 128, false), "k_prepare sm_90 16; k_chunks sm_90 64; ");
  EXPECT_EQ(kinds(32, 64, 128, true), "k_prepare sm_90 32; k_chunks sm_90 64; ");
  EXPECT_EQ(kinds(32, 128, 96, true), "k_prepare sm_90 32; k_chunks sm_90 96; ");
  EXPECT_EQ(kinds(32, 256, 128, true), "k_prepare sm_90 32; k_chunks sm_90 128; ");
  EXPECT_EQ(kinds(32, 128, 128, false), "k_prepare sm_90 32; k_chunks sm_90 64; ");
}

// Scratch of a step's tokens holds the records of its whole tiles, whatever the heads.
TEST(Describe, GatedDeltaReservesWholeRecords) {
  for (int heads : {1, 2, 3, 16}) {
    GatedDelta f = qwen_delta();
    f.heads = heads;
    f.key_heads = 1;
    Description d = describe(f, "k");
    EXPECT_EQ(d.error, "");
    EXPECT_GE(d.temporary_bytes_per_row * 64, d.workspace_bytes) << heads;
  }
}

// Prompt chunks take warpgroup products where the chip and the head size have them, in code that
// machine code for H100 is compiled for as its own kind.
TEST(Describe, PrefillTakesWarpgroupProducts) {
  auto prefill = [](Attention f, const Tuning &tuning) {
    Description d = describe(f, "k", tuning);
    EXPECT_EQ(d.error, "");
    return d.kernels.back();
  };
  Attention f = m1_attention();
  Tuning tuning;
  for (int head_dim : {64, 128}) {
    f.head_dim = head_dim;
    Kernel kernel = prefill(f, tuning);
    EXPECT_NE(kernel.source.find("attention_warpgroup"), std::string::npos);
    EXPECT_EQ(kernel.domain, Domain::one);
    EXPECT_EQ(kernel.grid_x, tuning.multiprocessors);
    EXPECT_EQ(architecture_of(kernel.source, "sm_90"), "sm_90a");
    EXPECT_EQ(architecture_of(kernel.source, "sm_90a"), "sm_90a");
    EXPECT_EQ(architecture_of(kernel.source, "sm_100"), "sm_100");
  }
  f.head_dim = 80;
  EXPECT_EQ(prefill(f, tuning).source.find("warpgroup"), std::string::npos);
  f.head_dim = 128;
  tuning.warpgroups = false;
  Kernel kernel = prefill(f, tuning);
  EXPECT_EQ(kernel.domain, Domain::tokens);
  EXPECT_EQ(kernel.source.find("warpgroup"), std::string::npos);
  EXPECT_EQ(architecture_of(kernel.source, "sm_90"), "sm_90");
}

// The products of a gated MLP for many rows share all rows out among one block a multiprocessor and
// take their operands as tensor maps; chips without warpgroup products have none.
TEST(Describe, GatedProducts) {
  GatedProduct f;
  f.n = 8192;
  f.k = f.x_stride = 3072;
  f.out_stride = 8200;
  Tuning tuning;
  tuning.multiprocessors = 131;
  Description d = describe(f, "k", tuning);
  ASSERT_EQ(d.error, "");
  const Kernel &kernel = d.kernels.front();
  EXPECT_EQ(kernel.operands, (std::vector<std::string>{"x", "weight", "out"}));
  EXPECT_EQ(kernel.grid_x, 131);
  EXPECT_GE(kernel.rows_per_group, 1 << 24); // rows of the largest step
  EXPECT_LE(kernel.shared_bytes, tuning.block_shared_bytes);
  EXPECT_EQ(architecture_of(kernel.source, "sm_90"), "sm_90a");
  const TensorMap expected[] = {
      {0, 0, 3072, 6144, 128}, {1, 16384, 3072, 6144, 64}, {2, 0, 8192, 16400, 16}};
  ASSERT_EQ(kernel.tensor_maps.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const TensorMap &map = kernel.tensor_maps[i], &wanted = expected[i];
    EXPECT_EQ(map.operand, wanted.operand);
    EXPECT_EQ(map.rows, wanted.rows) << i;
    EXPECT_EQ(map.columns, wanted.columns) << i;
    EXPECT_EQ(map.row_bytes, wanted.row_bytes) << i;
    EXPECT_EQ(map.box_rows, wanted.box_rows) << i;
  }
  tuning.warpgroups = false;
  EXPECT_NE(describe(f, "k", tuning).error.find("warpgroup"), std::string::npos);
}

// Products of experts: by expert and in tiles of rows on tensor cores, by row where rows are few or
// types are others.
TEST(Describe, ExpertsAreGroupedWhereRowsAreMany) {
  ExpertLinear f = qwen_experts();
  Description d = describe(f, "k");
  ASSERT_EQ(d.error, "");
  EXPECT_NE(d.kernels[0].source.find("expert_linear_grouped"), std::string::npos);
  EXPECT_EQ(d.kernels[0].grid_x, 128 * 12);
  f.few_rows = true;
  d = describe(f, "k");
  EXPECT_EQ(d.kernels[0].source.find("expert_linear_grouped"), std::string::npos);
  EXPECT_EQ(d.kernels[0].grid_x, 8 * 48);
  EXPECT_EQ(d.kernels[0].rows_per_group, 1);
  f.few_rows = false;
  f.k = 2047;
  EXPECT_EQ(describe(f, "k").kernels[0].rows_per_group, 1);
}

// Weights of i8 have a scale; tiles fit small chips, and take as many columns as leave their last
// round of blocks full.
TEST(Describe, QuantisedLinears) {
  Linear f = linear(3072, 3072);
  EXPECT_EQ(describe(f, "k").kernels[0].operands, (std::vector<std::string>{"x", "weight", "out"}));
  f.w_type = Type::i8;
  EXPECT_EQ(describe(f, "k").kernels[0].operands,
            (std::vector<std::string>{"x", "weight", "scale", "out"}));
  f.x_type = Type::i8;
  EXPECT_NE(describe(f, "k").error.find("float type"), std::string::npos);
  f.x_type = Type::bf16;
  f.max_rows = 17;
  EXPECT_NE(describe(f, "k").error.find("1 to 16"), std::string::npos);
  f.w_type = Type::i4x2;
  f.group = 48;
  EXPECT_NE(describe(f, "k").error.find("32, 64 or 128 columns, got 48"), std::string::npos);
  f.group = 64;
  Description int4 = describe(f, "k");
  ASSERT_EQ(int4.error, "");
  EXPECT_NE(int4.kernels[0].source.find("const m1k::bf16 *__restrict__ scale"), std::string::npos);
  f.w_type = Type::i8;
  f.scale_type = Type::f16;
  f.max_rows = 32;
  Description int8 = describe(f, "k");
  ASSERT_EQ(int8.error, "");
  EXPECT_NE(int8.kernels[0].source.find("const m1k::f16 *__restrict__ scale"), std::string::npos);
  f.scale_type = Type::f32;
  EXPECT_NE(describe(f, "k").error.find("bf16 or f16, got float"), std::string::npos);
  f.w_type = Type::e4m3;
  EXPECT_NE(describe(f, "k").error.find("a group of none, got 64"), std::string::npos);
  TiledLinear tiled;
  tiled.n = 16384;
  tiled.k = 3080;
  tiled.x_stride = 3080;
  tiled.out_stride = 16384;
  EXPECT_NE(describe(tiled, "k").error.find("multiple of 16"), std::string::npos);
  tiled.k = 3072;
  Tuning small;
  small.multiprocessors = 84;
  small.block_shared_bytes = 99 * 1024;
  for (int n : {16384, 8384, 3072, 40}) {
    tiled.n = n;
    Description d = describe(tiled, "k");
    ASSERT_EQ(d.error, "");
    EXPECT_LE(d.kernels[0].shared_bytes, 227 * 1024);
    EXPECT_LE(d.kernels[0].grid_x, 132) << n; // no second round
    d = describe(tiled, "k", small);
    ASSERT_EQ(d.error, "");
    EXPECT_LE(d.kernels[0].shared_bytes, 99 * 1024) << n;
  }
  Dequantize dequantize;
  EXPECT_FALSE(describe(dequantize, "k").error.empty());
  dequantize.n = 1000;
  dequantize.k = 77;
  EXPECT_EQ(describe(dequantize, "k").workspace_bytes, 2 * 77000);
}

// Scans refuse neighbours that their blocks do not hold, and count the blocks that share a window.
TEST(Describe, NeighboursOfScans) {
  SelectiveScan scan = m1_scan();
  scan.decode = true;
  scan.b_heads = scan.c_heads = 1;
  auto refusal = [&](auto change) {
    ScanNeighbours n;
    n.few = true;
    change(n);
    return describe(scan, n, "k").error;
  };
  EXPECT_EQ(refusal([](ScanNeighbours &n) { n.dt_rank = 256; }), "");
  EXPECT_NE(refusal([](ScanNeighbours &n) { n.dt_rank = 4096; }).find("4096 columns"),
            std::string::npos);
  EXPECT_NE(refusal([](ScanNeighbours &n) {
              n.dt_rank = 192;
              n.dt_w_type = Type::i8;
            }).find("float type"),
            std::string::npos);
  EXPECT_NE(refusal([](ScanNeighbours &n) {
              n.conv.width = 17;
              n.conv.channels = 3072;
            }).find("width 1 to 16"),
            std::string::npos);
  EXPECT_NE(refusal([](ScanNeighbours &n) {
              n.conv.width = 4;
              n.conv.channels = 3000;
            }).find("3000"),
            std::string::npos);
  EXPECT_NE(refusal([](ScanNeighbours &n) { n.norm_groups = 1; }).find("SSD"), std::string::npos);
  scan.d_state = 64;
  EXPECT_NE(refusal([](ScanNeighbours &n) { n.b_norm.present = true; }).find("32 states"),
            std::string::npos);

  SsdScan ssd = m1_ssd();
  ssd.decode = true;
  ScanNeighbours n;
  n.few = n.has_z = true;
  n.conv.width = 4;
  n.conv.channels = 5120;
  n.conv.b_column = 1024;
  n.conv.c_column = 2048;
  n.norm_groups = 24;
  EXPECT_EQ(counters_of(ssd, n), 8); // B's heads, each of three of C
  n.counters = 8;
  Description d = describe(ssd, n, "k");
  ASSERT_EQ(d.error, "");
  EXPECT_EQ(d.kernels[0].grid_x, 24);
  EXPECT_EQ(d.kernels[0].operands.back(), "counters");
  n.norm_groups = 3;
  EXPECT_NE(describe(ssd, n, "k").error.find("1024 channels"), std::string::npos);
  n.norm_groups = 1;
  d = describe(ssd, n, "k");
  ASSERT_EQ(d.error, "");
  EXPECT_EQ(d.kernels[0].grid_x, 96);
  EXPECT_NE(d.kernels[0].source.find("kSquares = 96;"), std::string::npos);
  n.dt_rank = 16;
  EXPECT_NE(describe(ssd, n, "k").error.find("selective scan"), std::string::npos);

  DeltaUpdate delta;
  delta.delta.heads = 32;
  delta.delta.key_heads = 16;
  delta.delta.key_size = delta.delta.value_size = 128;
  delta.conv_channels = 8192;
  EXPECT_EQ(counters_of(delta), 16);
  EXPECT_EQ(describe(delta, "k").kernels.at(0).threads, 512);
  delta.delta.value_size = 320;
  EXPECT_NE(describe(delta, "k").error.find("320 values"), std::string::npos);
  EXPECT_FALSE(describe(ClearCounters{}, "k").error.empty());
}

// Mamba-2's records fit what a step's tokens bring: one record for each whole segment that another
// token follows.
TEST(Describe, SegmentRecordsFitTheirRows) {
  Description d = describe(m1_ssd(), "k");
  ASSERT_EQ(d.kernels.size(), 2u);
  int segment = d.kernels[0].rows_per_group;
  int64_t record = 4 * (int64_t(24) * 128 * 128 * 2 + 24);
  for (int64_t tokens :
       {int64_t(1), int64_t(segment), int64_t(segment + 1), int64_t(5 * segment + 7)})
    EXPECT_LE((tokens - 1) / segment * record, tokens * d.temporary_bytes_per_row);
}

class Compiles : public testing::TestWithParam<const char *> {};

// One kernel of every family and type, at M1's sizes.
TEST_P(Compiles, WithoutSpills) {
  std::vector<Description> all;
  SelectiveScan scan = m1_scan();
  all.push_back(describe(scan, "scan"));
  scan.x_type = scan.dt_type = scan.b_type = scan.c_type = scan.z_type = scan.out_type = Type::f32;
  scan.decode = true;
  all.push_back(describe(scan, "update_f32"));
  ScanNeighbours conv;
  conv.conv.width = 4;
  conv.conv.channels = 3072;
  scan = m1_scan();
  scan.x_columns = 1024;
  scan.decode = true;
  scan.state_type = Type::f16;
  all.push_back(describe(scan, conv, "update_conv"));
  ScanNeighbours few = conv;
  few.few = true;
  few.dt_rank = 192;
  scan.state_type = Type::f32;
  all.push_back(describe(scan, few, "update_few"));
  // Jamba's heads: one of B and of C, no repetition of x.
  scan = m1_scan();
  scan.d_inner = scan.x_columns = 8192;
  scan.b_heads = scan.c_heads = 1;
  all.push_back(describe(scan, "scan_one_head"));
  scan.decode = true;
  conv.conv.channels = 8192;
  all.push_back(describe(scan, conv, "update_conv_one_head"));
  all.push_back(describe(m1_ssd(), "ssd"));
  SsdScan heads = m1_ssd();
  heads.decode = true;
  few = {};
  few.few = few.has_z = true;
  few.conv.width = 4;
  few.conv.channels = 5120;
  few.conv.b_column = 1024;
  few.conv.c_column = 2048;
  few.norm_groups = 24;
  few.counters = 8;
  all.push_back(describe(heads, few, "ssd_update_few_heads"));
  DeltaUpdate qwen;
  qwen.delta.heads = 32;
  qwen.delta.key_heads = 16;
  qwen.delta.key_size = qwen.delta.value_size = 128;
  qwen.conv_channels = 8192;
  qwen.counters = 16;
  all.push_back(describe(qwen, "delta_update"));
  // Nemotron-H's, with heads smaller than the state in groups.
  SsdScan groups = m1_ssd();
  groups.heads = groups.x_heads = 128;
  groups.b_heads = groups.c_heads = 8;
  groups.head_dim = 80;
  all.push_back(describe(groups, "ssd_groups"));
  groups.decode = true;
  all.push_back(describe(groups, "ssd_update_groups"));
  Tuning tuning;
  tuning.warpgroups = std::string(GetParam()) == "sm_90a";
  Attention attention = m1_attention(), f32 = m1_attention();
  all.push_back(describe(attention, "attention", tuning));
  attention.head_dim = 64;
  all.push_back(describe(attention, "attention_64", tuning));
  AttentionStep step = m1_attention_step();
  for (int heads : {24, 80}) // one tile of a kv head's, and two
    for (int head_dim : {64, 128}) {
      step.attention.heads = heads;
      step.attention.head_dim = step.turned = head_dim;
      all.push_back(describe(step, "attention_step_" + std::to_string(heads) + "_" +
                                       std::to_string(head_dim)));
    }
  attention.head_dim = 128;
  f32.type = f32.kv_type = Type::f32;
  all.push_back(describe(f32, "attention_f32"));
  for (Attention *windowed : {&f32, &attention}) {
    windowed->window = 4096;
    all.push_back(describe(*windowed, "attention_window", tuning));
  }
  all.push_back(describe(linear(16384, 3072), "linear"));
  Linear f32_linear = linear(3072, 3072);
  f32_linear.x_type = f32_linear.w_type = f32_linear.out_type = Type::f32;
  all.push_back(describe(f32_linear, "linear_f32"));
  Linear quantised = linear(3072, 8192);
  quantised.w_type = Type::i8;
  all.push_back(describe(quantised, "linear_i8"));
  f32_linear.w_type = Type::i8;
  all.push_back(describe(f32_linear, "linear_f32_i8"));
  f32_linear.w_type = Type::i4x2;
  f32_linear.group = 32;
  auto addGroups = [&](Type type, int rows, int group) {
    quantised.w_type = type;
    quantised.max_rows = rows;
    quantised.group = group;
    all.push_back(describe(quantised, std::string(type == Type::i8 ? "linear_i8_" : "linear_i4_") +
                                          std::to_string(rows) + "_" + std::to_string(group)));
  };
  addGroups(Type::i8, 8, 32);
  addGroups(Type::i8, 32, 128);
  for (int rows : {8, 16, 32})
    for (int group : {32, 128})
      addGroups(Type::i4x2, rows, group);
  quantised.n = 16384;
  quantised.max_rows = 8;
  all.push_back(describe(quantised, "linear_i4_wide"));
  all.push_back(describe(f32_linear, "linear_f32_i4"));
  TiledLinear tiled;
  tiled.n = tiled.out_stride = 3072;
  tiled.k = tiled.x_stride = 8192;
  all.push_back(describe(tiled, "linear_tiled"));
  Dequantize dequantize;
  dequantize.n = dequantize.k = 3072;
  all.push_back(describe(dequantize, "dequantize"));
  dequantize.w_type = Type::i4x2;
  dequantize.group = 64;
  all.push_back(describe(dequantize, "dequantize_i4"));
  dequantize.w_type = Type::i8;
  dequantize.scale_type = Type::f16;
  all.push_back(describe(dequantize, "dequantize_i8_groups"));
  CausalConv1d convolution;
  convolution.channels = 5120;
  convolution.x_stride = 8216;
  convolution.out_stride = 5120;
  all.push_back(describe(convolution, "conv"));
  GatedRmsNorm norm;
  norm.features = 3072;
  norm.groups = 24;
  norm.y_stride = norm.out_stride = 3072;
  norm.z_stride = 8216;
  all.push_back(describe(norm, "gated_norm"));
  norm.norm_first = norm.shared_weight = true;
  all.push_back(describe(norm, "norm_first"));
  norm.gated = false;
  all.push_back(describe(norm, "head_norm"));
  GatedDelta delta = qwen_delta();
  all.push_back(describe(delta, "delta"));
  delta.k_type = Type::f32; // not on tensor cores
  all.push_back(describe(delta, "delta_mixed"));
  delta.k_type = Type::bf16;
  delta.key_size = 256; // the largest
  all.push_back(describe(delta, "delta_wide"));
  delta.key_size = 128;
  delta.decode = true;
  all.push_back(describe(delta, "delta_decode"));
  Router router; // of DeepSeek-V3
  router.experts = router.logits_stride = 256;
  router.chosen = router.weights_stride = router.experts_stride = 8;
  router.groups = 8;
  router.kept_groups = 4;
  router.sigmoid = router.normalize = router.has_correction = true;
  all.push_back(describe(router, "router"));
  ExpertLinear experts = qwen_experts();
  all.push_back(describe(experts, "expert_linear"));
  experts.few_rows = true;
  all.push_back(describe(experts, "expert_linear_few"));
  experts.w_type = Type::i8;
  all.push_back(describe(experts, "expert_linear_few_i8"));
  experts.few_rows = false;
  all.push_back(describe(experts, "expert_linear_i8"));
  experts.w_type = Type::i4x2;
  experts.group = 128;
  all.push_back(describe(experts, "expert_linear_i4"));
  experts.few_rows = true;
  all.push_back(describe(experts, "expert_linear_few_i4"));
  experts.w_type = Type::i8;
  all.push_back(describe(experts, "expert_linear_few_i8_groups"));
  experts.few_rows = false;
  all.push_back(describe(experts, "expert_linear_i8_groups"));
  Combine combine;
  combine.columns = combine.out_stride = 2048;
  combine.parts = combine.weights_stride = 8;
  combine.x_stride = 8 * 2048;
  all.push_back(describe(combine, "combine"));
  Sample sample;
  sample.vocabulary = sample.logits_stride = 128256;
  sample.random = true;
  all.push_back(describe(sample, "sample"));
  if (std::string(GetParam()) == "sm_90a") {
    GatedProduct product;
    product.n = product.out_stride = 8192;
    product.k = product.x_stride = 3072;
    all.push_back(describe(product, "gated_product"));
  }
  for (const Description &d : all) {
    ASSERT_EQ(d.error, "");
    for (const Kernel &kernel : d.kernels) {
      m1k::test::Compiled compiled = m1k::test::compile(kernel, GetParam());
      if (compiled.error.find("was not found") != std::string::npos)
        GTEST_SKIP() << compiled.error;
      EXPECT_EQ(compiled.error, "") << kernel.symbol;
      // Up to 16 bytes are convergence barriers that ptxas keeps on the stack, not data.
      EXPECT_LE(compiled.spill_bytes, 16) << kernel.symbol;
    }
  }
}
// What takes e4m3 has instructions from sm_89 on.
TEST(CompilesE4m3, WithoutSpills) {
  std::vector<Description> all;
  for (int rows : {1, 8, 16}) {
    Linear streamed = linear(3072, 8192);
    streamed.w_type = Type::e4m3;
    streamed.max_rows = rows;
    all.push_back(describe(streamed, "linear_e4m3_" + std::to_string(rows)));
    streamed.gated = true;
    streamed.squares = 384;
    if (rows == 8) {
      streamed.largest = 192;
      streamed.leaves_largest = true;
    }
    all.push_back(describe(streamed, "gated_linear_e4m3_" + std::to_string(rows)));
    streamed.x_type = streamed.out_type = Type::f32;
    all.push_back(describe(streamed, "linear_f32_e4m3_" + std::to_string(rows)));
  }
  Dequantize dequantize;
  dequantize.n = dequantize.k = 3072;
  dequantize.w_type = Type::e4m3;
  all.push_back(describe(dequantize, "dequantize_e4m3"));
  QuantizeRows rows;
  rows.k = rows.x_stride = 3072;
  all.push_back(describe(rows, "quantize_rows"));
  rows.out_type = Type::bf16;
  all.push_back(describe(rows, "round_rows"));
  rows.out_type = Type::e4m3;
  rows.k = 16384;
  for (QuantizeRows::Of of : {QuantizeRows::Of::gate, QuantizeRows::Of::norm}) {
    rows.of = of;
    all.push_back(describe(rows, of == QuantizeRows::Of::gate ? "quantize_gate" : "quantize_norm"));
  }
  for (const Description &d : all) {
    ASSERT_EQ(d.error, "");
    for (const char *architecture : {"sm_89", "sm_90a"})
      for (const Kernel &kernel : d.kernels) {
        m1k::test::Compiled compiled = m1k::test::compile(kernel, architecture);
        if (compiled.error.find("was not found") != std::string::npos)
          GTEST_SKIP() << compiled.error;
        EXPECT_EQ(compiled.error, "") << kernel.symbol << " " << architecture;
        // For sm_89 ptxas wants up to 15 registers more than three blocks leave, for sm_90a none.
        const int most = std::string(architecture) == "sm_89" ? 60 : 16;
        EXPECT_LE(compiled.spill_bytes, most) << kernel.symbol << " " << architecture;
      }
  }
  rows.k = 20;
  EXPECT_NE(describe(rows, "k").error.find("a multiple of 8 columns"), std::string::npos);
  rows.of = QuantizeRows::Of::rows;
  rows.out_type = Type::i8;
  EXPECT_NE(describe(rows, "k").error.find("out of e4m3 or a float type"), std::string::npos);
  rows.k = 0;
  EXPECT_NE(describe(rows, "k").error.find("sizes must be positive"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Architectures, Compiles, testing::Values("sm_80", "sm_90a"),
                         [](const auto &info) { return std::string(info.param); });

} // namespace
