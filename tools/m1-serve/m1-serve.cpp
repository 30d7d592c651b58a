// Serves a compiled model over HTTP, by OpenAI's interface, with a page to talk to it.
#include "command_line.h"
#include "devices.h"
#include "log.h"
#include "model/sizing.h"
#include "out_of_memory.h"
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
#include <sys/stat.h>

using namespace m1rt;
using namespace m1serve;
using m1tool::fail;

namespace {

struct Arguments {
  std::string artifact, device = "cpu", host = "127.0.0.1", keyFile, modelName;
  std::vector<std::string> hosts;
  uint32_t threads = 0, slots = 0, context = 0, prefixCache = 8, prefillChunk = 0, probePlaces = 0;
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
  constexpr size_t others = 64; // files, devices, pollers
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

/// A file of lines option = value, or the name of a flag alone. Errors name file and line, and an
/// option may come again further down: CLI11's own reader says neither, and forgets the second.
class ConfigurationFile : public CLI::ConfigBase {
public:
  explicit ConfigurationFile(const CLI::App &app) : app(app) {}

  /// For check(), before it is read: what is there to be read, and ends.
  std::string setPath(const std::string &name) {
    path = name;
    struct stat info;
    const bool found = ::stat(path.c_str(), &info) == 0 && ::access(path.c_str(), R_OK) == 0;
    if (!found)
      return path + ": cannot read: " + std::strerror(errno);
    return S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode) ? "" : path + ": expected a file";
  }

  std::vector<CLI::ConfigItem> from_config(std::istream &lines) const override {
    std::vector<CLI::ConfigItem> items;
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
      if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) // byte order mark
        line.erase(0, 3);
      line = trimmed(line);
      if (!line.empty() && line[0] != '#' && line[0] != ';')
        read(line, path + ":" + std::to_string(number), &items);
    }
    return items;
  }

private:
  static std::string trimmed(const std::string &text) {
    constexpr char blanks[] = " \t\r";
    const size_t begin = text.find_first_not_of(blanks);
    return begin == std::string::npos
               ? ""
               : text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
  }

  void read(const std::string &line, const std::string &place,
            std::vector<CLI::ConfigItem> *items) const {
    auto fail = [&](const std::string &what) {
      throw CLI::ConfigError("--config: " + place + ": " + what, CLI::ExitCodes::ConfigError);
    };
    const size_t equal = line.find('=');
    const std::string name = trimmed(line.substr(0, equal));
    const CLI::Option *option = app.get_option_no_throw("--" + name);
    if (!option)
      option = app.get_option_no_throw(name);
    if (name.empty() || (equal == std::string::npos && !option))
      fail("expected option = value, got " + line);
    if (!option || !option->get_configurable())
      fail("no option of a file is called " + name);
    if (equal == std::string::npos && option->get_items_expected_max() > 0)
      fail("expected " + name + " = " + option->get_type_name());
    std::string value = equal == std::string::npos ? "true" : trimmed(line.substr(equal + 1));
    const size_t comment = value.find('#');
    if (comment == 0 || (comment != std::string::npos && std::strchr(" \t", value[comment - 1])))
      value = trimmed(value.substr(0, comment));
    CLI::detail::remove_quotes(value);
    auto item = std::find_if(items->begin(), items->end(),
                             [&](const CLI::ConfigItem &other) { return other.name == name; });
    if (item == items->end()) {
      items->emplace_back();
      item = items->end() - 1;
      item->name = name;
    }
    if (option->get_items_expected_max() == 0)
      item->inputs.clear(); // of a flag the last counts
    item->inputs.push_back(value);
  }

  const CLI::App &app;
  std::string path;
};

void signalTo(int descriptor) {
  const uint64_t one = 1;
  (void)!::write(descriptor, &one, sizeof one);
}

Status run(Arguments &arguments) {
  ServiceOptions options;
  options.hosts.insert(arguments.hosts.begin(), arguments.hosts.end());
  options.modelName =
      arguments.modelName.empty() ? nameOf(arguments.artifact) : arguments.modelName;
  M1_TRY(checkName(options.modelName));
  options.limits.samples = arguments.maxSamples;
  if (!arguments.keyFile.empty())
    M1_TRY(ApiKeys::read(arguments.keyFile, &options.keys));
  M1_TRY(raiseDescriptorLimit(arguments.maxConnections));

  // What may fail soon is done before the model is loaded.
  std::string &host = arguments.host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') // as in a URL
    host = host.substr(1, host.size() - 2);
  ConnectionLimits limits;
  limits.bodyBytes = arguments.maxBodyMiB << 20;
  HttpServer server(limits, arguments.maxConnections);
  HttpServer::Address address;
  M1_TRY(server.open(host, arguments.port, &address));
  options.loopback = address.loopback;
  if (options.keys.empty() && !options.loopback && !arguments.anonymous)
    return error(StatusCode::invalidArgument,
                 "--host %s can be reached from other machines: give --api-key-file FILE, or "
                 "--anonymous to let anyone in",
                 host.c_str());

  // Signals come to the loop below, not to whatever thread happens to run.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  struct sigaction hangup = {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) // nohup's wish
    sigaddset(&signals, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const int caught = ::signalfd(-1, &signals, SFD_CLOEXEC);

  std::vector<std::string> devices;
  M1_TRY(m1tool::listDevices(arguments.device, &devices));
  ModelOptions modelOptions;
  modelOptions.deviceOptions.threads = arguments.threads;
  M1_TRY(m1tool::applyTrustFlags(arguments.trust, arguments.artifact, &modelOptions));
  modelOptions.interrupted = [caught] {
    pollfd polled = {caught, POLLIN, 0};
    return ::poll(&polled, 1, 0) > 0;
  };
  std::vector<std::unique_ptr<Model>> models;
  Status loaded = m1tool::loadModels(arguments.artifact, devices, modelOptions, &models);
  if (loaded.code() == StatusCode::cancelled) {
    logLine("stopped");
    return {};
  }
  M1_TRY(loaded);
  std::unique_ptr<ModelText> text;
  M1_TRY(ModelText::load(models[0]->artifact(), &text));
  m1tool::PoolOptions poolOptions;
  poolOptions.slots =
      arguments.slots ? arguments.slots : fastestBatch(*models[0], arguments.threads);
  SizeWish &size = poolOptions.engine.size;
  poolOptions.engine.probePlaces = arguments.probePlaces;
  poolOptions.engine.warm = true; // before the first request
  // and the prompt that several samples fork from
  size.sequences = poolOptions.slots + 1 + arguments.probePlaces;
  size.context = arguments.context;
  size.prefillTokens = arguments.prefillChunk;
  size.cacheSequences = arguments.prefixCache;
  size.scoreRows = 64; // 33 MB of logits with a vocabulary of 128 k
  poolOptions.maxQueue = arguments.maxQueue;
  options.slots = poolOptions.slots * uint32_t(models.size());

  const int finished = ::eventfd(0, EFD_CLOEXEC), failed = ::eventfd(0, EFD_CLOEXEC);
  Service service(options, *models[0], *text);
  std::mutex failing; // of devices: several may at once
  std::string reason; // why the first one has failed
  std::unique_ptr<EnginePool> pool;
  Delivery delivery(
      {},
      [&](Ticket ticket, std::optional<uint32_t> sample) {
        sample ? pool->cancelSample(ticket, *sample) : pool->cancel(ticket);
      },
      [&](const Exchange &exchange, bool hungUp) { service.exchangeEnded(exchange, hungUp); });
  M1_TRY(delivery.start());
  M1_TRY(EnginePool::create(
      m1tool::pointersTo(models), poolOptions,
      [side = text.get()] { return side->createDecoder(/*skipSpecial=*/true); },
      [&](std::vector<TicketEvent> events) { delivery.post(std::move(events)); },
      [&](const Status &status) {
        service.lose(status);
        {
          std::lock_guard<std::mutex> lock(failing);
          if (reason.empty())
            reason = status.message();
        }
        signalTo(failed);
      },
      &pool));
  service.attach(*pool, delivery);

  service.addTo(server);
  M1_TRY(server.listen());
  m1rt::JoiningThreads serving;
  const bool serves = serving.start([&] {
    server.serve();
    signalTo(finished);
  });
  if (!serves)
    return error(StatusCode::ioError, "cannot start a thread that takes connections");
  // However this ends: the thread is joined behind it.
  struct Stopping {
    HttpServer &server;
    ~Stopping() { server.cutOff(); }
  } stopping{server};
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  std::printf("m1-serve: http://%s:%d\n", shown.c_str(), address.port);
  std::fflush(stdout);
  logLine("ready", {{"model", options.modelName},
                    {"devices", devices},
                    {"host", host},
                    {"port", address.port},
                    {"slots", options.slots},
                    {"context", pool->maxContext()}});

  bool draining = false, lost = false;
  while (true) {
    pollfd polled[3] = {
        {finished, POLLIN, 0}, {lost ? -1 : failed, POLLIN, 0}, {caught, POLLIN, 0}};
    if (::poll(polled, 3, -1) < 0)
      continue;
    if (polled[0].revents)
      break;
    signalfd_siginfo info = {};
    if (polled[2].revents)
      (void)!::read(caught, &info, sizeof info);
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
  serving.join();
  pool.reset();
  for (int descriptor : {finished, failed, caught})
    ::close(descriptor);
  logLine("stopped");
  return lost ? error(StatusCode::deviceError, "a device has failed: %s", reason.c_str())
              : Status();
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  m1tool::reportOutOfMemory();
  Arguments arguments;
  CLI::App app{"Serves a compiled model (.m1a) over HTTP: OpenAI's interface, and a page at /.",
               "m1-serve"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-serve ") + M1_VERSION);
  const auto configuration = std::make_shared<ConfigurationFile>(app);
  app.set_config("--config", "", "Read options from a file of lines option = value")
      ->type_name("FILE")
      ->check([=](const std::string &path) { return configuration->setPath(path); }, "");
  app.config_formatter(configuration);
  app.footer("Example\n"
             "  m1-serve model.m1a --port 8000\n"
             "  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: "
             "application/json' \\\n"
             "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 17*23?\"}]}'");
  app.add_option("artifact", arguments.artifact, "The compiled model")
      ->required()
      ->type_name("OUT.m1a");
  app.add_option("--device", arguments.device, m1tool::devicesHelp)
      ->capture_default_str()
      ->check(m1tool::isDeviceList);
  app.add_option("--threads", arguments.threads, "CPU threads; 0: one a physical core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
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
