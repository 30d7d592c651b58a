// The processes of one evaluation, when mpirun or srun started several: ranks that draw problems
// from one count. Without such a launcher there is one rank, and MPI is never initialised.
#ifndef M1_TOOLS_EVAL_RANKS_H
#define M1_TOOLS_EVAL_RANKS_H

#include "status.h"
#include <cstdint>

namespace m1tool {

class Ranks {
public:
  Ranks() = default;
  Ranks(const Ranks &) = delete;
  Ranks &operator=(const Ranks &) = delete;

  /// Every rank calls it, first. Error under a launcher of several processes when this build has no
  /// MPI.
  m1rt::Status join();
  uint32_t rank() const { return number; }
  uint32_t size() const { return count; }

  /// The next number of a count that all ranks share, from 0.
  uint64_t draw();
  /// Lets MPI serve what other ranks ask of this one; rank 0 holds the count.
  void progress();
  /// Waits until all ranks are here.
  void wait();
  /// Every rank calls it, last; the sum of their tokens on rank 0. A rank that ends without it has
  /// failed, and the launcher ends the others.
  uint64_t leave(uint64_t tokens);

private:
  uint32_t number = 0, count = 1;
  uint64_t drawn = 0; // of a rank that is alone
  struct Shared;
  [[maybe_unused]] Shared *shared = nullptr; // of a build with MPI, under a launcher
};

} // namespace m1tool

#endif
