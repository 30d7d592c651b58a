#include "trace.h"
#include <nlohmann/json.hpp>

using namespace m1rt;

namespace m1tool {

static std::string commandName(const schema::Function &function, uint32_t index) {
  const schema::CommandHolder &holder = *function.commands()->Get(index);
  const flatbuffers::String *name = nullptr;
  if (const schema::Launch *launch = holder.command_as_Launch())
    name = launch->name();
  else if (const schema::Gemm *gemm = holder.command_as_Gemm())
    name = gemm->name();
  return name ? name->str() : "command " + std::to_string(index);
}

Status Trace::open(const std::string &path, Model &tracedModel, Session &tracedSession) {
  model = &tracedModel;
  session = &tracedSession;
  M1_TRY(file.open(path));
  session->setProfile(&times);
  origin = std::chrono::steady_clock::now();
  return {};
}

double Trace::microseconds() const {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - origin)
      .count();
}

void Trace::event(const std::string &json) {
  std::string text = (any ? ",\n" : "[\n") + json;
  any = true;
  if (failure.ok())
    failure = file.write(text.data(), text.size());
}

void Trace::beginStep() {
  if (!session)
    return;
  times.clear();
  stepBegan = microseconds();
}

void Trace::endStep(const Engine &engine) {
  if (!session || times.empty())
    return;
  const schema::Function &function = *model->target().functions()->Get(session->lastFunction());
  event(nlohmann::json{{"name", function.name()->str()},
                       {"cat", "step"},
                       {"ph", "X"},
                       {"pid", 1},
                       {"tid", 1},
                       {"ts", stepBegan},
                       {"dur", microseconds() - stepBegan},
                       {"args",
                        {{"step", steps++},
                         {"running", engine.runningSamples()},
                         {"waiting", engine.waitingSamples()}}}}
            .dump());
  for (const CommandTime &time : times)
    event(nlohmann::json{{"name", commandName(function, time.command)},
                         {"cat", "launch"},
                         {"ph", "X"},
                         {"pid", 1},
                         {"tid", 2},
                         {"ts", stepBegan + time.start},
                         {"dur", time.duration}}
              .dump());
}

Status Trace::close() {
  if (!session)
    return {};
  session->setProfile(nullptr);
  const char *end = any ? "\n]\n" : "[]\n";
  M1_TRY(failure);
  M1_TRY(file.write(end, std::strlen(end)));
  return file.commit();
}

} // namespace m1tool
