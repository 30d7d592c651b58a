// Which of cuBLASLt's algorithms is fastest for a model's products: measured, not guessed.
#include "base/mapped_file.h"
#include "cuda/cuda_program.h"
#include <algorithm>

namespace m1rt::cuda {

using schema::OperandKind;

namespace {

/// A product of the plans, at any number of rows, with all the weights that it is computed with.
struct Product {
  GemmShape shape; // m is 0
  std::string name;
  std::vector<CUdeviceptr> weights, biases, scales; // scales of f8e4m3 alone
};

} // namespace

/// The table at `--tuning`, or else the artifact's own for this machine.
Status CudaProgram::loadTuning() {
  if (!gemms)
    return device.tuning().empty() ? Status()
                                   : error(StatusCode::unsupported,
                                           "%s: the artifact has no product to tune on this device",
                                           device.tuning().c_str());
  TuningTable here, table;
  here.gpu = device.info().name;
  here.cublaslt = gemms->version();
  auto take = [&](const std::string &source) {
    tuningText = formatted("%zu measured, as %s says", table.products.size(), source.c_str());
    gemms->take(std::move(table.products));
    return Status();
  };
  if (!device.tuning().empty()) {
    MappedFile file;
    M1_TRY(MappedFile::open(device.tuning(), &file));
    const std::string text(reinterpret_cast<const char *>(file.bytes().data), file.bytes().size);
    M1_TRY(parseTuningTable(text, device.tuning(), &table));
    if (machineOf(table) != machineOf(here))
      return error(StatusCode::corrupt, "%s: measured on %s; this is %s: tune again",
                   device.tuning().c_str(), machineOf(table).c_str(), machineOf(here).c_str());
    return take(device.tuning());
  }
  std::string others;
  if (target.tuning())
    for (const schema::TuningTable *entry : *target.tuning()) {
      M1_TRY(readTuningTable(*entry, &table));
      if (machineOf(table) == machineOf(here))
        return take("the artifact");
      others += (others.empty() ? "" : ", ") + machineOf(table);
    }
  if (!others.empty())
    tuningText = "the library's choice: the artifact's tables are of " + others + ", this is " +
                 machineOf(here);
  return {};
}

Status CudaProgram::tune(const std::vector<uint32_t> &rows,
                         const std::function<void(const std::string &)> &report, std::string *out) {
  if (!gemms)
    return error(StatusCode::unsupported, "the artifact has no product to tune on this device");
  std::map<GemmShape, Product> products;
  for (const schema::Function *function : *target.functions())
    for (const schema::CommandHolder *holder : *function->commands()) {
      const schema::Gemm *gemm = holder->command_as_Gemm();
      if (!gemm || gemm->w()->kind() != OperandKind::weight)
        continue;
      GemmShape shape = shapeOf(*gemm, 0, gemm->a()->offset(), gemm->out()->offset());
      Product &product = products[shape];
      product.shape = shape;
      if (product.name.empty() && gemm->name())
        product.name = gemm->name()->str();
      const CUdeviceptr weight =
          address(weightAs(gemm->w()->index(), gemm->a_type())) + gemm->w()->offset();
      if (std::find(product.weights.begin(), product.weights.end(), weight) !=
          product.weights.end())
        continue;
      product.weights.push_back(weight);
      product.biases.push_back(
          gemm->bias() ? address(weightAs(gemm->bias()->index(), gemm->out_type())) : 0);
      product.scales.push_back(
          gemm->w_scale() ? address(weightAs(gemm->w_scale()->index(), schema::ElementType::f32)) +
                                gemm->w_scale()->offset()
                          : 0);
    }
  uint64_t inputBytes = 0, outputBytes = 0;
  const uint64_t mostRows = *std::max_element(rows.begin(), rows.end());
  for (const auto &[shape, product] : products) {
    inputBytes = std::max(inputBytes, mostRows * shape.lda * elementSize(shape.inputType));
    outputBytes = std::max(outputBytes, mostRows * shape.ldo * elementSize(shape.outType));
  }
  void *input = nullptr, *output = nullptr, *workspace = nullptr, *rowScales = nullptr;
  auto measure = [&]() -> Status {
    M1_TRY(device.allocate(inputBytes, "rows to tune with", &input));
    M1_TRY(device.allocate(outputBytes, "products to tune", &output));
    M1_TRY(device.allocate(GemmLibrary::workspaceBytes, "the products' workspace", &workspace));
    M1_TRY(device.allocate(mostRows * sizeof(float), "scales of rows to tune with", &rowScales));
    M1_TRY(device.fillDummy(rowScales, schema::ElementType::f32, mostRows, 1, 1, 1e-3f, 1.0f / 64));
    for (auto &[shape, product] : products) {
      const bool codes = shape.inputType == schema::ElementType::f8e4m3;
      M1_TRY(codes ? device.fillDummy(input, shape.inputType, inputBytes, 1, 0, 64.0f, 0.0f)
                   : device.fillDummy(input, schema::ElementType::bf16, inputBytes / 2, 1, 0, 1.0f,
                                      0.0f));
      for (uint32_t count : rows) {
        if (count > 256 && !codes)
          continue; // see m1-bench
        GemmShape wanted = shape;
        wanted.m = count;
        std::vector<GemmBuffers> buffers;
        for (size_t i = 0; i < product.weights.size(); ++i)
          buffers.push_back({address(input), product.weights[i], product.biases[i], address(output),
                             codes ? address(rowScales) : 0, product.scales[i]});
        TunedProduct tuned;
        M1_TRY(gemms->tune(device.api(), wanted, buffers, address(workspace), device.stream(),
                           product.name.c_str(), &tuned));
        report(formatted("%5u x %6u x %5u  %9.2f us, heuristics %9.2f us (%.2f)  %s", count,
                         shape.n, shape.k, tuned.seconds * 1e6, tuned.heuristicSeconds * 1e6,
                         tuned.heuristicSeconds / tuned.seconds, product.name.c_str()));
      }
    }
    return {};
  };
  Status status = measure();
  for (void *memory : {input, output, workspace, rowScales})
    device.free(memory);
  M1_TRY(std::move(status));
  TuningTable table;
  table.gpu = device.info().name;
  table.chip = formatted("sm_%d", device.capability());
  table.cublaslt = gemms->version();
  table.products = gemms->tuned();
  *out = tuningTableText(table);
  return {};
}

} // namespace m1rt::cuda
