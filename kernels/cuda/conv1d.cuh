// Causal depthwise convolution with bias and silu over a ragged batch, the last kWidth - 1 inputs
// of each sequence carried in its slot.
//
// Grid (ceil(input pieces / kThreads), ceil(T / kTile)). A thread owns kVector neighbouring input
// channels and all kRepeat output channels that read each of them; it walks the tokens of its tile
// with the window in registers, once for every kTogether repetitions. The block whose tile holds a
// sequence's first token of the step also computes that sequence's tokens up to kWidth - 2, even
// past its tile, and the next block leaves them out: so only one thread touches the state of a
// slot's channel, and it reads the old window before it writes the new one.
//
// Where kTile tokens a block make more than kBlocks blocks, tiles are up to 8 times as long, and
// the blocks past the last tile have nothing to do: few tokens are shared out among many threads,
// many cost few reads of the filter.
//
// In decode (kDecode: one token a sequence) a thread takes kTile sequences, whose loads are
// independent of each other.
//
// Facts F: XT, WT, OT, the types of x, the state and out; kSources (input channels), kWidth,
// kRepeat, kGroup (head size), strides, kHasBias, kSilu; tuning: kVector, kThreads, kTogether,
// kTile, kBlocks.
#ifndef M1K_CONV1D_CUH
#define M1K_CONV1D_CUH

#include "common.cuh"

namespace m1k {

template <int N, class T> M1K_DEVICE void read_floats(float (&to)[N], const T *from, bool vectors) {
  if (vectors) {
    load_floats<N>(to, from);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      to[i] = to_float(from[i]);
  }
}

template <class F>
M1K_DEVICE void conv1d(const typename F::XT *x, const float *w, const float *bias,
                       typename F::WT *state, const int *sequence_starts, const int *slots,
                       const int *positions, typename F::OT *out, m1_dims dims) {
  using XT = typename F::XT;
  using WT = typename F::WT;
  using OT = typename F::OT;
  constexpr int V = F::kVector, kTaps = F::kWidth - 1, kTogether = F::kTogether;
  static_assert(F::kDecode || F::kTile >= kTaps,
                "a sequence's first tokens reach at most into the next tile");
  static_assert(F::kSources % V == 0 && (F::kRepeat == 1 || F::kGroup % V == 0),
                "a piece stays in one head");
  static_assert(F::kRepeat % kTogether == 0, "whole runs of repetitions");

  int tile = F::kTile;
#pragma unroll
  for (int doubled = 0; doubled < 3 && !F::kDecode; ++doubled)
    if (static_cast<long long>(gridDim.x) * dims.tokens > static_cast<long long>(F::kBlocks) * tile)
      tile *= 2;
  int tile_begin = blockIdx.y * tile, tile_end = min(tile_begin + tile, dims.tokens);
  if (tile_begin >= dims.tokens)
    return;
  int first_sequence =
      F::kDecode ? tile_begin : find_sequence(sequence_starts, dims.sequences, tile_begin);
  int source = (blockIdx.x * F::kThreads + threadIdx.x) * V;
  if (source >= F::kSources)
    return;
  // Base pointers may be columns of a merged row at any offset.
  constexpr u64 kXMask = min_of(16, V * int(sizeof(XT))) - 1,
                kOutMask = min_of(16, V * int(sizeof(OT))) - 1;
  bool x_vectors = F::kXStride % V == 0 && (reinterpret_cast<u64>(x) & kXMask) == 0;
  bool out_vectors = F::kOutStride % V == 0 && (reinterpret_cast<u64>(out) & kOutMask) == 0;
  auto input = [&](int token, float (&to)[V]) {
    read_floats(to, x + static_cast<long long>(token) * F::kXStride + source, x_vectors);
  };

  for (int repetition = 0; repetition < F::kRepeat; repetition += kTogether) {
    int channels[kTogether];
    float filter[kTogether][F::kWidth][V], add[kTogether][V];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      channels[r] =
          F::kRepeat == 1
              ? source
              : (source / F::kGroup * F::kRepeat + repetition + r) * F::kGroup + source % F::kGroup;
      if constexpr (F::kHasBias) {
        load_floats<V>(add[r], bias + channels[r]);
      } else {
#pragma unroll
        for (int v = 0; v < V; ++v)
          add[r][v] = 0.0f;
      }
#pragma unroll
      for (int v = 0; v < V; ++v) {
        float one[F::kWidth];
        load_floats<F::kWidth>(one, w + (channels[r] + v) * F::kWidth);
#pragma unroll
        for (int k = 0; k < F::kWidth; ++k)
          filter[r][k][v] = one[k];
      }
    }
    auto apply = [&](const float (&window)[F::kWidth][V], int token) {
#pragma unroll
      for (int r = 0; r < kTogether; ++r) {
        float y[V];
#pragma unroll
        for (int v = 0; v < V; ++v) {
          y[v] = add[r][v];
#pragma unroll
          for (int k = 0; k < F::kWidth; ++k)
            y[v] += filter[r][k][v] * window[k][v];
          if (F::kSilu)
            y[v] = silu(y[v]);
        }
        OT *place = out + static_cast<long long>(token) * F::kOutStride + channels[r];
        if (out_vectors) {
          store_floats<V>(place, y);
        } else {
#pragma unroll
          for (int v = 0; v < V; ++v)
            place[v] = from_float<OT>(y[v]);
        }
      }
    };

    if constexpr (F::kDecode) {
      auto taps_of = [&](int token) {
        return state + static_cast<long long>(slots[token]) * kTaps * F::kSources + source;
      };
      // Two at a time: enough loads in flight, few enough registers.
#pragma unroll 2
      for (int token = tile_begin; token < tile_end; ++token) {
        float window[F::kWidth][V];
        bool fresh = positions[token] == 0;
        WT *taps = taps_of(token);
#pragma unroll
        for (int k = 0; k < kTaps; ++k) {
          if (fresh) {
#pragma unroll
            for (int v = 0; v < V; ++v)
              window[k][v] = 0.0f;
          } else {
            read_floats(window[k], taps + k * F::kSources, true);
          }
        }
        input(token, window[kTaps]);
        apply(window, token);
        if (repetition + kTogether == F::kRepeat)
#pragma unroll
          for (int k = 0; k < kTaps; ++k)
            store_floats<V>(taps + k * F::kSources, window[k + 1]);
      }
      continue;
    }

    int sequence = first_sequence;
    for (int begin = tile_begin; begin < tile_end; ++sequence) {
      int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
      if (end <= begin) // a sequence without tokens
        continue;
      bool first = start >= tile_begin;
      begin = end;
      // Tokens of this sequence that this block computes: [from, to).
      int from = first ? start : max(tile_begin, start + kTaps);
      int to = first ? min(end, max(tile_end, start + kTaps)) : min(end, tile_end);
      if (from >= to)
        continue;
      float window[F::kWidth][V]; // window[k]: input at token - kTaps + k
      if (first) {
        bool fresh = positions[start] == 0;
        WT *taps = state + static_cast<long long>(slots[sequence]) * kTaps * F::kSources + source;
#pragma unroll
        for (int k = 0; k < kTaps; ++k) {
          if (fresh) {
#pragma unroll
            for (int v = 0; v < V; ++v)
              window[k][v] = 0.0f;
          } else {
            read_floats(window[k], taps + k * F::kSources, true);
          }
        }
        if (repetition + kTogether == F::kRepeat) {
          // Oldest first, so that a row is read before it is replaced.
          for (int k = 0; k < kTaps; ++k) {
            float moved[V] = {};
            int token = end - kTaps + k;
            if (token >= start)
              input(token, moved);
            else if (!fresh)
              read_floats(moved, taps + (k + end - start) * F::kSources, true);
            store_floats<V>(taps + k * F::kSources, moved);
          }
        }
      } else {
#pragma unroll
        for (int k = 0; k < kTaps; ++k)
          input(from - kTaps + k, window[k]);
      }
#pragma unroll 4
      for (int token = from; token < to; ++token) {
        input(token, window[kTaps]);
        apply(window, token);
#pragma unroll
        for (int k = 0; k < kTaps; ++k)
#pragma unroll
          for (int v = 0; v < V; ++v)
            window[k][v] = window[k + 1][v];
      }
    }
  }
}

} // namespace m1k

#endif
