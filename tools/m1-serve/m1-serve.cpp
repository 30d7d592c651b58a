// Serves a compiled model over HTTP, by OpenAI's interface, with a page to talk to it.
#include "command_line.h"
#include "configuration_file.h"
#include "devices.h"
#include "log.h"
#include "model/sizing.h"
#include "service.h"
#include "tokenizer/unicode.h"
#include "tool.h"
#include "trust.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <mutex>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

using namespace m1rt;
using namespace m1serve;
using m1tool::fail;

namespace {

struct Arguments {
  std::string artifact, host = "127.0.0.1", keyFile, modelName;
  m1tool::DeviceFlags devices;
  std::vector<std::string> hosts;
  uint32_t slots = 0, context = 0, prefixCache = 8, prefillChunk = 0, probePlaces = 0;
  int port = 8000;
  size_t maxQueue = 1024, maxConnections = 2048, maxBodyMiB = 16;
  uint32_t maxSamples = 4096;
  bool anonymous = false;
  m1tool::TrustFlags trust;
};

/// A name that requests can repeat: of UTF-8, without control characters.
Status checkName(const std::string &name) {
  const bool controls = std::any_of(name.begin(), name.end(),
                                    [](char c) { return uint8_t(c) < 0x20 || uint8_t(c) == 0x7f; });
  if (controls || findInvalidUtf8(name) < name.size())
    return error(StatusCode::invalidArgument,
                 "--model-name: expected UTF-8 without control characters");
  return {};
}

/// Connections need descriptors; the soft limit is often 1024.
Status raiseDescriptorLimit(size_t connections) {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  constexpr size_t others = 128; // files, devices, pollers, connections that were refused
  if (limit.rlim_cur < connections + others)
    return error(StatusCode::invalidArgument,
                 "--max-connections %zu: the system allows this process %llu open files",
                 connections, (unsigned long long)limit.rlim_cur);
  return {};
}

std::string nameOf(const std::string &path) {
  std::string name = path.substr(path.rfind('/') + 1);
  if (const size_t dot = name.rfind(".m1a"); dot != std::string::npos && dot > 0)
    name.erase(dot);
  return name;
}

/// What may happen once, as a descriptor that is readable from then on.
class Bell {
public:
  Bell() : descriptor(::eventfd(0, EFD_CLOEXEC)) {}
  ~Bell() { ::close(descriptor); }
  Bell(const Bell &) = delete;
  Bell &operator=(const Bell &) = delete;

  void ring() const {
    const uint64_t one = 1;
    (void)!::write(descriptor, &one, sizeof one);
  }
  const int descriptor;
};

/// The signals that end the server, as a descriptor: they come to who reads it, not to whatever
/// thread happens to run. Made before there are other threads.
class Signals {
public:
  Signals() : descriptor(::signalfd(-1, blocked(), SFD_CLOEXEC)) { std::signal(SIGPIPE, SIG_IGN); }
  ~Signals() { ::close(descriptor); }
  Signals(const Signals &) = delete;
  Signals &operator=(const Signals &) = delete;

  bool pending() const {
    pollfd polled = {descriptor, POLLIN, 0};
    return ::poll(&polled, 1, 0) > 0;
  }
  void take() const {
    signalfd_siginfo info = {};
    (void)!::read(descriptor, &info, sizeof info);
  }
  const int descriptor;

private:
  static const sigset_t *blocked() {
    static sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    struct sigaction hangup = {};
    ::sigaction(SIGHUP, nullptr, &hangup);
    if (hangup.sa_handler != SIG_IGN) // nohup's wish
      sigaddset(&signals, SIGHUP);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return &signals;
  }
};

/// A model that is served: its engines, the thread that delivers what they say, and the one that
/// takes connections.
class Serving {
public:
  /// Everything outlives it.
  Serving(HttpServer &server, const ServiceOptions &options, const Model &model,
          const ModelText &text)
      : server(server), text(text), service(options, model, text),
        delivery(
            {},
            [this](Ticket ticket, std::optional<uint32_t> sample) {
              sample ? pool->cancelSample(ticket, *sample) : pool->cancel(ticket);
            },
            [this](const Exchange &exchange, bool hungUp) {
              service.exchangeEnded(exchange, hungUp);
            }) {}
  ~Serving() { server.cutOff(); } // the thread that is joined behind it ends

  Status start(const std::vector<Model *> &models, const m1tool::PoolOptions &options);
  uint32_t maxContext() const { return pool->maxContext(); }
  /// Serves until a signal, and then what has been asked for; a second signal, or a device that
  /// fails, ends everything at once. The error of the device.
  Status untilStopped(const Signals &signals);

private:
  void deviceFailed(const Status &status);

  HttpServer &server;
  const ModelText &text;
  Service service;
  Bell finished, failed;
  std::mutex failing; // of devices: several may at once
  std::string reason; // why the first one has failed
  Delivery delivery;
  std::unique_ptr<EnginePool> pool; // destroyed before what its threads call
  JoiningThreads accepting;         // one
};

Status Serving::start(const std::vector<Model *> &models, const m1tool::PoolOptions &options) {
  M1_TRY(delivery.start());
  M1_TRY(EnginePool::create(
      models, options, [this] { return text.createDecoder(/*skipSpecial=*/true); },
      [this](std::vector<TicketEvent> events) { delivery.post(std::move(events)); },
      [this](const Status &status) { deviceFailed(status); }, &pool));
  service.attach(*pool, delivery);
  service.addTo(server);
  M1_TRY(server.listen());
  const bool serves = accepting.start([this] {
    server.serve();
    finished.ring();
  });
  if (!serves)
    return error(StatusCode::ioError, "cannot start a thread that takes connections");
  return {};
}

void Serving::deviceFailed(const Status &status) {
  service.lose(status);
  {
    std::lock_guard<std::mutex> lock(failing);
    if (reason.empty())
      reason = status.message();
  }
  failed.ring();
}

Status Serving::untilStopped(const Signals &signals) {
  bool draining = false, lost = false;
  while (true) {
    pollfd polled[3] = {{finished.descriptor, POLLIN, 0},
                        {lost ? -1 : failed.descriptor, POLLIN, 0},
                        {signals.descriptor, POLLIN, 0}};
    if (::poll(polled, 3, -1) < 0)
      continue;
    if (polled[0].revents)
      break;
    if (polled[2].revents)
      signals.take();
    lost |= polled[1].revents != 0;
    if (draining || lost) {
      logLine("stopping");
      delivery.failAll({503, "the server has stopped", {}, {}, 0});
      server.cutOff();
    } else {
      logLine("draining");
      service.drain();
      server.drain();
    }
    draining = true;
  }
  accepting.join();
  pool.reset();
  logLine("stopped");
  return lost ? error(StatusCode::deviceError, "a device has failed: %s", reason.c_str())
              : Status();
}

Status readOptions(const Arguments &arguments, ServiceOptions *out) {
  out->hosts.insert(arguments.hosts.begin(), arguments.hosts.end());
  out->modelName = arguments.modelName.empty() ? nameOf(arguments.artifact) : arguments.modelName;
  M1_TRY(checkName(out->modelName));
  out->limits.samples = arguments.maxSamples;
  if (!arguments.keyFile.empty())
    M1_TRY(ApiKeys::read(arguments.keyFile, &out->keys));
  return {};
}

/// Takes the address, unless it would let anyone in without a word about it.
Status takeAddress(const Arguments &arguments, const std::string &host, HttpServer &server,
                   ServiceOptions *options, int *outPort) {
  HttpServer::Address address;
  M1_TRY(server.open(host, arguments.port, &address));
  options->loopback = address.loopback;
  *outPort = address.port;
  if (options->keys.empty() && !options->loopback && !arguments.anonymous)
    return error(StatusCode::invalidArgument,
                 "--host %s can be reached from other machines: give --api-key-file FILE, or "
                 "--anonymous to let anyone in",
                 host.c_str());
  return {};
}

m1tool::PoolOptions poolOptions(const Arguments &arguments, Model &model) {
  m1tool::PoolOptions options;
  options.slots =
      arguments.slots ? arguments.slots : fastestBatch(model, arguments.devices.threads);
  options.maxQueue = arguments.maxQueue;
  options.engine.probePlaces = arguments.probePlaces;
  options.engine.warm = true; // before the first request
  SizeWish &size = options.engine.size;
  // and the prompt that several samples fork from
  size.sequences = options.slots + 1 + arguments.probePlaces;
  size.context = arguments.context;
  size.prefillTokens = arguments.prefillChunk;
  size.cacheSequences = arguments.prefixCache;
  size.scoreRows = 64; // 33 MB of logits with a vocabulary of 128 k
  return options;
}

Status run(const Arguments &arguments) {
  // What may fail soon is done before the model is loaded.
  ServiceOptions options;
  M1_TRY(readOptions(arguments, &options));
  M1_TRY(raiseDescriptorLimit(arguments.maxConnections));
  std::string host = arguments.host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') // as in a URL
    host = host.substr(1, host.size() - 2);
  ConnectionLimits limits;
  limits.bodyBytes = arguments.maxBodyMiB << 20;
  HttpServer server(limits, arguments.maxConnections);
  int port = 0;
  M1_TRY(takeAddress(arguments, host, server, &options, &port));

  const Signals signals;
  std::vector<std::string> devices;
  M1_TRY(m1tool::listDevices(arguments.devices.device, &devices));
  ModelOptions modelOptions;
  M1_TRY(m1tool::applyTrustFlags(arguments.trust, arguments.artifact, &modelOptions));
  modelOptions.interrupted = [&signals] { return signals.pending(); };
  std::vector<std::unique_ptr<Model>> models;
  Status loaded = m1tool::loadModels(arguments.artifact, arguments.devices, modelOptions, &models);
  if (loaded.code() == StatusCode::cancelled) {
    logLine("stopped");
    return {};
  }
  M1_TRY(loaded);
  std::unique_ptr<ModelText> text;
  M1_TRY(ModelText::load(models[0]->artifact(), &text));

  const m1tool::PoolOptions pool = poolOptions(arguments, *models[0]);
  options.slots = pool.slots * uint32_t(models.size());
  Serving serving(server, options, *models[0], *text);
  M1_TRY(serving.start(m1tool::pointersTo(models), pool));
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  std::printf("m1-serve: http://%s:%d\n", shown.c_str(), port);
  std::fflush(stdout);
  logLine("ready", {{"model", options.modelName},
                    {"devices", devices},
                    {"host", host},
                    {"port", port},
                    {"slots", options.slots},
                    {"context", serving.maxContext()}});
  return serving.untilStopped(signals);
}

void addOptions(CLI::App &app, Arguments *out) {
  Arguments &arguments = *out;
  app.add_option("artifact", arguments.artifact, "The compiled model")
      ->required()
      ->type_name("OUT.m1a");
  m1tool::addDeviceFlags(app, &arguments.devices);
  addTrustFlags(app, &arguments.trust);
  app.add_option("--model-name", arguments.modelName,
                 "The name in /v1/models; by default the file's")
      ->type_name("NAME");

  app.add_option("--host", arguments.host, "The address to listen on")
      ->group("Network")
      ->capture_default_str();
  app.add_option("--port", arguments.port, "0: any free one, which is printed")
      ->group("Network")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  app.add_option("--api-key-file", arguments.keyFile,
                 "Admit only who shows one of these keys, one a line")
      ->group("Network")
      ->type_name("FILE");
  app.add_flag("--anonymous", arguments.anonymous,
               "Without keys, listen where other machines reach it")
      ->group("Network");
  app.add_option("--allow-host", arguments.hosts,
                 "Without keys, another name that clients may know this machine by; may be given "
                 "several times")
      ->group("Network")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("NAME")
      ->expected(1);
  app.add_option("--max-connections", arguments.maxConnections, "Connections at once")
      ->group("Limits")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--max-queue", arguments.maxQueue,
                 "Requests that wait for a slot; more are told to come back (429)")
      ->group("Limits")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--max-samples", arguments.maxSamples, "Samples of one request")
      ->group("Limits")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-body", arguments.maxBodyMiB, "MiB of a request")
      ->group("Limits")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));

  app.add_option("--slots", arguments.slots,
                 "Samples at once on each device; 0: as many as keep it busy and fit")
      ->group("Engine")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--context", arguments.context,
                 "Tokens of the longest prompt and answer; 0: the model's")
      ->group("Engine")
      ->capture_default_str()
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--prefix-cache", arguments.prefixCache,
                 "Sequences kept for prompts with the same beginning; 0: none")
      ->group("Engine")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 12));
  app.add_option("--probe-places", arguments.probePlaces,
                 "Sequences beside the slots for probes of votes, which otherwise take slots that "
                 "no sample waits for")
      ->group("Engine")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--prefill-chunk", arguments.prefillChunk,
                 "Prompt tokens of one step; 0: what suits the device")
      ->group("Engine")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  Arguments arguments;
  CLI::App app{"Serves a compiled model (.m1a) over HTTP: OpenAI's interface, and a page at /.",
               "m1-serve"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-serve ") + M1_VERSION);
  addConfigurationFile(app);
  app.footer("Example\n"
             "  m1-serve model.m1a --port 8000\n"
             "  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: "
             "application/json' \\\n"
             "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 17*23?\"}]}'");
  addOptions(app, &arguments);
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  if (!arguments.keyFile.empty())
    for (const char *flag : {"--anonymous", "--allow-host"})
      if (app.count(flag) > 0)
        return m1tool::usageError("m1-serve", std::string(flag) + " is for a server without keys: "
                                                                  "not with --api-key-file");

  try {
    Status status = run(arguments);
    return status.ok() ? 0 : fail("m1-serve", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-serve", error(StatusCode::outOfMemory, "out of memory"));
  }
}
