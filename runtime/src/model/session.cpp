#include "model/session.h"

#include "base/counted.h"
#include "base/size.h"
#include <algorithm>

namespace m1rt {

uint64_t kvPagesFor(const BackendLimits &limits, uint64_t sequences) {
  const uint64_t whole = limits.pagesOf(limits.maxContext) * sequences;
  if (!limits.window)
    return whole;
  // What a step feeds comes before anything is given back; each prompt's part may touch one more.
  return std::min(whole, (uint64_t(limits.mostPages(limits.maxContext)) + 1) * sequences +
                             limits.pagesOf(limits.maxTokensPerStep));
}

Status Session::create(Model &model, const SessionOptions &options, std::unique_ptr<Session> *out) {
  const schema::Module &module = model.module();
  if (options.maxSequences == 0 || options.maxTokensPerStep == 0)
    return error(StatusCode::invalidArgument,
                 "a session needs at least one sequence and one token a step");
  if (options.maxSequences > (1u << 20) || options.maxTokensPerStep > (1u << 24))
    return error(StatusCode::invalidArgument, "%s with %s a step: too many",
                 counted(options.maxSequences, "sequence").c_str(),
                 counted(options.maxTokensPerStep, "token").c_str());
  if (const uint32_t most = model.program().maxTokensPerStep(); options.maxTokensPerStep > most)
    return error(StatusCode::invalidArgument,
                 "%u tokens a step: the launches of this model cover at most %u on %s",
                 options.maxTokensPerStep, most, model.device().info().name.c_str());
  if (options.maxContext > module.max_positions())
    return error(StatusCode::invalidArgument,
                 "context of %u tokens: the model was compiled for at most %u", options.maxContext,
                 module.max_positions());
  BackendLimits bounds;
  bounds.maxSequences = options.maxSequences;
  bounds.maxTokensPerStep = options.maxTokensPerStep;
  bounds.maxLogitRows = options.maxLogitRows
                            ? std::min(options.maxLogitRows, options.maxTokensPerStep)
                            : std::min(options.maxSequences, options.maxTokensPerStep);
  bounds.maxContext = options.maxContext ? options.maxContext : module.max_positions();
  bounds.pageSize = module.page_size();
  bounds.window = model.window();
  bounds.vocabulary = module.vocab_size();
  if (model.pageBytes() > 0) {
    const uint64_t pages =
        options.kvPages ? options.kvPages : kvPagesFor(bounds, options.maxSequences);
    if (pages > 0x7ffffffe)
      return error(StatusCode::invalidArgument, "%llu KV pages: too many",
                   (unsigned long long)pages);
    bounds.kvPages = uint32_t(pages);
    if (options.maxContext == 0 && pages < bounds.mostPages(bounds.maxContext))
      bounds.maxContext = uint32_t(std::min<uint64_t>(bounds.maxContext, pages * bounds.pageSize));
  }
  std::unique_ptr<Session> session(new Session(model, options, bounds));
  M1_TRY(session->allocate());
  *out = std::move(session);
  return Status();
}

Session::~Session() {
  context.reset();
  for (void *state : states)
    model.device().free(state);
}

Status Session::allocate() {
  const schema::Module &module = model.module();
  Device &device = model.device();
  maxPages = hasPages() ? bounds.pagesOf(bounds.maxContext) : 1;

  // One slot and one page more than sequences get: for padded rows.
  const uint64_t slots = uint64_t(bounds.maxSequences) + 1,
                 pageCount = uint64_t(bounds.kvPages) + 1;
  const uint32_t stateCount = module.states() ? module.states()->size() : 0;
  states.assign(stateCount, nullptr);
  for (uint32_t i = 0; i < stateCount; ++i) {
    const schema::State &state = *module.states()->Get(i);
    const bool kv = state.kind() == schema::StateKind::kv;
    const uint64_t bytes =
        std::max<uint64_t>((Size(state.bytes()) * (kv ? pageCount : slots)).get(),
                           1); // a state of width 0 still has an address
    Status status = device.allocate(bytes, kv ? "KV pages" : "sequence state", &states[i]);
    if (!status.ok())
      return error(status.code(), "%s; in all, %s of state are needed for %s and %s for %s",
                   status.message().c_str(),
                   bytesText((Size(slots) * model.slotBytes()).get()).c_str(),
                   counted(bounds.maxSequences, "sequence").c_str(),
                   bytesText((Size(pageCount) * model.pageBytes()).get()).c_str(),
                   counted(bounds.kvPages, "KV page").c_str());
    // Masked positions of a page are read and multiplied by zero: they must be finite. Memory fresh
    // from the system is zero already.
    if (kv && !device.readsHostMemory())
      M1_TRY(device.clear(states[i], bytes));
  }
  ContextOptions contextOptions;
  contextOptions.maxTokens = bounds.maxTokensPerStep;
  contextOptions.maxSequences = std::min(bounds.maxSequences, bounds.maxTokensPerStep);
  contextOptions.maxLogitRows = bounds.maxLogitRows;
  contextOptions.maxPages = maxPages;
  contextOptions.scratchSlot = bounds.maxSequences;
  contextOptions.scratchPage = bounds.kvPages;
  contextOptions.tokenIds = model.tokenIds();
  contextOptions.states = states;
  M1_TRY(model.program().createContext(contextOptions, &context));
  bounds.asynchronous = context->asynchronous();
  traits = context->traits();
  if (options.sharedBytesFrom != UINT64_MAX)
    traits.sharedBytesFrom = options.sharedBytesFrom;
  prefixWork = prefixWorkOf(module, traits);
  pages = PagePool(bounds.kvPages); // only now: the device has said that so many fit
  for (uint32_t i = bounds.maxSequences; i > 0; --i)
    freeSlots.push_back(i - 1);
  return Status();
}

Status Session::find(SequenceId id, Sequence **out) const {
  auto found = sequences.find(id);
  if (found == sequences.end())
    return error(StatusCode::invalidArgument, "sequence %llu does not exist",
                 (unsigned long long)id);
  *out = &found->second;
  return Status();
}

Status Session::create(SequenceId *out) {
  if (freeSlots.empty())
    return error(StatusCode::outOfMemory, "all %u sequences of the session are in use",
                 bounds.maxSequences);
  sequences[nextSequence].slot = freeSlots.back(); // may fail for want of memory
  freeSlots.pop_back();
  *out = nextSequence++;
  return Status();
}

Status Session::fork(SequenceId sourceId, SequenceId *out) {
  Sequence *source = nullptr;
  M1_TRY(find(sourceId, &source));
  const bool partial = hasPages() && source->length % bounds.pageSize != 0;
  if (partial && pages.free() == 0)
    return error(StatusCode::outOfMemory,
                 "no free KV page to fork sequence %llu: all %u are in use",
                 (unsigned long long)sourceId, bounds.kvPages);
  if (source->forkedIn == forkBatch) // what it is copied from is not there yet
    M1_TRY(copyForks());
  if (forkCopies.capacity() < forkCopies.size() + states.size())
    forkCopies.reserve(2 * forkCopies.capacity() + states.size());
  std::vector<uint32_t> copiedPages = source->pages;
  SequenceId id = 0;
  M1_TRY(create(&id)); // elements of the map stay where they are
  Sequence &copy = sequences[id];
  copy.length = source->length;
  copy.behind = source->behind;
  copy.forkedIn = forkBatch;
  copy.pages = std::move(copiedPages);
  for (uint32_t page : copy.pages)
    pages.share(page);
  if (partial) {
    pages.release(copy.pages.back());
    copy.pages.back() = pages.take();
  }
  for (uint32_t i = 0; i < states.size() && source->length > 0; ++i) {
    const schema::State &state = *model.module().states()->Get(i);
    const bool kv = state.kind() == schema::StateKind::kv;
    if (kv && !partial)
      continue;
    char *base = static_cast<char *>(states[i]);
    const uint64_t from = kv ? source->pages.back() : source->slot,
                   to = kv ? copy.pages.back() : copy.slot;
    forkCopies.push_back({base + to * state.bytes(), base + from * state.bytes(), state.bytes()});
  }
  *out = id;
  return Status();
}

Status Session::copyForks() {
  if (forkCopies.empty())
    return Status();
  Status status = model.device().copyRanges(forkCopies);
  lost |= !status.ok();
  forkCopies.clear();
  ++forkBatch;
  return status;
}

void Session::releasePages(Sequence &sequence) {
  for (uint32_t page : sequence.pages)
    pages.release(page);
  sequence.pages.clear();
  sequence.behind = 0;
}

/// Gives back the pages that no token to come sees.
void Session::releaseBehind(Sequence &sequence) {
  const uint32_t count = bounds.pagesBehind(sequence.length) - sequence.behind;
  for (uint32_t i = 0; i < count; ++i)
    pages.release(sequence.pages[i]);
  sequence.pages.erase(sequence.pages.begin(), sequence.pages.begin() + count);
  sequence.behind += count;
}

Status Session::reset(SequenceId id) {
  Sequence *sequence = nullptr;
  M1_TRY(find(id, &sequence));
  M1_TRY(copyForks());
  releasePages(*sequence);
  sequence->length = 0; // the state starts from zero at position 0
  return Status();
}

Status Session::destroy(SequenceId id) {
  Sequence *sequence = nullptr;
  M1_TRY(find(id, &sequence));
  Status status = copyForks();
  releasePages(*sequence);
  freeSlots.push_back(sequence->slot);
  sequences.erase(id);
  return status;
}

Status Session::length(SequenceId id, uint32_t *out) const {
  Sequence *sequence = nullptr;
  M1_TRY(find(id, &sequence));
  *out = sequence->length;
  return Status();
}

Status Session::validate(const BackendEntry *entries, uint32_t count, uint32_t *outNewPages) {
  if (lost)
    return error(StatusCode::deviceError, "the session was lost by an earlier device error");
  if (count == 0)
    return error(StatusCode::invalidArgument, "a step without entries");
  stepSequences.clear();
  uint64_t tokens = 0, rows = 0, newPages = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const BackendEntry &entry = entries[i];
    Sequence *sequence = nullptr;
    if (Status found = find(entry.sequence, &sequence); !found.ok())
      return std::move(found).prefixed(formatted("entry %u", i));
    if (entry.tokenCount == 0 || entry.logitCount > entry.tokenCount)
      return error(StatusCode::invalidArgument, "entry %u: %u logits rows of %u tokens", i,
                   entry.logitCount, entry.tokenCount);
    if (uint64_t(sequence->length) + entry.tokenCount > bounds.maxContext)
      return error(StatusCode::invalidArgument,
                   "entry %u: %u tokens after %u: longer than the context of %u tokens%s", i,
                   entry.tokenCount, sequence->length, bounds.maxContext,
                   bounds.maxContext == model.module().max_positions()
                       ? " that the model was compiled for"
                       : "");
    if (!entry.tokens && (entry.tokenCount != 1 || entry.chosenRow >= sampledRows))
      return error(StatusCode::invalidArgument,
                   "entry %u: %u tokens from sampled row %u, expected one of %u rows", i,
                   entry.tokenCount, entry.chosenRow, sampledRows);
    for (uint32_t j = 0; entry.tokens && j < entry.tokenCount; ++j)
      if (entry.tokens[j] < 0 || uint32_t(entry.tokens[j]) >= bounds.vocabulary)
        return error(StatusCode::invalidArgument,
                     "entry %u: token %u is %d, the vocabulary has ids 0 to %u", i, j,
                     entry.tokens[j], bounds.vocabulary - 1);
    tokens += entry.tokenCount;
    rows += entry.logitCount;
    if (hasPages())
      newPages += bounds.pagesOf(sequence->length + entry.tokenCount) - sequence->behind -
                  sequence->pages.size();
    stepSequences.push_back(sequence);
  }
  if (tokens > bounds.maxTokensPerStep)
    return error(StatusCode::invalidArgument, "%llu tokens in one step: the session allows %u",
                 (unsigned long long)tokens, bounds.maxTokensPerStep);
  if (rows > bounds.maxLogitRows)
    return error(StatusCode::invalidArgument, "%llu logits rows in one step: the session allows %u",
                 (unsigned long long)rows, bounds.maxLogitRows);
  // A sequence may occur once. Few entries, or as many as there are slots: mark slots.
  seenSlots.assign(bounds.maxSequences, false);
  for (uint32_t i = 0; i < count; ++i) {
    if (seenSlots[stepSequences[i]->slot])
      return error(StatusCode::invalidArgument, "entry %u: sequence %llu occurs twice in one step",
                   i, (unsigned long long)entries[i].sequence);
    seenSlots[stepSequences[i]->slot] = true;
  }
  if (newPages > pages.free())
    return error(StatusCode::outOfMemory,
                 "the step needs %llu more KV pages, but only %u of %u are free",
                 (unsigned long long)newPages, pages.free(), bounds.kvPages);
  *outNewPages = uint32_t(newPages);
  return Status();
}

void Session::buildArrays(const BackendEntry *entries, uint32_t begin, uint32_t end) {
  const uint32_t count = end - begin;
  size_t rows = 0, logitRows = 0;
  bool anyChosen = false;
  for (uint32_t i = begin; i < end; ++i) {
    rows += entries[i].tokenCount;
    logitRows += entries[i].logitCount;
    anyChosen |= !entries[i].tokens;
  }
  // All of them are written below, but for pages that are not there.
  auto array = [&](schema::Port port, size_t size) {
    arrays[size_t(port)].resize(size);
    return arrays[size_t(port)].data();
  };
  int32_t *const tokens = array(schema::Port::tokens, rows);
  int32_t *const positions = array(schema::Port::positions, rows);
  int32_t *const tokenSequence = array(schema::Port::token_sequence, rows);
  int32_t *const starts = array(schema::Port::sequence_starts, count + size_t(1));
  int32_t *const slots = array(schema::Port::slots, count);
  int32_t *const lengths = array(schema::Port::context_lengths, count);
  int32_t *const tables = array(schema::Port::block_tables, size_t(count) * maxPages);
  int32_t *logit = array(schema::Port::logit_rows, logitRows);
  chosenRows.assign(anyChosen ? rows : 0, -1);
  starts[0] = 0;
  int32_t row = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const BackendEntry &entry = entries[begin + i];
    const Sequence &sequence = *stepSequences[begin + i];
    if (!entry.tokens)
      chosenRows[size_t(row)] = int32_t(entry.chosenRow);
    for (uint32_t j = 0; j < entry.tokenCount; ++j) {
      tokens[row + int32_t(j)] = entry.tokens ? entry.tokens[j] : 0;
      positions[row + int32_t(j)] = int32_t(sequence.length + j);
      tokenSequence[row + int32_t(j)] = int32_t(i);
    }
    for (uint32_t j = entry.tokenCount - entry.logitCount; j < entry.tokenCount; ++j)
      *logit++ = row + int32_t(j);
    row += int32_t(entry.tokenCount);
    starts[i + 1] = row;
    slots[i] = int32_t(sequence.slot);
    lengths[i] = int32_t(sequence.length + entry.tokenCount);
    int32_t *table = tables + size_t(i) * maxPages, *const past = table + maxPages;
    table = std::fill_n(table, sequence.behind, int32_t(bounds.kvPages));
    table = std::copy(sequence.pages.begin(), sequence.pages.end(), table);
    std::fill(table, past, int32_t(bounds.kvPages));
  }
  dims = {row, int(count), int(logitRows), int(maxPages)};
}

/// The function for a pass; -1 when the artifact has none.
int Session::functionFor(uint32_t sequences, uint64_t tokens) const {
  int decode = tokens == sequences ? model.functionFor("decode", sequences) : -1;
  return decode >= 0 ? decode : model.functionFor("prefill", uint32_t(tokens));
}

/// The function for a pass of one-token entries that share enough pages, which `shared` then names;
/// -1 otherwise.
int Session::sharedFunctionFor(uint32_t begin, uint32_t end) {
  const int chosen = model.functionFor("decode_shared", end - begin);
  if (chosen < 0 || end - begin < 2 || traits.sharedBytesFrom == UINT64_MAX || !hasPages() ||
      bounds.window)
    return -1; // windows move apart, and prefixes are read from the first page on
  pagesOfPass.clear();
  uint64_t sharable = 0;
  for (uint32_t i = begin; i < end; ++i) {
    const uint32_t whole = stepSequences[i]->length / bounds.pageSize;
    pagesOfPass.push_back({stepSequences[i]->pages.data(), whole});
    sharable += whole;
  }
  if (sharable * model.pageBytes() < traits.sharedBytesFrom)
    return -1;
  findSharedPrefixes(pagesOfPass, prefixWork, &shared);
  return shared.savedPages * model.pageBytes() >= traits.sharedBytesFrom ? chosen : -1;
}

/// Runs entries [begin, end), whose pages are there.
Status Session::runPass(const BackendEntry *entries, uint32_t begin, uint32_t end,
                        uint32_t firstLogitRow) {
  buildArrays(entries, begin, end);
  Step step;
  const int sharing = dims.tokens == dims.sequences ? sharedFunctionFor(begin, end) : -1;
  function = uint32_t(sharing >= 0 ? sharing : functionFor(end - begin, uint64_t(dims.tokens)));
  step.function = function;
  step.dims = dims;
  for (uint32_t i = 0; i < uint32_t(schema::Port::logits); ++i)
    step.arrays[i] = arrays[i].data();
  if (sharing >= 0) {
    step.arrays[size_t(schema::Port::prefix_items)] = shared.items.data();
    step.arrays[size_t(schema::Port::prefix_slots)] = shared.slots.data();
    step.arrays[size_t(schema::Port::prefix_pages)] = shared.pages.data();
  }
  step.chosenRows = chosenRows.empty() ? nullptr : chosenRows.data();
  step.firstLogitRow = firstLogitRow;
  step.profile = profile;
  step.checkNumerics = checkNumerics;
  return context->run(step);
}

Status Session::step(const BackendEntry *entries, uint32_t count) {
  uint32_t newPages = 0;
  M1_TRY(validate(entries, count, &newPages));
  uint64_t tokens = 0;
  for (uint32_t i = 0; i < count; ++i)
    tokens += entries[i].tokenCount;
  if (functionFor(count, tokens) < 0)
    return error(StatusCode::unsupported, "the artifact has no function for a step of %llu tokens",
                 (unsigned long long)tokens);

  M1_TRY(copyForks());
  if (hasPages()) {
    auto needed = [&](uint32_t i) {
      return size_t(bounds.pagesOf(stepSequences[i]->length + entries[i].tokenCount) -
                    stepSequences[i]->behind);
    };
    // What may fail for want of memory comes first: no sequence has more pages than tokens fill.
    for (uint32_t i = 0; i < count; ++i)
      if (auto &own = stepSequences[i]->pages; needed(i) > own.capacity())
        own.reserve(std::max(needed(i), 2 * own.capacity()));
    for (uint32_t i = 0; i < count; ++i)
      while (stepSequences[i]->pages.size() < needed(i))
        stepSequences[i]->pages.push_back(pages.take());
  }

  // One-token entries that come first keep the decode kernels beside prompts. Tokens chosen on the
  // device must go into the first pass, whose own choices replace them.
  uint32_t singles = 0;
  while (singles < count && entries[singles].tokenCount == 1)
    ++singles;
  const uint32_t from = traits.passesFrom;
  const bool split = from && !profile && singles >= from && singles < count &&
                     std::all_of(
                         entries + singles, entries + count,
                         [](const BackendEntry &entry) { return entry.tokens; });
  stepLogitRows = 0;
  Status status;
  lost = true; // also when something is thrown
  if (split) {
    status = runPass(entries, 0, singles, 0);
    stepLogitRows = uint32_t(dims.logit_rows);
  }
  if (status.ok()) {
    status = runPass(entries, split ? singles : 0, count, stepLogitRows);
    stepLogitRows += uint32_t(dims.logit_rows);
  }
  lost = !status.ok();
  if (status.ok())
    if (Status changed = model.filesUnchanged(); !changed.ok())
      status = Status(StatusCode::deviceError, changed.message());
  if (!status.ok()) {
    lost = true;
    return status;
  }
  sampledRows = 0;
  for (uint32_t i = 0; i < count; ++i) {
    stepSequences[i]->length += entries[i].tokenCount;
    if (hasPages())
      releaseBehind(*stepSequences[i]);
  }
  return Status();
}

/// One-token steps of each size, twice because the second captures the graph, and then prompts of
/// many lengths, in the slot and page that belong to no sequence, where rows of padding write, too.
Status Session::warmUp() {
  if (!bounds.asynchronous || profile || checkNumerics || untaken > 0)
    return {};
  Sequence scratch;
  scratch.slot = bounds.maxSequences;
  const std::vector<int32_t> tokens(bounds.maxTokensPerStep, 0);
  auto run = [&](uint32_t count, uint32_t each) -> Status {
    const std::vector<BackendEntry> entries(count, {0, tokens.data(), each, 1, 0});
    scratch.pages.assign(hasPages() ? bounds.pagesOf(each) : 0, bounds.kvPages);
    stepSequences.assign(count, &scratch);
    M1_TRY(runPass(entries.data(), 0, count, 0));
    stepLogitRows = uint32_t(dims.logit_rows);
    std::vector<SamplingRow> rows(count);
    for (uint32_t i = 0; i < count; ++i) {
      rows[i].row = i;
      rows[i].parameters.temperature = 1;
    }
    M1_TRY(sample(rows.data(), count));
    std::vector<SampledToken> chosen(count);
    return takeChosen(chosen.data());
  };
  constexpr uint32_t largest = 1024; // a device keeps only so many graphs
  const uint32_t most =
      std::min({bounds.maxSequences, bounds.maxTokensPerStep, bounds.maxLogitRows, largest});
  Status status;
  lost = true; // also when something is thrown
  for (uint32_t last = 0, count = 1; status.ok() && last < most && functionFor(count, count) >= 0;
       last = count, count = std::min(most, context->largerStep(count)))
    for (int pass = 0; status.ok() && pass < 2; ++pass)
      status = run(count, 1);
  const uint32_t longest = std::min(bounds.maxTokensPerStep, bounds.maxContext);
  for (uint32_t last = 0, length = std::min(2u, longest);
       status.ok() && last < longest && functionFor(1, length) >= 0;
       last = length, length = std::min(longest, length + std::max(1u, length / 8)))
    status = run(1, length);
  lost = !status.ok();
  stepSequences.clear();
  sampledRows = 0;
  stepLogitRows = 0;
  return status;
}

Status Session::sample(const SamplingRow *rows, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i)
    if (rows[i].row >= logitRows())
      return error(StatusCode::invalidArgument, "logits row %u of a step that has %u", rows[i].row,
                   logitRows());
  if (untaken == maxUntaken)
    return error(StatusCode::invalidArgument, "%u samplings wait to be taken: no more are possible",
                 untaken);
  Status status = context->sample(rows, count);
  lost |= !status.ok();
  if (status.ok()) {
    const bool onHost = std::any_of(rows, rows + count,
                                    [](const SamplingRow &row) { return row.needsLogitsOnHost(); });
    sampledRows = onHost ? 0 : logitRows();
    ++untaken;
  }
  return status;
}

Status Session::takeChosen(SampledToken *out) {
  if (untaken == 0)
    return error(StatusCode::invalidArgument, "no sampling waits to be taken");
  --untaken;
  Status status = context->takeChosen(out);
  lost |= !status.ok();
  return status;
}

Status Session::nextTokens(int32_t *out) {
  Status status = context->finish(out);
  lost |= !status.ok();
  return status;
}

Status Session::logits(uint32_t first, uint32_t count, float *out) {
  return context->downloadLogits(first, count, out);
}

} // namespace m1rt
