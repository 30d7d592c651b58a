// The models as the specification states them, one sequence at a time, in float64: no intermediate
// language, no batch, no state carried; roundings on request.
#include "Formulas.h"
#include "RandomCheckpoint.h"

#include <algorithm>
#include <cmath>

using namespace m1c;
using namespace m1c::reference;

namespace m1test {
namespace {

class DirectModel {
public:
  DirectModel(const Checkpoint &c, const std::vector<int32_t> &tokens, const Roundings &roundings)
      : c(c), tokens(tokens), roundings(roundings), random(roundings.seed),
        batch(makeReferenceBatch({{0, 0, tokens}})) {}

  std::vector<double> run() {
    Rows table = matrix(c.tensors.at("model.embed_tokens.weight"));
    Rows h(length(), c.hidden);
    for (int64_t t = 0; t < length(); ++t)
      for (int64_t i = 0; i < c.hidden; ++i)
        h.at(t, i) = table.at(tokens[t], i);
    for (layer = 0; layer < c.layers; ++layer) {
      Rows x = activation(rmsNorm(h, weight("input_layernorm.weight"), c.eps));
      h = map(h,
              c.isAttention[layer]                 ? attentionMixer(x)
              : c.kind == Checkpoint::Kind::mamba2 ? mamba2(x)
                                                   : mamba1(x),
              plus);
      x = activation(rmsNorm(h, weight("post_attention_layernorm.weight"), c.eps));
      Rows inner = map(project(x, "mlp.gate_proj"), project(x, "mlp.up_proj"),
                       [](double a, double b) { return silu(a) * b; });
      h = map(h, project(activation(inner), "mlp.down_proj"), plus);
    }
    Rows x = activation(rmsNorm(h, rows(c.tensors.at("model.norm.weight")), c.eps));
    return linear(x, matrix(c.tensors.at(c.tied ? "model.embed_tokens.weight" : "lm_head.weight")),
                  nullptr)
        .values;
  }

private:
  static double plus(double a, double b) { return a + b; }
  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  static Rows rows(const Tensor &tensor) {
    Rows r(tensor.shape.size() == 1 ? 1 : tensor.shape[0], 0);
    r.columns = tensor.count() / r.rows;
    r.values = tensor.values;
    return r;
  }
  double roundBf16(double v) const {
    if (roundings.seed)
      v *= 1 + std::uniform_real_distribution(-0x1p-9, 0x1p-9)(random);
    return roundTo(Stored::bf16, v);
  }
  Rows rounded(const Rows &x) const {
    return map(x, [&](double v) { return roundBf16(v); });
  }
  Rows activation(const Rows &x) const { return roundings.activations ? rounded(x) : x; }
  Rows matrix(const Tensor &tensor) const {
    return roundings.matrices ? rounded(rows(tensor)) : rows(tensor);
  }
  const Tensor *find(const std::string &part) const {
    auto found = c.tensors.find("model.layers." + std::to_string(layer) + "." + part);
    return found == c.tensors.end() ? nullptr : &found->second;
  }
  Rows weight(const std::string &part) const { return rows(*find(part)); }
  /// x · weightᵀ + bias, if there is one.
  Rows project(const Rows &x, const std::string &part) const {
    const Tensor *bias = find(part + ".bias");
    Rows b = bias ? rows(*bias) : Rows();
    return activation(linear(x, matrix(*find(part + ".weight")), bias ? &b : nullptr));
  }

  /// The pieces of in_proj x, from one matrix or from a matrix each.
  std::vector<Rows>
  projectPieces(const Rows &x, const std::string &whole,
                const std::vector<std::pair<std::string, int64_t>> &pieces) const {
    std::vector<Rows> result;
    if (!find(whole + ".weight")) {
      for (auto &[name, size] : pieces)
        result.push_back(project(x, name));
      return result;
    }
    Rows all = project(x, whole);
    int64_t begin = 0;
    for (auto &[name, size] : pieces) {
      result.push_back(columns(all, begin, size));
      begin += size;
    }
    return result;
  }

  Rows convolve(const Rows &x) const {
    const Tensor *bias = find("mamba.conv1d.bias");
    Rows b = bias ? rows(*bias) : Rows(), result;
    Pool pool;
    causalConvolution(x, weight("mamba.conv1d.weight"), bias ? &b : nullptr, batch, pool, result);
    return activation(map(result, silu));
  }
  Rows rates() const {
    return map(weight("mamba.A_log"), [](double v) { return -std::exp(v); });
  }
  /// + D·x, D per channel or per head.
  Rows skip(Rows y, const Rows &x) const {
    Rows D = weight("mamba.D");
    for (int64_t t = 0; t < y.rows; ++t)
      for (int64_t i = 0; i < y.columns; ++i)
        y.at(t, i) += D[i / (y.columns / D.columns)] * x.at(t, i);
    return y;
  }

  /// scan(batch, pool, row range) over all tokens at once, or token by token with the state rounded
  /// after each.
  template <typename Scan> Rows scanned(Scan scan) const {
    Pool pool;
    if (!roundings.states)
      return scan(batch, pool, 0, length());
    Rows all;
    for (int32_t t = 0; t < length(); ++t) {
      Rows y = scan(makeReferenceBatch({{0, t, {0}}}), pool, t, 1);
      for (double &v : pool[0])
        v = roundBf16(v);
      all.columns = y.columns;
      all.rows += 1;
      all.values.insert(all.values.end(), y.values.begin(), y.values.end());
    }
    return all;
  }
  static Rows part(const Rows &x, int64_t begin, int64_t count) {
    Rows result(count, x.columns);
    std::copy_n(x.values.begin() + begin * x.columns, count * x.columns, result.values.begin());
    return result;
  }

  Rows mamba1(const Rows &input) const {
    int64_t repeat = c.dInner / c.dXb;
    auto pieces = projectPieces(input, "mamba.in_proj",
                                {{"mamba.in_proj_z", c.dInner},
                                 {"mamba.in_proj_x", c.dXb},
                                 {"mamba.B_proj", c.dXb},
                                 {"mamba.C_proj", c.dInner},
                                 {"mamba.dt_proj_down", c.dtRank}});
    Rows x = c.repeatBeforeConv ? convolve(repeatHeads(pieces[1], c.dState, repeat))
                                : repeatHeads(convolve(pieces[1]), c.dState, repeat);
    Rows B = repeatHeads(pieces[2], c.dState, repeat);
    // The bias a first time in the projection, a second time here.
    Rows delta = project(pieces[4], "mamba.dt_proj"), bias = weight("mamba.dt_proj.bias");
    for (int64_t t = 0; t < delta.rows; ++t)
      for (int64_t i = 0; i < delta.columns; ++i)
        delta.at(t, i) = softplus(delta.at(t, i) + bias[i]);
    Rows y = scanned([&](const ReferenceBatch &batch, Pool &pool, int64_t begin, int64_t count) {
      Rows result;
      selectiveScan(part(x, begin, count), part(delta, begin, count), rates(),
                    part(B, begin, count), part(pieces[3], begin, count), batch, pool, result);
      return result;
    });
    y = map(skip(y, x), pieces[0], [](double a, double z) { return a * silu(z); });
    return project(activation(y), "mamba.out_proj");
  }

  Rows mamba2(const Rows &input) const {
    int64_t H = c.dInner / c.dState, repeat = c.dInner / c.dXb;
    auto pieces = projectPieces(input, "mamba.in_proj",
                                {{"", c.dInner}, {"", 2 * c.dXb + c.dInner}, {"", H}});
    Rows xBC = convolve(pieces[1]);
    Rows x = repeatHeads(columns(xBC, 0, c.dXb), c.dState, repeat),
         B = repeatHeads(columns(xBC, c.dXb, c.dXb), c.dState, repeat);
    Rows C = columns(xBC, 2 * c.dXb, c.dInner), delta = pieces[2], bias = weight("mamba.dt_bias");
    for (int64_t t = 0; t < delta.rows; ++t)
      for (int64_t h = 0; h < H; ++h)
        delta.at(t, h) = softplus(delta.at(t, h) + bias[h]);
    Rows y = scanned([&](const ReferenceBatch &batch, Pool &pool, int64_t begin, int64_t count) {
      Rows result;
      ssdScan(part(x, begin, count), part(delta, begin, count), rates(), part(B, begin, count),
              part(C, begin, count), c.dState, batch, pool, result);
      return result;
    });
    y = map(activation(skip(y, x)), pieces[0], [](double a, double z) { return a * silu(z); });
    return project(activation(rmsNorm(y, weight("mamba.norm.weight"), 1e-5, H)), "mamba.out_proj");
  }

  /// cos, then sin of each token's angles.
  Rows angles() const {
    int64_t half = c.headDim / 2;
    Rows table(length(), c.headDim);
    for (int64_t i = 0; i < half; ++i) {
      double f = std::pow(c.theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.headDim));
      double wavelength = 2 * M_PI / f;
      if (c.linearlyScaled && !c.isM1()) {
        f = f / c.factor;
      } else if (c.scaled && !c.isM1()) {
        double s = (c.original / wavelength - c.low) / (c.high - c.low);
        if (wavelength > c.original / c.low)
          f = f / c.factor;
        else if (wavelength >= c.original / c.high)
          f = (1 - s) * f / c.factor + s * f;
      }
      for (int64_t t = 0; t < length(); ++t) {
        table.at(t, i) = std::cos(static_cast<double>(t) * f);
        table.at(t, half + i) = std::sin(static_cast<double>(t) * f);
      }
    }
    return table;
  }

  Rows attentionMixer(const Rows &input) const {
    int64_t q = c.heads * c.headDim, kv = c.kvHeads * c.headDim;
    auto pieces = projectPieces(
        input, "mha.in_proj",
        {{"self_attn.q_proj", q}, {"self_attn.k_proj", kv}, {"self_attn.v_proj", kv}});
    Rows table = angles(), y;
    CacheShape shape{c.kvHeads, 64, c.headDim};
    Pool pool;
    auto cached = [&](const Rows &x) { return roundings.cache ? rounded(x) : x; };
    writeCache(cached(activation(rotate(pieces[1], table, c.headDim))), cached(pieces[2]), batch,
               shape, pool);
    attention(activation(rotate(pieces[0], table, c.headDim)),
              1 / std::sqrt(static_cast<double>(c.headDim)), 0, batch, shape, pool, y);
    return project(activation(y),
                   find("mha.out_proj.weight") ? "mha.out_proj" : "self_attn.o_proj");
  }

  const Checkpoint &c;
  const std::vector<int32_t> &tokens;
  const Roundings roundings;
  mutable std::mt19937_64 random;
  ReferenceBatch batch;
  int64_t layer = 0;
};

} // namespace

std::vector<double> directLogits(const Checkpoint &checkpoint, const std::vector<int32_t> &tokens,
                                 const Roundings &roundings) {
  return DirectModel(checkpoint, tokens, roundings).run();
}

} // namespace m1test
