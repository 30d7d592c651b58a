// Operations that walk over the tokens of each sequence with a state of their own. One that nothing
// else computes has its formula here.
#include "Evaluation.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;

namespace m1c::reference {

/// Gated delta rule. q, k: [T, Hk·Dk], v: [T, Hv·Dv], a, b: [T, Hv]; decay and bias (null: none)
/// [1, Hv]. Pool: [Hv, Dk, Dv].
struct GatedDeltaShape {
  int64_t heads, keySize, valueSize;
  double eps, scale;
};
static bool gatedDelta(const Rows &q, const Rows &k, const Rows &v, const Rows &a, const Rows &b,
                       const Rows &decay, const Rows *bias, const GatedDeltaShape &shape,
                       const ReferenceBatch &batch, Pool &pool, Rows &result) {
  const int64_t H = shape.heads, K = shape.keySize, V = shape.valueSize,
                perKey = H / (k.columns / K);
  result = Rows(q.rows, H * V);
  auto unit = [&](const Rows &x, int64_t t, int64_t head) {
    std::vector<double> y(x.values.begin() + t * x.columns + head * K,
                          x.values.begin() + t * x.columns + (head + 1) * K);
    double squares = shape.eps;
    for (double value : y)
      squares += value * value;
    for (double &value : y)
      value /= std::sqrt(squares);
    return y;
  };
  return forSequences(batch, H * K * V, pool, [&](auto begin, auto end, auto &state) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < H; ++h) {
        std::vector<double> query = unit(q, t, h / perKey), key = unit(k, t, h / perKey);
        double keep = std::exp(decay[h] * softplus(a.at(t, h) + (bias ? (*bias)[h] : 0.0)));
        double beta = sigmoid(b.at(t, h));
        double *S = state.data() + h * K * V;
        for (int64_t j = 0; j < V; ++j) {
          double seen = 0.0, y = 0.0;
          for (int64_t i = 0; i < K; ++i)
            seen += (S[i * V + j] *= keep) * key[i];
          double delta = beta * (v.at(t, h * V + j) - seen);
          for (int64_t i = 0; i < K; ++i)
            y += (S[i * V + j] += key[i] * delta) * query[i];
          result.at(t, h * V + j) = shape.scale * y;
        }
      }
  });
}

/// Real-gated linear recurrent unit. x and gates: [T, C], lambda: [1, C]. Pool: [C].
static bool rgLru(const Rows &x, const Rows &inputGate, const Rows &recurrenceGate,
                  const Rows &lambda, const ReferenceBatch &batch, Pool &pool, Rows &result) {
  result = Rows(x.rows, x.columns);
  return forSequences(batch, x.columns, pool, [&](auto begin, auto end, auto &h) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t c = 0; c < x.columns; ++c) {
        double logA = -8.0 * softplus(lambda[c]) * sigmoid(recurrenceGate.at(t, c));
        double gated = sigmoid(inputGate.at(t, c)) * x.at(t, c);
        double factor = batch.positions[t] == 0 ? 1.0 : std::sqrt(-std::expm1(2.0 * logA));
        h[c] = std::exp(logA) * h[c] + factor * gated;
        result.at(t, c) = h[c];
      }
  });
}

/// y + D·x; D has a value per channel or per head of neighbouring channels.
static Rows skip(Rows y, const Rows &x, const Rows &D) {
  int64_t share = y.columns / D.columns;
  for (int64_t t = 0; t < y.rows; ++t)
    for (int64_t c = 0; c < y.columns; ++c)
      y.at(t, c) += D[c / share] * x.at(t, c);
  return y;
}

/// Δ = dt, or softplus(dt + bias).
Rows Evaluation::delta(Value dt, Value bias, bool apply) const {
  if (!apply)
    return get(dt);
  Rows result = get(dt);
  for (int64_t t = 0; t < result.rows; ++t)
    for (int64_t c = 0; c < result.columns; ++c)
      result.at(t, c) = softplus(result.at(t, c) + (bias ? get(bias)[c] : 0.0));
  return result;
}

LogicalResult Evaluation::leave(Operation *op, Value state, bool hasRead, Rows result) {
  if (!hasRead)
    return unwritten(op);
  Type element = cast<m1::StateTypeInterface>(state.getType()).getElementType();
  roundStates(element.isF16()    ? StateFormat::f16
              : element.isBF16() ? StateFormat::bf16
                                 : StateFormat::exact,
              batch, pool(state));
  return set(op->getResult(0), std::move(result));
}

LogicalResult Evaluation::mixer(Operation *op) {
  Rows y;
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](m1::CausalConv1dOp op) {
        // Repeating heads commutes with a depthwise convolution of the inputs, but the weights are
        // per output channel: repeat first. The state holds input channels once; here a slot holds
        // the repeated ones, which no other operation sees.
        Rows x =
            repeatHeads(get(op.getX()), op.getRepeat() > 1 ? op.getHeadSize() : 1, op.getRepeat());
        const bool hasRead = causalConvolution(x, get(op.getWeight()), getOptional(op.getBias()),
                                               batch, pool(op.getState()), y);
        if (op.getActivation() == m1::Activation::Silu)
          y = map(y, silu);
        return leave(op, op.getState(), hasRead, std::move(y));
      })
      .Case([&](m1::SelectiveScanOp op) {
        const Rows &A = get(op.getA());
        Rows x = repeatHeads(get(op.getX()), A.columns, A.rows / get(op.getX()).columns);
        const bool hasRead =
            selectiveScan(x, delta(op.getDt(), op.getDtBias(), op.getDeltaSoftplus()), A,
                          get(op.getB()), get(op.getC()), batch, pool(op.getState()), y);
        if (op.getD())
          y = skip(y, x, get(op.getD()));
        if (op.getZ())
          y = map(y, get(op.getZ()), [](double a, double z) { return a * silu(z); });
        return leave(op, op.getState(), hasRead, std::move(y));
      })
      .Case([&](m1::SsdScanOp op) {
        auto shape = op.getState().getType().getShape();
        const int64_t H = shape[0], P = shape[1], N = shape[2];
        Rows x = repeatHeads(get(op.getX()), P, H * P / get(op.getX()).columns);
        const bool hasRead =
            ssdScan(x, delta(op.getDt(), op.getDtBias(), op.getDeltaSoftplus()), get(op.getA()),
                    get(op.getB()), get(op.getC()), N, batch, pool(op.getState()), y);
        if (op.getD())
          y = skip(y, x, get(op.getD()));
        return leave(op, op.getState(), hasRead, std::move(y));
      })
      .Case([&](m1::GatedDeltaOp op) {
        auto shape = op.getState().getType().getShape();
        const bool hasRead =
            gatedDelta(get(op.getQ()), get(op.getK()), get(op.getV()), get(op.getA()),
                       get(op.getB()), get(op.getDecay()), getOptional(op.getDtBias()),
                       {shape[0], shape[1], shape[2], op.getEps().convertToDouble(),
                        op.getScale().convertToDouble()},
                       batch, pool(op.getState()), y);
        return leave(op, op.getState(), hasRead, std::move(y));
      })
      .Case([&](m1::RgLruOp op) {
        const bool hasRead =
            rgLru(get(op.getX()), get(op.getInputGate()), get(op.getRecurrenceGate()),
                  get(op.getLambda()), batch, pool(op.getState()), y);
        return leave(op, op.getState(), hasRead, std::move(y));
      })
      .Default([](Operation *op) {
        return LogicalResult(op->emitOpError("has no reference evaluation"));
      });
}

} // namespace m1c::reference
