#include "artifact_header.h"
#include "cuda/cuda_program.h"
#include "numerics.h"
#include <algorithm>
#include <cstring>
#include <utility>

namespace m1rt::cuda {

using schema::ElementType;
using schema::OperandKind;
using schema::Port;
using schema::RowDomain;

namespace {

constexpr uint64_t arrayAlignment = 256;
constexpr size_t mostGraphs = 96; // of decode steps, one a bucket and function

uint64_t aligned(uint64_t bytes) {
  return (bytes + arrayAlignment - 1) / arrayAlignment * arrayAlignment;
}

} // namespace

uint32_t CudaContext::bucketOf(uint32_t sequences, uint32_t maxSequences) {
  // Every size to 8, then steps that waste at most an eighth of the rows.
  uint32_t step = sequences <= 8 ? 1 : sequences <= 64 ? 8 : sequences <= 256 ? 16 : 32;
  return std::min((sequences + step - 1) / step * step, maxSequences);
}

CudaContext::ArrayLayout CudaContext::layoutOf(const m1_dims &dims, bool shared) {
  ArrayLayout layout;
  uint64_t counts[portCount] = {}; // outputs lie elsewhere
  uint64_t t = dims.tokens, s = dims.sequences;
  counts[size_t(Port::tokens)] = t;
  counts[size_t(Port::positions)] = t;
  counts[size_t(Port::token_sequence)] = t;
  counts[size_t(Port::sequence_starts)] = s + 1;
  counts[size_t(Port::slots)] = s;
  counts[size_t(Port::context_lengths)] = s;
  counts[size_t(Port::block_tables)] = s * uint64_t(dims.max_pages);
  counts[size_t(Port::logit_rows)] = dims.logit_rows;
  if (shared) {
    counts[size_t(Port::prefix_items)] = 1 + M1_PREFIX_ITEMS * M1_PREFIX_ITEM;
    counts[size_t(Port::prefix_slots)] = s + 1;
    counts[size_t(Port::prefix_pages)] = s;
  }
  for (uint32_t port = 0; port < portCount; ++port) {
    layout.offset[port] = layout.total;
    layout.size[port] = counts[port] * sizeof(int32_t);
    layout.total += aligned(layout.size[port]);
  }
  layout.chosenRows = layout.total;
  layout.total += aligned(t * sizeof(int32_t));
  return layout;
}

CudaContext::Sizes CudaContext::sizesOf(const CudaProgram &program, const ContextOptions &options) {
  Sizes sizes;
  m1_dims largest = {int(options.maxTokens), int(options.maxSequences), int(options.maxLogitRows),
                     int(options.maxPages)};
  sizes.arrays = layoutOf(largest, true).total;
  Size tokenBytes = 0, rowBytes = 0;
  uint64_t workspaceBytes = 0;
  for (const schema::Function *function : *program.target.functions()) {
    tokenBytes = std::max(tokenBytes.get(), function->temporary_bytes_per_row());
    rowBytes = std::max(rowBytes.get(), function->row_temporary_bytes_per_row());
    workspaceBytes = std::max(workspaceBytes, function->workspace_bytes());
  }
  sizes.temporaries = (tokenBytes * std::max(options.maxTokens, options.maxSequences)).get();
  sizes.rowTemporaries = (rowBytes * options.maxLogitRows).get();
  sizes.workspace = aligned(workspaceBytes) + (program.gemms ? GemmLibrary::workspaceBytes : 0);
  sizes.logits =
      uint64_t(options.maxLogitRows) * program.artifact.module().vocab_size() * sizeof(float);
  sizes.nextTokens = uint64_t(options.maxLogitRows) * sizeof(int32_t);
  sizes.sampling = samplingBytes(options.maxLogitRows);
  return sizes;
}

CudaContext::CudaContext(CudaProgram &program, const ContextOptions &options)
    : Context(program.artifact.module().vocab_size(), options.tokenIds), program(program),
      device(program.device), driver(device.api()), options(options),
      sizes(sizesOf(program, options)) {}

Status CudaContext::allocate() {
  M1_TRY(device.allocate(sizes.arrays, "batch arrays", &arrays));
  M1_TRY(device.allocate(sizes.temporaries, "temporaries", &temporaries));
  M1_TRY(device.allocate(sizes.rowTemporaries, "temporaries of logit rows", &rowTemporaries));
  M1_TRY(device.allocate(sizes.workspace, "kernel workspace", &workspace));
  M1_TRY(device.allocate(sizes.logits, "logits", &logits));
  M1_TRY(device.allocate(sizes.nextTokens, "next tokens", &nextTokens));
  M1_TRY(device.allocate(sizes.sampling, "sampling parameters", &sampling));
  for (Sampling &entry : samplings) {
    M1_TRY(device.allocateHost(sizes.sampling, reinterpret_cast<void **>(&entry.host)));
    M1_TRY(
        driver.check(driver.cuEventCreate(&entry.done, CU_EVENT_DISABLE_TIMING), "cuEventCreate"));
  }
  gemmWorkspace =
      address(workspace) + sizes.workspace - (program.gemms ? GemmLibrary::workspaceBytes : 0);
  for (HostArrays &host : hostArrays) {
    M1_TRY(device.allocateHost(sizes.arrays, reinterpret_cast<void **>(&host.memory)));
    M1_TRY(
        driver.check(driver.cuEventCreate(&host.copied, CU_EVENT_DISABLE_TIMING), "cuEventCreate"));
  }
  M1_TRY(device.allocateHost(sizes.nextTokens, reinterpret_cast<void **>(&hostNextTokens)));
  return driver.check(driver.cuEventCreate(&stepDone, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
}

CudaContext::~CudaContext() {
  (void)device.synchronize();
  for (auto &entry : buckets)
    if (entry.second.graph)
      driver.cuGraphExecDestroy(entry.second.graph);
  for (CUevent event : profileEvents)
    driver.cuEventDestroy(event);
  for (HostArrays &host : hostArrays) {
    device.freeHost(host.memory);
    if (host.copied)
      driver.cuEventDestroy(host.copied);
  }
  device.freeHost(hostNextTokens);
  for (Sampling &entry : samplings) {
    device.freeHost(entry.host);
    if (entry.done)
      driver.cuEventDestroy(entry.done);
  }
  if (stepDone)
    driver.cuEventDestroy(stepDone);
  for (void *memory :
       {arrays, temporaries, rowTemporaries, workspace, logits, nextTokens, sampling})
    device.free(memory);
}

uint32_t CudaContext::rowsOf(RowDomain domain, const m1_dims &dims) {
  switch (domain) {
  case RowDomain::tokens:
    return dims.tokens;
  case RowDomain::sequences:
    return dims.sequences;
  case RowDomain::logit_rows:
    return dims.logit_rows;
  default:
    return 1;
  }
}

CUdeviceptr CudaContext::resolve(const schema::Operand &operand, const m1_dims &dims,
                                 const ArrayLayout &layout) const {
  CUdeviceptr base = 0;
  switch (operand.kind()) {
  case OperandKind::weight:
    base = address(program.weights[operand.index()]);
    break;
  case OperandKind::state:
    base = address(options.states[operand.index()]);
    break;
  case OperandKind::port:
    if (Port(operand.index()) == Port::logits)
      base = address(logits) + uint64_t(firstLogitRow) * vocabulary * sizeof(float);
    else if (Port(operand.index()) == Port::next_tokens)
      base = address(nextTokens) + uint64_t(firstLogitRow) * sizeof(int32_t);
    else
      base = address(arrays) + layout.offset[operand.index()];
    break;
  case OperandKind::temporary:
    base = address(temporaries) + uint64_t(dims.tokens) * operand.arena_offset();
    break;
  case OperandKind::row_temporary:
    base = address(rowTemporaries) + uint64_t(dims.logit_rows) * operand.arena_offset();
    break;
  case OperandKind::workspace:
    base = address(workspace) + operand.arena_offset();
    break;
  }
  return base + operand.offset();
}

/// The tiles that kernels/cuda/warpgroup.cuh describes.
Status CudaContext::encode(const schema::TensorMap &map, CUdeviceptr memory, uint32_t rows,
                           CUtensorMap *out) const {
  const uint64_t sizes[] = {map.columns(), rows}, strides[] = {map.row_bytes()};
  const uint32_t box[] = {64, map.box_rows()}, steps[] = {1, 1};
  return driver.check(driver.cuTensorMapEncodeTiled(
                          out, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                          reinterpret_cast<void *>(memory), sizes, strides, box, steps,
                          CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                          CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                      "tensor map of [%u, %u] in rows of %llu bytes", rows, map.columns(),
                      (unsigned long long)map.row_bytes());
}

Status CudaContext::enqueueLaunch(const schema::Launch &launch, const m1_dims &dims,
                                  const ArrayLayout &layout) {
  const schema::Kernel &kernel = *program.target.kernels()->Get(launch.kernel());
  uint32_t rows = rowsOf(launch.domain(), dims), group = std::max(1u, launch.rows_per_group());
  uint32_t gridY = (rows + group - 1) / group;
  if (gridY == 0)
    return {};
  constexpr size_t maxMaps = 4;
  if (gridY > maxGridY)
    return error(
        StatusCode::invalidArgument, "%s: a step of %u rows exceeds the %u that one launch covers",
        launch.name() ? launch.name()->c_str() : kernel.symbol()->c_str(), rows, maxGridY * group);
  constexpr size_t maxOperands = M1_CUDA_OPERANDS;
  CUdeviceptr addresses[maxOperands];
  CUtensorMap maps[maxMaps];
  void *parameters[maxOperands + 1];
  size_t count = launch.operands() ? launch.operands()->size() : 0;
  if (count > maxOperands)
    return error(StatusCode::unsupported,
                 "kernel %s has %zu operands; the CUDA device passes at most %zu",
                 kernel.symbol()->c_str(), count, maxOperands);
  for (size_t i = 0; i < count; ++i) {
    addresses[i] = resolve(*launch.operands()->Get(i), dims, layout);
    parameters[i] = &addresses[i];
  }
  if (const auto *wanted = kernel.tensor_maps()) {
    if (wanted->size() > maxMaps)
      return error(StatusCode::unsupported,
                   "kernel %s takes %u tensor maps; the CUDA device passes at most %zu",
                   kernel.symbol()->c_str(), wanted->size(), maxMaps);
    for (uint32_t i = 0; i < wanted->size(); ++i) {
      const schema::TensorMap &map = *wanted->Get(i);
      M1_TRY(encode(map, addresses[map.operand()], map.rows() ? map.rows() : rows, &maps[i])
                 .prefixed(
                     formatted("kernel %s, operand %u", kernel.symbol()->c_str(), map.operand())));
      parameters[map.operand()] = &maps[i];
    }
  }
  m1_dims copy = dims;
  parameters[count] = &copy;
  CUlaunchAttribute attributes[2] = {};
  unsigned attributeCount = 0;
  if (kernel.launch_early() && program.earlyLaunches) {
    attributes[attributeCount].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[attributeCount++].value.programmaticStreamSerializationAllowed = 1;
  }
  uint32_t gridX = launch.grid_x();
  if (kernel.cooperative()) { // one of its blocks fills a multiprocessor
    gridX = std::min(gridX, device.multiprocessors());
    attributes[attributeCount].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attributes[attributeCount++].value.cooperative = 1;
  }
  const CUlaunchConfig config = {gridX,
                                 gridY,
                                 1,
                                 kernel.block_size(),
                                 1,
                                 1,
                                 kernel.shared_bytes(),
                                 device.stream(),
                                 attributes,
                                 attributeCount};
  CUresult result =
      driver.cuLaunchKernelEx(&config, program.kernels[launch.kernel()], parameters, nullptr);
  if (result == CUDA_SUCCESS)
    return {};
  return driver.check(
      result, "launch %s of kernel %s (grid %u x %u, %u threads, %u bytes of shared memory)",
      launch.name() ? launch.name()->c_str() : "", kernel.symbol()->c_str(), gridX, gridY,
      kernel.block_size(), kernel.shared_bytes());
}

Status CudaContext::enqueueGemm(const schema::Gemm &gemm, const m1_dims &dims,
                                const ArrayLayout &layout) {
  const uint32_t rows = rowsOf(gemm.domain(), dims);
  if (rows == 0)
    return {};
  GemmBuffers buffers;
  auto weight = [&](const schema::Operand &operand, ElementType wanted) {
    return operand.kind() == OperandKind::weight
               ? address(program.weightAs(operand.index(), wanted)) + operand.offset()
               : resolve(operand, dims, layout);
  };
  buffers.a = resolve(*gemm.a(), dims, layout);
  buffers.w = weight(*gemm.w(), gemm.a_type());
  buffers.out = resolve(*gemm.out(), dims, layout);
  if (gemm.bias())
    buffers.bias = weight(*gemm.bias(), gemm.out_type());
  if (gemm.a_scale()) {
    buffers.aScale = resolve(*gemm.a_scale(), dims, layout);
    buffers.wScale = weight(*gemm.w_scale(), ElementType::f32);
  }
  const GemmShape shape = shapeOf(gemm, rows, buffers.a, buffers.out);
  return program.gemms->run(shape, buffers, gemmWorkspace, device.stream(),
                            gemm.name() ? gemm.name()->c_str() : "a gemm");
}

Status CudaContext::enqueueCommand(const schema::CommandHolder &command, const m1_dims &dims,
                                   const ArrayLayout &layout) {
  if (const schema::Gemm *gemm = command.command_as_Gemm())
    return enqueueGemm(*gemm, dims, layout);
  return enqueueLaunch(*command.command_as_Launch(), dims, layout);
}

Status CudaContext::enqueue(const schema::Function &function, const m1_dims &dims,
                            const ArrayLayout &layout) {
  for (const schema::CommandHolder *command : *function.commands())
    M1_TRY(enqueueCommand(*command, dims, layout));
  return {};
}

// Rows past the step's own are sequences of one token (id 0, position 0) in the scratch slot and
// page: each starts from zero state, so nothing accumulates there.
void CudaContext::writeArrays(const Step &step, const m1_dims &padded, const ArrayLayout &layout,
                              char *out) const {
  const m1_dims &dims = step.dims;
  const bool shared = step.arrays[size_t(Port::prefix_items)];
  ArrayLayout own = layoutOf(dims, shared);
  for (uint32_t port = 0; port < portCount; ++port)
    if (own.size[port])
      std::memcpy(out + layout.offset[port], step.arrays[port], own.size[port]);
  if (step.chosenRows)
    std::memcpy(out + layout.chosenRows, step.chosenRows, uint64_t(dims.tokens) * sizeof(int32_t));
  if (padded.sequences == dims.sequences && padded.logit_rows == dims.logit_rows)
    return;
  auto at = [&](Port port) {
    return reinterpret_cast<int32_t *>(out + layout.offset[size_t(port)]);
  };
  for (int i = dims.sequences; i < padded.sequences; ++i) {
    at(Port::tokens)[i] = 0;
    at(Port::positions)[i] = 0;
    at(Port::token_sequence)[i] = i;
    at(Port::sequence_starts)[i + 1] = i + 1;
    at(Port::slots)[i] = int32_t(options.scratchSlot);
    at(Port::context_lengths)[i] = 1;
    std::fill_n(at(Port::block_tables) + int64_t(i) * padded.max_pages, padded.max_pages,
                int32_t(options.scratchPage));
    if (shared) {
      at(Port::prefix_slots)[i + 1] = at(Port::prefix_slots)[i];
      at(Port::prefix_pages)[i] = 0;
    }
  }
  for (int i = dims.logit_rows; i < padded.logit_rows; ++i)
    at(Port::logit_rows)[i] = padded.tokens - 1;
}

Status CudaContext::run(const Step &step) {
  M1_TRY(device.bind());
  const uint32_t functionIndex = step.function;
  const schema::Function &function = *program.target.functions()->Get(functionIndex);
  const bool shared = function.name()->str() == "decode_shared";
  const bool decode = shared || function.name()->str() == "decode";
  if (shared != (step.arrays[size_t(Port::prefix_items)] != nullptr))
    return error(StatusCode::invalidArgument, "function %s %s prefix arrays",
                 function.name()->c_str(), shared ? "without" : "with");

  m1_dims dims = step.dims;
  firstLogitRow = step.firstLogitRow;
  if (decode) {
    uint32_t limit = std::min(options.maxSequences, options.maxTokens);
    dims.sequences = dims.tokens = int(bucketOf(step.dims.sequences, limit));
    if (step.dims.logit_rows)
      dims.logit_rows = int(bucketOf(step.dims.logit_rows, options.maxLogitRows - firstLogitRow));
  }
  const ArrayLayout layout = layoutOf(dims, shared);
  HostArrays &host = hostArrays[nextHostArrays++ % std::size(hostArrays)];
  M1_TRY(driver.check(driver.cuEventSynchronize(host.copied),
                      "waiting for the batch arrays of an earlier step"));
  writeArrays(step, dims, layout, host.memory);
  M1_TRY(driver.check(
      driver.cuMemcpyHtoDAsync(address(arrays), host.memory, layout.total, device.stream()),
      "upload of the batch arrays"));
  M1_TRY(driver.check(driver.cuEventRecord(host.copied, device.stream()), "cuEventRecord"));
  if (step.chosenRows) {
    char *base = static_cast<char *>(arrays);
    M1_TRY(
        device.takeChosen(reinterpret_cast<int32_t *>(base + layout.offset[size_t(Port::tokens)]),
                          reinterpret_cast<const int32_t *>(base + layout.chosenRows), chosen,
                          uint64_t(step.dims.tokens)));
  }

  if (step.checkNumerics) {
    M1_TRY(runChecked(function, dims, step.dims, layout));
  } else if (step.profile) {
    M1_TRY(runProfiled(function, dims, layout, *step.profile));
  } else if (decode && firstLogitRow == 0) { // a graph holds the addresses of the first rows
    Bucket &bucket = buckets[{functionIndex, uint32_t(dims.sequences), uint32_t(dims.logit_rows)}];
    bucket.used = ++graphUses;
    if (bucket.warm && !bucket.graph) {
      M1_TRY(dropOldGraphs());
      M1_TRY(capture(function, dims, layout, &bucket.graph));
    }
    if (bucket.graph)
      M1_TRY(driver.check(driver.cuGraphLaunch(bucket.graph, device.stream()),
                          "launch of the graph of %s for %d sequences", function.name()->c_str(),
                          dims.sequences));
    else
      M1_TRY(enqueue(function, dims, layout));
    bucket.warm = true;
  } else {
    M1_TRY(enqueue(function, dims, layout));
  }

  lastLogitRows = firstLogitRow + uint32_t(step.dims.logit_rows);
  if (step.dims.logit_rows) {
    const uint64_t offset = uint64_t(firstLogitRow) * sizeof(int32_t);
    M1_TRY(driver.check(
        driver.cuMemcpyDtoHAsync(hostNextTokens + firstLogitRow, address(nextTokens) + offset,
                                 step.dims.logit_rows * sizeof(int32_t), device.stream()),
        "download of the next tokens"));
  }
  M1_TRY(driver.check(driver.cuEventRecord(stepDone, device.stream()), "cuEventRecord"));
  stepPending = true;
  return {};
}

Status CudaContext::capture(const schema::Function &function, const m1_dims &dims,
                            const ArrayLayout &layout, CUgraphExec *out) {
  M1_TRY(driver.check(
      driver.cuStreamBeginCapture(device.stream(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
      "start of a graph capture"));
  Status status = enqueue(function, dims, layout);
  CUgraph graph = nullptr;
  Status ended = driver.check(driver.cuStreamEndCapture(device.stream(), &graph),
                              "capture of %s for %d sequences as a graph", function.name()->c_str(),
                              dims.sequences);
  if (status.ok())
    status = ended;
  if (status.ok())
    status = driver.check(driver.cuGraphInstantiateWithFlags(out, graph, 0),
                          "instantiation of the graph of %s for %d sequences",
                          function.name()->c_str(), dims.sequences);
  if (graph)
    driver.cuGraphDestroy(graph);
  return status;
}

/// Makes room for one more graph: the one that was not used for longest goes.
Status CudaContext::dropOldGraphs() {
  Bucket *oldest = nullptr;
  size_t graphs = 0;
  for (auto &entry : buckets)
    if (entry.second.graph) {
      ++graphs;
      if (!oldest || entry.second.used < oldest->used)
        oldest = &entry.second;
    }
  if (graphs < mostGraphs)
    return {};
  M1_TRY(device.synchronize()); // it may still run
  driver.cuGraphExecDestroy(std::exchange(oldest->graph, nullptr));
  return {};
}

Status CudaContext::runProfiled(const schema::Function &function, const m1_dims &dims,
                                const ArrayLayout &layout, std::vector<CommandTime> &profile) {
  const auto &commands = *function.commands();
  while (profileEvents.size() < commands.size() + 1) {
    CUevent event = nullptr;
    M1_TRY(driver.check(driver.cuEventCreate(&event, 0), "cuEventCreate"));
    profileEvents.push_back(event);
  }
  M1_TRY(driver.check(driver.cuEventRecord(profileEvents[0], device.stream()), "cuEventRecord"));
  for (uint32_t i = 0; i < commands.size(); ++i) {
    M1_TRY(enqueueCommand(*commands.Get(i), dims, layout));
    M1_TRY(
        driver.check(driver.cuEventRecord(profileEvents[i + 1], device.stream()), "cuEventRecord"));
  }
  M1_TRY(device.synchronize());
  profile.resize(commands.size());
  double start = 0;
  for (uint32_t i = 0; i < commands.size(); ++i) {
    float milliseconds = 0;
    M1_TRY(driver.check(
        driver.cuEventElapsedTime(&milliseconds, profileEvents[i], profileEvents[i + 1]),
        "cuEventElapsedTime"));
    profile[i] = {i, start, milliseconds * 1000.0};
    start += milliseconds * 1000.0;
  }
  return {};
}

// Rows of padding are not looked at.
Status CudaContext::runChecked(const schema::Function &function, const m1_dims &dims,
                               const m1_dims &own, const ArrayLayout &layout) {
  M1_TRY(checkable(function));
  std::vector<uint8_t> host;
  for (uint32_t i = 0; i < function.commands()->size(); ++i) {
    const schema::CommandHolder &command = *function.commands()->Get(i);
    M1_TRY(enqueueCommand(command, dims, layout));
    const schema::Launch *checked = command.command_as_Launch();
    const flatbuffers::String *label =
        checked ? checked->name() : command.command_as_Gemm()->name();
    M1_TRY(device.synchronize().prefixed(
        formatted("%s: command %u, %s", function.name()->c_str(), i, label ? label->c_str() : "")));
    auto fetch = [&](uint32_t operand, uint64_t bytes, const void **out) -> Status {
      const schema::Launch *launch = command.command_as_Launch();
      const schema::Operand &what =
          launch ? *launch->operands()->Get(operand) : *command.command_as_Gemm()->out();
      host.resize(bytes);
      *out = host.data();
      return device.download(host.data(),
                             reinterpret_cast<const void *>(resolve(what, dims, layout)), bytes);
    };
    M1_TRY(checkNumerics(
        function, i,
        {uint64_t(own.tokens), uint64_t(own.logit_rows), uint64_t(vocabulary) * sizeof(float)},
        fetch));
  }
  return {};
}

// Measured on an H100 with M1-3B (docs/performance.md).
StepTraits CudaContext::traits() const {
  StepTraits traits;
  traits.passesFrom = 16;
  traits.sharedBytesFrom = uint64_t(128) << 20;
  traits.sharedBlocks = 2 * device.multiprocessors();
  traits.sharedRows = 128;
  return traits;
}

Status CudaContext::finish(int32_t *outNextTokens) {
  if (stepPending) {
    M1_TRY(device.bind());
    // Launches run on by themselves: which one failed is known where each is waited for.
    M1_TRY(driver.check(driver.cuEventSynchronize(stepDone),
                        "the step (m1-run --check-numerics tells of which launch)"));
    stepPending = false;
  }
  if (outNextTokens && lastLogitRows)
    std::memcpy(outNextTokens, hostNextTokens, lastLogitRows * sizeof(int32_t));
  return {};
}

Status CudaContext::downloadLogits(uint32_t first, uint32_t count, float *out) {
  uint64_t row = uint64_t(vocabulary) * sizeof(float);
  return device.download(out, static_cast<const char *>(logits) + first * row, count * row);
}

} // namespace m1rt::cuda
