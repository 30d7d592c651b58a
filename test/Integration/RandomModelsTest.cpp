// Checkpoints drawn at random, compiled and run, against the reference evaluator and the formulas
// of the specification, both in float64.
//
// M1_RANDOM_MODELS: how many (200). M1_TEST_SEED=N repeats a failure: it becomes case 0.
#include "CompiledModel.h"
#include "EvaluatedModel.h"
#include "RandomCheckpoint.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>

using namespace m1test;

namespace {

std::vector<int32_t> slice(const std::vector<int32_t> &tokens, size_t begin, size_t end) {
  return std::vector<int32_t>(tokens.begin() + begin, tokens.begin() + end);
}

/// A sequence under test: its tokens, what is wanted for them, and how far it got.
struct Track {
  std::vector<int32_t> tokens;
  // logits [T, V]; rows of got that were not asked for are those of want
  std::vector<double> want, got;
  m1_sequence handle = 0;
  size_t done = 0;
};

class RandomModels : public testing::TestWithParam<int> {};

// What one checkpoint computes when several sequences of it are prefilled in ragged chunks, decoded
// together, and forked.
TEST_P(RandomModels, CompiledAgreesWithReference) {
  uint64_t seed = testSeed() + GetParam();
  Checkpoint checkpoint = drawCheckpoint(seed);
  Random random(seed ^ 2);
  Types types;
  if (random.chance(0.35)) {
    types.activation = "bf16";
    types.state = random.pick({"f32", "bf16"});
    types.kv = random.pick({"f32", "bf16"});
  } else if (random.chance(0.2)) {
    types.kv = "bf16";
  } else if (random.chance(0.2)) {
    types.state = "bf16";
  }
  // Every instruction set that this machine has: the kernels' vectors split differently on each.
  types.cpu = random.pick(
      {"native", "x86-64-v3", __builtin_cpu_supports("x86-64-v4") ? "x86-64-v4" : "x86-64-v3"});
  types.quantize = random.chance(0.2) ? random.pick({"int8", "fp8", "int4:32", "int4:64",
                                                     "int4:128", "int8:32", "int8:64", "int8:128"})
                                      : "";
  const bool isFp8 = types.quantize == "fp8";
  bool rounded = types.activation == "bf16" || types.kv == "bf16" || types.state == "bf16";
  SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " activation " << types.activation
                                  << " state " << types.state << " kv " << types.kv << " cpu "
                                  << types.cpu << " " << types.quantize << " "
                                  << checkpoint.describe());
  TemporaryDirectory directory;
  checkpoint.write(directory.path);
  ASSERT_EQ(compileModel(directory.path, directory / "model.m1a", types), "");

  // What is wanted comes from the formulas applied to the checkpoint, quantised: to what its
  // integers stand for. The evaluator, which walks the module that the kernels are made of, must
  // want the same. 1e-4: its A, D and rotary tables are f32. Of fp8, which rounds rows as well, the
  // evaluator alone says what is wanted.
  EvaluatedModel evaluated(directory.path,
                           types.quantize.empty()
                               ? "m1-optimize"
                               : "m1-optimize,m1-quantize-weights{format=" + types.quantize + "}");
  ASSERT_TRUE(evaluated.reference);
  const Checkpoint stored = evaluated.quantised(checkpoint);
  const bool isBf16 = types.activation == "bf16";
  // Integers are multiplied as they are, or as bf16 of integer times scale.
  auto plainError = [&](const Track &track, uint64_t seed) {
    const bool roundsMatrices = isBf16 && (types.quantize.empty() || seed % 2 == 0);
    return normError(
        directLogits(stored, track.tokens,
                     {roundsMatrices, isBf16, types.state == "bf16", types.kv == "bf16", seed}),
        track.want);
  };
  std::vector<Track> tracks(random.integer(1, 5));
  double naive = 0;
  for (Track &track : tracks) {
    int64_t length = random.chance(0.03) ? random.integer(257, 300) : random.integer(2, 40);
    track.tokens = random.tokens(length, checkpoint.vocabulary);
    track.got = track.want = directLogits(stored, track.tokens);
    const std::vector<double> wanted = evaluated.logits("prefill", {{0, 0, track.tokens}});
    if (!isFp8)
      ASSERT_LE(relativeError(wanted, track.want), 1e-4);
    if (rounded)
      naive = std::max(naive, plainError(track, 0));
    if (isFp8)
      track.got = track.want = wanted;
  }
  // docs/numerics.md. f32: the largest difference, in the spread of the logits. bf16: in the
  // Euclidean norm, and where a model amplifies roundings beyond the bound, no more than plain code
  // that rounds alike: where it does so by chance, in any of 16 draws.
  // fp8: one activation that falls to the other side of a boundary between codes moves those
  // behind it across others: results differ by up to what the format itself costs.
  double limit = rounded ? std::max(isFp8 ? 4e-1 : 3e-2, 2.0 * naive) : isFp8 ? 2e-1 : 1e-3;

  CompiledModel model(directory / "model.m1a", static_cast<uint32_t>(tracks.size()) + 1, 400, 400);
  ASSERT_EQ(model.problem, "");
  for (Track &track : tracks)
    track.handle = model.newSequence();

  size_t v = checkpoint.vocabulary;
  bool sparse = random.chance(0.5);
  auto advance = [&](const std::vector<size_t> &counts) {
    std::vector<CompiledModel::Entry> entries;
    for (size_t i = 0; i < tracks.size(); ++i)
      if (counts[i]) {
        entries.push_back({tracks[i].handle,
                           slice(tracks[i].tokens, tracks[i].done, tracks[i].done + counts[i])});
        // Often the last token's only, or none, as in serving; the rest of a prompt then takes
        // shorter ways.
        if (sparse && counts[i] > 1)
          entries.back().logits = random.pick<int64_t>({0, 1, 1, random.integer(0, counts[i])});
      }
    if (entries.empty())
      return;
    auto result = model.step(entries);
    ASSERT_EQ(model.problem, "");
    size_t row = 0;
    auto entry = entries.begin();
    for (size_t i = 0; i < tracks.size(); ++i) {
      if (!counts[i])
        continue;
      size_t wanted = entry->logits < 0 ? counts[i] : entry->logits;
      tracks[i].done += counts[i];
      std::copy_n(result.logits.begin() + row * v, wanted * v,
                  tracks[i].got.begin() + (tracks[i].done - wanted) * v);
      row += wanted;
      ++entry;
    }
    for (size_t r = 0; r < row; ++r) {
      auto begin = result.logits.begin() + r * v;
      ASSERT_EQ(result.nextTokens[r], std::max_element(begin, begin + v) - begin);
    }
  };

  // Ragged steps: each sequence takes a chunk of its own size, or waits. The last three tokens are
  // left for decoding.
  auto left = [](const Track &track) {
    return track.tokens.size() - std::min(track.tokens.size() - 1, size_t(3)) - track.done;
  };
  for (;;) {
    std::vector<size_t> counts;
    size_t total = 0;
    for (const Track &track : tracks) {
      size_t most = std::min<size_t>(left(track), 100);
      counts.push_back(most && random.chance(0.7) ? random.integer(1, most) : 0);
      total += most;
    }
    if (!total)
      break;
    ASSERT_NO_FATAL_FAILURE(advance(counts));
  }
  // Decoding of all that are not at their end; the first sequence's fork must then go the same way.
  m1_sequence copy = model.fork(tracks[0].handle);
  size_t forkedAt = tracks[0].done;
  for (int i = 0; i < 3; ++i) {
    std::vector<size_t> counts;
    for (const Track &track : tracks)
      counts.push_back(track.done < track.tokens.size());
    ASSERT_NO_FATAL_FAILURE(advance(counts));
  }
  for (const Track &track : tracks)
    ASSERT_EQ(track.done, track.tokens.size());
  if (forkedAt < tracks[0].tokens.size()) {
    auto result = model.step({{copy, slice(tracks[0].tokens, forkedAt, tracks[0].tokens.size())}});
    ASSERT_EQ(model.problem, "");
    Track forked = tracks[0];
    std::copy(result.logits.begin(), result.logits.end(), forked.got.begin() + forkedAt * v);
    tracks.push_back(forked);
  }
  double worst = 0;
  for (const Track &track : tracks)
    worst = std::max(worst, rounded || isFp8 ? normError(track.got, track.want)
                                             : relativeError(track.got, track.want));
  for (uint64_t draw = 1; rounded && !isFp8 && worst > limit && draw <= 16; ++draw)
    for (const Track &track : tracks) {
      naive = std::max(naive, plainError(track, draw));
      limit = std::max(limit, 2 * naive);
    }
  EXPECT_LE(worst, limit) << (rounded ? "plain code that rounds alike: " + std::to_string(naive)
                                      : "");
  RecordProperty("relative_error", std::to_string(worst));
}

int count() {
  const char *given = std::getenv("M1_RANDOM_MODELS");
  return given ? std::atoi(given) : 200;
}
INSTANTIATE_TEST_SUITE_P(All, RandomModels, testing::Range(0, count()));

} // namespace
