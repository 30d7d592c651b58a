// The registry of devices.
#include "m1c/Target.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace m1c {

#include "Devices.inc"

namespace {

std::vector<TargetRegistration> &table() {
  static std::vector<TargetRegistration> registrations;
  return registrations;
}

llvm::ArrayRef<TargetRegistration> devices() {
  static const bool registered = [] {
    registerDevices();
    return true;
  }();
  (void)registered;
  return table();
}

const TargetRegistration *find(llvm::StringRef device) {
  for (const TargetRegistration &registration : devices())
    if (registration.device == device)
      return &registration;
  return nullptr;
}

} // namespace

void registerTarget(const TargetRegistration &registration) { table().push_back(registration); }

std::string describeTargets() {
  std::string text;
  for (const TargetRegistration &registration : devices())
    text += (text.empty() ? "" : ", ") + registration.usage.str();
  return text;
}

llvm::Expected<std::vector<std::unique_ptr<Target>>> createTargets(llvm::StringRef list) {
  llvm::SmallVector<llvm::StringRef> words;
  list.split(words, ',');
  // A word that names no device goes on with the suffix of the one before: cuda:sm_80,sm_90.
  std::vector<std::string> parts;
  for (llvm::StringRef word : words)
    if (!parts.empty() && llvm::StringRef(parts.back()).contains(':') &&
        !find(word.split(':').first))
      parts.back() += "," + word.str();
    else
      parts.push_back(word.str());

  std::vector<std::unique_ptr<Target>> targets;
  llvm::StringSet<> seen;
  for (const std::string &text : parts) {
    llvm::StringRef part = text, device, suffix;
    std::tie(device, suffix) = part.split(':');
    const TargetRegistration *registration = find(device);
    if (!registration)
      return llvm::createStringError("--target: unknown target '" + part + "'; known are " +
                                     describeTargets());
    if (!seen.insert(device).second)
      return llvm::createStringError("--target: '" + device + "' is named twice; known are " +
                                     describeTargets());
    if (part.ends_with(":"))
      return llvm::createStringError("--target: expected something behind '" + part +
                                     "'; known are " + describeTargets());
    auto created = registration->create(suffix);
    if (!created)
      return created.takeError();
    for (auto &target : *created)
      targets.push_back(std::move(target));
  }
  return targets;
}

llvm::Expected<std::unique_ptr<Target>> createTargetOf(plan::TargetOp plan) {
  if (const TargetRegistration *registration = find(plan.getDevice()))
    return registration->ofPlan(plan);
  return llvm::createStringError("no device is named '" + plan.getDevice() + "'; known are " +
                                 describeTargets());
}

llvm::Error checkBodies(plan::TargetOp plan, Operation *bodies, llvm::StringRef kind,
                        llvm::ArrayRef<llvm::StringRef> kernels) {
  const std::string whose = ("the kernels of plan.target @" + plan.getSymName()).str();
  if (bodies && bodies->getName().getStringRef() != kind)
    return llvm::createStringError(whose + " are in a '" + bodies->getName().getStringRef() +
                                   "', expected a '" + kind + "'");
  for (llvm::StringRef kernel : kernels) {
    Operation *symbol = bodies ? SymbolTable::lookupSymbolIn(bodies, kernel) : nullptr;
    auto function = llvm::dyn_cast_or_null<FunctionOpInterface>(symbol);
    if (!function || function.isExternal())
      return llvm::createStringError(whose + " hold no function @" + kernel);
  }
  return llvm::Error::success();
}

void addPlanPasses(OpPassManager &passes) {
  for (const TargetRegistration &registration : devices())
    if (registration.addPlanPasses)
      registration.addPlanPasses(passes);
}

} // namespace m1c
