#include "ConfigParts.h"

#include "llvm/ADT/StringSwitch.h"

#include <array>
#include <cmath>

using namespace mlir;
using namespace m1c;

m1::ScalarFormula m1c::readActivation(const Fields &fields, StringRef name) {
  const std::string act = fields.string(name).value_or("silu");
  m1::ScalarFormula formula = m1::findActivation(act);
  if (!formula)
    fields.error(name) << "expected " << m1::activationNames() << ", got " << act;
  return formula ? formula : m1::scalars::silu;
}

static void readTypes(const Fields &config, ModelConfig &out) {
  StringRef name = config.has("dtype") ? "dtype" : "torch_dtype";
  config.ignore({"dtype", "torch_dtype"});
  std::optional<std::string> type = config.string(name);
  if (!type)
    return;
  StringRef word = *type;
  word.consume_front("torch.");
  out.storedType = llvm::StringSwitch<std::optional<StoredType>>(word)
                       .Case("float32", StoredType::f32)
                       .Case("bfloat16", StoredType::bf16)
                       .Case("float16", StoredType::f16)
                       .Default(std::nullopt);
  if (!out.storedType)
    config.error(name) << "expected float32, bfloat16 or float16, got " << *type;
}

void m1c::readCommon(const ConfigSource &source, int64_t layers) {
  const Fields &config = source.config;
  ModelConfig &out = source.model;
  out.hiddenSize = config.size("hidden_size");
  out.layers = layers && !config.has("num_hidden_layers")
                   ? layers
                   : config.size("num_hidden_layers", mostLayers);
  out.vocabSize = config.size("vocab_size");
  out.maxPositions = config.size("max_position_embeddings", Fields::largest);
  out.tied = config.flag("tie_word_embeddings");
  int64_t ids = out.vocabSize ? out.vocabSize : Fields::largest + 1;
  // Some configurations say -1 for none.
  out.bosId = config.integer("bos_token_id", -1, ids - 1).value_or(-1);
  out.eosIds = config.integersOrOne("eos_token_id", ids);
  readTypes(config, out);
}

double m1c::readEps(const Fields &config, StringRef name) {
  return config.require(name, config.number(name, /*mayBeZero=*/true));
}

AttentionConfig m1c::readAttention(const Fields &config, int64_t hiddenSize, StringRef headDim) {
  AttentionConfig out;
  out.heads = config.size("num_attention_heads", mostHeads);
  out.kvHeads = config.integer("num_key_value_heads", 1, mostHeads).value_or(out.heads);
  if (std::optional<int64_t> dim = config.integer(headDim, 1, largestHead))
    out.headDim = *dim;
  else if (out.heads && hiddenSize % out.heads)
    config.conflict("num_attention_heads")
        << "expected a divisor of hidden_size " << hiddenSize << ", got " << out.heads;
  else if (out.heads)
    out.headDim = hiddenSize / out.heads;
  if (out.kvHeads && out.heads % out.kvHeads)
    config.conflict("num_key_value_heads")
        << "expected a divisor of num_attention_heads " << out.heads << ", got " << out.kvHeads;
  if (out.heads * out.headDim > largestHeads)
    config.conflict("num_attention_heads")
        << "expected at most " << largestHeads << " values in all heads, got " << out.heads
        << " heads of " << out.headDim;
  out.scale = 1 / std::sqrt(double(std::max<int64_t>(out.headDim, 1)));
  return out;
}

int64_t m1c::readRank(const Fields &config, StringRef name, int64_t hiddenSize) {
  const llvm::json::Value *value = config.find(name);
  bool automatic = !value || value->getAsString() == std::optional<StringRef>("auto");
  return automatic ? (hiddenSize + 15) / 16 : config.integer(name, 1, largestSize).value_or(1);
}

static void readStepLimits(const Fields &config, StringRef name, Mamba2Config &out) {
  const llvm::json::Value *value = config.find(name);
  if (!value)
    return;
  const llvm::json::Array *limits = value->getAsArray();
  // transformers writes infinity as a number that JSON does not have, or as an object.
  auto number = [](const llvm::json::Value &limit) -> std::optional<double> {
    const llvm::json::Object *object = limit.getAsObject();
    if (object && object->getString("__float__") == std::optional<StringRef>("Infinity"))
      return std::numeric_limits<double>::infinity();
    return limit.getAsNumber();
  };
  std::optional<double> least, largest;
  if (limits && limits->size() == 2) {
    least = number((*limits)[0]);
    largest = number((*limits)[1]);
  }
  if (!least || !largest || !(*least >= 0) || !(*largest > *least) || std::isinf(*least)) {
    config.error(name) << "expected two numbers from 0 to Infinity, the second larger, "
                          "got "
                       << Fields::text(*value);
    return;
  }
  out.leastStep = *least;
  out.largestStep = *largest;
}

/// `headDim` where it is not 0: of each head.
static Mamba2Config readMamba2(const Fields &config, const Mamba2Names &names, int64_t headDim) {
  Mamba2Config out;
  out.heads = config.size(names.heads, mostHeads);
  out.headDim = headDim ? headDim : config.size(names.headDim, largestHead);
  out.groups = config.size(names.groups, mostHeads);
  out.states = config.size(names.states, largestHead);
  out.convWidth = config.size(names.convWidth, widestConv);
  out.convBias = config.flag(names.convBias);
  out.bias = out.outputBias = config.flag(names.bias);
  if (out.groups && out.heads % out.groups)
    config.conflict(names.groups) << "expected a divisor of " << names.heads << " " << out.heads
                                  << ", got " << out.groups;
  if (out.inner() > largestHeads)
    config.conflict(names.heads) << "expected at most " << largestHeads
                                 << " values in all heads, got " << out.heads << " heads of "
                                 << out.headDim;
  readStepLimits(config, names.limit, out);
  return out;
}

Mamba2Config m1c::readMamba2(const Fields &config, const Mamba2Names &names) {
  return ::readMamba2(config, names, 0);
}

Mamba2Config m1c::readHybridMamba2(const Fields &config, int64_t inner, const Mamba2Names &names) {
  const llvm::json::Value *headDim = config.find(names.headDim);
  if (headDim && headDim->getAsString() != std::optional<StringRef>("auto"))
    return m1c::readMamba2(config, names);
  int64_t heads = config.integer(names.heads, 1, mostHeads).value_or(1);
  if (inner % heads || inner / heads > largestHead)
    config.conflict(names.heads) << "expected a divisor of the " << inner
                                 << " channels of all heads, got " << heads;
  return ::readMamba2(config, names, std::clamp<int64_t>(inner / heads, 1, largestHead));
}

int64_t m1c::readExpanded(const Fields &config, int64_t hiddenSize, StringRef name) {
  return std::min(config.size(name, mostHeads) * hiddenSize, largestSize);
}

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

namespace {

/// Scales `rotary` as one set of parameters says.
class RotaryScalingReader {
public:
  /// `config` holds what older files say outside of the parameters.
  RotaryScalingReader(const Fields &scaling, const Fields &config, double theta, ModelConfig &model,
                      RotaryConfig &rotary)
      : scaling(scaling), config(config), theta(theta), model(model), rotary(rotary) {}

  /// The longest context that the result serves.
  int64_t read() {
    scaling.forEach([&](StringRef name, const llvm::json::Value &value) {
      if (const llvm::json::Object *object = value.getAsObject();
          object && !object->get("__float__"))
        scaling.error(name) << "expected one set of rotary parameters for all layers, got "
                            << Fields::text(value);
    });
    StringRef key = scaling.has("rope_type") ? "rope_type" : "type";
    std::string type = scaling.string(key).value_or("default");
    scaling.ignore({"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"});
    int64_t longest = model.maxPositions;
    rotary.scaled = type != "default";
    if (type == "linear") {
      scaling.ignore({"original_max_position_embeddings"});
      double factor = required("factor");
      for (double &f : rotary.frequencies)
        f /= factor;
    } else if (type == "llama3") {
      readLlama3();
    } else if (type == "yarn") {
      readYarn();
    } else if (type == "dynamic") {
      // Beyond the length that the model was trained for, frequencies depend on the length of each
      // sequence; up to it they are those of no scaling.
      required("factor");
      longest = std::min(
          longest,
          scaling.integer("original_max_position_embeddings").value_or(model.maxPositions));
      model.extends = false;
    } else if (type == "longrope") {
      longest = readLongRope();
      model.extends = false;
    } else if (type != "default") {
      scaling.error(key) << "expected default, linear, llama3, yarn, dynamic or longrope, got "
                         << type;
      return longest;
    }
    scaling.forEachUnread([&](StringRef name, const llvm::json::Value &value) {
      if (type == "default" && (name == "factor" || name.starts_with("original_max_position")))
        return;
      scaling.conflict(name) << "not understood with rope_type " << type << ", got "
                             << Fields::text(value);
    });
    return longest;
  }

private:
  /// 1 after an error, so that computing goes on.
  double required(StringRef name) {
    double value = scaling.require(name, scaling.number(name));
    return value > 0 ? value : 1;
  }

  /// The context of the training, which may stand at top level and counts there first, as in
  /// transformers.
  std::optional<int64_t> trainedContext() {
    const StringRef name = "original_max_position_embeddings";
    std::optional<int64_t> inner = scaling.integer(name), outer = config.integer(name);
    return outer ? outer : inner;
  }

  void readLlama3() {
    double factor = required("factor"), low = required("low_freq_factor"),
           high = required("high_freq_factor"),
           original = double(trainedContext().value_or(model.maxPositions));
    if (!scaling.hasFailed() && high <= low)
      scaling.error("high_freq_factor")
          << "expected more than low_freq_factor, got " << high << " and " << low;
    for (double &f : rotary.frequencies) {
      double wavelength = 2 * M_PI / f;
      if (wavelength > original / low) {
        f /= factor;
      } else if (wavelength >= original / high) {
        double s = (original / wavelength - low) / (high - low);
        f = (1 - s) * f / factor + s * f;
      }
    }
  }

  /// Ding et al., arXiv 2402.13753, with the defaults of transformers. There are frequencies for
  /// sequences up to the length that the model was trained for, and others for longer ones: those
  /// of a sequence change when it grows, which is not computed.
  int64_t readLongRope() {
    const double original = double(trainedContext().value_or(model.maxPositions));
    double factor = scaling.number("factor").value_or(double(model.maxPositions) / original);
    rotary.scale =
        factor <= 1 || original < 2 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
    rotary.scale = scaling.number("attention_factor").value_or(rotary.scale);
    for (StringRef name : {"long_factor", "short_factor"}) {
      if (!scaling.has(name))
        scaling.error(name) << "missing";
      SmallVector<double> factors = scaling.multipliers(name, rotary.frequencies.size());
      for (auto [f, factor] : llvm::zip_equal(rotary.frequencies, factors)) {
        if (!(factor > 0))
          scaling.error(name) << "expected positive numbers, got " << factor;
        else if (name == "short_factor")
          f /= factor;
      }
    }
    return int64_t(std::min(original, double(model.maxPositions)));
  }

  /// Peng et al., arXiv 2309.00071, with the defaults of transformers.
  void readYarn() {
    const double original = double(trainedContext().value_or(model.maxPositions));
    // Null: how far the context of the configuration goes beyond that of the training.
    double factor = scaling.mentions("factor") && !scaling.has("factor")
                        ? double(model.maxPositions) / original
                        : required("factor");
    double fast = scaling.number("beta_fast").value_or(32),
           slow = scaling.number("beta_slow").value_or(1);
    bool truncate = scaling.flag("truncate", true);
    scaling.ignore({"extrapolation_factor"});
    // The pair that turns `turns` times within the original context.
    auto pairOf = [&](double turns) {
      return double(rotary.width) * std::log(original / (turns * 2 * M_PI)) / (2 * std::log(theta));
    };
    double low = pairOf(fast), high = pairOf(slow);
    if (truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, double(rotary.width - 1));
    if (low == high)
      high += 0.001;
    for (auto [i, f] : llvm::enumerate(rotary.frequencies)) {
      double ramp = std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
      f = f / factor * ramp + f * (1 - ramp);
    }
    auto magnitude = [&](double mscale) {
      return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
    };
    // 0 is none of them.
    std::optional<double> all = scaling.number("mscale_all_dim", /*mayBeZero=*/true),
                          one = scaling.number("mscale", /*mayBeZero=*/true),
                          given = scaling.number("attention_factor"),
                          relative = scaling.number("attn_factor");
    // attn_factor is a factor of the default (as vLLM reads it), attention_factor takes its place.
    rotary.scale = given ? *given
                   : one.value_or(0) > 0 && all.value_or(0) > 0
                       ? magnitude(*one) / magnitude(*all)
                       : magnitude(1) * relative.value_or(1);
  }

  const Fields &scaling, &config;
  double theta;
  ModelConfig &model;
  RotaryConfig &rotary;
};

} // namespace

static RotaryConfig readScaled(const ConfigSource &source, int64_t headDim, bool scaling,
                               ArrayRef<StringRef> ignored, StringRef thetaName) {
  const Fields &config = source.config;
  ModelConfig &model = source.model;
  // Two generations of config.json: rope_theta and rope_scaling at top level, or rope_parameters,
  // which holds both.
  Fields parameters = config.child("rope_parameters"), older = config.child("rope_scaling");
  std::optional<double> theta = config.number(thetaName),
                        newTheta = parameters.number("rope_theta");
  if (config.has(thetaName) && theta && newTheta && *theta != *newTheta)
    config.error(thetaName) << "differs from 'rope_parameters.rope_theta': " << Fields::text(*theta)
                            << " and " << Fields::text(*newTheta);
  std::optional<double> fraction;
  const Fields *fractionIn = &config;
  const bool whole = !config.findDefault("partial_rotary_factor");
  for (const Fields *fields : std::array<const Fields *, 2>{&config, &parameters}) {
    std::optional<double> stated;
    if (fields->has("partial_rotary_factor"))
      stated = fields->number("partial_rotary_factor");
    if (stated && whole && *stated != 1)
      fields->error("partial_rotary_factor")
          << "value " << Fields::text(*stated) << " changes the maths and is not supported";
    // What the parameters say counts: classes write their default beside it.
    if (stated) {
      fraction = stated;
      fractionIn = fields;
    }
  }

  if (!whole && !fraction)
    fraction = config.findDefault("partial_rotary_factor")->getAsNumber();

  RotaryConfig plain;
  const double rotated = std::trunc(double(headDim) * (whole ? 1 : *fraction));
  if (rotated <= double(headDim))
    plain.width = int64_t(rotated);
  if (headDim % 2)
    config.conflict("head_dim") << "expected an even number, which rotary embeddings need, got "
                                << headDim;
  else if (headDim && (plain.width < 2 || plain.width % 2))
    fractionIn->conflict("partial_rotary_factor")
        << "expected an even number of rotated elements of the " << headDim << " of a head, got "
        << Fields::text(rotated);
  double base = newTheta ? *newTheta : config.require(thetaName, theta);
  for (int64_t i = 0; i < plain.width / 2; ++i)
    plain.frequencies.push_back(std::pow(base, -2.0 * double(i) / double(plain.width)));
  if (!scaling)
    return plain;

  auto scaled = [&](const Fields &fields) {
    RotaryConfig result = plain;
    fields.ignore(ignored);
    if (fields)
      model.maxPositions = RotaryScalingReader(fields, config, base, model, result).read();
    return result;
  };
  if (!parameters || !older)
    return scaled(parameters ? parameters : older);
  RotaryConfig result = scaled(parameters), other = scaled(older);
  if (!config.hasFailed() &&
      (result.frequencies != other.frequencies || result.scale != other.scale))
    config.error("rope_scaling") << "differs from 'rope_parameters'; expected one of the two, or "
                                    "the same in both";
  return result;
}

RotaryConfig m1c::readRotary(const ConfigSource &source, int64_t headDim, bool scaling,
                             ArrayRef<StringRef> ignored, StringRef theta) {
  RotaryConfig result = readScaled(source, headDim, scaling, ignored, theta);
  ArrayRef<float> factors = source.data.getRotaryFactors();
  for (size_t i = 0; i < std::min(factors.size(), result.frequencies.size()); ++i)
    result.frequencies[i] /= double(factors[i]);
  result.scaled |= !factors.empty();
  return result;
}

ExpertsConfig m1c::readExperts(const Fields &config, StringRef experts, int64_t size) {
  ExpertsConfig result;
  result.count = config.size(experts, mostExperts);
  result.chosen = config.size("num_experts_per_tok", mostExperts);
  result.size = size;
  if (result.chosen > result.count)
    config.conflict("num_experts_per_tok")
        << "expected at most " << experts << " " << result.count << ", got " << result.chosen;
  return result;
}
