// The endpoints: requests to engines and back.
#ifndef M1_TOOLS_SERVE_SERVICE_H
#define M1_TOOLS_SERVE_SERVICE_H

#include "delivery.h"
#include "grammar/token_grammar.h"
#include "http_server.h"
#include "keys.h"
#include "metrics.h"
#include "text/model_text.h"
#include <atomic>
#include <set>

namespace m1serve {

struct ServiceOptions {
  std::string modelName;
  ApiKeys keys;
  bool loopback = true;        // the address that it listens on
  std::set<std::string> hosts; // further names that clients may know it by
  RequestLimits limits;
  uint32_t slots = 1;
};

class Service {
public:
  /// Everything outlives the service.
  Service(const ServiceOptions &options, const m1rt::Model &model, const m1rt::ModelText &text);

  void attach(EnginePool &pool, Delivery &delivery);
  void addTo(HttpServer &server);
  /// No further requests are begun.
  void drain() { draining = true; }
  /// A device has failed: nothing can be answered any more.
  void lose(const m1rt::Status &status);
  /// For Delivery.
  void exchangeEnded(const Exchange &exchange, bool hungUp);

private:
  using Http = httplib::Request;
  using Answer = httplib::Response;
  std::optional<ApiError> admit(const Http &request) const;
  bool answerEarly(const Http &request, Answer &answer);
  std::optional<ApiError> checkModel(const std::string &name) const;
  std::optional<ApiError> generate(const Http &request, bool chat, const std::string &id,
                                   Answer &answer);
  void setHandlers(HttpServer &http);
  void addReads(HttpServer &http);
  void addWrites(HttpServer &http);
  std::optional<ApiError> prepare(const ApiRequest &asked, std::vector<Prompt> *prompts,
                                  std::vector<m1rt::Request> *requests) const;
  std::optional<ApiError> encodePrompts(const ApiRequest &asked,
                                        std::vector<Prompt> *prompts) const;
  std::optional<ApiError> readCommon(const ApiRequest &asked, const std::vector<Prompt> &prompts,
                                     m1rt::Request *out) const;
  std::optional<ApiError> constrain(const ApiRequest &asked, const std::vector<Prompt> &prompts,
                                    m1rt::Request *out) const;
  std::optional<ApiError> encodeChat(const ApiRequest &asked, Prompt *out) const;
  std::optional<ApiError> tokenize(const std::string &body, Json *out) const;
  std::optional<ApiError> detokenize(const std::string &body, Json *out) const;
  Json modelJson() const;
  std::string newId(const char *kind) const;

  ServiceOptions options;
  const m1rt::Model &model;
  const m1rt::ModelText &text;
  ModelFacts facts;
  std::shared_ptr<const m1rt::TokenOrder> tokenOrder;
  uint32_t vocabulary;
  int64_t created;
  HttpServer *server = nullptr;
  EnginePool *pool = nullptr;
  Delivery *delivery = nullptr;
  Metrics metrics;
  std::atomic<bool> draining{false}, lost{false};
};

} // namespace m1serve

#endif
