#include "ranks.h"
#include <cstdlib>
#ifdef M1_HAVE_MPI
#include <mpi.h>
#endif

using namespace m1rt;

namespace m1tool {

/// Whether a launcher of MPI programs started this process: Open MPI's and PMIx's variables, which
/// srun --mpi=pmix sets too, and those of PMI.
static bool launched() {
  for (const char *name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name))
      return true;
  return false;
}

#ifdef M1_HAVE_MPI

struct Ranks::Shared {
  MPI_Win window;
  uint64_t *next; // the count, on rank 0
};

Status Ranks::join() {
  if (!launched())
    return {};
  int number_ = 0, count_ = 1;
  MPI_Init(nullptr, nullptr); // errors of MPI end the program with its own message
  MPI_Comm_rank(MPI_COMM_WORLD, &number_);
  MPI_Comm_size(MPI_COMM_WORLD, &count_);
  number = uint32_t(number_);
  count = uint32_t(count_);
  shared = new Shared;
  const MPI_Aint bytes = number == 0 ? sizeof(uint64_t) : 0;
  MPI_Win_allocate(bytes, sizeof(uint64_t), MPI_INFO_NULL, MPI_COMM_WORLD, &shared->next,
                   &shared->window);
  MPI_Win_lock_all(0, shared->window);
  if (number == 0) {
    *shared->next = 0;
    MPI_Win_sync(shared->window);
  }
  wait();
  return {};
}

uint64_t Ranks::draw() {
  if (!shared)
    return drawn++;
  const uint64_t one = 1;
  uint64_t out = 0;
  MPI_Fetch_and_op(&one, &out, MPI_UINT64_T, 0, 0, MPI_SUM, shared->window);
  MPI_Win_flush(0, shared->window);
  return out;
}

void Ranks::progress() {
  int any = 0;
  if (shared)
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &any, MPI_STATUS_IGNORE);
}

void Ranks::wait() {
  if (shared)
    MPI_Barrier(MPI_COMM_WORLD);
}

uint64_t Ranks::leave(uint64_t tokens) {
  if (!shared)
    return tokens;
  uint64_t sum = 0;
  MPI_Reduce(&tokens, &sum, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
  MPI_Win_unlock_all(shared->window);
  MPI_Win_free(&shared->window);
  MPI_Finalize();
  delete shared;
  shared = nullptr;
  return sum;
}

#else

struct Ranks::Shared {};

Status Ranks::join() {
  const char *size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (launched() && !(size && std::atoi(size) == 1))
    return error(StatusCode::unsupported, "started by mpirun or srun, but built without MPI: "
                                          "install libopenmpi-dev and build again");
  return {};
}
uint64_t Ranks::draw() { return drawn++; }
void Ranks::progress() {}
void Ranks::wait() {}
uint64_t Ranks::leave(uint64_t tokens) { return tokens; }

#endif

} // namespace m1tool
