// A request on its way: gathers what its samples say and forms the response, whole or piece by
// piece. All but wait() belongs to the delivering thread once the exchange has been attached.
#ifndef M1_TOOLS_SERVE_EXCHANGE_H
#define M1_TOOLS_SERVE_EXCHANGE_H

#include "api_request.h"
#include "reasoning.h"
#include "tokenizer/tokenizer.h"
#include "vote/ballots.h"
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace m1serve {

struct ModelFacts {
  std::string name, fingerprint;
  const m1rt::Tokenizer *tokenizer = nullptr;
};

struct Prompt {
  std::vector<int32_t> tokens;
  std::string text; // what an echo says, and what a thought may begin in
};

class Exchange {
public:
  using Clock = std::chrono::steady_clock;
  /// Ends samples of a prompt: one of them, or all.
  using End = std::function<void(size_t prompt, std::optional<uint32_t> sample)>;

  /// `chunked`: a stream's bytes are framed as HTTP/1.1's chunks; HTTP/1.0 has none.
  Exchange(const ModelFacts &facts, ApiRequest request, const std::vector<Prompt> &prompts,
           std::string id, int socket, bool chunked = true);

  /// News of a sample of a prompt.
  void take(size_t prompt, m1rt::Event &event, const End &end);
  /// The request fails as a whole.
  void fail(ApiError error);
  bool ended() const { return open == 0 || failure; }

  /// The response, when it has ended and is not streamed.
  Json response() const;
  const std::optional<ApiError> &error() const { return failure; }
  Json usage() const;

  const ApiRequest request;
  const std::string id;
  const int socket;
  const bool chunked;
  const Clock::time_point arrived = Clock::now();
  const int64_t created;
  std::vector<uint64_t> tickets;  // of the prompts
  Clock::time_point firstToken{}; // of any sample
  uint64_t promptTokens = 0, cachedTokens = 0, completionTokens = 0;

  // A stream's bytes: outgoing[sent, …) have not been sent. They may be sent once the response's
  // head has been.
  std::string outgoing;
  size_t sent = 0;
  // Of all that was outgoing, events that hold a prompt: what no reader can outrun.
  size_t echoed = 0;
  bool opened = false, cut = false;
  bool blocked = false; // the socket takes no more for now
  bool touched = false; // by news that have not been settled
  Clock::time_point progress = Clock::now();
  /// A line that means nothing, so that proxies and peers see life.
  void heartbeat();

  /// Of the connection's thread: until release().
  void wait();
  /// Nothing more will be done for it.
  void release();

private:
  struct Choice {
    explicit Choice(bool thinking) : splitter(thinking) {}
    ReasoningSplitter splitter;
    std::string text; // as the model said it
    std::string reasoning, content;
    Json logprobs = Json::array(); // of what has not been sent
    std::vector<size_t> offsets;   // completions: where the tokens begin in the text
    std::shared_ptr<const std::vector<m1rt::SampledToken>> promptScores; // when asked for
    size_t characters = 0;
    uint32_t tokens = 0, reasoningTokens = 0, cached = 0;
    bool said = false; // a stream: its first chunk has been sent
    bool forced = false, ended = false;
    size_t closedAt = 0; // offset in `text` of what came with the closing text
    std::string finish, detail;
  };

  void note(Choice &choice, const std::vector<m1rt::SampledToken> &tokens);
  void finish(size_t index, m1rt::FinishReason reason, const End &end);
  void voteChanged(size_t prompt, const End &end);
  void close();
  Json logprobsOf(size_t index, Choice &choice, bool first) const;
  void addPrompt(const Prompt &prompt, const Choice &choice, Json *tokens, Json *logprobs,
                 Json *tops, Json *offsets) const;
  Json voteJson() const;
  void chunk(size_t index, const ReasoningSplitter::Piece &piece);
  void lastChunk(size_t index);
  void send(const std::string &fields);
  void frame(const std::string &data);
  void beginEvent();
  void endEvent();
  void beginChunk();
  void endChunk();

  ModelFacts facts;
  std::vector<Choice> choices; // prompt by prompt
  std::vector<Prompt> echoes;  // tokens only where they are scored
  size_t open = 0;             // choices that have not ended
  std::optional<ApiError> failure;
  std::optional<m1rt::Ballots> ballots;
  uint32_t probes = 0; // that have answered
  uint64_t probeTokens = 0;
  std::string head;   // of every event
  size_t chunkAt = 0; // where the chunk that is being written begins in `outgoing`

  std::mutex mutex;
  std::condition_variable done;
  bool released = false;
};

} // namespace m1serve

#endif
