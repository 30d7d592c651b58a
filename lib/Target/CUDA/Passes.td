#ifndef M1_CUDA_PASSES
#define M1_CUDA_PASSES

include "mlir/Pass/PassBase.td"

def FuseLaunchesPass : Pass<"plan-fuse-launches", "::mlir::plan::TargetOp"> {
  let summary = "One launch for several of a decode step that one CUDA kernel does together";
  let description = [{
    In the functions of decode steps of a cuda target, a convolution's step joins the selective scan
    that alone reads it. In those of few rows scans take in more of what stands around them: a
    selective scan the projection of dt and the RMS norms of that product's input, of B and of C; an
    SSD scan the convolution of x, B and C, and its gate with the norm of heads behind it, or of a
    norm of all channels the part before its scale, which the product that reads it applies to its
    sums; a gated delta rule the convolution of q, k and v and the gated norm of its heads. Where
    several blocks read columns of a convolution the last of them moves their window on: counters
    that one launch at the step's beginning clears say which is the last. A product that streams its
    weights takes on what its neighbours do: a map that alone reads it, of a vector of columns too,
    or both of its halves, as silu·mul does; the addition of a residual to it alone or to a map of
    it; and the RMS norm of that sum where only such products read it: the first leaves sum ∘ weight
    and sums of squares, the others scale their rows. A product that rounds its rows to e4m3 takes
    their largest values from the product that writes them. On sm_90 attention to a cache of bf16
    takes in the write of its keys and values, with their rotation, if it alone reads that cache,
    and one launch splits and joins it: the block that leaves a pair's last partial sums adds them
    all up; counters that the step clears say which. Products of bf16 that follow one another there
    without another launch between them are one cooperative launch, whose blocks wait for one
    another where they read one another's results; counters say how many have come. Commands that
    need not stand between such products move out of their way. In all functions a norm
    takes the rows itself that a gather takes for it alone, and silu·mul, or a residual's sum with
    its norm, rounds its rows to e4m3 itself where the launch that does is their only reader. The
    kernels stem from the `facts` of all; kernels that no launch is left of go.

    It refuses, with a remark that says why, a convolution or product that something else reads too,
    a projection of dt with quantised weights or a bias of its own, neighbours whose types or
    head sizes the kernels do not take, and those between which a command uses what they write, or
    writes what they use. Prefill keeps its other launches: there a launch costs
    nothing. Other devices are left alone, and functions whose buffers have places.

    Before:
    ```mlir
    plan.launch @causal_conv1d_64_decode(ro %x, ro %w, rw %cs, …, wo %c) over tokens …
    plan.launch @selective_scan_64_decode(ro %c, …, rw %s, …, wo %y) over sequences …
    ```
    After:
    ```mlir
    plan.launch @conv_selective_scan_64_decode(ro %x, ro %w, …, rw %cs, rw %s, …, wo %y) over …
    ```
    Before:
    ```mlir
    plan.launch @linear_64(ro %y, ro %w0, wo %x) over tokens …
    plan.launch @add_rms_norm_64(ro %h, ro %x, ro %v, wo %h1, wo %n) over tokens …
    plan.launch @linear_256(ro %n, ro %w1, wo %u) over tokens …
    ```
    After:
    ```mlir
    plan.launch @residual_linear_norm_64(ro %y, ro %w0, ro %h, ro %v, wo %h1, wo %n, wo %s) over …
    plan.launch @scaled_linear_256(ro %n, ro %w1, ro %s, wo %u) over tokens …
    ```
    and on sm_90
    ```mlir
    plan.launch @linear_chain_2(ro %y, ro %w0, ro %h, ro %v, wo %h1, wo %n, wo %s, ro %w1, wo %u,
                                rw %arrived) over tokens …
    ```
    where a product of the chain also ends with the decode step of a convolution of what it leaves.
    Next: `plan-fuse-gated-products`. It runs after `m1-convert-to-plan`.
  }];
  let statistics =
      [Statistic<"numAttentions", "attentions",
                 "Attention with the write of keys and values inside">,
       Statistic<"numConvolutions", "convolutions", "Convolutions inside a scan">,
       Statistic<"numProjections", "projections", "Projections of dt inside a scan">,
       Statistic<"numScanNorms", "scan-norms",
                 "RMS norms inside a scan, or between it and a product">,
       Statistic<"numScanGates", "scan-gates", "Gates inside a scan, with their norms of heads">,
       Statistic<"numChains", "chains", "Products one after another in one launch">,
       Statistic<"numGates", "gates", "Products with a map of both halves inside">,
       Statistic<"numGathers", "gathers", "Norms that gather their rows">,
       Statistic<"numLargest", "largest",
                 "Products that are given the largest values of their rows">,
       Statistic<"numMaps", "maps", "Products with a map of their sums inside">,
       Statistic<"numNorms", "norms", "RMS norms split between products">,
       Statistic<"numResiduals", "residuals", "Products with a residual inside">,
       Statistic<"numRoundings", "roundings", "Rows rounded to e4m3 where they are made">,
       Statistic<"numKernels", "kernels-erased", "Kernels without a launch">];
  let options = [Option<"chains", "chains", "bool", "true",
                        "Products that follow one another become one launch, on sm_90">];
  let dependentDialects = ["::mlir::m1::M1Dialect", "::mlir::plan::PlanDialect"];
}

def FuseGatedProductsPass : Pass<"plan-fuse-gated-products", "::mlir::plan::TargetOp"> {
  let summary = "Prefill for many rows, with silu·mul inside the products before it";
  let description = [{
    On chips with Hopper's warpgroup products `prefill` is there once more, for 512 rows and more,
    and in that function a product [gate | up] of bf16 whose halves silu·mul, or another map of the
    two, alone reads is one launch with it: the sums stay in registers, and of [T, 2·N] that one
    command wrote and the other read nothing is left. 512 rows are right for the product below;
    narrow ones need more, until the chip's multiprocessors idle little in the last round of units
    of work, whatever their number. The rest are the library's. The kernel is machine code of that
    chip alone; from PTX the runtime runs the other function.

    It refuses, with a remark that says why, products with a bias, of other types, of weights that a
    launch makes, of sizes that are no multiples of 8, and small ones, whose plan it would double
    for nothing. Other devices and chips are left alone, functions whose buffers have places, and
    plans that have a function for many rows.

    Before:
    ```mlir
    plan.function @prefill {
      plan.gemm %x, %w -> %u over tokens label "linear 0" {n = 16384, k = 3072, …}
      plan.launch @silu_mul_8192(ro %u, ro %up, wo %y) over tokens …
    }
    ```
    After:
    ```mlir
    plan.function @prefill { … }
    plan.function @prefill_512 attributes {entry = "prefill", min_rows = 512 : i32} {
      plan.launch @gated_product_8192x3072(ro %x, ro %w, wo %y) over tokens … label "linear 0"
    }
    ```
    Next: `plan-place-buffers`. It runs after `plan-fuse-launches`.
  }];
  let statistics = [Statistic<"numGates", "gates", "Products with silu·mul inside">,
                    Statistic<"numFunctions", "functions", "Functions for many rows">];
  let dependentDialects = ["::mlir::m1::M1Dialect", "::mlir::plan::PlanDialect"];
}

#endif
