// A JSON schema and, after a zero byte, choices: the schema is refused, or what its grammar says
// along these choices, once it may end, is JSON.
#include "grammar/json_schema.h"
#include "base/json_value.h"
#include "fuzz.h"
#include "json_mutator.h"

using Json = nlohmann::ordered_json;

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  fuzz::JsonMutator mutator(seed);
  const size_t cut = std::min(fuzz::text(data, size).find('\0'), size);
  if (mutator.below(4) && fuzz::mutateJson(mutator, data, size, largest, 0, cut))
    return size;
  return LLVMFuzzerMutate(data, size, largest);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const size_t cut = std::min(text.find('\0'), size);
  m1rt::JsonLimits limits;
  limits.bytes = 1 << 16;
  Json schema;
  std::string error;
  if (!m1rt::readJson(text.substr(0, cut), schema, error, limits))
    return 0;
  m1rt::Grammar grammar;
  const m1rt::Status status = m1rt::grammarOfSchema(schema, &grammar);
  if (!status.ok()) {
    FUZZ_CHECK(!status.message().empty());
    return 0;
  }
  FUZZ_CHECK(!grammar.leftRecursive());
  m1rt::GrammarAutomaton automaton(grammar);
  m1rt::GrammarAutomaton::State state = automaton.start();
  std::string said;
  for (size_t i = cut + 1; i < size && said.size() < 300 && automaton.states() < 2000; ++i) {
    // The first byte from the chosen one on that may come next.
    m1rt::GrammarAutomaton::State next = m1rt::GrammarAutomaton::dead;
    uint8_t byte = data[i];
    for (int tries = 0; tries < 256 && next == m1rt::GrammarAutomaton::dead; ++tries, ++byte)
      next = automaton.next(state, byte);
    if (next == m1rt::GrammarAutomaton::dead) {
      FUZZ_CHECK(automaton.accepts(state)); // no dead ends
      break;
    }
    said += char(byte - 1);
    state = next;
  }
  if (automaton.accepts(state)) {
    Json value;
    limits.depth = int(said.size()); // which bounds its nesting; the reader's own limit is lower
    FUZZ_CHECK(m1rt::readJson(said, value, error, limits));
  }
  return 0;
}
