#include "artifact/extents.h"

#include "artifact/artifact.h"
#include "base/size.h"
#include "device.h"
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <utility>

namespace m1rt {

Status corrupt(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return Status(StatusCode::corrupt, text);
}

namespace {

using schema::OperandKind;
using schema::RowDomain;

struct Span {
  uint64_t begin = 0, end = 0;
};

/// Which bytes of the arenas hold something while the commands of a function are walked through.
class Contents {
public:
  /// Bytes [columns.begin, columns.end) of each row of the rows that lie from `place.begin` to
  /// `place.end` of each row of the arena.
  void write(OperandKind arena, Span place, Span columns) {
    regions.erase(std::remove_if(regions.begin(), regions.end(),
                                 [&](const Region &region) {
                                   return region.arena == arena && overlap(region.place, place) &&
                                          !same(region.place, place);
                                 }),
                  regions.end());
    Region *region = find(arena, place);
    if (!region) {
      regions.push_back({arena, place, {}});
      region = &regions.back();
    }
    // Joined with what it touches.
    std::vector<Span> rest;
    for (const Span &span : region->written) {
      if (span.end < columns.begin || columns.end < span.begin) {
        rest.push_back(span);
        continue;
      }
      columns.begin = std::min(columns.begin, span.begin);
      columns.end = std::max(columns.end, span.end);
    }
    rest.push_back(columns);
    region->written = std::move(rest);
  }

  bool holds(OperandKind arena, Span place, Span columns) {
    const Region *region = find(arena, place);
    return columns.begin == columns.end ||
           (region &&
            std::any_of(region->written.begin(), region->written.end(), [&](const Span &span) {
              return span.begin <= columns.begin && columns.end <= span.end;
            }));
  }

private:
  struct Region {
    OperandKind arena;
    Span place;
    std::vector<Span> written; // columns; disjoint
  };
  static bool same(Span a, Span b) { return a.begin == b.begin && a.end == b.end; }
  static bool overlap(Span a, Span b) { return a.begin < b.end && b.begin < a.end; }
  Region *find(OperandKind arena, Span place) {
    for (Region &region : regions)
      if (region.arena == arena && same(region.place, place))
        return &region;
    return nullptr;
  }
  std::vector<Region> regions; // those of an arena are disjoint
};

/// What one command does with one operand.
struct Use {
  schema::Access access = schema::Access::read;
  uint64_t bytes = 0, stride = 0;
  bool reads() const { return access != schema::Access::write; }
  bool writes() const { return access != schema::Access::read; }
};

class FunctionChecker {
public:
  FunctionChecker(const schema::Module &module, const schema::Target &target,
                  const schema::Function &function, bool described)
      : module(module), target(target), function(function), described(described) {}

  Status run() {
    for (uint32_t i = 0; i < count(function.commands()); ++i) {
      const schema::CommandHolder &holder = *function.commands()->Get(i);
      const schema::Launch *launch = holder.command_as_Launch();
      Status status = launch      ? described ? this->launch(*launch) : Status()
                      : described ? gemm(*holder.command_as_Gemm())
                                  : gemmShape(*holder.command_as_Gemm());
      M1_TRY(std::move(status).prefixed(formatted("command %u", i)));
    }
    if (described && !(written[0] && written[1]))
      return corrupt("no command writes its %s", written[0] ? "next tokens" : "logits");
    return Status();
  }

private:
  Status launch(const schema::Launch &launch) {
    const schema::Kernel &kernel = *target.kernels()->Get(launch.kernel());
    const char *name = kernel.symbol()->c_str();
    if (count(kernel.parameters()) != count(launch.operands()))
      return corrupt("kernel \"%s\" takes %u operands, the launch has %u", name,
                     count(kernel.parameters()), count(launch.operands()));
    if (launch.grid_x() != kernel.grid_x() || launch.rows_per_group() != kernel.rows_per_group())
      return corrupt("kernel \"%s\" is for a grid of %u and groups of %u rows, the launch has %u "
                     "and %u",
                     name, kernel.grid_x(), kernel.rows_per_group(), launch.grid_x(),
                     launch.rows_per_group());
    const auto *domains = kernel.domains();
    if (!domains || std::find(domains->begin(), domains->end(), launch.domain()) == domains->end())
      return corrupt("kernel \"%s\" is not for rows over %s, as the launch has", name,
                     schema::EnumNameRowDomain(launch.domain()));
    if (kernel.decode() && function.name()->str().compare(0, 6, "decode") != 0)
      return corrupt("kernel \"%s\" is for decode functions", name);
    if (kernel.cooperative() &&
        (!function.max_rows() || function.max_rows() > kernel.rows_per_group()))
      return corrupt(
          "kernel \"%s\", whose blocks wait for one another, is for one group of %u rows, "
          "the function for %u (0: any)",
          name, kernel.rows_per_group(), function.max_rows());
    if (kernel.max_rows() && (!function.max_rows() || function.max_rows() > kernel.max_rows()))
      return corrupt("kernel \"%s\" is for at most %u rows, the function for %u (0: any)", name,
                     kernel.max_rows(), function.max_rows());
    if (kernel.max_positions() && module.max_positions() > kernel.max_positions())
      return corrupt("kernel \"%s\" is for at most %u positions, the model for %u", name,
                     kernel.max_positions(), module.max_positions());
    if (kernel.page_size() && module.page_size() != kernel.page_size())
      return corrupt("kernel \"%s\" is for pages of %u positions, the model has %u", name,
                     kernel.page_size(), module.page_size());
    for (uint32_t i = 0; i < count(kernel.tensor_maps()); ++i)
      M1_TRY(tensorMap(launch, kernel, *kernel.tensor_maps()->Get(i))
                 .prefixed(formatted("tensor map %u", i)));
    // All reads come before all writes.
    for (bool writes : {false, true})
      for (uint32_t i = 0; i < count(launch.operands()); ++i)
        M1_TRY(parameter(launch, *launch.operands()->Get(i), *kernel.parameters()->Get(i), writes)
                   .prefixed(formatted("operand %u", i)));
    return Status();
  }

  /// Within what the kernel touches of the operand, and as the hardware takes it.
  Status tensorMap(const schema::Launch &launch, const schema::Kernel &kernel,
                   const schema::TensorMap &map) {
    if (!function.min_rows())
      return corrupt("kernel \"%s\" is for functions with min_rows", kernel.symbol()->c_str());
    if (map.operand() >= count(launch.operands()))
      return corrupt("of operand %u, the launch has %u", map.operand(), count(launch.operands()));
    const schema::Operand &operand = *launch.operands()->Get(map.operand());
    const schema::Parameter &parameter = *kernel.parameters()->Get(map.operand());
    constexpr uint64_t most = INT32_MAX;
    if (map.columns() == 0 || map.columns() > map.row_bytes() / 2 || map.row_bytes() % 16 ||
        map.row_bytes() > most || map.rows() > most || map.box_rows() == 0 || map.box_rows() > 256)
      return corrupt("[%u, %u] in rows of %llu bytes and boxes of %u", map.rows(), map.columns(),
                     (unsigned long long)map.row_bytes(), map.box_rows());
    const bool isRows =
        operand.kind() == OperandKind::temporary || operand.kind() == OperandKind::row_temporary;
    const bool lies = map.rows() ? operand.kind() == OperandKind::weight &&
                                       map.rows() * map.row_bytes() <= parameter.bytes()
                                 : isRows && map.row_bytes() == parameter.stride() &&
                                       map.columns() * uint64_t(2) <= parameter.bytes();
    if (!lies || operand.offset() % 16)
      return corrupt("is not within what the kernel touches of operand %u", map.operand());
    return Status();
  }

  Status parameter(const schema::Launch &launch, const schema::Operand &operand,
                   const schema::Parameter &parameter, bool writes) {
    const Use use = {parameter.access(), parameter.bytes(), parameter.stride()};
    const bool isArray = operand.kind() == OperandKind::port && isBatchArray(operand.index());
    if (isArray != (parameter.port() >= 0) ||
        (isArray && operand.index() != uint32_t(parameter.port())))
      return corrupt("the kernel expects another batch array, or none");
    if (isArray)
      return use.writes() ? corrupt("the kernel writes a batch array") : Status();
    const bool isState = operand.kind() == OperandKind::state;
    const int kind = isState ? int(module.states()->Get(operand.index())->kind()) : -1;
    if (kind != parameter.state())
      return corrupt("the kernel expects a state of another kind, or none");
    switch (operand.kind()) {
    case OperandKind::weight:
      if (use.writes())
        return corrupt("the kernel writes a weight");
      return weight(operand, use, parameter.element());
    case OperandKind::state:
      return state(operand, use, parameter.element());
    case OperandKind::workspace:
      return workspace(operand, use, writes);
    default:
      return rows(launch.domain(), operand, use, writes);
    }
  }

  Status weight(const schema::Operand &operand, const Use &use, schema::ElementType element) {
    const schema::TensorType &type = *module.weights()->Get(operand.index())->type();
    const uint64_t bytes = elementCount(type) * elementSize(type.element());
    if (use.stride != 0 || use.bytes > bytes - operand.offset())
      return corrupt("the kernel touches %llu bytes from byte %llu of %llu",
                     (unsigned long long)use.bytes, (unsigned long long)operand.offset(),
                     (unsigned long long)bytes);
    return sameElement(element, type.element());
  }

  Status state(const schema::Operand &operand, const Use &use, schema::ElementType element) {
    const schema::State &state = *module.states()->Get(operand.index());
    if (operand.offset() != 0 || use.stride != 0 || use.bytes != state.bytes())
      return corrupt("the kernel works on %llu bytes of every slot or page, the state has %llu",
                     (unsigned long long)use.bytes, (unsigned long long)state.bytes());
    return sameElement(element, state.type()->element());
  }

  static Status sameElement(schema::ElementType wanted, schema::ElementType got) {
    return wanted == got || wanted == schema::ElementType::u8
               ? Status()
               : corrupt("the kernel works on elements of type %s, not %s", elementName(wanted),
                         elementName(got));
  }

  /// Rows, of which a command over `domain` touches `bytes` every `stride` bytes.
  Status rows(RowDomain domain, const schema::Operand &operand, const Use &use, bool writes) {
    if (operand.kind() == OperandKind::port) {
      const bool isLogits = schema::Port(operand.index()) == schema::Port::logits;
      const uint64_t row =
          isLogits ? uint64_t(module.vocab_size()) * sizeof(float) : sizeof(int32_t);
      if (domain != RowDomain::logit_rows)
        return corrupt("rows of logits in a command over %s", schema::EnumNameRowDomain(domain));
      if (use.stride != row || use.bytes > row)
        return badColumns(use, 0, row);
      bool &isWritten = written[isLogits ? 0 : 1];
      if (!writes && use.reads() && !isWritten)
        return corrupt("reads what no command before it writes");
      isWritten |= writes && use.writes();
      return Status();
    }
    const bool ofTokens = operand.kind() == OperandKind::temporary;
    if (!ofTokens && operand.kind() != OperandKind::row_temporary)
      return corrupt("is not rows");
    const uint64_t arena = ofTokens ? function.temporary_bytes_per_row()
                                    : function.row_temporary_bytes_per_row(),
                   begin = operand.arena_offset();
    if (!ofTokens && domain != RowDomain::logit_rows && domain != RowDomain::one)
      return corrupt("rows of logits in a command over tokens or sequences");
    if (use.stride > arena - begin)
      return corrupt("rows of %llu bytes from byte %llu of an arena of %llu bytes a row",
                     (unsigned long long)use.stride, (unsigned long long)begin,
                     (unsigned long long)arena);
    if (operand.offset() > use.stride || use.bytes > use.stride - operand.offset())
      return badColumns(use, operand.offset(), use.stride);
    return note(operand.kind(), {begin, begin + use.stride},
                {operand.offset(), operand.offset() + use.bytes}, use, writes);
  }

  static Status badColumns(const Use &use, uint64_t offset, uint64_t row) {
    return corrupt("%llu of every %llu bytes are used, from byte %llu of %llu",
                   (unsigned long long)use.bytes, (unsigned long long)use.stride,
                   (unsigned long long)offset, (unsigned long long)row);
  }

  Status note(OperandKind arena, Span place, Span columns, const Use &use, bool writes) {
    if (!described)
      return Status();
    if (writes && use.writes())
      contents.write(arena, place, columns);
    if (!writes && use.reads() && !contents.holds(arena, place, columns))
      return corrupt("reads what no command before it writes");
    return Status();
  }

  Status gemm(const schema::Gemm &gemm) {
    M1_TRY(gemmShape(gemm));
    return gemmRows(gemm, true);
  }

  Status gemmRows(const schema::Gemm &gemm, bool writes) {
    // Factors of at most 2^32: their products fit.
    const uint64_t aSize = elementSize(gemm.a_type()), outSize = elementSize(gemm.out_type());
    const Use out = {schema::Access::write, gemm.n() * outSize, gemm.ldo() * outSize};
    if (!writes) {
      M1_TRY(rows(gemm.domain(), *gemm.a(),
                  {schema::Access::read, gemm.k() * aSize, gemm.lda() * aSize}, false)
                 .prefixed("gemm's a"));
      if (gemm.a_scale())
        M1_TRY(rows(gemm.domain(), *gemm.a_scale(), {schema::Access::read, 4, 4}, false)
                   .prefixed("gemm's a_scale"));
    }
    return rows(gemm.domain(), *gemm.out(), out, writes).prefixed("gemm's out");
  }

  Status gemmShape(const schema::Gemm &gemm) {
    M1_TRY(gemmRows(gemm, false));
    const Size wanted = Size(gemm.n()) * gemm.k();
    const bool made = gemm.w()->kind() == OperandKind::workspace;
    M1_TRY((made ? madeWeight(gemm, wanted) : elements(*gemm.w(), wanted)).prefixed("gemm's w"));
    if (gemm.w_scale())
      M1_TRY(elements(*gemm.w_scale(), gemm.n()).prefixed("gemm's w_scale"));
    return gemm.bias() ? elements(*gemm.bias(), gemm.n()).prefixed("gemm's bias") : Status();
  }

  /// Elements in the workspace that commands before it write, of the type that they are used in.
  Status madeWeight(const schema::Gemm &gemm, Size wanted) {
    if (gemm.w_type() != gemm.a_type())
      return corrupt("is in the workspace in another type than a's");
    if (gemm.w()->offset() % 256) // as weights and arenas begin
      return corrupt("begins at byte %llu of the workspace, expected a multiple of 256",
                     (unsigned long long)gemm.w()->offset());
    const Use use = {schema::Access::read, (wanted * elementSize(gemm.w_type())).get(), 0};
    return workspace(*gemm.w(), use, false);
  }

  Status workspace(const schema::Operand &operand, const Use &use, bool writes) {
    if (use.stride != 0 || use.bytes > function.workspace_bytes() - operand.offset())
      return corrupt("the kernel touches %llu bytes from byte %llu of %llu",
                     (unsigned long long)use.bytes, (unsigned long long)operand.offset(),
                     (unsigned long long)function.workspace_bytes());
    return note(operand.kind(), {operand.offset(), operand.offset() + use.bytes}, {0, use.bytes},
                use, writes);
  }

  /// A whole weight of so many elements: it may be stored in another type than it is used in.
  Status elements(const schema::Operand &operand, Size wanted) {
    if (operand.kind() != OperandKind::weight || operand.offset() != 0)
      return corrupt("is not a weight from its beginning");
    const uint64_t there = elementCount(*module.weights()->Get(operand.index())->type());
    return wanted.get() <= there
               ? Status()
               : corrupt("%llu elements are used of a weight of %llu",
                         (unsigned long long)wanted.get(), (unsigned long long)there);
  }

  const schema::Module &module;
  const schema::Target &target;
  const schema::Function &function;
  const bool described;
  Contents contents;
  bool written[2] = {}; // logits, next tokens
};

} // namespace

Status checkExtents(const schema::Module &module, const schema::Target &target) {
  bool described = false;
  for (uint32_t i = 0; i < count(target.kernels()); ++i)
    described |= count(target.kernels()->Get(i)->parameters()) > 0;
  for (uint32_t i = 0; i < count(target.kernels()) && !described; ++i)
    if (target.kernels()->Get(i)->tensor_maps())
      return corrupt("kernel \"%s\" has tensor maps but no parameters",
                     target.kernels()->Get(i)->symbol()->c_str());
  for (uint32_t i = 0; i < count(target.functions()); ++i) {
    const schema::Function &function = *target.functions()->Get(i);
    M1_TRY(FunctionChecker(module, target, function, described)
               .run()
               .prefixed("function \"" + function.name()->str() + "\""));
  }
  return Status();
}

} // namespace m1rt
