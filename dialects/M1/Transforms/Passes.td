// The passes that stay inside the m1 dialect, in the order of the pipeline m1-optimize.
#ifndef M1_PASSES_TD
#define M1_PASSES_TD

include "mlir/Pass/PassBase.td"

def ExpandGatedMlpPass : Pass<"m1-expand-gated-mlp", "::mlir::func::FuncOp"> {
  let summary = "replace gated MLPs by their linears and the gate";
  let description = [{
    Every `m1.gated_mlp` becomes two linears, `m1.silu_mul` and a third linear. It refuses nothing.

    Before:
    ```mlir
    %y = m1.gated_mlp %x, %gate, %up, %down : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %g = m1.linear %x, %gate : (...) -> tensor<?x160xf32>
    %u = m1.linear %x, %up : (...) -> tensor<?x160xf32>
    %a = m1.silu_mul %g, %u : (...) -> tensor<?x160xf32>
    %y = m1.linear %a, %down : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-fold-doubled-bias`; `m1-merge-projections` joins gate and up.
  }];
  let statistics = [Statistic<"mlps", "mlps", "MLPs expanded">];
}

def FoldDoubledBiasPass : Pass<"m1-fold-doubled-bias", "::mlir::ModuleOp"> {
  let summary = "fold a bias that is added twice into one weight";
  let description = [{
    M1's Mamba-1 layers add the bias of dt in the linear layer and again in the scan. A softplus
    with bias b of a linear with the same bias b becomes a softplus with bias 2·b of a linear
    without bias; 2·b is a new `m1.weight` of the same sources with transform `double`. Every
    function uses the same new weight.

    It refuses biases that differ, a linear whose result has another use, and biases that are not
    read from checkpoint tensors as they are (a weight with a value or a transform of its own).

    Before:
    ```mlir
    %0 = m1.linear %x, %w bias(%b) : (...) -> tensor<?x64xf32>
    %1 = m1.softplus %0 bias(%b) : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %b2 = m1.get_weight @dt_bias_doubled : tensor<64xf32>
    %0 = m1.linear %x, %w : (...) -> tensor<?x64xf32>
    %1 = m1.softplus %0 bias(%b2) : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-merge-projections`.
  }];
  let statistics = [Statistic<"biases", "biases", "biases folded">];
}

def MergeProjectionsPass : Pass<"m1-merge-projections", "::mlir::ModuleOp"> {
  let summary = "merge linears that read one input into one linear and a split";
  let description = [{
    Linears of one block with the same x and the same result element type become one linear with the
    joined weight [ΣN_i, K], and an `m1.split` gives each its columns. The joined weight is a new
    `m1.weight` that names the sources of all; the data moves when the artifact is written.
    Functions that merge the same weights share the new one.

    It refuses linears of which only some have a bias, weights of different element types or
    transforms, weights that are not read from checkpoint tensors, weights that anything but linears
    reads (a tied embedding would be stored twice), weights of which only some have further
    linears (what layers share would be stored for each of them), and weights that differ in
    `m1.stored_codes` or `m1.stored_scales`: integers of other forms could not stay as they are.

    Before:
    ```mlir
    %g = m1.linear %x, %gate : (...) -> tensor<?x160xf32>
    %u = m1.linear %x, %up : (...) -> tensor<?x160xf32>
    ```
    After:
    ```mlir
    %w = m1.get_weight @gate_up : tensor<320x64xf32>
    %0 = m1.linear %x, %w : (...) -> tensor<?x320xf32>
    %g, %u = m1.split %0 : tensor<?x320xf32> -> tensor<?x160xf32>, tensor<?x160xf32>
    ```
    Next: `m1-fuse-silu-mul`.
  }];
  let statistics = [Statistic<"merged", "merged", "linears merged into another">];
}

def FuseSiluMulPass : Pass<"m1-fuse-silu-mul", "::mlir::func::FuncOp"> {
  let summary = "fuse silu and the product that uses it";
  let description = [{
    `m1.mul` with an `m1.silu` on either side becomes `m1.silu_mul`. It refuses a silu whose result
    has another use, which would be computed twice.

    Before:
    ```mlir
    %s = m1.silu %a : (...) -> tensor<?x64xf32>
    %y = m1.mul %s, %b : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %y = m1.silu_mul %a, %b : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-fuse-conv-silu`.
  }];
  let statistics = [Statistic<"gates", "gates", "products fused">];
}

def FuseConvSiluPass : Pass<"m1-fuse-conv-silu", "::mlir::ModuleOp"> {
  let summary = "fuse causal convolutions with the silu after and the repeated heads before them";
  let description = [{
    An `m1.silu` of a convolution becomes the convolution's activation. An `m1.repeat_heads` before
    it becomes the convolution's `repeat`: the convolution then reads each head once, and its state
    holds the heads before repetition, so the type of the `m1.state` shrinks in all functions
    together.

    It refuses a silu when the convolution has another use, and a repetition when its result has
    another use or when any other convolution on the same state is not fed by the same repetition.

    Before:
    ```mlir
    %r = m1.repeat_heads %x {head_size = 16 : i64, repeat = 2 : i64} : tensor<?x32xf32>
        -> tensor<?x64xf32>
    %c = m1.causal_conv1d %r, %w, %batch, %state
        : (..., !m1.conv_state<3x64xf32>) -> tensor<?x64xf32>
    %y = m1.silu %c : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %y = m1.causal_conv1d %x, %w, %batch, %state {activation = #m1<activation silu>, head_size = 16
        : i64, repeat = 2 : i64}
        : (..., !m1.conv_state<3x32xf32>) -> tensor<?x64xf32>
    ```
    Next: `m1-fuse-scan`.
  }];
  let statistics = [Statistic<"activations", "activations", "silus fused">,
                    Statistic<"repeats", "repeats", "repetitions fused">];
}

def FuseScanPass : Pass<"m1-fuse-scan", "::mlir::func::FuncOp"> {
  let summary = "fuse scans with softplus, repetition, skip and gate";
  let description = [{
    Around `m1.selective_scan` and `m1.ssd_scan`: the softplus of dt becomes `delta_softplus` with
    its bias as `dt_bias`; `m1.skip` of the scan's own x becomes `skip(D)`; `m1.silu_mul` by silu(z)
    becomes `gate(z)` (selective_scan only: ssd_scan is followed by a norm); heads of x that are
    repeated to match C are repeated by the scan itself.

    It refuses a producer or scan with another use, a skip of another x or with D of another length
    than the scan's, a gate of which the scan is the silu side, and a repetition of another head
    size or count than the scan's.

    Before:
    ```mlir
    %d = m1.softplus %dt bias(%b) : (...) -> tensor<?x64xf32>
    %s = m1.selective_scan %x, %d, %A, %B, %C, %batch, %state : (...) -> tensor<?x64xf32>
    %k = m1.skip %s, %x, %D : (...) -> tensor<?x64xf32>
    %y = m1.silu_mul %z, %k : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %y = m1.selective_scan %x, %dt, %A, %B, %C skip(%D) gate(%z) dt_bias(%b), %batch, %state
        {delta_softplus} : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-fuse-rotary-kv-write`.
  }];
  let statistics = [Statistic<"softplus", "softplus", "softplus fused">,
                    Statistic<"skips", "skips", "skips fused">,
                    Statistic<"gates", "gates", "gates fused">,
                    Statistic<"repeats", "repeats", "repetitions fused">];
}

def FuseRotaryKVWritePass : Pass<"m1-fuse-rotary-kv-write", "::mlir::func::FuncOp"> {
  let summary = "fuse the rotation of q and k with the cache write";
  let description = [{
    An `m1.kv_write` of a rotated k, with an `m1.attention` on the same cache and block whose q is
    rotated by the same table, becomes `m1.rotary_kv_write`.

    It refuses rotations by different tables or of another head_dim than the cache's, a rotated k
    with another use, and a rotated q that is used before the write.

    Before:
    ```mlir
    %q1 = m1.rotary_embedding %q, %r {head_dim = 16 : i64} : (...) -> tensor<?x64xf32>
    %k1 = m1.rotary_embedding %k, %r {head_dim = 16 : i64} : (...) -> tensor<?x32xf32>
    m1.kv_write %k1, %v, %batch, %cache : ...
    %y = m1.attention %q1, %batch, %cache {scale = 0.25 : f64} : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %q1 = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache : (...) -> tensor<?x64xf32>
    %y = m1.attention %q1, %batch, %cache {scale = 0.25 : f64} : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-hoist-gather-rows`.
  }];
  let statistics = [Statistic<"writes", "writes", "cache writes fused">];
}

def HoistGatherRowsPass : Pass<"m1-hoist-gather-rows", "::mlir::func::FuncOp"> {
  let summary = "compute only the rows whose logits are wanted, as early as possible";
  let description = [{
    Moves `m1.gather_rows` before operations that compute each row from the same row of their
    operands, when nothing else reads their results: behind the last operation that mixes tokens, a
    long prompt then costs as much as one token. The MLP of the last layer, its output projection
    and the final norm run on L rows instead of T.

    It refuses operations with another reader, operations that mix tokens (scans, convolutions,
    attention), and the function `decode`: there every sequence has one token, so L = T and more
    gathers only cost launches.

    Before:
    ```mlir
    %y = m1.linear %x, %w : (...) -> tensor<?x64xf32>
    %h1 = m1.add %h, %y : (...) -> tensor<?x64xf32>
    %r = m1.gather_rows %h1, %batch : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %x1 = m1.gather_rows %x, %batch : (...) -> tensor<?x64xf32>
    %h2 = m1.gather_rows %h, %batch : (...) -> tensor<?x64xf32>
    %y = m1.linear %x1, %w : (...) -> tensor<?x64xf32>
    %r = m1.add %h2, %y : (...) -> tensor<?x64xf32>
    ```
    Next: `m1-fuse-residual-norm`.
  }];
  let statistics = [Statistic<"operations", "operations",
                              "operations that now run on the wanted rows only">];
}

def FuseResidualNormPass : Pass<"m1-fuse-residual-norm", "::mlir::func::FuncOp"> {
  let summary = "fuse the residual addition with the norm that reads it";
  let description = [{
    An `m1.rms_norm` of an `m1.add` in the same block becomes `m1.add_rms_norm`, whose first result
    is the sum for the sum's other uses. Of several norms of one sum, the first fuses.

    It refuses a norm whose weight is computed after the addition.

    Before:
    ```mlir
    %h1 = m1.add %h, %y : (...) -> tensor<?x64xf32>
    %n = m1.rms_norm %h1, %w {eps = 1.0e-5 : f64} : (...) -> tensor<?x64xf32>
    ```
    After:
    ```mlir
    %h1, %n = m1.add_rms_norm %h, %y, %w {eps = 1.0e-5 : f64}
        : (...) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    ```
    Next: `m1-fuse-maps`.
  }];
  let statistics = [Statistic<"norms", "norms", "norms fused">];
}

def FuseMapsPass : Pass<"m1-fuse-maps", "::mlir::func::FuncOp"> {
  let summary = "fuse maps with maps, and multipliers with sums, through linears";
  let description = [{
    A map (`m1.map`, `m1.silu_mul`, `m1.add` …) that one other map reads joins it: one `m1.map`,
    with the regions of both. A multiplier, a map c · x, that is all of what `m1.add_rms_norm` adds
    becomes its `factor`. One of the rows of linears becomes one of their results, c · (x · wᵀ) for
    (c · x) · wᵀ, where maps or such sums read these, or they have no more columns than x: then it
    joins those, or the target's linear. What was rounded between the two is no more.

    It refuses maps with another reader, or that would have more than 16 inputs together;
    multipliers of the rows of a linear with a bias, or of another type; and residual sums, y +
    f(x), that maps read: linears take on one each.

    Before:
    ```mlir
    %y = m1.linear %x, %w : (...) -> tensor<?x64xf32>
    %z = m1.map %y {label = "scale"} : (tensor<?x64xf32>) -> tensor<?x64xf32> { … } // 0.25 · y
    %h1, %n = m1.add_rms_norm %h, %z, %v {eps = 1.0e-5 : f64}
        : (...) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    ```
    After:
    ```mlir
    %y = m1.linear %x, %w : (...) -> tensor<?x64xf32>
    %h1, %n = m1.add_rms_norm %h, %y, %v {eps = 1.0e-5 : f64, factor = 2.5e-1 : f64}
        : (...) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    ```
    Next: `m1-eliminate-dead`.
  }];
  let statistics = [Statistic<"maps", "maps", "maps that joined another">,
                    Statistic<"multipliers", "multipliers", "multipliers moved">];
}

def EliminateDeadPass : Pass<"m1-eliminate-dead", "::mlir::ModuleOp"> {
  let summary = "drop states that influence no result, and unused weights";
  let description = [{
    A state is dead when no result of any operation on it is used, in any function: all that is
    computed from it is itself. Those operations are erased, then what only they used, until nothing
    changes; then states and weights without a use.

    It refuses a state that a used operation reads in any function, also when that use feeds only
    another live state.

    Before:
    ```mlir
    m1.state @kv : !m1.kv_cache<2x64x16xf32>
    func.func @f(...) {
      %cache = m1.get_state @kv : !m1.kv_cache<2x64x16xf32>
      m1.kv_write %k, %v, %batch, %cache : ...
      return
    }
    ```
    After:
    ```mlir
    func.func @f(...) {
      return
    }
    ```
    Next: `m1-quantize-weights`, if asked for, or the conversion to the plan dialect.
  }];
  let statistics = [Statistic<"states", "states", "states dropped">,
                    Statistic<"weights", "weights", "weights dropped">,
                    Statistic<"operations", "operations", "operations erased">];
}

def QuantizeWeightsPass : Pass<"m1-quantize-weights", "::mlir::ModuleOp"> {
  let summary = "weights of linears become int8, e4m3 or int4 with scales";
  let description = [{
    The weight of every `m1.linear` and `m1.expert_linear` becomes one of i8 with transform
    `int8_rows`, or `int8_groups_32`, `_64` or `_128`, of f8E4M3FN with transform `fp8_rows`, or of
    pairs of int4 with transform `int4_groups_32`, `_64` or `_128`, and the linear gets the scales
    of rows or groups, a weight `NAME.scale`. The numbers are made when the artifact is written.
    With f8E4M3FN the linear rounds the rows of its activations to e4m3 as well (`m1.linear`).
    m1-compile runs it with `--quantize FORMAT`, after `m1-optimize`: scales of rows and of groups
    within rows do not depend on which weights are joined. Rows whose length is no multiple of the
    group end with a shorter one.

    It refuses, and leaves as they are,
    - weights that anything but linears reads (embeddings, also where the head is tied to them);
    - those whose product goes into logits or a router, as what is chosen depends on it;
    - those whose product as a whole is a scan's dt or a gated delta rule's a or b, as it decides
      how long a state lasts;
    - weights that are not read from checkpoint tensors as they are;
    - of f8E4M3FN, experts, which have no kernels for it;
    - of int4, experts whose rows for all chosen together take one block of 128 columns, as their
      bytes do not tell how long they are;
    - those of which the regular expression `keep` matches a part of the name, or of the name of a
      tensor in it. One that matches none of a linear is warned of.

    With the format `stored` only weights become integers that the checkpoint holds as such, as
    attributes of theirs say (`m1.weight`): codes and scales go into the artifact as they are. As
    nothing is rounded then, of the above only `keep` and the last of int4 count; where something
    else reads such a weight, too, linears get one of their own, `NAME.codes`. m1-compile runs this
    with `--quantize stored`.

    Before:
    ```mlir
    m1.weight @q : tensor<64x64xbf16> {sources = ["q_proj"]}
    …
    %w = m1.get_weight @q : tensor<64x64xbf16>
    %y = m1.linear %x, %w : (...) -> tensor<?x64xbf16>
    ```
    After:
    ```mlir
    m1.weight @q : tensor<64x64xi8> {sources = ["q_proj"], transform = #m1<transform int8_rows>}
    m1.weight @q.scale : tensor<64xf32> {scales_of = @q}
    …
    %w = m1.get_weight @q : tensor<64x64xi8>
    %s = m1.get_weight @q.scale : tensor<64xf32>
    %y = m1.linear %x, %w scale(%s) : (...) -> tensor<?x64xbf16>
    ```
    Next: the conversion to the plan dialect.
  }];
  let options = [Option<"format", "format", "std::string", /*default=*/"\"int8\"",
                        "int8, fp8, int8:N or int4:N with N = 32, 64 or 128 columns a scale, int4 "
                        "(int4:32), or stored">,
                 Option<"keep", "keep", "std::string", /*default=*/"",
                        "regular expression of names of weights that stay as they are">];
  let statistics = [Statistic<"quantized", "quantized", "weights quantised">,
                    Statistic<"kept", "kept", "weights of linears left as they are">];
}

#endif
