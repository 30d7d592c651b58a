// Counts of what passes did. llvm::Statistic would do, but distributed builds of LLVM compile it to
// nothing; the declarations in Passes.td stay for the documentation.
#ifndef M1_SUPPORT_PASSSTATISTIC_H
#define M1_SUPPORT_PASSSTATISTIC_H

#include "mlir/Pass/Pass.h"

namespace mlir::m1 {

/// A count of one pass, summed over all runs of the pass in this process. Named like the statistic
/// in Passes.td, whose member it hides.
class PassStatistic {
public:
  PassStatistic(const Pass &pass, StringRef name) : pass(pass.getArgument()), name(name) {}

  PassStatistic &operator++() { return *this += 1; }
  /// Safe from passes that run on functions in parallel.
  PassStatistic &operator+=(uint64_t amount);

private:
  StringRef pass, name;
};

/// One line "pass name count" for everything that was counted, sorted.
void printStatistics(raw_ostream &stream);

} // namespace mlir::m1

#endif
