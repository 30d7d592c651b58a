// Sampling on the GPU: parameters of all rows go over in one copy, one launch draws, the tokens
// come back.
#include "cuda/cuda_program.h"
#include <algorithm>

namespace m1rt::cuda {

namespace {

constexpr uint32_t maxSamplerBlock = 1024;

/// The operands of M1_SAMPLE_KERNEL after logits and likeliest tokens, one after another. Seeds
/// first: they need 8-byte alignment.
struct SamplingArrays {
  uint64_t *seed;
  float *temperature;
  int32_t *topK;
  float *topP, *minP;
  int32_t *position, *out;

  SamplingArrays(char *base, uint32_t rows) {
    seed = reinterpret_cast<uint64_t *>(base);
    temperature = reinterpret_cast<float *>(seed + rows);
    topK = reinterpret_cast<int32_t *>(temperature + rows);
    topP = reinterpret_cast<float *>(topK + rows);
    minP = topP + rows;
    position = reinterpret_cast<int32_t *>(minP + rows);
    out = position + rows;
  }
};

} // namespace

uint64_t CudaContext::samplingBytes(uint32_t rows) {
  return uint64_t(rows) * (sizeof(uint64_t) + 6 * sizeof(int32_t));
}

Status CudaContext::sample(const SamplingRow *rows, uint32_t count) {
  M1_TRY(device.bind());
  const uint32_t all = lastLogitRows;
  Sampling &entry = samplings[nextSampling++ % samplings.size()];
  entry.rows = all;
  entry.wanted.clear();
  entry.onHost.clear();
  bool random = false, host = false;
  for (uint32_t i = 0; i < count; ++i) {
    entry.wanted.push_back(rows[i].row);
    host |= rows[i].needsLogitsOnHost();
    random |= !rows[i].needsLogitsOnHost() && !rows[i].greedy();
  }
  // the plan itself has found the likeliest tokens
  chosen = static_cast<const int32_t *>(nextTokens);
  if (random)
    M1_TRY(launchSampler(rows, count, entry));
  if (all)
    M1_TRY(driver.check(driver.cuMemcpyDtoHAsync(SamplingArrays(entry.host, all).out,
                                                 reinterpret_cast<CUdeviceptr>(chosen),
                                                 all * sizeof(int32_t), device.stream()),
                        "copy of %u chosen tokens", all));
  M1_TRY(driver.check(driver.cuEventRecord(entry.done, device.stream()), "cuEventRecord"));
  if (!host)
    return {};
  entry.onHost.resize(count);
  downloaded.resize(vocabulary);
  for (uint32_t i = 0; i < count; ++i)
    if (rows[i].needsLogitsOnHost()) {
      M1_TRY(downloadLogits(rows[i].row, 1, downloaded.data()));
      sampleOnHost(downloaded.data(), tokenIds, rows[i], &entry.onHost[i]);
      entry.wanted[i] = all; // no row of the device
    }
  return {};
}

Status CudaContext::launchSampler(const SamplingRow *rows, uint32_t count, Sampling &entry) {
  if (program.sampler < 0)
    return error(StatusCode::unsupported, "the artifact has no kernel %s: compile it again",
                 M1_SAMPLE_KERNEL);
  const uint32_t all = entry.rows;
  SamplingArrays host(entry.host, all), there(static_cast<char *>(sampling), all);
  for (uint32_t row = 0; row < all; ++row) { // rows that nobody samples are greedy
    host.seed[row] = 0;
    host.temperature[row] = 0;
    host.topK[row] = host.position[row] = 0;
    host.topP[row] = 1;
    host.minP[row] = 0;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (rows[i].needsLogitsOnHost())
      continue;
    const uint32_t row = rows[i].row;
    host.seed[row] = rows[i].parameters.seed;
    host.temperature[row] =
        rows[i].parameters.drawsLikeliest() ? 0 : rows[i].parameters.temperature;
    host.topK[row] = int32_t(std::min<uint32_t>(rows[i].parameters.topK, vocabulary));
    host.topP[row] = rows[i].parameters.topP;
    host.minP[row] = rows[i].parameters.minP;
    host.position[row] = int32_t(rows[i].counter);
  }
  const uint64_t parameterBytes = samplingBytes(all) - all * sizeof(int32_t);
  M1_TRY(driver.check(driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(sampling), entry.host,
                                               parameterBytes, device.stream()),
                      "copy of %u rows of sampling parameters", all));
  void *pointers[] = {logits,     nextTokens, there.temperature, there.topK, there.topP,
                      there.minP, there.seed, there.position,    there.out};
  m1_dims dims = {0, 0, int(all), 0};
  void *parameters[] = {&pointers[0], &pointers[1], &pointers[2], &pointers[3], &pointers[4],
                        &pointers[5], &pointers[6], &pointers[7], &pointers[8], &dims};
  const schema::Kernel &kernel = *program.target.kernels()->Get(program.sampler);
  // Larger blocks read a row faster, as long as all rows are read at once: 64 registers a thread
  // leave a multiprocessor 1024 threads.
  uint32_t threads = kernel.block_size();
  while (threads > 0 && threads <= maxSamplerBlock / 2 &&
         uint64_t(all) * threads * 2 <= uint64_t(device.multiprocessors()) * 1024)
    threads *= 2;
  M1_TRY(driver.check(driver.cuLaunchKernel(program.kernels[program.sampler], 1, all, 1, threads, 1,
                                            1, kernel.shared_bytes(), device.stream(), parameters,
                                            nullptr),
                      "launch of kernel %s for %u rows", M1_SAMPLE_KERNEL, all));
  chosen = there.out;
  return {};
}

Status CudaContext::takeChosen(SampledToken *out) {
  M1_TRY(device.bind());
  Sampling &entry = samplings[nextTaken++ % samplings.size()];
  M1_TRY(driver.check(driver.cuEventSynchronize(entry.done), "the step and its sampling"));
  const int32_t *tokens = SamplingArrays(entry.host, entry.rows).out;
  for (size_t i = 0; i < entry.wanted.size(); ++i) {
    if (entry.wanted[i] == entry.rows) {
      out[i] = std::move(entry.onHost[i]);
    } else {
      out[i].token = tokens[entry.wanted[i]];
      out[i].logprob = 0;
      out[i].top.clear();
    }
  }
  return {};
}

} // namespace m1rt::cuda
