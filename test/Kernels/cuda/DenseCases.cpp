// Attention and sampling against float64.
#include "Harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace m1k::test {
namespace {

using namespace cuda;

bool is_code(Type type) { return type == Type::i8 || type == Type::e4m3; }

/// What a code of a cache is, times its scale.
double code_value(unsigned char code, Type type) {
  if (type == Type::i8)
    return static_cast<signed char>(code);
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const double size = exponent ? std::ldexp(8 + fraction, exponent - 10) : std::ldexp(fraction, -9);
  return code & 0x80 ? -size : size;
}

/// Sequences [first, end) share pages [begin, stop).
struct Shared {
  int first, end, begin, stop;
};

/// With `turned` >= 0 the decode step in one launch (AttentionStep), which turns so many columns of
/// a head; it is repeated, and every bit of it.
Case attention_case(const std::string &label, bool smoke, Type type, Type kv_type, int heads,
                    int kv_heads, int d, std::vector<int> lengths, std::vector<int> past,
                    bool decode, int padding = 0, int offset = 0, double spread = 1,
                    int multiprocessors = 132, const std::vector<Shared> &items = {},
                    int window = 0, bool warpgroups = true, int turned = -1) {
  const bool step = turned >= 0;
  std::string name = "attention " + label +
                     (step     ? " step of " + std::to_string(turned) + " "
                      : decode ? " decode "
                               : " prefill ") +
                     type_name(type) + "/" + type_name(kv_type) + " " + std::to_string(heads) +
                     "/" + std::to_string(kv_heads) + "×" + std::to_string(d) +
                     (window ? " window " + std::to_string(window) : "");
  return {
      name, smoke, [=](Context &context) {
        Attention f;
        f.type = type;
        f.kv_type = kv_type;
        f.heads = heads;
        f.kv_heads = kv_heads;
        f.head_dim = d;
        f.q_stride = heads * d + padding + offset;
        f.out_stride = heads * d + padding + offset;
        f.scale = float(1 / std::sqrt(double(d)));
        f.decode = decode;
        f.window = window;
        f.shared = !items.empty();
        Tuning tuning;
        tuning.multiprocessors = multiprocessors;
        tuning.warpgroups = warpgroups && context.warpgroups();
        AttentionStep whole;
        whole.attention = f;
        whole.turned = turned;
        whole.k_stride = kv_heads * d + padding;
        whole.v_stride = kv_heads * d + 2 * padding;
        whole.table_stride = turned + padding;
        whole.counters = counters_of(whole) + 3;
        if (!context.prepare(step ? describe(whole, "kernel", tuning)
                                  : describe(f, "kernel", tuning)))
          return;
        Batch batch = make_batch(lengths, past);
        Random random(23);
        int T = batch.tokens,
            longest = *std::max_element(batch.contexts.begin(), batch.contexts.end());
        int max_pages = (longest + 63) / 64 + 2;
        std::vector<double> q =
            random_values(random, size_t(T) * heads * d, -2 * spread, 2 * spread, type);
        auto first_seen = [&](int position) {
          return window ? std::max(0, position + 1 - window) : 0;
        };
        // The first position that a token of the step sees.
        auto begin_of = [&](int s) {
          return first_seen(batch.contexts[s] - (batch.starts[s + 1] - batch.starts[s]));
        };
        // Page 0 and whatever no position uses hold NaN.
        std::vector<int> tables(size_t(batch.sequences) * max_pages, 0);
        int pages = 1;
        for (int s = 0; s < batch.sequences; ++s)
          for (int p = begin_of(s) / 64; p * 64 < batch.contexts[s]; ++p)
            tables[size_t(s) * max_pages + p] = pages++;
        std::vector<int> order(pages - 1);
        std::iota(order.begin(), order.end(), 1);
        for (size_t i = order.size(); i > 1; --i)
          std::swap(order[i - 1], order[random.next() % i]);
        for (int &page : tables)
          page = page ? order[page - 1] : 0;
        std::vector<int> listed = {int(items.size())}, slots(batch.sequences + 1, 0),
                         shared_pages(batch.sequences, 0), ranks(batch.sequences, 0);
        for (const Shared &item : items) {
          listed.insert(listed.end(),
                        {item.first, item.end, item.begin, item.stop, ranks[item.first]});
          for (int s = item.first; s < item.end; ++s) {
            ++ranks[s];
            shared_pages[s] = item.stop;
            for (int p = item.begin; p < item.stop; ++p)
              tables[size_t(s) * max_pages + p] = tables[size_t(item.first) * max_pages + p];
          }
        }
        for (int s = 0; s < batch.sequences; ++s)
          slots[s + 1] = slots[s] + ranks[s];
        context.integers("prefix_items", listed);
        context.integers("prefix_slots", slots);
        context.integers("prefix_pages", shared_pages);
        size_t page_size = size_t(2) * kv_heads * 64 * d;
        // Of codes: theirs, then the scales of each 64 rows; what is not drawn is all ones.
        const size_t plane = size_t(64) * (d + 4);
        std::vector<char> codes(is_code(kv_type) ? pages * 2 * kv_heads * plane : 0, char(-1));
        auto draw_row = [&](size_t first, double *to, double size) {
          const size_t row = first / d;
          char *base = codes.data() + row / 64 * plane;
          const float scale =
              float(random.uniform(0.2, 2) * size / (kv_type == Type::i8 ? 127 : 448));
          std::memcpy(base + 64 * d + row % 64 * 4, &scale, 4);
          for (int i = 0; i < d; ++i) {
            // All codes but -128 and what is no number.
            const int drawn = int(random.next() >> 20) % 255 - 127;
            const auto code = static_cast<unsigned char>(
                kv_type == Type::i8 ? drawn : std::abs(drawn) % 127 | (drawn < 0 ? 0x80 : 0));
            base[row % 64 * d + i] = char(code);
            to[i] = code_value(code, kv_type) * scale;
          }
        };
        std::vector<double> cache(pages * page_size, std::nan(""));
        auto at = [&](int s, int position, int which, int h) {
          return size_t(tables[size_t(s) * max_pages + position / 64]) * page_size +
                 ((size_t(which) * kv_heads + h) * 64 + position % 64) * d;
        };
        for (int s = 0; s < batch.sequences; ++s)
          for (int p = begin_of(s); p < batch.contexts[s]; ++p)
            for (int which = 0; which < 2; ++which)
              for (int h = 0; h < kv_heads; ++h) {
                const double size = which == 0 ? spread : 1;
                if (is_code(kv_type)) {
                  draw_row(at(s, p, which, h), &cache[at(s, p, which, h)], 2 * size);
                  continue;
                }
                for (int i = 0; i < d; ++i)
                  cache[at(s, p, which, h) + i] = rounded(random.uniform(-2, 2) * size, kv_type);
              }
        context.values("q", in_rows(q, T, heads * d, int(f.q_stride), offset), type);
        std::vector<double> found = cache; // before the step
        if (step) {
          const std::vector<double> angles =
              random_values(random, size_t(T) * turned / 2, -3, 3, Type::f32);
          std::vector<double> table, k, v;
          for (int t = 0; t < T; ++t)
            for (int part = 0; part < 2; ++part)
              for (int i = 0; i < turned / 2; ++i) {
                const double angle = angles[size_t(t) * turned / 2 + i];
                table.push_back(rounded(part ? std::sin(angle) : std::cos(angle), Type::f32));
              }
          auto turn = [&](double *head, int t) {
            const double *of = table.data() + size_t(t) * turned;
            for (int i = 0, half = turned / 2; i < half; ++i) {
              const double low = head[i], high = head[i + half];
              head[i] = rounded(low * of[i] - high * of[i + half], type);
              head[i + half] = rounded(high * of[i] + low * of[i + half], type);
            }
          };
          for (int t = 0; t < T; ++t) {
            for (int h = 0; h < heads; ++h)
              turn(&q[(size_t(t) * heads + h) * d], t);
            for (int which = 0; which < 2; ++which)
              for (int h = 0; h < kv_heads; ++h) {
                const size_t row = at(t, batch.contexts[t] - 1, which, h);
                (which ? v : k).insert((which ? v : k).end(), &cache[row], &cache[row] + d);
                std::fill(&found[row], &found[row] + d, std::nan(""));
                if (!which)
                  turn(&cache[row], t);
              }
          }
          context.values("table", in_rows(table, T, turned, int(whole.table_stride)), Type::f32);
          context.values("k", in_rows(k, T, kv_heads * d, int(whole.k_stride)), type);
          context.values("v", in_rows(v, T, kv_heads * d, int(whole.v_stride)), type);
          context.integers("counters", std::vector<int>(size_t(T) * whole.counters, 0));
        }
        if (is_code(kv_type))
          context.raw("cache", codes);
        else
          context.values("cache", found, kv_type);
        context.integers("block_tables", tables);
        context.poison("out", size_t(T) * f.out_stride * size_of(type));
        put_batch(context, batch);
        context.upload();
        context.shift("q", offset * size_of(type));
        context.shift("out", offset * size_of(type));
        context.launch({T, batch.sequences, 0, max_pages});
        if (step) {
          const std::vector<char> out = context.read_raw("out");
          for (int time = 0; time < 10; ++time) {
            context.upload();
            context.launch({T, batch.sequences, 0, max_pages});
            context.require(context.read_raw("out") == out, "a repetition differs");
          }
          const std::vector<double> left = context.read("cache", kv_type);
          std::vector<double> written, expected;
          int others = 0;
          for (size_t i = 0; i < left.size(); ++i)
            if (std::isnan(found[i]) && !std::isnan(cache[i])) {
              written.push_back(left[i]);
              expected.push_back(cache[i]);
            } else {
              others += std::isnan(found[i]) ? !std::isnan(left[i]) : left[i] != found[i];
            }
          context.compare("cache", written, expected, tolerance(kv_type, 0));
          context.require(others == 0, std::to_string(others) + " other elements of the cache");
        }
        std::vector<double> y(size_t(T) * heads * d), y32(y.size());
        auto evaluate = [&](auto zero, std::vector<double> &to) {
          using Real = decltype(zero);
          for (int t = 0; t < T; ++t) {
            int s = batch.token_sequence[t], seen = batch.positions[t] + 1;
            for (int h = 0; h < heads; ++h) {
              int kv = h / (heads / kv_heads);
              std::vector<Real> p(seen);
              Real peak = -1e30, mass = 0;
              for (int i = first_seen(seen - 1); i < seen; ++i) {
                Real sum = 0;
                for (int k = 0; k < d; ++k)
                  sum +=
                      Real(q[(size_t(t) * heads + h) * d + k]) * Real(cache[at(s, i, 0, kv) + k]);
                p[i] = sum * Real(f.scale);
                peak = std::max(peak, p[i]);
              }
              std::vector<Real> sums(d);
              for (int i = first_seen(seen - 1); i < seen; ++i) {
                p[i] = std::exp(p[i] - peak);
                mass += p[i];
                for (int k = 0; k < d; ++k)
                  sums[k] += p[i] * Real(cache[at(s, i, 1, kv) + k]);
              }
              for (int k = 0; k < d; ++k)
                to[(size_t(t) * heads + h) * d + k] = double(sums[k] / mass);
            }
          }
        };
        evaluate(0.0, y);
        evaluate(0.0f, y32);
        std::vector<double> rows = context.read("out", type), actual(y.size());
        for (int t = 0; t < T; ++t)
          for (int i = 0; i < heads * d; ++i)
            actual[size_t(t) * heads * d + i] = rows[size_t(t) * f.out_stride + offset + i];
        // 3e-3: probabilities are rounded to bf16 before the product with V.
        double extra = type == Type::bf16 && (kv_type == Type::bf16 || is_code(kv_type)) ? 3e-3 : 0;
        context.compare("out", actual, y, tolerance(type, relative_error(y32, y)) + extra);
      }};
}

// Rotation and the write of k and v as codes, against their definition in float64: of scales, and
// of codes to half a step. Among the rows are zeros, what is too small to count, infinity and NaN.
Case kv_write_case(bool smoke, Type kv_type, Type type, int heads, int kv_heads, int d, int turned,
                   int padding = 0, int offset = 0) {
  const bool rotates = turned > 0;
  const std::string name = std::string(rotates ? "rotary_kv_write " : "kv_write ") +
                           type_name(type) + "/" + type_name(kv_type) + " " +
                           std::to_string(heads) + "/" + std::to_string(kv_heads) + "×" +
                           std::to_string(d) + (padding ? " padded" : "");
  return {name, smoke, [=](Context &context) {
            KvWrite f;
            f.q_type = f.k_type = f.v_type = f.out_type = type;
            f.kv_type = kv_type;
            f.heads = heads;
            f.kv_heads = kv_heads;
            f.head_dim = d;
            f.turned = turned;
            f.rotates = rotates;
            f.q_stride = f.out_stride = heads * d + padding + offset;
            f.k_stride = f.v_stride = kv_heads * d + padding + offset;
            f.table_stride = turned;
            if (!context.prepare(describe(f, "kernel")))
              return;
            Batch batch = make_batch({70, 1, 3}, {0, 63, 200});
            Random random(29);
            const int T = batch.tokens, max_pages = 5;
            std::vector<int> tables(size_t(batch.sequences) * max_pages);
            for (size_t i = 0; i < tables.size(); ++i)
              tables[i] = int((i * 7 + 3) % tables.size()); // all of them, in no order
            auto rows = [&](int columns) {
              return random_values(random, size_t(T) * columns, -2, 2, type);
            };
            std::vector<double> q = rows(heads * d), k = rows(kv_heads * d), v = rows(kv_heads * d),
                                table = random_values(random, size_t(T) * std::max(turned, 1), -1,
                                                      1, Type::f32);
            for (int i = 0; i < d; ++i) {
              v[i] = 0;
              k[size_t(1) * kv_heads * d + i] *= 0x1p-105;
            }
            v[size_t(2) * kv_heads * d] = std::nan("");
            k[size_t(3) * kv_heads * d + d - 1] = HUGE_VAL;
            auto put = [&](const char *role, const std::vector<double> &from, int columns,
                           int64_t stride) {
              context.values(role, in_rows(from, T, columns, int(stride), offset), type);
            };
            put("q", q, heads * d, f.q_stride);
            put("k", k, kv_heads * d, f.k_stride);
            put("v", v, kv_heads * d, f.v_stride);
            context.values("table", table, Type::f32);
            context.integers("block_tables", tables);
            context.poison("out", size_t(T) * f.out_stride * size_of(type));
            const size_t plane = size_t(64) * (d + 4);
            context.poison("cache", tables.size() * 2 * kv_heads * plane);
            put_batch(context, batch);
            context.upload();
            for (const char *role : {"q", "k", "v", "out"})
              context.shift(role, offset * size_of(type));
            context.launch({T, batch.sequences, 0, max_pages});
            auto turn = [&](std::vector<double> &x, int columns) {
              for (int t = 0; t < T; ++t)
                for (int first = 0; first < columns; first += d)
                  for (int i = 0; i < turned / 2; ++i) {
                    double &a = x[size_t(t) * columns + first + i], &b = (&a)[turned / 2];
                    const double c = table[size_t(t) * turned + i],
                                 s = table[size_t(t) * turned + turned / 2 + i], old = a;
                    a = a * c - b * s;
                    b = b * c + old * s;
                  }
            };
            if (rotates) {
              turn(q, heads * d);
              turn(k, kv_heads * d);
              std::vector<double> out = context.read("out", type), actual(q.size());
              for (int t = 0; t < T; ++t)
                for (int i = 0; i < heads * d; ++i)
                  actual[size_t(t) * heads * d + i] = out[size_t(t) * f.out_stride + offset + i];
              context.compare("out", actual, q, tolerance(type, 1e-6));
            }
            const std::vector<char> cache = context.read_raw("cache");
            int bad = 0;
            for (int t = 0; t < T; ++t)
              for (int which = 0; which < 2; ++which)
                for (int h = 0; h < kv_heads; ++h) {
                  const int position = batch.positions[t],
                            page =
                                tables[size_t(batch.token_sequence[t]) * max_pages + position / 64];
                  const char *base =
                      cache.data() + ((size_t(page) * 2 + which) * kv_heads + h) * plane;
                  const double *row = &(which ? v : k)[(size_t(t) * kv_heads + h) * d];
                  float scale;
                  std::memcpy(&scale, base + 64 * d + position % 64 * 4, 4);
                  double largest = 0;
                  bool finite = true;
                  for (int i = 0; i < d; ++i) {
                    finite &= std::isfinite(row[i]);
                    largest = std::max(largest, std::abs(row[i]));
                  }
                  const bool counts = finite && largest >= 0x1p-100;
                  const double want = largest / (kv_type == Type::i8 ? 127 : 448);
                  bad += counts   ? std::abs(scale - want) > 1e-6 * want
                         : finite ? scale != 0
                                  : !std::isnan(scale);
                  for (int i = 0; i < d; ++i) {
                    const auto code = static_cast<unsigned char>(base[position % 64 * d + i]);
                    if (!counts) {
                      bad += (code & 0x7f) != 0;
                      continue;
                    }
                    // Half a step, of e4m3 at most a sixteenth of the number, and some roundings.
                    const double step = kv_type == Type::i8
                                            ? 0.5 * scale
                                            : std::max(std::abs(row[i]) / 16, scale * 0x1p-10);
                    bad += !(std::abs(code_value(code, kv_type) * scale - row[i]) <=
                             step + 1e-5 * largest);
                  }
                }
            context.require(bad == 0, std::to_string(bad) + " codes and scales are wrong");
          }};
}

// The sampler's definition, by sorting: same polynomial, same fixed point, same Philox.
uint32_t fixed_exp2(float x) {
  if (!(x > -32.0f))
    return 0;
  float n = std::rint(x), f = x - n, p = 1.5252733804e-5f;
  for (float c : {1.5403530393e-4f, 1.3333558146e-3f, 9.6181291076e-3f, 5.5504108665e-2f,
                  2.4022650696e-1f, 6.9314718056e-1f, 1.0f})
    p = std::fmaf(p, f, c);
  return uint32_t(std::llrint(double(p) * std::exp2(double(n) + 31)));
}

void philox(uint64_t seed, uint32_t position, uint32_t (&words)[2]) {
  uint32_t c[4] = {position, 0, 0, 0}, k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
    uint32_t next[4] = {uint32_t(b >> 32) ^ c[1] ^ k0, uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k1,
                        uint32_t(a)};
    std::copy(next, next + 4, c);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c[0];
  words[1] = c[1];
}

struct Request {
  float temperature = 1;
  int top_k = 0;
  float top_p = 1, min_p = 0;
  uint64_t seed = 1;
  int position = 0;
};

int likeliest(const std::vector<float> &logits) {
  int best = 0;
  for (int i = 0; i < int(logits.size()); ++i) {
    if (std::isnan(logits[i]))
      return -1;
    if (logits[i] > logits[best])
      best = i;
  }
  return std::isfinite(logits[best]) ? best : -1;
}

int sample_reference(const std::vector<float> &logits, const Request &r) {
  int V = int(logits.size()), best = likeliest(logits);
  if (!(r.temperature > 0) || best < 0)
    return best;
  float peak = logits[best];
  float rate = std::min(1.4426950408889634f / r.temperature, 1e30f);
  std::vector<int> order;
  for (int i = 0; i < V; ++i)
    if (logits[i] > -INFINITY)
      order.push_back(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  if (r.top_k > 0 && r.top_k < int(order.size()))
    order.resize(r.top_k);
  auto weight = [&](int i) -> uint64_t { return fixed_exp2((logits[i] - peak) * rate); };
  uint64_t total = 0;
  for (int i : order)
    total += weight(i);
  if (r.top_p < 1) {
    uint64_t need = std::max<uint64_t>(
                 1, uint64_t(std::ceil(double(std::max(r.top_p, 0.0f)) * double(total)))),
             sum = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      sum += weight(order[i]);
      if (sum >= need) {
        order.resize(i + 1);
        break;
      }
    }
  }
  uint32_t least = r.min_p > 0 ? uint32_t(std::min(r.min_p, 1.0f) * 2147483648.0f) : 0;
  std::sort(order.begin(), order.end());
  total = 0;
  for (int i : order)
    total += weight(i) >= least ? weight(i) : 0;
  uint32_t words[2];
  philox(r.seed, uint32_t(r.position), words);
  uint64_t fraction = uint64_t(words[0]) << 21 | words[1] >> 11;
  uint64_t target = uint64_t((unsigned __int128)(fraction << 11) * total >> 64), sum = 0;
  for (int i : order) {
    sum += weight(i) >= least ? weight(i) : 0;
    if (sum > target)
      return i;
  }
  return best;
}

enum class Shape {
  normal,
  peaked,
  constant,
  ties,
  masked,
  broken,
  hopeless,
  minute,
  adjacent,
  flat,  // nearly all tokens hold what top-p keeps
  tight, // all in a bin or two
  steps, // many ties at every border
  few,   // three tokens are allowed
  lone,  // the last one is
  far    // differences beyond the largest number
};

Case sample_case(bool smoke, int V, int padding, Shape shape, bool random,
                 const std::vector<Request> &requests) {
  const char *names[] = {"normal", "peaked",   "constant", "ties",     "masked",
                         "broken", "hopeless", "minute",   "adjacent", "flat",
                         "tight",  "steps",    "few",      "lone",     "far"};
  std::string name = std::string("sample ") + (random ? "random " : "greedy ") + names[int(shape)] +
                     " " + std::to_string(V);
  return {name, smoke, [=](Context &context) {
            Sample f;
            f.vocabulary = V;
            f.logits_stride = V + padding;
            f.random = random;
            Description description = describe(f, "kernel");
            if (!context.prepare(description))
              return;
            Random generator(31);
            int rows = int(requests.size());
            std::vector<double> logits(size_t(rows) * V);
            for (int r = 0; r < rows; ++r)
              for (int i = 0; i < V; ++i) {
                double v = generator.normal() * 3;
                if (shape == Shape::peaked)
                  v = i == 7 ? 30 : v;
                if (shape == Shape::constant)
                  v = 1.25;
                if (shape == Shape::ties)
                  v = std::rint(v);
                if (shape == Shape::masked && i % 5 != 2)
                  v = -INFINITY;
                if (shape == Shape::minute) // differences far below 1, and subnormal ones
                  v = i % 3 == 0 ? 0 : i % 3 == 1 ? 1e-31 : 1e-41;
                if (shape == Shape::adjacent)
                  v = i % 2 == 0 ? 1.5f : std::nextafter(1.5f, 2.0f);
                if (shape == Shape::flat)
                  v /= 3;
                if (shape == Shape::tight)
                  v /= 300;
                if (shape == Shape::steps)
                  v = std::rint(v / 6);
                if (shape == Shape::few && i % (V / 3 + 1) != 0)
                  v = -INFINITY;
                if (shape == Shape::lone)
                  v = i == V - 1 ? -5 : -INFINITY;
                if (shape == Shape::far)
                  v = i == V / 2 ? 3e38 : -3e38;
                if (shape == Shape::broken && i == 11)
                  v = std::nan("");
                if (shape == Shape::hopeless)
                  v = r % 3 == 0 ? std::nan("") : r % 3 == 1 || i != 5 ? -INFINITY : INFINITY;
                logits[size_t(r) * V + i] = float(v);
              }
            std::vector<double> temperature, top_p, min_p;
            std::vector<int> top_k, position;
            std::vector<char> seeds(rows * 8);
            for (int r = 0; r < rows; ++r) {
              temperature.push_back(requests[r].temperature);
              top_p.push_back(requests[r].top_p);
              min_p.push_back(requests[r].min_p);
              top_k.push_back(requests[r].top_k);
              position.push_back(requests[r].position);
              std::memcpy(&seeds[r * 8], &requests[r].seed, 8);
            }
            context.values("logits", in_rows(logits, rows, V, V + padding), Type::f32);
            context.values("temperature", temperature, Type::f32);
            context.values("top_p", top_p, Type::f32);
            context.values("min_p", min_p, Type::f32);
            context.integers("top_k", top_k);
            context.integers("position", position);
            context.raw("seed", seeds);
            std::vector<int> greedy;
            for (int r = 0; r < rows; ++r)
              greedy.push_back(
                  likeliest({logits.begin() + size_t(r) * V, logits.begin() + size_t(r + 1) * V}));
            context.integers("likeliest", greedy);
            std::vector<int> expected;
            for (int r = 0; r < rows; ++r) {
              std::vector<float> row(V);
              for (int i = 0; i < V; ++i)
                row[i] = float(logits[size_t(r) * V + i]);
              Request request = requests[r];
              if (!random)
                request.temperature = 0;
              expected.push_back(sample_reference(row, request));
            }
            // Blocks of any size draw the same.
            cuda::Kernel &kernel = description.kernels.front();
            for (; kernel.threads <= 1024; kernel.threads *= 2) {
              context.prepare(description);
              context.poison("out", rows * 4);
              context.upload();
              context.launch({0, 0, rows, 0});
              std::vector<int> out = context.read_integers("out");
              int wrong = 0, first = 0;
              for (int r = rows - 1; r >= 0; --r)
                if (expected[r] != out[r])
                  ++wrong, first = r;
              context.require(wrong == 0, std::to_string(wrong) + " of " + std::to_string(rows) +
                                              " rows differ in blocks of " +
                                              std::to_string(kernel.threads) + ", first row " +
                                              std::to_string(first) + ": expected " +
                                              std::to_string(expected[first]) + ", got " +
                                              std::to_string(out[first]));
            }
          }};
}

// 20000 draws of one distribution fall as its probabilities say: chi-square over 40 tokens within
// its 99.99 % quantile (39 degrees: 83).
Case distribution_case() {
  return {"sample random follows the distribution", true, [](Context &context) {
            const int V = 40, rows = 20000;
            Sample f;
            f.vocabulary = V;
            f.logits_stride = V;
            f.random = true;
            if (!context.prepare(describe(f, "kernel")))
              return;
            std::vector<double> logits(size_t(rows) * V), probability(V);
            double mass = 0;
            for (int i = 0; i < V; ++i)
              mass += probability[i] = std::exp((i * 7 % 13) * 0.2 / 0.8);
            for (size_t i = 0; i < logits.size(); ++i)
              logits[i] = (int(i % V) * 7 % 13) * 0.2;
            std::vector<int> position(rows), zero(rows, 0);
            std::iota(position.begin(), position.end(), 0);
            std::vector<char> seeds(rows * 8, 5);
            context.values("logits", logits, Type::f32);
            context.values("temperature", std::vector<double>(rows, 0.8), Type::f32);
            context.values("top_p", std::vector<double>(rows, 1), Type::f32);
            context.values("min_p", std::vector<double>(rows, 0), Type::f32);
            context.integers("top_k", zero);
            context.integers("position", position);
            context.raw("seed", seeds);
            context.integers("likeliest", std::vector<int>(rows, 11)); // 11 · 7 % 13 = 12
            context.poison("out", rows * 4);
            context.upload();
            context.launch({0, 0, rows, 0});
            std::vector<double> counts(V);
            for (int token : context.read_integers("out"))
              counts[std::min(std::max(token, 0), V - 1)]++;
            double chi = 0;
            for (int i = 0; i < V; ++i) {
              double expected = rows * probability[i] / mass;
              chi += (counts[i] - expected) * (counts[i] - expected) / expected;
            }
            context.require(chi < 83, "chi-square " + std::to_string(chi));
          }};
}

} // namespace

std::vector<Case> dense_cases() {
  std::vector<Case> cases;
  const Type f32 = Type::f32, bf16 = Type::bf16;
  const std::vector<int> ones = {1, 1, 1, 1, 1}, contexts = {0, 63, 64, 300, 1000};
  cases.push_back(attention_case("", true, bf16, bf16, 24, 8, 128, ones, contexts, true));
  cases.push_back(attention_case("cut often", false, bf16, bf16, 24, 8, 128, ones, contexts, true,
                                 8, 8, 1, 700));
  cases.push_back(attention_case("long", false, bf16, bf16, 6, 2, 64, {1, 1}, {5000, 17}, true));
  cases.push_back(attention_case("many", false, bf16, bf16, 6, 2, 64, std::vector<int>(300, 1),
                                 std::vector<int>(300, 70), true, 0, 0, 1, 20));
  cases.push_back(
      attention_case("large scores", false, bf16, bf16, 8, 1, 128, ones, contexts, true, 0, 0, 6));
  cases.push_back(
      attention_case("one kv head", false, bf16, bf16, 20, 1, 64, ones, contexts, true));
  cases.push_back(attention_case("wide", false, bf16, bf16, 12, 2, 256, ones, contexts, true));
  cases.push_back(
      attention_case("narrow", false, bf16, bf16, 4, 4, 16, ones, contexts, true, 3, 3));
  cases.push_back(attention_case("", true, f32, f32, 6, 2, 32, ones, contexts, true));
  cases.push_back(attention_case("odd", false, bf16, bf16, 9, 3, 20, ones, contexts, true, 1, 1));
  cases.push_back(attention_case("f32 cache", false, bf16, f32, 12, 1, 128, ones, contexts, true));

  // Steps in one launch: pairs within a block and cut between blocks, a page that the token begins,
  // two parts of a kv head, columns that do not turn, a window.
  auto step_case = [&](const char *label, bool smoke, int heads, int kv_heads, int d, int turned,
                       std::vector<int> past, int padding = 0, int multiprocessors = 132,
                       int window = 0) {
    const std::vector<int> lengths(past.size(), 1);
    cases.push_back(attention_case(label, smoke, bf16, bf16, heads, kv_heads, d, lengths, past,
                                   true, padding, padding, 1, multiprocessors, {}, window, true,
                                   turned));
  };
  step_case("", true, 24, 8, 128, 128, contexts);
  step_case("one", true, 8, 2, 64, 64, {255});
  step_case("cut often", false, 24, 8, 128, 64, contexts, 8, 300);
  step_case("whole", false, 12, 4, 64, 64, contexts, 3, 6);
  step_case("long", false, 6, 2, 64, 64, {5000, 17}, 1);
  step_case("one kv head", false, 20, 1, 64, 32, contexts);
  step_case("parts", false, 36, 2, 80, 80, contexts, 1);
  step_case("wide", false, 12, 2, 256, 64, contexts);
  step_case("narrow", false, 4, 4, 32, 0, contexts, 3);
  step_case("", false, 8, 2, 128, 0, contexts, 0, 132, 100);

  // Caches of codes: tensor cores and not, one and two tiles of heads, uneven pairs of 16 columns,
  // windows, prompts, shared prefixes.
  for (Type code : {Type::i8, Type::e4m3}) {
    cases.push_back(attention_case("", true, bf16, code, 24, 8, 128, ones, contexts, true));
    cases.push_back(attention_case("cut often", false, bf16, code, 24, 8, 128, ones, contexts, true,
                                   0, 0, 1, 700));
    cases.push_back(attention_case("", true, bf16, code, 20, 1, 64, ones, contexts, true));
    cases.push_back(attention_case("", false, bf16, code, 6, 2, 48, ones, contexts, true, 3, 3));
    cases.push_back(attention_case("", false, bf16, code, 12, 2, 256, ones, contexts, true));
    cases.push_back(attention_case("", false, bf16, code, 4, 4, 16, ones, contexts, true));
    cases.push_back(attention_case("large scores", false, bf16, code, 8, 1, 128, ones, contexts,
                                   true, 0, 0, 6));
    cases.push_back(attention_case("", false, bf16, code, 8, 2, 128, ones, contexts, true, 0, 0, 1,
                                   132, {}, 100));
    cases.push_back(attention_case("", false, bf16, code, 9, 3, 20, ones, contexts, true, 1, 1));
    cases.push_back(attention_case("", true, f32, code, 6, 2, 32, ones, contexts, true));
    for (int d : {48, 64, 128, 256})
      cases.push_back(attention_case("", d == 128, bf16, code, 6, 2, d, {2, 70, 1, 129},
                                     {0, 60, 100, 3}, false));
    cases.push_back(attention_case("", false, bf16, code, 6, 2, 128, {2, 70, 1, 129},
                                   {0, 60, 100, 3}, false, 2, 3, 1, 132, {}, 65));
    cases.push_back(attention_case("", false, f32, code, 3, 1, 20, {3, 70}, {60, 0}, false));
    for (int d : {64, 128})
      cases.push_back(
          attention_case("shared", d == 128, bf16, code, 6, 2, d, std::vector<int>(9, 1),
                         {130, 128, 300, 192, 900, 640, 500, 257, 3}, true, 0, 0, 1, 132,
                         {{0, 8, 0, 1}, {0, 3, 1, 2}, {4, 8, 1, 3}, {4, 6, 3, 9}}));
    for (Type type : {bf16, f32}) {
      cases.push_back(kv_write_case(type == bf16, code, type, 8, 2, 128, 128));
      cases.push_back(kv_write_case(false, code, type, 8, 2, 128, 0));
    }
    cases.push_back(kv_write_case(false, code, bf16, 6, 3, 18, 6, 1, 1));
    cases.push_back(kv_write_case(false, code, bf16, 4, 4, 64, 32, 2, 3));
    cases.push_back(kv_write_case(false, code, f32, 2, 2, 300, 256));
  }

  // Shared prefixes: one group, a tree of forks beside a stranger, a run in parts, more rows than a
  // tile, sequences whose own part is one token.
  const std::vector<int> nine(9, 1), longer = {130, 128, 300, 192, 900, 640, 500, 257, 3};
  const std::vector<Shared> tree = {{0, 8, 0, 1}, {0, 3, 1, 2}, {4, 8, 1, 3}, {4, 6, 3, 9}};
  auto shared_case = [&](const char *label, bool smoke, int heads, int kv_heads, int d,
                         const std::vector<Shared> &items, int padding = 0, double spread = 1,
                         int multiprocessors = 132) {
    cases.push_back(attention_case(std::string("shared ") + label, smoke, bf16, bf16, heads,
                                   kv_heads, d, nine, longer, true, padding, padding, spread,
                                   multiprocessors, items));
  };
  shared_case("one group", true, 24, 8, 128, {{0, 8, 0, 2}});
  shared_case("tree", true, 6, 2, 64, tree);
  shared_case("parts", false, 6, 2, 128, {{4, 7, 0, 2}, {4, 7, 2, 3}, {4, 7, 3, 7}});
  shared_case("cut often", false, 24, 8, 128, tree, 8, 1, 700);
  shared_case("large scores", false, 8, 1, 128, tree, 0, 6);
  shared_case("one kv head", false, 20, 1, 64, tree);
  shared_case("wide", false, 12, 2, 256, tree);
  shared_case("narrow", false, 4, 4, 16, tree, 3);
  cases.push_back(attention_case("shared many", false, bf16, bf16, 6, 2, 64,
                                 std::vector<int>(300, 1), std::vector<int>(300, 70), true, 0, 0, 1,
                                 20, {{0, 100, 0, 1}, {100, 300, 0, 1}}));

  const std::vector<int> chunks = {37, 1, 64, 200, 1, 130, 0, 5},
                         past = {0, 100, 3, 64, 0, 129, 9, 63};
  cases.push_back(attention_case("", true, bf16, bf16, 6, 2, 128, chunks, past, false));
  cases.push_back(
      attention_case("strided", false, bf16, bf16, 6, 2, 64, chunks, past, false, 8, 8));
  cases.push_back(
      attention_case("misaligned", false, bf16, bf16, 4, 4, 32, chunks, past, false, 2, 3));
  cases.push_back(attention_case("wide", false, bf16, bf16, 4, 2, 256, chunks, past, false));
  cases.push_back(
      attention_case("large scores", false, bf16, bf16, 4, 2, 80, chunks, past, false, 0, 0, 6));
  cases.push_back(attention_case("one long", false, bf16, bf16, 3, 1, 128, {500}, {0}, false));
  // Warpgroup products: q heads per kv head, several groups of positions before and in the step,
  // blocks with several units of work.
  cases.push_back(attention_case("", false, bf16, bf16, 8, 1, 128, chunks, past, false, 2048));
  cases.push_back(
      attention_case("misaligned", false, bf16, bf16, 4, 4, 64, chunks, past, false, 2, 3));
  for (int d : {64, 128}) {
    cases.push_back(attention_case("long", d == 128, bf16, bf16, 3, 1, d, {2, 700, 1, 129},
                                   {1000, 1500, 70, 0}, false, 0, 0, 1, 7));
    cases.push_back(attention_case("long", false, bf16, bf16, 3, 1, d, {2, 700, 1, 129},
                                   {1000, 1500, 70, 0}, false, 0, 0, 1, 7, {}, 300));
  }
  cases.push_back(
      attention_case("large scores", false, bf16, bf16, 4, 2, 128, chunks, past, false, 0, 0, 6));
  // The same sizes without them.
  cases.push_back(attention_case("mma", true, bf16, bf16, 6, 2, 128, chunks, past, false, 0, 0, 1,
                                 132, {}, 0, false));
  cases.push_back(attention_case("mma", false, bf16, bf16, 6, 2, 64, chunks, past, false, 8, 8, 1,
                                 132, {}, 0, false));
  for (int window : {8, 100})
    cases.push_back(attention_case("mma", false, bf16, bf16, 8, 2, 128, chunks, past, false, 0, 0,
                                   1, 132, {}, window, false));
  // Windows within a page, of a page, over several, longer than all contexts; what lies before them
  // holds NaN, in the cache and in the tables. Decode is cut between blocks within a pair, too.
  auto windowed = [&](bool smoke, Type type, int d, int window, bool decode,
                      int multiprocessors = 132) {
    cases.push_back(attention_case("", smoke, type, type, 8, 2, d, decode ? ones : chunks,
                                   decode ? contexts : past, decode, 0, 0, 1, multiprocessors, {},
                                   window));
  };
  for (int window : {1, 8, 64, 65, 100, 700})
    for (bool decode : {false, true}) {
      windowed(window == 8 || window == 100, bf16, 128, window, decode);
      windowed(window == 65, f32, 20, window, decode);
    }
  windowed(false, bf16, 256, 70, false);
  windowed(false, bf16, 256, 70, true);
  windowed(false, bf16, 64, 4096, false);
  windowed(false, bf16, 64, 4096, true);
  cases.push_back(attention_case("windows many", false, bf16, bf16, 6, 2, 64,
                                 std::vector<int>(300, 1), std::vector<int>(300, 170), true, 0, 0,
                                 1, 20, {}, 90));
  cases.push_back(attention_case("", true, f32, f32, 6, 2, 32, chunks, past, false));
  cases.push_back(attention_case("odd", false, f32, f32, 5, 1, 23, chunks, past, false, 1, 1));
  cases.push_back(attention_case("f32 wide", false, f32, bf16, 3, 3, 300, {3, 70}, {60, 0}, false));

  std::vector<Request> requests;
  for (int i = 0; i < 24; ++i) {
    Request r;
    const float temperatures[] = {0.7f, 1, 0, 1.9f, 0.1f};
    const int ks[] = {0, 50, 1, 5000, 7};
    const float ps[] = {1, 0.95f, 0.5f, 0.999f, 0, 0.1f, 1};
    const float ms[] = {0, 0, 0.05f, 1};
    r.temperature = temperatures[i % 5];
    r.top_k = ks[i % 5 == 2 ? 0 : i / 2 % 5];
    r.top_p = ps[i % 7];
    r.min_p = ms[i % 4];
    r.seed = 0x123456789abcdefull * (i + 1);
    r.position = i * 100;
    requests.push_back(r);
  }
  // What the table above leaves out: k from 1 to past the vocabulary and about the number that is
  // listed, p near 0 and 1, temperatures at the ends.
  std::vector<Request> edges;
  for (int k : {0, 1, 3, 1024, 1025, 50000, 150000, 200000})
    for (float p : {0.0f, 1e-7f, 0.3f, 0.99999994f, 1.0f}) {
      Request r;
      const float temperatures[] = {0.75f, 1e-30f, 1, 1e30f, INFINITY};
      r.temperature = temperatures[edges.size() % 7 < 5 ? edges.size() % 7 : 0];
      r.top_k = k;
      r.top_p = p;
      r.min_p = edges.size() % 4 == 3 ? 0.1f : 0;
      r.seed = 0xfedcba987654321ull * (edges.size() + 1);
      r.position = int(edges.size());
      edges.push_back(r);
    }
  cases.push_back(sample_case(true, 32000, 0, Shape::normal, false, requests));
  cases.push_back(sample_case(false, 151936, 3, Shape::masked, false, requests));
  cases.push_back(sample_case(false, 32000, 0, Shape::broken, false, requests));
  cases.push_back(sample_case(false, 32000, 0, Shape::hopeless, false, requests));
  cases.push_back(sample_case(true, 32000, 0, Shape::normal, true, requests));
  cases.push_back(sample_case(false, 151936, 1, Shape::normal, true, requests));
  cases.push_back(sample_case(false, 128256, 0, Shape::ties, true, requests));
  cases.push_back(sample_case(false, 128256, 0, Shape::constant, true, requests));
  cases.push_back(sample_case(false, 50257, 0, Shape::peaked, true, requests));
  cases.push_back(sample_case(false, 50257, 7, Shape::masked, true, requests));
  cases.push_back(sample_case(true, 3, 0, Shape::normal, true, requests));
  cases.push_back(sample_case(true, 32000, 0, Shape::broken, true, requests));
  cases.push_back(sample_case(true, 32000, 0, Shape::hopeless, true, requests));
  cases.push_back(sample_case(true, 128256, 0, Shape::minute, true, requests));
  cases.push_back(sample_case(false, 128256, 0, Shape::adjacent, true, requests));
  cases.push_back(sample_case(false, 128256, 0, Shape::flat, true, requests));
  cases.push_back(sample_case(false, 32000, 0, Shape::tight, true, requests));
  cases.push_back(sample_case(false, 128256, 0, Shape::normal, true, edges));
  cases.push_back(sample_case(false, 128256, 0, Shape::steps, true, edges));
  cases.push_back(sample_case(false, 32000, 1, Shape::flat, true, edges));
  cases.push_back(sample_case(true, 4096, 0, Shape::tight, true, edges));
  cases.push_back(sample_case(false, 5003, 1, Shape::masked, true, edges));
  cases.push_back(sample_case(false, 32000, 0, Shape::few, true, edges));
  cases.push_back(sample_case(false, 32000, 0, Shape::lone, true, edges));
  cases.push_back(sample_case(false, 4096, 0, Shape::far, true, edges));
  cases.push_back(distribution_case());
  return cases;
}

} // namespace m1k::test
