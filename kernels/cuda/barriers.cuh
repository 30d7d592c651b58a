// Barriers in shared memory (mbarrier) and the bulk copies that arrive at them, on sm_90 and newer.
#ifndef M1K_BARRIERS_CUH
#define M1K_BARRIERS_CUH

#include "common.cuh"

#if __CUDA_ARCH__ >= 900

namespace m1k {

// A barrier of which every phase ends with `arrivals` arrivals; the first phase has parity 0.
M1K_DEVICE void barrier_init(u32 barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
M1K_DEVICE void barrier_arrive(u32 barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(barrier)
               : "memory");
}
// Arrives when the thread's copies so far (copy_async16) have landed.
M1K_DEVICE void barrier_arrive_after_copies(u32 barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
// Waits until the phase of this parity has ended; that before the first counts as ended, parity 1.
M1K_DEVICE void barrier_wait(u32 barrier, int parity) {
  u32 done;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (!done);
}
// Between ordinary accesses of shared memory and those of products and bulk copies: what was
// written, and a barrier has made visible, is what products read; what was read is so before a
// copy that a barrier lets begin writes there.
M1K_DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Likewise of global memory.
M1K_DEVICE void fence_async_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }
// After barrier_init, before __syncthreads: bulk copies may use the barriers.
M1K_DEVICE void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// One arrival; the phase ends when so many bytes of copies have landed, too.
M1K_DEVICE void barrier_arrive_expecting(u32 barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Bytes of global to shared memory, all multiples of 16, that are read once: first to leave the L2
// cache.
M1K_DEVICE void copy_bulk(u32 to, const void *from, int bytes, u32 barrier) {
  u64 policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
               "[%0], [%1], %2, [%3], %4;" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
               : "memory");
}

} // namespace m1k

#endif // __CUDA_ARCH__ >= 900

#endif
