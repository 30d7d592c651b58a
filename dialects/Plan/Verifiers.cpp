#include "Plan/Plan.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MathExtras.h"
#include <map>
#include <queue>

using namespace mlir;
using namespace mlir::plan;

/// What the kernel touches of operand `i` lies within it. States are known to the m1 dialect alone,
/// the width of logits to the loader.
static LogicalResult verifyExtent(LaunchOp launch, size_t i, int64_t bytes, int64_t stride) {
  BufferBase base = resolveBuffer(launch.getBuffers()[i]);
  auto wrong = [&](const Twine &there) {
    return launch.emitOpError("touches ")
           << bytes << " of every " << stride << " bytes of operand " << i << " from byte "
           << base.offset << ", which " << there.str();
  };
  if (bytes < 0 || stride < 0)
    return wrong("is out of range");
  int64_t end;
  if (llvm::AddOverflow(bytes, base.offset, end))
    return wrong("64 bits do not hold");
  if (auto weight = dyn_cast<WeightOp>(base.base)) {
    auto type = cast<ShapedType>(weight.getWeightType());
    int64_t size = type.getNumElements() * (type.getElementTypeBitWidth() / 8);
    return stride == 0 && end <= size ? success()
                                      : wrong("is a weight of " + Twine(size) + " bytes");
  }
  if (auto temporary = dyn_cast<TemporaryOp>(base.base)) {
    auto size = static_cast<int64_t>(temporary.getBytes());
    if (temporary.getRows() == RowDomain::one)
      return stride == 0 && end <= size ? success()
                                        : wrong("is workspace of " + Twine(size) + " bytes");
    return stride <= size && end <= stride ? success()
                                           : wrong("has rows of " + Twine(size) + " bytes");
  }
  if (auto port = dyn_cast<PortOp>(base.base)) {
    bool isResult = port.getPort() == Port::logits || port.getPort() == Port::next_tokens;
    return isResult ? stride > 0 && end <= stride ? success() : wrong("are rows")
           : bytes == 0 && stride == 0 && base.offset == 0 ? success()
                                                           : wrong("is a batch array");
  }
  return stride == 0 && base.offset == 0 ? success() : wrong("is a state");
}

/// The kernel's tensor maps lie within what it touches of the operands; the hardware's limits.
static LogicalResult verifyTensorMaps(KernelOp kernel, ArrayRef<int64_t> numbers) {
  ArrayRef<int64_t> extents = kernel.getExtents().value_or(ArrayRef<int64_t>());
  if (numbers.empty() || numbers.size() % 5)
    return kernel.emitOpError("expected five numbers for each tensor map, got ") << numbers.size();
  for (const TensorMap &map : readTensorMaps(numbers)) {
    if (map.operand < 0 || map.operand >= static_cast<int64_t>(extents.size()) / 2)
      return kernel.emitOpError("expected tensor maps of operands with extents, got operand ")
             << map.operand;
    constexpr int64_t most = INT32_MAX; // products of two fit in 64 bits
    if (map.rows < 0 || map.rows > most || map.columns < 1 || map.rowBytes % 16 ||
        map.rowBytes > most || map.columns > map.rowBytes / 2 || map.boxRows < 1 ||
        map.boxRows > 256)
      return kernel.emitOpError("expected a tensor map of [operand, rows, columns, bytes of a row "
                                "(a multiple of 16), rows of a box (1 to 256)], got [")
             << map.operand << ", " << map.rows << ", " << map.columns << ", " << map.rowBytes
             << ", " << map.boxRows << "]";
    const int64_t bytes = extents[2 * map.operand], stride = extents[2 * map.operand + 1];
    const bool lies = map.rows ? stride == 0 && map.rows * map.rowBytes <= bytes
                               : stride == map.rowBytes && map.columns * 2 <= bytes;
    if (!lies)
      return kernel.emitOpError("has a tensor map of operand ")
             << map.operand << " that is not within its " << bytes << " bytes every " << stride;
  }
  return success();
}

/// Every launch of a kernel has the operands and the grid of its other launches.
static LogicalResult verifyLaunch(LaunchOp launch, KernelOp kernel, LaunchOp other) {
  if (launch.getGridX() != other.getGridX() ||
      launch.getRowsPerGroup() != other.getRowsPerGroup()) {
    InFlightDiagnostic diagnostic =
        launch.emitOpError("expected the grid of the kernel's other launches, ")
        << other.getGridX() << " by " << other.getRowsPerGroup() << ", got " << launch.getGridX()
        << " by " << launch.getRowsPerGroup();
    diagnostic.attachNote(other.getLoc()) << "another launch";
    return diagnostic;
  }
  std::optional<ArrayRef<int64_t>> extents = kernel.getExtents();
  if (!extents)
    return success();
  if (extents->size() != 2 * launch.getBuffers().size())
    return launch.emitOpError("expected ")
           << extents->size() / 2 << " operands, as @" << kernel.getSymName()
           << " has extents, got " << launch.getBuffers().size();
  for (size_t i = 0; i < launch.getBuffers().size(); ++i)
    if (failed(verifyExtent(launch, i, (*extents)[2 * i], (*extents)[2 * i + 1])))
      return failure();
  for (const TensorMap &map : readTensorMaps(kernel.getTensorMaps().value_or(ArrayRef<int64_t>())))
    if (int64_t offset = resolveBuffer(launch.getBuffers()[map.operand]).offset; offset % 16)
      return launch.emitOpError("expected operand ")
             << map.operand << ", a tensor map, to begin at a multiple of 16 bytes, got " << offset;
  if (kernel.getTensorMaps() && !launch->getParentOfType<FunctionOp>().getMinRows())
    return launch.emitOpError("expected a function with min_rows, as @")
           << kernel.getSymName() << " takes tensor maps";
  return success();
}

LogicalResult TargetOp::verifyRegions() {
  llvm::StringMap<KernelOp> keys;
  llvm::DenseMap<StringAttr, KernelOp> kernels;
  for (Operation &op : *getBody().begin()) {
    if (!isa<KernelOp, FunctionOp>(op))
      return op.emitOpError("is neither a kernel nor a function of the target");
    if (auto kernel = dyn_cast<KernelOp>(op)) {
      auto [it, isNew] = keys.try_emplace(kernel.getKey(), kernel);
      if (!isNew)
        return kernel.emitOpError("has the key of kernel @") << it->second.getSymName();
      kernels[kernel.getSymNameAttr()] = kernel;
    }
  }
  // A kernel has one list of parameters, whoever launches it.
  llvm::DenseMap<StringAttr, LaunchOp> launches;
  WalkResult result = walk([&](LaunchOp launch) -> WalkResult {
    auto [it, isNew] = launches.try_emplace(launch.getKernelAttr().getAttr(), launch);
    if (isNew || it->second.getAccesses() == launch.getAccesses()) {
      // A launch of no kernel is an error of its own.
      KernelOp kernel = kernels.lookup(launch.getKernelAttr().getAttr());
      return WalkResult(kernel ? verifyLaunch(launch, kernel, it->second) : success());
    }
    auto text = [](ArrayRef<int32_t> accesses) {
      std::string list;
      for (int32_t access : accesses)
        list += (list.empty() ? "" : ", ") + stringifyAccess(static_cast<Access>(access)).str();
      return "(" + list + ")";
    };
    InFlightDiagnostic diagnostic =
        launch.emitOpError("expected the operands of the kernel's other launches, ")
        << text(it->second.getAccesses()) << ", got " << text(launch.getAccesses());
    diagnostic.attachNote(it->second.getLoc()) << "another launch";
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

LogicalResult KernelOp::verify() {
  if (getKey().empty())
    return emitOpError("expected a key");
  for (auto [name, value] : {std::pair("code", getCode()), std::pair("block_size", getBlockSize()),
                             std::pair("shared_bytes", getSharedBytes())})
    if (static_cast<int32_t>(value) < 0)
      return emitOpError("expected ")
             << name << " of at least 0, got " << static_cast<int32_t>(value);
  if (getBlockSize() > 1024)
    return emitOpError("expected a block of at most 1024 threads, got ") << getBlockSize();
  return getTensorMaps() ? verifyTensorMaps(*this, *getTensorMaps()) : success();
}

/// The size of the arena that `rows` belongs to, or nothing when the function is not placed.
static std::optional<int64_t> arenaBytes(FunctionOp function, RowDomain rows) {
  switch (rows) {
  case RowDomain::one:
    return function.getWorkspaceBytes();
  case RowDomain::tokens:
    return function.getTemporaryBytesPerRow();
  case RowDomain::logit_rows:
    return function.getRowTemporaryBytesPerRow();
  case RowDomain::sequences:
    break;
  }
  return std::nullopt;
}

/// Where the buffers of a function lie, computed in order, so that no chain of views is walked.
using Bases = llvm::DenseMap<Value, BufferBase>;

/// Only buffers and commands, each using buffers that stand before it, and views within what they
/// are views of.
static LogicalResult verifyBuffers(FunctionOp function, Bases &bases) {
  if (function.getBody().getNumArguments())
    return function.emitOpError("expected a body without arguments, got ")
           << function.getBody().getNumArguments();
  for (Operation &op : *function.getBody().begin()) {
    if (!isa<WeightOp, StateOp, PortOp, TemporaryOp, ViewOp, LaunchOp, GemmOp>(op))
      return op.emitOpError("is not a command or buffer of a plan");
    for (Value operand : op.getOperands())
      if (!bases.contains(operand))
        return op.emitOpError("uses a buffer before its definition");
    if (auto view = dyn_cast<ViewOp>(op)) {
      BufferBase base = bases.at(view.getSource());
      if (llvm::AddOverflow(base.offset, static_cast<int64_t>(view.getOffset()), base.offset))
        return view.emitOpError("begins beyond any buffer");
      if (auto temporary = dyn_cast<TemporaryOp>(base.base);
          temporary && base.offset >= static_cast<int64_t>(temporary.getBytes()))
        return view.emitOpError("begins at byte ")
               << base.offset << " of a temporary of " << temporary.getBytes() << " bytes per row";
      bases[view] = base;
    } else if (op.getNumResults() == 1) {
      bases[op.getResult(0)] = {&op, 0};
    }
  }
  return success();
}

/// Whether two bases are one piece of memory: states and ports may be named by several ops.
static bool isSame(Operation *a, Operation *b) {
  auto stateA = dyn_cast<StateOp>(a), stateB = dyn_cast<StateOp>(b);
  if (stateA && stateB)
    return stateA.getState() == stateB.getState();
  auto portA = dyn_cast<PortOp>(a), portB = dyn_cast<PortOp>(b);
  if (portA && portB)
    return portA.getPort() == portB.getPort();
  return a == b;
}

/// What a launch writes must be none of its other operands: its groups run in any order.
static LogicalResult verifyHazards(LaunchOp launch, const Bases &bases) {
  for (auto [i, written] : llvm::enumerate(launch.getBuffers())) {
    if (launch.getAccess(i) == Access::ro)
      continue;
    for (auto [j, other] : llvm::enumerate(launch.getBuffers())) {
      const BufferBase &a = bases.at(written), &b = bases.at(other);
      // Columns of one temporary may lie side by side.
      if (i != j && isSame(a.base, b.base) && (!isa<TemporaryOp>(a.base) || a.offset == b.offset))
        return launch.emitOpError("writes operand ")
               << i << ", which is operand " << j << " as well";
    }
  }
  return success();
}

/// Commands write states, temporaries and the ports of results, and no temporary is read before a
/// command wrote it.
static LogicalResult verifyAccesses(FunctionOp function, const Bases &bases) {
  llvm::DenseSet<Operation *> written;
  auto read = [&](Operation &command, Value buffer) -> LogicalResult {
    auto temporary = dyn_cast<TemporaryOp>(bases.at(buffer).base);
    if (temporary && !written.contains(temporary))
      return command.emitOpError("reads a temporary that no command before it writes")
                 .attachNote(temporary.getLoc())
             << "the temporary";
    return success();
  };
  auto write = [&](Operation &command, Value buffer) -> LogicalResult {
    Operation *base = bases.at(buffer).base;
    if (auto weight = dyn_cast<WeightOp>(base))
      return command.emitOpError("expected outputs other than weights, got @")
             << weight.getWeight();
    auto port = dyn_cast<PortOp>(base);
    if (port && port.getPort() != Port::logits && port.getPort() != Port::next_tokens)
      return command.emitOpError("expected outputs other than inputs of the step, got ")
             << stringifyPort(port.getPort());
    written.insert(base);
    return success();
  };
  for (Operation &command : *function.getBody().begin()) {
    if (auto gemm = dyn_cast<GemmOp>(command)) {
      for (Value input : gemm->getOperands().drop_back())
        if (failed(read(command, input)))
          return failure();
      if (failed(write(command, gemm.getOut())))
        return failure();
    }
    auto launch = dyn_cast<LaunchOp>(command);
    if (!launch)
      continue;
    if (failed(verifyHazards(launch, bases)))
      return failure();
    for (auto [i, buffer] : llvm::enumerate(launch.getBuffers()))
      if (launch.getAccess(i) != Access::wo && failed(read(command, buffer)))
        return failure();
    for (auto [i, buffer] : llvm::enumerate(launch.getBuffers()))
      if (launch.getAccess(i) != Access::ro && failed(write(command, buffer)))
        return failure();
  }
  return success();
}

/// Rows of `columns` elements every `stride` lie within `buffer`, of which there is one a row of
/// the product's domain.
static LogicalResult verifyRows(GemmOp gemm, StringRef name, BufferBase base, int64_t stride,
                                int64_t columns, Type element) {
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  if (auto port = dyn_cast<PortOp>(base.base)) {
    if (port.getPort() == Port::logits && gemm.getDomain() == RowDomain::logit_rows &&
        base.offset == 0)
      return success();
    return gemm.emitOpError("expected ")
           << name << " to be rows over " << stringifyRowDomain(gemm.getDomain()) << ", got port "
           << stringifyPort(port.getPort());
  }
  auto temporary = dyn_cast<TemporaryOp>(base.base);
  if (!temporary)
    return gemm.emitOpError("expected ") << name << " to be a temporary or the logits";
  if (temporary.getRows() != gemm.getDomain())
    return gemm.emitOpError("expected ")
           << name << " to have rows over " << stringifyRowDomain(gemm.getDomain()) << ", got "
           << stringifyRowDomain(temporary.getRows());
  int64_t bytes = temporary.getBytes(), end = base.offset + columns * size;
  if (stride * size > bytes || end > bytes)
    return gemm.emitOpError("expected ")
           << name << " within " << bytes << " bytes per row, got a stride of " << stride * size
           << " and an end at byte " << end;
  return success();
}

static LogicalResult verifyWeight(GemmOp gemm, StringRef name, BufferBase base,
                                  ArrayRef<int64_t> shape, Type element) {
  auto weight = dyn_cast<WeightOp>(base.base);
  auto expected = RankedTensorType::get(shape, element);
  if (!weight || base.offset != 0 || weight.getWeightType() != expected) {
    InFlightDiagnostic diagnostic = gemm.emitOpError("expected ")
                                    << name << " to be a weight of type " << expected;
    if (weight)
      diagnostic << ", got " << weight.getWeightType()
                 << (base.offset ? " from byte " + std::to_string(base.offset) : "");
    return diagnostic;
  }
  return success();
}

/// Weights that a command makes stand in a temporary, in the type that they are used in.
static LogicalResult verifyMadeWeight(GemmOp gemm, BufferBase base, TemporaryOp temporary) {
  const uint64_t bytes =
      uint64_t(gemm.getN()) * uint64_t(gemm.getK()) * (gemm.getWType().getIntOrFloatBitWidth() / 8);
  if (temporary.getRows() != RowDomain::one || base.offset != 0 || temporary.getBytes() < bytes)
    return gemm.emitOpError("expected w to be a weight or the first ")
           << bytes << " bytes of a temporary over one, got " << temporary.getBytes()
           << " bytes from byte " << base.offset << " of one over "
           << stringifyRowDomain(temporary.getRows());
  if (gemm.getWType() != gemm.getAType())
    return gemm.emitOpError("expected a temporary as w to have the type of a, ")
           << gemm.getAType() << ", got " << gemm.getWType();
  return success();
}

static LogicalResult verifyProduct(GemmOp gemm, const Bases &bases) {
  int64_t n = gemm.getN(), k = gemm.getK();
  auto made = dyn_cast<TemporaryOp>(bases.at(gemm.getW()).base);
  if (failed(verifyRows(gemm, "a", bases.at(gemm.getA()), gemm.getLda(), k, gemm.getAType())) ||
      failed(
          verifyRows(gemm, "out", bases.at(gemm.getOut()), gemm.getLdo(), n, gemm.getOutType())) ||
      failed(made ? verifyMadeWeight(gemm, bases.at(gemm.getW()), made)
                  : verifyWeight(gemm, "w", bases.at(gemm.getW()), {n, k}, gemm.getWType())))
    return failure();
  Type f32 = Float32Type::get(gemm.getContext());
  if (gemm.getAScale() &&
      (failed(verifyRows(gemm, "a_scale", bases.at(gemm.getAScale()), 1, 1, f32)) ||
       failed(verifyWeight(gemm, "w_scale", bases.at(gemm.getWScale()), {n}, f32))))
    return failure();
  if (!gemm.getBias())
    return success();
  return verifyWeight(gemm, "bias", bases.at(gemm.getBias()), {n}, f32);
}

/// No two temporaries of an arena that live at the same time share bytes. A sweep over the commands
/// keeps those that live, by their place: they are disjoint, so a new one is compared with its
/// neighbours alone.
static LogicalResult verifyPlaces(FunctionOp function) {
  auto lifetimes = computeLifetimes(function).takeVector(); // in order of their first commands
  struct Live {
    TemporaryOp op;
    Lifetime life;
    int64_t end;
  };
  using Ending = std::pair<int64_t, int64_t>; // last command, place
  for (RowDomain rows : {RowDomain::one, RowDomain::tokens, RowDomain::logit_rows}) {
    std::map<int64_t, Live> live; // by place
    std::priority_queue<Ending, std::vector<Ending>, std::greater<>> endings;
    for (auto [a, life] : lifetimes) {
      if (a.getRows() != rows)
        continue;
      for (; !endings.empty() && endings.top().first < life.first; endings.pop())
        live.erase(endings.top().second);
      int64_t begin = *a.getOffset(), end = begin + static_cast<int64_t>(a.getBytes());
      if (end > *arenaBytes(function, rows))
        return a.emitOpError("ends at byte ")
               << end << " of an arena of " << *arenaBytes(function, rows);
      auto next = live.upper_bound(begin);
      auto overlapped = live.end();
      if (next != live.end() && next->first < end)
        overlapped = next;
      if (next != live.begin() && std::prev(next)->second.end > begin)
        overlapped = std::prev(next);
      if (overlapped != live.end()) {
        auto &[beginB, b] = *overlapped;
        return (a.emitOpError("overlaps another temporary that lives at the same time: bytes ")
                << begin << " to " << end << " and " << beginB << " to " << b.end << ", commands "
                << life.first << " to " << life.last << " and " << b.life.first << " to "
                << b.life.last)
                   .attachNote(b.op.getLoc())
               << "the other temporary";
      }
      live[begin] = {a, life, end};
      endings.push({life.last, begin});
    }
  }
  return success();
}

LogicalResult FunctionOp::verifyRegions() {
  const auto least = static_cast<int32_t>(getMinRows()), most = static_cast<int32_t>(getMaxRows());
  if (least < 0 || (most && least > most))
    return emitOpError("expected min_rows of 0 to max_rows = ") << most << ", got " << least;
  bool placed = isPlaced();
  if (getRowTemporaryBytesPerRow().has_value() != placed ||
      getWorkspaceBytes().has_value() != placed)
    return emitOpError("expected all three arena sizes or none");
  Bases bases;
  if (failed(verifyBuffers(*this, bases)))
    return failure();
  for (auto temporary : getOps<TemporaryOp>())
    if (temporary.getOffset().has_value() != placed)
      return temporary.emitOpError("expected an offset exactly when the function has arena sizes");
  for (auto gemm : getOps<GemmOp>())
    if (failed(verifyProduct(gemm, bases)))
      return failure();
  if (failed(verifyAccesses(*this, bases)))
    return failure();
  if (!placed)
    return success();
  for (RowDomain rows : {RowDomain::tokens, RowDomain::logit_rows})
    if (int64_t bytes = *arenaBytes(*this, rows); bytes < 0 || bytes % kArenaAlignment != 0)
      return emitOpError("expected arenas of a multiple of ")
             << kArenaAlignment << " bytes per row, got " << bytes;
  return verifyPlaces(*this);
}

LogicalResult TemporaryOp::verify() {
  if (getRows() == RowDomain::sequences)
    return emitOpError("expected rows to be tokens, logit_rows or one");
  if (static_cast<int64_t>(getBytes()) <= 0)
    return emitOpError("expected a positive number of bytes, got ")
           << static_cast<int64_t>(getBytes());
  int64_t end;
  if (llvm::AddOverflow(static_cast<int64_t>(getBytes()),
                        static_cast<int64_t>(getOffset().value_or(0)) + kArenaAlignment, end))
    return emitOpError("expected an end that 64 bits hold");
  if (getOffset() &&
      (static_cast<int64_t>(*getOffset()) < 0 || *getOffset() % kArenaAlignment != 0))
    return emitOpError("expected an offset that is a multiple of ")
           << kArenaAlignment << ", got " << static_cast<int64_t>(*getOffset());
  return success();
}

LogicalResult ViewOp::verify() {
  if (static_cast<int64_t>(getOffset()) < 0)
    return emitOpError("expected an offset of at least 0, got ")
           << static_cast<int64_t>(getOffset());
  return success();
}

LogicalResult LaunchOp::verify() {
  if (static_cast<int32_t>(getGridX()) < 1 || static_cast<int32_t>(getRowsPerGroup()) < 1)
    return emitOpError("expected a grid of at least one group and one row per group, got ")
           << static_cast<int32_t>(getGridX()) << " and "
           << static_cast<int32_t>(getRowsPerGroup());
  if (getAccesses().size() != getBuffers().size())
    return emitOpError("expected an access for each of ")
           << getBuffers().size() << " buffers, got " << getAccesses().size();
  for (int32_t access : getAccesses())
    if (!symbolizeAccess(access))
      return emitOpError("expected accesses of 0 (ro), 1 (wo) and 2 (rw), got ") << access;
  const std::optional<ArrayAttr> entries = getWrittenRows();
  if (!entries)
    return success();
  for (Attribute entry : *entries) {
    std::optional<WrittenRows> rows = readWrittenRows(entry);
    constexpr int64_t most = INT32_MAX; // bytes of a row fit in 64 bits
    if (!rows || rows->operand < 0 || rows->operand >= static_cast<int64_t>(getBuffers().size()) ||
        getAccess(rows->operand) == Access::ro ||
        !(rows->element.isF32() || rows->element.isBF16() || rows->element.isInteger(32)) ||
        rows->columns < 1 || rows->stride < rows->columns || rows->stride > most)
      return emitOpError("expected written_rows of [operand that is written, f32, bf16 or i32, "
                         "columns, columns from row to row], got ")
             << entry;
  }
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!symbols.lookupNearestSymbolFrom<KernelOp>((*this)->getParentOfType<TargetOp>(),
                                                 getKernelAttr()))
    return emitOpError("expected ") << getKernelAttr() << " to be a kernel of the target";
  return success();
}

/// `name` is an op of this kind and type beside the target; the m1 dialect is not known here.
static LogicalResult verifyNamed(Operation *op, FlatSymbolRefAttr name, Type type, StringRef kind,
                                 SymbolTableCollection &symbols) {
  Operation *around = op->getParentOfType<TargetOp>()->getParentOp();
  Operation *named = around ? symbols.lookupNearestSymbolFrom(around, name) : nullptr;
  if (!named || named->getName().getStringRef() != kind)
    return op->emitOpError("expected ") << name << " to be an " << kind << " beside the target";
  auto declared = named->getAttrOfType<TypeAttr>("type");
  if (!declared || declared.getValue() != type)
    return (op->emitOpError("expected the type of ") << name << ", got " << type)
               .attachNote(named->getLoc())
           << "declared here";
  return success();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyNamed(*this, getWeightAttr(), getWeightType(), "m1.weight", symbols);
}

LogicalResult StateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyNamed(*this, getStateAttr(), getStateType(), "m1.state", symbols);
}

LogicalResult GemmOp::verify() {
  for (auto [name, value] : {std::pair("n", getN()), std::pair("k", getK()),
                             std::pair("lda", getLda()), std::pair("ldo", getLdo())})
    if (static_cast<int32_t>(value) < 1)
      return emitOpError("expected ")
             << name << " to be positive, got " << static_cast<int32_t>(value);
  if (getLda() < getK())
    return emitOpError("expected lda of at least k = ") << getK() << ", got " << getLda();
  if (getLdo() < getN())
    return emitOpError("expected ldo of at least n = ") << getN() << ", got " << getLdo();
  const bool hasScales = bool(getAScale());
  if (hasScales != bool(getWScale()))
    return emitOpError("expected scales of both a and w, got those of ")
           << (hasScales ? "a" : "w") << " alone";
  for (auto [name, type] : {std::pair("a_type", getAType()), std::pair("w_type", getWType()),
                            std::pair("out_type", getOutType())}) {
    const bool isCodes = hasScales && StringRef(name) != "out_type";
    if (isCodes ? !isa<Float8E4M3FNType>(type) : !type.isF32() && !type.isBF16())
      return emitOpError("expected ")
             << name << " to be " << (isCodes ? "f8E4M3FN with scales" : "f32 or bf16") << ", got "
             << type;
  }
  if (getDomain() != RowDomain::tokens && getDomain() != RowDomain::logit_rows)
    return emitOpError("expected rows over tokens or logit_rows, got ")
           << stringifyRowDomain(getDomain());
  return success();
}
