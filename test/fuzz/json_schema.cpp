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
    // The chosen byte, or the first from there on that may come next: of JSON's own, of letters, of
    // all. What a state leads to is computed for each byte that is asked for.
    uint8_t byte = data[i];
    m1rt::GrammarAutomaton::State next = automaton.next(state, byte);
    auto tryFrom = [&](std::string_view bytes) {
      for (size_t tries = 0; tries < bytes.size() && next == m1rt::GrammarAutomaton::dead;
           ++tries) {
        byte = uint8_t(bytes[(data[i] + tries) % bytes.size()]);
        next = automaton.next(state, byte);
      }
    };
    tryFrom("\"{}[],:-0123tfn ");
    tryFrom("abcdefghijklmnopqrstuvwxyz");
    for (int tries = 0; tries < 256 && next == m1rt::GrammarAutomaton::dead; ++tries)
      next = automaton.next(state, ++byte);
    if (next == m1rt::GrammarAutomaton::dead) {
      FUZZ_CHECK(automaton.accepts(state)); // no dead ends
      break;
    }
    said += char(byte);
    state = next;
  }
  if (automaton.accepts(state)) {
    Json value;
    limits.depth = int(said.size()); // which bounds its nesting; the reader's own limit is lower
    FUZZ_CHECK(m1rt::readJson(said, value, error, limits));
  }
  return 0;
}
