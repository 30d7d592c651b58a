#include "service.h"
#include "grammar/json_schema.h"
#include "log.h"
#include "page.h"
#include <random>

using namespace m1rt;

namespace m1serve {

namespace {

using Error = std::optional<ApiError>;

constexpr char jsonType[] = "application/json";

void write(httplib::Response &answer, const ApiError &error) {
  answer.status = error.status;
  if (error.retryAfter)
    answer.set_header("Retry-After", std::to_string(error.retryAfter));
  if (error.status == 401)
    answer.set_header("WWW-Authenticate", "Bearer");
  answer.set_content(dumped(error.json()), jsonType);
}

/// What the library itself refuses, in the form of every other error.
ApiError libraryError(int status) {
  switch (status) {
  case 404:
    return {404, "there is no such endpoint", {}, "unknown_url", 0};
  case 413:
    return {413, "the body is too large", {}, "request_too_large", 0};
  case 414:
    return {414, "the address is too long", {}, {}, 0};
  case 500:
    return {500, "the server failed to answer", {}, {}, 0};
  default:
    return {status, "the request is not valid HTTP", {}, {}, 0};
  }
}

uint64_t randomBits() {
  static thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

std::string lower(std::string text) {
  for (char &c : text)
    c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
  return text;
}

/// The host that a Host or Origin header names, without scheme and port.
std::string hostOf(std::string text) {
  text = lower(std::move(text));
  if (const size_t scheme = text.find("://"); scheme != std::string::npos)
    text.erase(0, scheme + 3);
  const size_t end = text[0] == '[' ? text.find(']') : text.find(':');
  if (end != std::string::npos)
    text.erase(text[0] == '[' ? end + 1 : end);
  return text;
}

/// JSON as a template sees it. Bodies are not nested deeply, so recursion is fine.
jinja::Value valueOf(const Json &json) {
  switch (json.type()) {
  case Json::value_t::boolean:
    return json.get<bool>();
  case Json::value_t::number_integer:
    return json.get<int64_t>();
  case Json::value_t::number_unsigned:
    return json.get<uint64_t>() <= uint64_t(INT64_MAX) ? jinja::Value(json.get<int64_t>())
                                                       : jinja::Value(json.get<double>());
  case Json::value_t::number_float:
    return json.get<double>();
  case Json::value_t::string:
    return json.get<std::string>();
  case Json::value_t::array: {
    jinja::List items;
    for (const Json &item : json)
      items.push_back(valueOf(item));
    return items;
  }
  case Json::value_t::object: {
    jinja::Dict dict;
    for (const auto &[key, item] : json.items())
      dict.set(key, valueOf(item));
    return dict;
  }
  default:
    return nullptr;
  }
}

/// The methods of an endpoint; empty: there is none.
std::string methodsOf(const std::string &path) {
  static const std::set<std::string> read = {"/", "/health", "/metrics", "/v1/models"};
  static const std::set<std::string> asked = {"/v1/chat/completions", "/v1/completions",
                                              "/tokenize", "/detokenize"};
  const std::string model = "/v1/models/";
  if (read.count(path) || (path.rfind(model, 0) == 0 && path.size() > model.size()))
    return "GET, HEAD, OPTIONS";
  return asked.count(path) ? "POST, OPTIONS" : "";
}

/// Whether a media type is application/json, whatever its parameters.
bool isJson(const std::string &type) {
  std::string name = lower(type.substr(0, type.find(';')));
  name.erase(name.find_last_not_of(" \t") + 1);
  return name == jsonType;
}

bool isAddress(const std::string &host) {
  return host.find_first_not_of("0123456789.") == std::string::npos || host[0] == '[';
}

} // namespace

Service::Service(const ServiceOptions &options, const Model &model, const ModelText &text)
    : options(options), model(model), text(text), vocabulary(model.module().vocab_size()),
      created(std::time(nullptr)) {
  facts.name = options.modelName;
  facts.fingerprint = "m1-" + digestText(model.artifact().header().digest).substr(0, 16);
  facts.tokenizer = &text.tokenizer();
  tokenOrder = std::make_shared<TokenOrder>(text.tokenizer(), vocabulary);
}

void Service::attach(EnginePool &engines, Delivery &sender) {
  pool = &engines;
  delivery = &sender;
}

void Service::lose(const Status &status) {
  lost = true;
  logLine("device_lost", {{"error", status.message()}});
  delivery->failAll({503, "the device has failed: " + status.message(), {}, {}, 0});
}

std::string Service::newId(const char *kind) const {
  char text[48];
  std::snprintf(text, sizeof text, "%s-%016llx%08llx", kind, (unsigned long long)randomBits(),
                (unsigned long long)(randomBits() >> 32));
  return text;
}

Json Service::modelJson() const {
  return {{"id", facts.name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "m1-runtime"},
          {"max_model_len", pool->maxContext()}};
}

/// Before the body is read: who asks, for whom the request is meant, and whether it can be read.
Error Service::admit(const Http &request) const {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool open = (reads && (request.path == "/" || request.path == "/health")) ||
                    request.method == "OPTIONS"; // browsers ask so, without a key
  if (!options.keys.empty() && !open &&
      !options.keys.admits(request.get_header_value("Authorization")))
    return ApiError{
        401, "a valid key is expected in 'Authorization: Bearer KEY'", {}, "invalid_api_key", 0};
  if (options.keys.empty()) {
    // Without keys it is the address that keeps others out. A page of another site in a local
    // browser must not get around it, by a name of its own that resolves here or by a form.
    const std::string host = hostOf(request.get_header_value("Host"));
    if (options.loopback && !host.empty() && host != "localhost" && !isAddress(host) &&
        !options.hosts.count(host))
      return ApiError{403, "unknown host '" + host + "': name it with --allow-host", {}, {}, 0};
    const std::string origin = request.get_header_value("Origin");
    if (!origin.empty() && hostOf(origin) != host)
      return ApiError{
          403, "pages of other sites need a key, and a server with --api-key-file", {}, {}, 0};
  }
  if (request.method != "POST" &&
      (request.has_header("Content-Length") || request.has_header("Transfer-Encoding")))
    Connection::current()->closeAfterwards(); // a body that is not read is no next request
  const std::string methods = methodsOf(request.path);
  if (request.method == "OPTIONS" && (request.path == "*" || !methods.empty()))
    return {};
  if (methods.empty()) {
    ApiError unknown = libraryError(404);
    unknown.message += ": " + request.method + " " + shortened(request.path) +
                       "; those of models are /v1/chat/completions, /v1/completions, /v1/models, "
                       "/tokenize and /detokenize";
    return unknown;
  }
  if (methods.find(request.method) == std::string::npos)
    return ApiError{405, "this endpoint takes " + methods, {}, {}, 0};
  if (reads) {
    // Only the right name comes to the expression of the path: on long ones std::regex recurses.
    constexpr std::string_view models = "/v1/models/";
    return request.path.rfind(models, 0) == 0 ? checkModel(request.path.substr(models.size()))
                                              : Error();
  }
  if (!request.has_header("Transfer-Encoding")) {
    if (!request.has_header("Content-Length"))
      return ApiError{411, "Content-Length is missing", {}, {}, 0};
    if (std::stoull(request.get_header_value("Content-Length")) > server->bodyBytes())
      return libraryError(413);
  }
  if (lower(request.get_header_value("Content-Encoding", 0)) != "identity" &&
      request.has_header("Content-Encoding"))
    return ApiError{415, "compressed bodies are not supported", {}, {}, 0};
  if (!isJson(request.get_header_value("Content-Type")))
    return ApiError{415, "Content-Type: expected application/json", {}, {}, 0};
  return {};
}

/// The answer to a request that needs no body, or is refused before it; false: it is to be read.
bool Service::answerEarly(const Http &request, Answer &answer) {
  Error refused = admit(request);
  if (!refused && request.method != "OPTIONS")
    return false;
  answer.status = refused ? refused->status : 204;
  metrics.answered(refused ? "refused" : "options", answer.status);
  if (refused)
    write(answer, *refused);
  if (answer.status == 204 || answer.status == 405)
    answer.set_header("Allow",
                      request.path == "*" ? "GET, HEAD, POST, OPTIONS" : methodsOf(request.path));
  if (!options.keys.empty() && request.method == "OPTIONS") {
    const std::string headers = request.get_header_value("Access-Control-Request-Headers");
    answer.set_header("Access-Control-Allow-Methods", "GET, HEAD, POST");
    answer.set_header("Access-Control-Allow-Headers",
                      headers.empty() ? "Authorization, Content-Type" : headers);
    answer.set_header("Access-Control-Max-Age", "600");
  }
  Connection::current()->closeAfterwards(); // its body is not read
  return true;
}

void Service::addTo(HttpServer &http) {
  server = &http;
  setHandlers(http);
  addReads(http);
  addWrites(http);
}

/// What is done around every endpoint.
void Service::setHandlers(HttpServer &http) {
  if (!options.keys.empty()) // who shows a key may do so from any page
    http.setHeaders({{"Access-Control-Allow-Origin", "*"},
                     {"Access-Control-Expose-Headers", "Retry-After, X-Request-Id"}});
  http.refused = [this](int status) { metrics.answered("other", status); };
  http.set_pre_routing_handler([this](const Http &request, Answer &answer) {
    return answerEarly(request, answer) ? HttpServer::HandlerResponse::Handled
                                        : HttpServer::HandlerResponse::Unhandled;
  });
  // A body that will be refused need not be sent.
  http.set_expect_100_continue_handler([this](const Http &request, Answer &answer) {
    return answerEarly(request, answer) ? answer.status : 100;
  });
  http.set_error_handler(HttpServer::HandlerWithResponse([this](const Http &, Answer &answer) {
    if (!answer.body.empty())
      return HttpServer::HandlerResponse::Unhandled;
    if (answer.status != 404)
      Connection::current()->closeAfterwards();         // where the next request begins is unknown
    const auto &fault = Connection::current()->fault(); // of the body
    const ApiError error = fault ? *fault : libraryError(answer.status);
    metrics.answered("other", error.status);
    write(answer, error);
    return HttpServer::HandlerResponse::Handled;
  }));
  http.set_post_routing_handler([this](const Http &request, Answer &answer) {
    answer.headers.erase("Accept-Ranges"); // the library's, to HEAD
    if (draining)
      Connection::current()->closeAfterwards();
    // Who is not heard any more is told so, and one of HTTP/1.0 that is.
    const bool last = Connection::current()->closes() || answer.has_header("Connection");
    if (last)
      answer.headers.erase("Keep-Alive");
    answer.headers.erase("Connection");
    if (last || request.version == "HTTP/1.0")
      answer.set_header("Connection", last ? "close" : "keep-alive");
  });
  http.set_exception_handler(
      [](const Http &request, Answer &answer, const std::exception_ptr &thrown) {
        std::string what = "unknown";
        try {
          std::rethrow_exception(thrown);
        } catch (const std::exception &known) {
          what = known.what();
        } catch (...) {
          // nothing to tell
        }
        logLine("exception", {{"path", request.path}, {"error", what}});
        write(answer, libraryError(500));
      });
}

void Service::addReads(HttpServer &http) {
  auto get = [&](const char *path, const std::string &pattern, auto handler) {
    http.Get(pattern, [this, path, handler](const Http &request, Answer &answer) {
      answer.status = 200;
      handler(request, answer);
      metrics.answered(path, answer.status);
    });
  };
  get("/", "/", [](const Http &, Answer &answer) {
    answer.set_header("Content-Security-Policy",
                      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                      "connect-src 'self'; img-src data:; frame-ancestors 'none'");
    answer.set_header("Cache-Control", "no-cache");
    answer.set_content(pageText(), "text/html; charset=utf-8");
  });
  get("/health", "/health", [this](const Http &, Answer &answer) {
    const char *status = lost ? "failed" : draining ? "draining" : "ok";
    answer.status = lost || draining ? 503 : 200;
    answer.set_content(dumped({{"status", status}}), jsonType);
  });
  get("/metrics", "/metrics", [this](const Http &, Answer &answer) {
    answer.set_content(metrics.print(pool->load(), server->connections(), options.slots),
                       "text/plain; version=0.0.4");
  });
  get("/v1/models", "/v1/models", [this](const Http &, Answer &answer) {
    answer.set_content(dumped({{"object", "list"}, {"data", {modelJson()}}}), jsonType);
  });
  get("/v1/models/", R"(/v1/models/([\s\S]+))", [this](const Http &, Answer &answer) {
    answer.set_content(dumped(modelJson()), jsonType); // admit() knows the name
  });
}

void Service::addWrites(HttpServer &http) {
  auto post = [&](const char *path, auto handler) {
    http.Post(path, [this, path, handler](const Http &request, Answer &answer) {
      answer.status = 200;
      if (Error error = handler(request, answer))
        write(answer, *error);
      metrics.answered(path, answer.status);
    });
  };
  for (const bool chat : {true, false})
    post(chat ? "/v1/chat/completions" : "/v1/completions",
         [this, chat](const Http &request, Answer &answer) -> Error {
           const std::string id = newId(chat ? "chatcmpl" : "cmpl");
           answer.set_header("X-Request-Id", id);
           Error error = generate(request, chat, id, answer);
           if (error)
             logLine("refused", {{"id", id},
                                 {"path", request.path},
                                 {"status", error->status},
                                 {"param", error->param},
                                 {"error", error->status >= 500 ? error->message : ""}});
           return error;
         });
  auto convert = [&](const char *path, auto method) {
    post(path, [this, method](const Http &request, Answer &answer) -> Error {
      Json out;
      if (Error error = (this->*method)(request.body, &out))
        return error;
      answer.set_content(dumped(out), jsonType);
      return {};
    });
  };
  convert("/tokenize", &Service::tokenize);
  convert("/detokenize", &Service::detokenize);
}

void Service::exchangeEnded(const Exchange &exchange, bool hungUp) {
  metrics.ended(exchange, hungUp);
  using Seconds = std::chrono::duration<double>;
  const auto now = Exchange::Clock::now();
  const bool spoke = exchange.firstToken != Exchange::Clock::time_point();
  logLine("request",
          {{"id", exchange.id},
           {"samples", exchange.request.samples},
           {"stream", exchange.request.stream},
           {"seed", exchange.request.seed ? Json(*exchange.request.seed) : Json()},
           {"prompt_tokens", exchange.promptTokens},
           {"cached_tokens", exchange.cachedTokens},
           {"completion_tokens", exchange.completionTokens},
           {"first_token_seconds",
            spoke ? Json(Seconds(exchange.firstToken - exchange.arrived).count()) : Json()},
           {"seconds", Seconds(now - exchange.arrived).count()},
           {"end", hungUp             ? "hung_up"
                   : exchange.error() ? "failed"
                                      : "answered"}});
}

Error Service::checkModel(const std::string &name) const {
  if (name.empty() || name == facts.name)
    return {};
  return ApiError{
      404, "the model '" + shortened(name) + "' does not exist; there is '" + facts.name + "'",
      "model", "model_not_found", 0};
}

Error Service::encodeChat(const ApiRequest &asked, Prompt *out) const {
  jinja::Dict variables;
  for (const auto &[name, value] : asked.templateVariables.items()) {
    if (name == "messages" || name == "tools" || name == "add_generation_prompt" ||
        name == "bos_token" || name == "eos_token")
      return ApiError::bad("chat_template_kwargs." + name,
                           "'chat_template_kwargs." + name + "': is set by the server");
    variables.set(name, valueOf(value));
  }
  variables.set("messages", valueOf(asked.messages));
  variables.set("tools", valueOf(asked.tools));
  Status status = text.encodeChat(variables, &out->tokens, &out->text);
  if (!status.ok())
    return ApiError::bad("messages", "'messages': " + status.message());
  return {};
}

/// An answer that has to be JSON: filters of its tokens.
Error Service::constrain(const ApiRequest &asked, const std::vector<Prompt> &prompts,
                         Request *out) const {
  if (asked.format.kind == ResponseFormat::Kind::text)
    return {};
  if (out->stopTokens.empty())
    return ApiError::bad("response_format",
                         asked.ignoreEos ? "'response_format': JSON ends, which 'ignore_eos' "
                                           "forbids"
                                         : "'response_format': the model has no token that "
                                           "ends JSON");
  if (!out->closeTokens.empty())
    return ApiError::bad("response_format",
                         "'response_format': JSON cannot be closed by a text ('close_text')");
  if (asked.probes())
    return ApiError::bad("response_format",
                         "'response_format': samples of JSON cannot be probed ('vote')");
  Grammar grammar;
  if (asked.format.kind == ResponseFormat::Kind::jsonObject)
    grammarOfObjects(&grammar);
  else if (Status status = grammarOfSchema(asked.format.schema, &grammar); !status.ok())
    return ApiError::bad("response_format.json_schema.schema",
                         "'response_format.json_schema.schema': " + status.message());
  auto filters = std::make_shared<TokenGrammar>(tokenOrder, std::move(grammar), out->stopTokens);
  const bool thinks = asked.chat && ReasoningSplitter::opensThought(prompts[0].text);
  out->filters = [filters, thinks] { return filters->createFilter(thinks); };
  return {};
}

Error Service::encodePrompts(const ApiRequest &asked, std::vector<Prompt> *prompts) const {
  if (asked.chat)
    return encodeChat(asked, &prompts->emplace_back());
  for (const auto &given : asked.prompts) {
    Prompt prompt;
    if (const auto *tokens = std::get_if<std::vector<int32_t>>(&given)) {
      prompt.tokens = *tokens;
      if (asked.echo)
        prompt.text = text.decode(*tokens, false);
    } else {
      prompt.text = std::get<std::string>(given);
      if (Status status = text.encode(prompt.text, asked.specialTokens, &prompt.tokens);
          !status.ok())
        return ApiError::bad("prompt", "'prompt': " + status.message());
    }
    prompts->push_back(std::move(prompt));
  }
  return {};
}

/// What the engines are asked for of every prompt.
Error Service::readCommon(const ApiRequest &asked, const std::vector<Prompt> &prompts,
                          Request *out) const {
  Request &common = *out;
  common.samples = asked.samples;
  common.sampling = asked.sampling;
  common.sampling.seed = *asked.seed;
  common.bias = asked.bias;
  common.wantLogprobs = asked.logprobs;
  common.scorePrompt = asked.scoresPrompt();
  common.stopStrings = asked.stop;
  for (const std::string &stop : asked.stop)
    if (Status status = text.checkStopText(stop); !status.ok())
      return ApiError::bad("stop", "'stop': " + status.message());
  if (const auto *eos = model.module().eos_ids(); eos && !asked.ignoreEos)
    common.stopTokens.assign(eos->begin(), eos->end());
  common.timeBudget = asked.timeBudget;
  common.maxThinkTokens = asked.maxThinkTokens;
  common.atDeadline = asked.closesAtDeadline ? DeadlineAction::close : DeadlineAction::drop;
  common.closeMaxTokens = asked.closeMaxTokens;
  std::vector<int32_t> closing;
  if (!asked.closeText.empty())
    if (Status status = text.encode(asked.closeText, false, &closing); !status.ok())
      return ApiError::bad("close_text", "'close_text': " + status.message());
  common.probeEvery = asked.probeEvery;
  common.probeOnEnd = asked.probeOnEnd;
  if (asked.probes())
    common.probeTokens = closing;
  if (asked.closes())
    common.closeTokens = std::move(closing);
  if (Error error = constrain(asked, prompts, &common))
    return error;
  common.stopTokens.insert(common.stopTokens.end(), asked.stopTokens.begin(),
                           asked.stopTokens.end());
  return {};
}

/// The prompts' tokens, and what the engines are asked for.
Error Service::prepare(const ApiRequest &asked, std::vector<Prompt> *prompts,
                       std::vector<Request> *requests) const {
  if (Error error = encodePrompts(asked, prompts))
    return error;
  Request common;
  if (Error error = readCommon(asked, *prompts, &common))
    return error;
  if (asked.scoresPrompt()) {
    size_t count = 0;
    for (const Prompt &prompt : *prompts)
      count += prompt.tokens.size() * asked.samples * (1 + asked.sampling.topLogprobs);
    if (count > options.limits.promptLogprobs)
      return ApiError::bad("logprobs", "'logprobs' with 'echo': " + std::to_string(count) +
                                           " log probabilities of prompts in one response, at "
                                           "most " +
                                           std::to_string(options.limits.promptLogprobs));
  }
  for (const Prompt &prompt : *prompts) {
    std::string field = asked.chat ? "messages" : "prompt";
    if (prompts->size() > 1)
      field += "[" + std::to_string(&prompt - prompts->data()) + "]";
    Request request = common;
    request.prompt = prompt.tokens;
    const uint32_t context = pool->maxContext();
    if (prompt.tokens.empty())
      return ApiError::bad(
          field, "'" + field + "': no token is left of it" +
                     (asked.chat ? " behind the chat template, which prints nothing" : ""));
    if (prompt.tokens.size() > context)
      return ApiError{400,
                      "'" + field + "': " + std::to_string(prompt.tokens.size()) +
                          " tokens do not fit the context of " + std::to_string(context),
                      field, "context_length_exceeded", 0};
    // The last new token is never fed.
    const uint32_t room = context + 1 - uint32_t(prompt.tokens.size());
    if (asked.maxTokens && *asked.maxTokens > room)
      return ApiError{400,
                      "'" + asked.maxTokensField + "': a prompt of " +
                          std::to_string(prompt.tokens.size()) + " tokens leaves room for " +
                          std::to_string(room) + ", not " + std::to_string(*asked.maxTokens),
                      asked.maxTokensField, "context_length_exceeded", 0};
    request.maxNewTokens = asked.maxTokens.value_or(room);
    if (Status status = pool->check(request); !status.ok())
      return ApiError::bad("", status.message());
    requests->push_back(std::move(request));
  }
  return {};
}

Error Service::generate(const Http &http, bool chat, const std::string &id, Answer &answer) {
  if (lost)
    return ApiError{503, "the device has failed", {}, {}, 0};
  if (draining)
    return ApiError{503, "the server is shutting down", {}, {}, 1};
  ApiRequest asked;
  if (Error error = readRequest(http.body, chat, vocabulary, options.limits, &asked))
    return error;
  if (Error error = checkModel(asked.model))
    return error;
  if (!asked.seed)
    asked.seed = randomBits(); // which the log names
  std::vector<Prompt> prompts;
  std::vector<Request> requests;
  if (Error error = prepare(asked, &prompts, &requests))
    return error;
  const bool stream = asked.stream, chunks = http.version != "HTTP/1.0";
  Connection &connection = *Connection::current();
  auto exchange =
      std::make_shared<Exchange>(facts, std::move(asked), prompts, id, connection.socket(), chunks);
  if (!pool->submit(std::move(requests), [&](std::vector<Ticket> tickets) {
        exchange->tickets = std::move(tickets);
        delivery->attach(exchange);
      }))
    return ApiError{429, "too many requests are waiting", {}, "queue_full", pool->retryAfter()};
  if (!stream) {
    exchange->wait();
    if (exchange->cut)
      connection.closeAfterwards();
    if (exchange->error())
      return exchange->error();
    answer.set_content(dumped(exchange->response()), jsonType);
    return {};
  }
  answer.set_header("Cache-Control", "no-cache");
  answer.set_header("X-Accel-Buffering", "no"); // of nginx
  auto provide = [this, exchange, &connection](size_t, httplib::DataSink &sink) {
    delivery->open(exchange);
    exchange->wait();
    if (exchange->cut) {
      connection.closeAfterwards();
      return false;
    }
    sink.done();
    return true;
  };
  auto release = [this, exchange](bool) {
    delivery->abandon(exchange); // if the head was not sent, and nothing followed
    exchange->wait();            // until then its socket is in use
  };
  const char *type = "text/event-stream";
  if (chunks) {
    answer.set_chunked_content_provider(type, provide, release);
  } else { // the end of the connection is the end of the stream
    connection.closeAfterwards();
    answer.set_content_provider(type, provide, release);
  }
  return {};
}

Error Service::tokenize(const std::string &body, Json *out) const {
  TokenizeRequest asked;
  if (Error error = readTokenizeRequest(body, options.limits, &asked))
    return error;
  if (Error error = checkModel(asked.chat.model))
    return error;
  Prompt prompt;
  if (!asked.prompt) {
    if (Error error = encodeChat(asked.chat, &prompt))
      return error;
  } else if (Status status = text.encode(*asked.prompt, asked.specialTokens, &prompt.tokens);
             !status.ok()) {
    return ApiError::bad("prompt", "'prompt': " + status.message());
  }
  *out = {{"count", prompt.tokens.size()},
          {"max_model_len", pool->maxContext()},
          {"tokens", prompt.tokens}};
  return {};
}

Error Service::detokenize(const std::string &body, Json *out) const {
  std::string name;
  std::vector<int32_t> tokens;
  if (Error error = readDetokenizeRequest(body, vocabulary, &name, &tokens))
    return error;
  if (Error error = checkModel(name))
    return error;
  *out = {{"prompt", text.decode(tokens, false)}};
  return {};
}

} // namespace m1serve
