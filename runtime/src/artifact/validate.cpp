#include "artifact/validate.h"

#include "artifact/artifact.h"
#include "artifact/extents.h"
#include "artifact/tuning_table.h"
#include "device.h"
#include "weight_check.h"
#include <cfloat>
#include <cmath>
#include <set>

namespace m1rt {

namespace {

bool validElement(schema::ElementType type) { return type <= schema::ElementType::MAX; }

Status checkRange(const schema::Segment *segment, uint64_t limit, const std::string &what) {
  if (segment->offset() > limit || segment->size() > limit - segment->offset())
    return corrupt("%s: bytes %llu to %llu lie outside the %llu bytes there are", what.c_str(),
                   (unsigned long long)segment->offset(),
                   (unsigned long long)(segment->offset() + segment->size()),
                   (unsigned long long)limit);
  return Status();
}

/// FlatBuffers' verifier looks at where a vector's length lies, not at its elements.
template <typename Vector> Status checkAligned(const Vector *vector, const std::string &what) {
  if (vector && reinterpret_cast<uintptr_t>(vector->Data()) % sizeof(uint64_t) != 0)
    return corrupt("%s: its numbers of 64 bits lie at no multiple of 8 bytes", what.c_str());
  return Status();
}

Status checkType(const schema::TensorType *type, const std::string &what, uint64_t *outBytes,
                 int64_t smallest = 1) {
  if (!validElement(type->element()))
    return corrupt("%s: unknown element type %u", what.c_str(), unsigned(type->element()));
  M1_TRY(checkAligned(type->shape(), what + ": its shape"));
  uint64_t bytes = elementSize(type->element());
  if (type->shape())
    for (int64_t size : *type->shape()) {
      if (size < smallest || (size > 0 && bytes > 0 && uint64_t(size) > largestBytes / bytes))
        return corrupt("%s: size %lld of its shape is out of range", what.c_str(), (long long)size);
      bytes *= uint64_t(size);
    }
  *outBytes = bytes;
  return Status();
}

class ModuleValidator {
public:
  ModuleValidator(const schema::Module &module, uint64_t fileSize, uint64_t digestedSize)
      : module(module), fileSize(fileSize), digestedSize(digestedSize) {}

  Status run() {
    M1_TRY(general());
    M1_TRY(weights());
    M1_TRY(states());
    std::set<std::string> names;
    for (uint32_t i = 0; i < count(module.targets()); ++i) {
      const schema::Target &target = *module.targets()->Get(i);
      if (!names.insert(target.name()->str()).second)
        return corrupt("target %u: a second target \"%s\"", i, target.name()->c_str());
      M1_TRY(this->target(target).prefixed("target \"" + target.name()->str() + "\""));
    }
    if (module.tokenizer() && module.tokenizer()->data())
      M1_TRY(checkRange(module.tokenizer()->data(), digestedSize, "tokenizer"));
    if (const schema::ModuleText *text = module.module_text()) {
      if (!text->data())
        return corrupt("module text: no data");
      M1_TRY(checkRange(text->data(), digestedSize, "module text"));
    }
    return Status();
  }

private:
  Status general() {
    if (module.vocab_size() == 0 || module.vocab_size() > 0x7fffffff)
      return corrupt("vocab_size %u is out of range", module.vocab_size());
    if (module.max_positions() == 0 || module.max_positions() > 0x7fffffff)
      return corrupt("max_positions %u is out of range", module.max_positions());
    if (module.page_size() == 0 || module.page_size() > (1u << 20))
      return corrupt("page_size %u is out of range", module.page_size());
    if (!validElement(module.activation_type()) || !validElement(module.state_type()) ||
        !validElement(module.kv_type()))
      return corrupt("unknown activation, state or kv type");
    return generationDefaults();
  }

  Status generationDefaults() {
    const schema::GenerationDefaults *table = module.generation_defaults();
    if (!table)
      return Status();
    // Written so that NaN is refused.
    auto inside = [](flatbuffers::Optional<float> value, float low, float high) {
      return !value || (*value >= low && *value <= high);
    };
    if (!inside(table->temperature(), 0, FLT_MAX) || !inside(table->top_p(), 0, 1) ||
        !inside(table->min_p(), 0, 1) ||
        !inside(table->repetition_penalty(), FLT_TRUE_MIN, FLT_MAX))
      return corrupt("a default of the sampling is out of range");
    return Status();
  }

  Status weights() {
    for (uint32_t i = 0; i < count(module.external_files()); ++i) {
      const schema::ExternalFile &file = *module.external_files()->Get(i);
      if (file.name()->size() == 0 || file.name()->str().find('\0') != std::string::npos)
        return corrupt("external file %u: bad name", i);
      if (count(file.digest()) != 32)
        return corrupt("external file %u \"%s\": digest has %u bytes, not 32", i,
                       file.name()->c_str(), count(file.digest()));
    }
    M1_TRY(checkpointTensors());
    uint64_t pieces = 0;
    for (uint32_t i = 0; i < count(module.weights()); ++i) {
      const schema::Weight &weight = *module.weights()->Get(i);
      std::string what = formatted("weight %u \"%s\"", i, weight.name()->c_str());
      uint64_t bytes = 0;
      M1_TRY(checkType(weight.type(), what, &bytes));
      weightBytes.push_back(bytes);
      if (weight.dummy()) {
        if (!std::isfinite(weight.dummy_scale()) || !std::isfinite(weight.dummy_offset()))
          return corrupt("%s: dummy scale or offset is not finite", what.c_str());
        schema::ElementType type = weight.type()->element();
        if (type != schema::ElementType::f32 && type != schema::ElementType::bf16 &&
            type != schema::ElementType::f16 && type != schema::ElementType::i8 &&
            type != schema::ElementType::i4x2 && type != schema::ElementType::f8e4m3)
          return corrupt("%s: dummy weights of type %s are not defined", what.c_str(),
                         elementName(type));
        M1_TRY(sources(weight).prefixed(what));
        continue;
      }
      if (!weight.data())
        return corrupt("%s: neither data nor dummy", what.c_str());
      if (weight.data()->size() != bytes)
        return corrupt("%s: has %llu bytes, its type needs %llu", what.c_str(),
                       (unsigned long long)weight.data()->size(), (unsigned long long)bytes);
      if (weight.file() < -1 || weight.file() >= int64_t(count(module.external_files())))
        return corrupt("%s: file index %d, but there are %u external files", what.c_str(),
                       weight.file(), count(module.external_files()));
      uint64_t limit = weight.file() < 0
                           ? fileSize
                           : module.external_files()->Get(uint32_t(weight.file()))->size();
      M1_TRY(checkRange(weight.data(), limit, what));
      pieces += m1_weight_pieces(bytes);
      M1_TRY(sources(weight).prefixed(what));
    }
    if (const schema::Segment *checks = module.weight_checks()) {
      if (checks->size() != pieces * sizeof(uint64_t))
        return corrupt("weight checks: have %llu bytes, the weights need %llu",
                       (unsigned long long)checks->size(),
                       (unsigned long long)(pieces * sizeof(uint64_t)));
      M1_TRY(checkRange(checks, fileSize, "weight checks"));
    }
    return Status();
  }

  Status checkpointTensors() {
    std::set<std::string> names;
    for (uint32_t i = 0; i < count(module.checkpoint_tensors()); ++i) {
      const schema::CheckpointTensor &tensor = *module.checkpoint_tensors()->Get(i);
      if (!names.insert(tensor.name()->str()).second)
        return corrupt("checkpoint tensor %u: a second \"%s\"", i, tensor.name()->c_str());
      M1_TRY(checkAligned(tensor.shape(), "checkpoint tensor \"" + tensor.name()->str() + "\""));
      uint64_t elements = 1;
      for (uint32_t j = 0; j < count(tensor.shape()); ++j) {
        const int64_t size = tensor.shape()->Get(j);
        if (size < 0 || (size > 0 && elements > largestBytes / uint64_t(size)))
          return corrupt("checkpoint tensor \"%s\": size %lld of its shape is out of range",
                         tensor.name()->c_str(), (long long)size);
        elements *= uint64_t(size);
      }
      tensorElements.push_back(elements);
    }
    return Status();
  }

  /// What a weight is made of has its elements; how many a quantised one has follows from no shape
  /// here.
  Status sources(const schema::Weight &weight) {
    if (weight.transform() > schema::WeightTransform::MAX)
      return corrupt("unknown transform %u", unsigned(weight.transform()));
    if (!weight.sources())
      return Status();
    M1_TRY(checkAligned(weight.sources(), "what it is made of"));
    uint64_t elements = 0;
    for (const schema::TensorRows *rows : *weight.sources()) {
      if (rows->tensor() >= tensorElements.size())
        return corrupt("made of checkpoint tensor %u, but there are %zu", rows->tensor(),
                       tensorElements.size());
      const schema::CheckpointTensor &tensor = *module.checkpoint_tensors()->Get(rows->tensor());
      const uint64_t all = count(tensor.shape()) ? uint64_t(tensor.shape()->Get(0)) : 1;
      if (rows->first() > all || rows->count() > all - rows->first())
        return corrupt("made of rows that \"%s\" has not", tensor.name()->c_str());
      if (all)
        elements += tensorElements[rows->tensor()] / all * rows->count();
      if (elements > largestBytes)
        return corrupt("made of too many elements");
    }
    const bool isPlain = weight.transform() <= schema::WeightTransform::plus_one;
    if (isPlain && elements != elementCount(*weight.type()))
      return corrupt("made of %llu elements of the checkpoint, its type has %llu",
                     (unsigned long long)elements,
                     (unsigned long long)elementCount(*weight.type()));
    return Status();
  }

  Status states() {
    for (uint32_t i = 0; i < count(module.states()); ++i) {
      const schema::State &state = *module.states()->Get(i);
      std::string what = formatted("state %u \"%s\"", i, state.name()->c_str());
      if (state.kind() > schema::StateKind::MAX)
        return corrupt("%s: unknown kind %u", what.c_str(), unsigned(state.kind()));
      uint64_t bytes = 0;
      // A convolution of width 1 carries nothing: its state has 0 rows.
      M1_TRY(
          checkType(state.type(), what, &bytes, state.kind() == schema::StateKind::conv ? 0 : 1));
      if (state.bytes() != bytes || bytes > (uint64_t(1) << 32))
        return corrupt("%s: says %llu bytes, its type needs %llu", what.c_str(),
                       (unsigned long long)state.bytes(), (unsigned long long)bytes);
      if (state.window() > 0x7fffffff || (state.window() && state.kind() != schema::StateKind::kv))
        return corrupt("%s: window of %u positions, expected one of KV pages that fits 31 bits",
                       what.c_str(), state.window());
      stateBytes.push_back(bytes);
    }
    return Status();
  }

  Status target(const schema::Target &target) {
    for (uint32_t i = 0; i < count(target.code()); ++i) {
      const schema::Code &code = *target.code()->Get(i);
      if (!code.data() || code.data()->size() == 0)
        return corrupt("code %u: no data", i);
      M1_TRY(checkRange(code.data(), digestedSize, formatted("code %u", i)));
    }
    for (uint32_t i = 0; i < count(target.kernels()); ++i) {
      const schema::Kernel &kernel = *target.kernels()->Get(i);
      if (kernel.symbol()->size() == 0)
        return corrupt("kernel %u: empty symbol", i);
      if (kernel.code() >= count(target.code()))
        return corrupt("kernel %u \"%s\": code index %u, but there are %u code objects", i,
                       kernel.symbol()->c_str(), kernel.code(), count(target.code()));
      for (uint32_t j = 0; j < count(kernel.parameters()); ++j) {
        const schema::Parameter &parameter = *kernel.parameters()->Get(j);
        if (parameter.access() > schema::Access::MAX || !validElement(parameter.element()) ||
            parameter.port() < -1 || parameter.port() >= int8_t(portCount) ||
            parameter.state() < -1 || parameter.state() > int8_t(schema::StateKind::MAX) ||
            parameter.bytes() > largestBytes || parameter.stride() > largestBytes)
          return corrupt("kernel %u \"%s\": parameter %u is out of range", i,
                         kernel.symbol()->c_str(), j);
      }
    }
    for (uint32_t i = 0; i < count(target.functions()); ++i) {
      const schema::Function &function = *target.functions()->Get(i);
      M1_TRY(
          this->function(target, function).prefixed("function \"" + function.name()->str() + "\""));
    }
    M1_TRY(tuning(target));
    if (Artifact::findFunction(target, "prefill") < 0)
      return corrupt("has no function \"prefill\"");
    return checkExtents(module, target);
  }

  Status tuning(const schema::Target &target) {
    std::set<std::pair<std::string, uint64_t>> machines;
    for (uint32_t i = 0; i < count(target.tuning()); ++i) {
      const schema::TuningTable &table = *target.tuning()->Get(i);
      M1_TRY(readTuningTable(table, nullptr).prefixed(formatted("tuning table %u", i)));
      if (!machines.insert({table.gpu()->str(), table.cublaslt()}).second)
        return corrupt("tuning table %u: a second one for %s with cuBLASLt %llu", i,
                       table.gpu()->c_str(), (unsigned long long)table.cublaslt());
    }
    return Status();
  }

  Status function(const schema::Target &target, const schema::Function &function) {
    if (function.temporary_bytes_per_row() > largestOffset ||
        function.row_temporary_bytes_per_row() > largestOffset ||
        function.workspace_bytes() > largestOffset)
      return corrupt("an arena is larger than %s", bytesText(largestOffset).c_str());
    if (count(function.commands()) == 0)
      return corrupt("has no commands");
    if (function.max_rows() && function.min_rows() > function.max_rows())
      return corrupt("is for at least %u and at most %u rows", function.min_rows(),
                     function.max_rows());
    for (uint32_t i = 0; i < count(function.commands()); ++i) {
      const schema::CommandHolder &holder = *function.commands()->Get(i);
      std::string what = formatted("command %u", i);
      if (const schema::Launch *launch = holder.command_as_Launch())
        M1_TRY(this->launch(target, function, *launch).prefixed(what));
      else if (const schema::Gemm *gemm = holder.command_as_Gemm())
        M1_TRY(this->gemm(function, *gemm).prefixed(what));
      else
        return corrupt("%s: unknown kind %u", what.c_str(), unsigned(holder.command_type()));
    }
    return Status();
  }

  Status launch(const schema::Target &target, const schema::Function &function,
                const schema::Launch &launch) {
    if (launch.kernel() >= count(target.kernels()))
      return corrupt("kernel index %u, but there are %u kernels", launch.kernel(),
                     count(target.kernels()));
    if (launch.domain() > schema::RowDomain::MAX)
      return corrupt("unknown row domain %u", unsigned(launch.domain()));
    if (launch.grid_x() == 0 || launch.grid_x() > 0x7fffffff || launch.rows_per_group() == 0 ||
        launch.rows_per_group() > 0x7fffffff)
      return corrupt("grid_x %u or rows_per_group %u is out of range", launch.grid_x(),
                     launch.rows_per_group());
    for (uint32_t i = 0; i < count(launch.operands()); ++i)
      M1_TRY(operand(function, *launch.operands()->Get(i)).prefixed(formatted("operand %u", i)));
    return Status();
  }

  Status gemm(const schema::Function &function, const schema::Gemm &gemm) {
    if (!gemm.a() || !gemm.w() || !gemm.out())
      return corrupt("gemm without a, w or out");
    if (gemm.domain() > schema::RowDomain::MAX || !validElement(gemm.a_type()) ||
        !validElement(gemm.w_type()) || !validElement(gemm.out_type()))
      return corrupt("gemm with an unknown domain or type");
    const bool isScaled = gemm.a_scale() || gemm.w_scale();
    for (schema::ElementType type : {gemm.a_type(), gemm.w_type()})
      if ((type == schema::ElementType::f8e4m3) != isScaled)
        return corrupt("gemm of %s %s scales", elementName(type), isScaled ? "with" : "without");
    if (isScaled && !(gemm.a_scale() && gemm.w_scale()))
      return corrupt("gemm with the scales of %s alone", gemm.a_scale() ? "a" : "w");
    if (gemm.n() == 0 || gemm.k() == 0 || gemm.lda() < gemm.k() || gemm.ldo() < gemm.n())
      return corrupt("gemm with n %u, k %u, lda %u, ldo %u", gemm.n(), gemm.k(), gemm.lda(),
                     gemm.ldo());
    for (const schema::Operand *operand :
         {gemm.a(), gemm.w(), gemm.out(), gemm.bias(), gemm.a_scale(), gemm.w_scale()})
      if (operand)
        M1_TRY(this->operand(function, *operand));
    return Status();
  }

  Status operand(const schema::Function &function, const schema::Operand &operand) {
    auto inside = [&](uint64_t offset, uint64_t size, const char *what) {
      return offset < size ? Status()
                           : corrupt("offset %llu lies outside the %llu bytes of its %s",
                                     (unsigned long long)offset, (unsigned long long)size, what);
    };
    auto index = [&](size_t size, const char *what) {
      return operand.index() < size
                 ? Status()
                 : corrupt("%s index %u, but there are %zu", what, operand.index(), size);
    };
    switch (operand.kind()) {
    case schema::OperandKind::weight:
      M1_TRY(index(weightBytes.size(), "weight"));
      return inside(operand.offset(), weightBytes[operand.index()], "weight");
    case schema::OperandKind::state:
      M1_TRY(index(stateBytes.size(), "state"));
      if (stateBytes[operand.index()] == 0 && operand.offset() == 0)
        return Status();
      return inside(operand.offset(), stateBytes[operand.index()], "state");
    case schema::OperandKind::port:
      M1_TRY(index(size_t(schema::Port::MAX) + 1, "port"));
      if (schema::Port(operand.index()) >= schema::Port::prefix_items &&
          function.name()->str() != "decode_shared")
        return corrupt("port %s in a function that is not decode_shared",
                       schema::EnumNamePort(schema::Port(operand.index())));
      return operand.offset() == 0 ? Status() : corrupt("a port with an offset");
    case schema::OperandKind::temporary:
    case schema::OperandKind::row_temporary: {
      uint64_t size = operand.kind() == schema::OperandKind::temporary
                          ? function.temporary_bytes_per_row()
                          : function.row_temporary_bytes_per_row();
      M1_TRY(inside(operand.arena_offset(), size, "arena row"));
      return inside(operand.offset(), size - operand.arena_offset(), "arena row");
    }
    case schema::OperandKind::workspace:
      return inside(operand.offset(), function.workspace_bytes(), "workspace");
    }
    return corrupt("unknown operand kind %u", unsigned(operand.kind()));
  }

  const schema::Module &module;
  uint64_t fileSize, digestedSize;
  std::vector<uint64_t> weightBytes, stateBytes, tensorElements;
};

} // namespace

Status validateModule(const schema::Module &module, uint64_t fileSize, uint64_t digestedSize) {
  return ModuleValidator(module, fileSize, digestedSize).run();
}

} // namespace m1rt
