// Hopper's warpgroup products: in code for sm_90a, where M1K_WARPGROUPS is defined.
//
// Operands in shared memory are tiles of rows of 64 16-bit elements, 128 bytes a row, the tile at a
// multiple of 1024 bytes, the 16-byte piece c of row r at c ^ (r % 8) ("128-byte swizzle"): no bank
// conflicts for any 8 rows of a column or any row. The same tile is read with its columns as the
// products' depth or (B only) with its rows as the depth; a wider matrix is several tiles.
#ifndef M1K_WARPGROUP_CUH
#define M1K_WARPGROUP_CUH

#include "barriers.cuh"

namespace m1k {

// Tensor maps: a matrix in global memory, cut into boxes of rows of 64 16-bit elements. A copy of a
// box to shared memory leaves a tile as above; what lies outside the matrix is read as zeros and
// not written. cuTensorMapEncodeTiled makes them; they are operands of the kernel by value.
struct alignas(64) TensorMap {
  u64 words[16];
};

} // namespace m1k

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define M1K_WARPGROUPS 1

namespace m1k {

constexpr int kSwizzledRow = 128, kSwizzledRows = 1024; // bytes of a row, and of eight

// By one thread: a box, whose first element is (row, column) of the matrix, to shared memory.
M1K_DEVICE void copy_box(u32 to, const TensorMap &map, int row, int column, u32 barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%3, %4}], [%2];" ::"r"(to),
               "l"(reinterpret_cast<u64>(&map)), "r"(barrier), "r"(column), "r"(row)
               : "memory");
}
// From shared memory. The bytes may be overwritten after stores_have_read().
M1K_DEVICE void store_box(const TensorMap &map, int row, int column, u32 from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
          reinterpret_cast<u64>(&map)),
      "r"(from), "r"(column), "r"(row)
      : "memory");
}
M1K_DEVICE void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
M1K_DEVICE void stores_have_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
M1K_DEVICE void stores_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Four 8x8 matrices of 16-bit elements to shared memory; lane i gives the address of row i % 8 of
// matrix i / 8.
M1K_DEVICE void store_matrices(u32 row, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// Likewise of their transposes.
M1K_DEVICE void store_matrices_transposed(u32 row, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// Registers of each thread of the warpgroup from here on; the launch bound gives the number before.
template <int registers> M1K_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers> M1K_DEVICE void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

// Products are issued by all four warps of a warpgroup between products_begin and products_commit,
// and run until a products_wait leaves fewer groups pending. Until then their registers must not be
// touched; keep() before the issue and after the wait holds the compiler to that.
M1K_DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
M1K_DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending> M1K_DEVICE void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
template <int n> M1K_DEVICE void keep(float (&sums)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i)
    asm volatile("" : "+f"(sums[i])::"memory");
}

template <int n> M1K_DEVICE void keep(u32 (&operands)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      asm volatile("" : "+r"(operands[i][e])::"memory");
}

// An operand whose rows follow one another at 128 bytes; `stride` bytes lie between tiles of 64
// columns where one product reads more than one. (PTX ISA, "Matrix descriptor": start, leading
// dimension offset, stride dimension offset of eight rows, swizzle 1.)
M1K_DEVICE u64 product_operand(u32 address, int stride = 16) {
  return u64(1) << 62 | u64(kSwizzledRows >> 4) << 32 | u64(stride >> 4) << 16 |
         u64((address & 0x3ffff) >> 4);
}

// The one `bytes` further on, without the address's way into it.
M1K_DEVICE u64 operand_after(u64 operand, int bytes) {
  return operand >> 32 << 32 | u32(u32(operand) + u32(bytes >> 4));
}

#define M1K_SUMS_32                                                                                \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "    \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define M1K_SUMS_64                                                                                \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "    \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "     \
  "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "     \
  "%56, %57, %58, %59, %60, %61, %62, %63}"
#define M1K_SUMS_128                                                                               \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "    \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "     \
  "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "     \
  "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, "     \
  "%74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, "     \
  "%92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "       \
  "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, "     \
  "%123, %124, %125, %126, %127}"
#define M1K_SUM_8(d, i)                                                                            \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),      \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define M1K_SUM_32(d, i)                                                                           \
  M1K_SUM_8(d, i), M1K_SUM_8(d, i + 8), M1K_SUM_8(d, i + 16), M1K_SUM_8(d, i + 24)

// d (64 x 2n, n sums a thread) = or += a (64 x 16) · bᵀ (2n x 16, rows of which are B's columns).
// Thread (warp w, g, t): rows 16w + g and + 8; sums 4i, 4i + 1 are columns 8i + 2t and + 1 of the
// first, 4i + 2 and 4i + 3 of the second row.
M1K_DEVICE void product(float (&d)[32], u64 a, u64 b, bool add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " M1K_SUMS_32
               ", %32, %33, p, 1, 1, 0, 0;\n}"
               : M1K_SUM_32(d, 0)
               : "l"(a), "l"(b), "r"(int(add)));
}
M1K_DEVICE void product(float (&d)[64], u64 a, u64 b, bool add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " M1K_SUMS_64
               ", %64, %65, p, 1, 1, 0, 0;\n}"
               : M1K_SUM_32(d, 0), M1K_SUM_32(d, 32)
               : "l"(a), "l"(b), "r"(int(add)));
}
M1K_DEVICE void product(float (&d)[128], u64 a, u64 b, bool add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 " M1K_SUMS_128
               ", %128, %129, p, 1, 1, 0, 0;\n}"
               : M1K_SUM_32(d, 0), M1K_SUM_32(d, 32), M1K_SUM_32(d, 64), M1K_SUM_32(d, 96)
               : "l"(a), "l"(b), "r"(int(add)));
}
// Likewise with a (64 x 16) in registers as for mma_bf16, which must be kept until the wait.
M1K_DEVICE void product(float (&d)[32], const u32 (&a)[4], u64 b, bool add) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " M1K_SUMS_32
               ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
               : M1K_SUM_32(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)));
}
// d += a (64 x 16, in registers) · b (16 rows of 2n columns).
M1K_DEVICE void product_by_rows(float (&d)[32], const u32 (&a)[4], u64 b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " M1K_SUMS_32
               ", {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
               : M1K_SUM_32(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
M1K_DEVICE void product_by_rows(float (&d)[64], const u32 (&a)[4], u64 b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " M1K_SUMS_64
               ", {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
               : M1K_SUM_32(d, 0), M1K_SUM_32(d, 32)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef M1K_SUMS_32
#undef M1K_SUMS_64
#undef M1K_SUMS_128
#undef M1K_SUM_8
#undef M1K_SUM_32

} // namespace m1k

#endif // __CUDA_ARCH_FEAT_SM90_ALL

#endif
