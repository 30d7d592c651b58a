// The operations of the m1 dialect.
#ifndef M1_OPS_TD
#define M1_OPS_TD

include "M1Dialect.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"

class M1_Op<string mnemonic, list<Trait> traits = []> : Op<M1_Dialect, mnemonic, traits>;

/// An operation that becomes a kernel. Names of operands, results and attributes are the roles
/// and parameters of the kernel's specification, all but the attribute `label`, which names
/// the operation for people; `batchArrays` are the arrays that it reads of its `!m1.batch`.
class M1_KernelOp<string mnemonic, list<Trait> traits = [], list<string> batchArrays = []>
    : M1_Op<mnemonic, !listconcat([M1_KernelOpInterface], traits)> {
  /// Further arrays, in a decode step whose sequences share leading pages of their caches.
  list<string> sharedArrays = [];
  /// The results have as many rows as this array of the batch has values.
  string rowDomain = "";
  /// Weights of which a row of the results reads one row.
  list<string> lookedUp = [];
  /// Operands that say how long a state lasts, or that become such a step size: an error in one
  /// grows with the length of a sequence.
  list<string> stepSizes = [];
  /// Its operands decide what is chosen: an error in them can change more than its own size.
  bit chooses = false;
  /// The array of the batch that names rows of the operands for a kernel that gathers them itself.
  list<string> gatherArrays = [];
  /// Type of the state that it reads or writes, without `Type`; empty: none.
  string stateType = "";
  string declarations = "";

  defvar indices = !range(!size(arguments));
  defvar attributes = !filter(
      i, indices,
      !and(!initialized(!getdagarg<Attr>(arguments, i)), !ne(!getdagname(arguments, i), "label")));
  defvar operands = !filter(i, indices, !not(!initialized(!getdagarg<Attr>(arguments, i))));
  let extraClassDeclaration =
      M1_Names<"getOperandNames", !foreach(i, operands, !getdagname(arguments, i))>.declaration
      #M1_Names<"getParameterNames", !foreach(i, attributes, !getdagname(arguments, i))>.declaration
      #M1_Names<"getResultNames",
                !foreach(i, !range(!size(results)), !getdagname(results, i))>.declaration
      #M1_Names<"getBatchArrays", batchArrays>.declaration
      #M1_Names<"getSharedArrays", sharedArrays>.declaration
      #M1_Names<"getLookedUp", lookedUp>.declaration
      #M1_Names<"getStepSizes", stepSizes>.declaration
      #"static bool chooses() { return "#!if(chooses, "true", "false")#"; }\n"
      #M1_Names<"getGatherArrays", gatherArrays>.declaration
      #"static ::mlir::Type getStateType("
      #"::llvm::function_ref<::mlir::InFlightDiagnostic()> emitError, "
      #"::mlir::MLIRContext *context, ::llvm::ArrayRef<int64_t> sizes, ::mlir::Type element) { "
      #!if(!empty(stateType), "emitError() << \"the operation has none\"; return {};",
           "return "#stateType#"Type::getChecked(emitError, context, sizes, element);")#" }\n"
      #"static ::llvm::StringRef getRowDomain() { return \""#rowDomain#"\"; }\n"#declarations;
}

/// A scalar function of each column: the kernel `map`.
class M1_MapKernelOp<string mnemonic, list<Trait> traits = []>
    : M1_KernelOp<mnemonic, !listconcat([Pure, M1_RowsIndependent,
                                         DeclareOpInterfaceMethods<M1_MapInterface>],
                                        traits)>;

def M1_StaticColumnsPred : CPred<"!::llvm::cast<::mlir::RankedTensorType>($_self).isDynamicDim(1)">;
class M1_RowsOf<list<Type> types>
    : RankedTensorOf<types, [HasAnyRankOfPred<[2]>, M1_StaticColumnsPred],
                     "rows (2D tensor with a static number of columns)">;
class M1_StaticOf<list<Type> types, int rank>
    : RankedTensorOf<types, [HasAnyRankOfPred<[rank]>, HasStaticShapePred],
                     rank#"D tensor of static shape">;

def M1_Rows : M1_RowsOf<[F32, BF16]>;
def M1_F32Rows : M1_RowsOf<[F32]>;
def M1_IndexRows : M1_RowsOf<[I32]>;
def M1_AnyRows : M1_RowsOf<[F32, BF16, I32]>;
def M1_Matrix : M1_StaticOf<[F32, BF16], 2>;
def M1_LinearMatrix : M1_StaticOf<[F32, BF16, I8, UI8, F8E4M3FN], 2>;
def M1_ExpertMatrix : M1_StaticOf<[F32, BF16, I8, UI8], 2>;
// Rows of a linear: activations, or what m1.quantize_rows made of them.
def M1_LinearRows : M1_RowsOf<[F32, BF16, F8E4M3FN]>;
def M1_CodeRows : M1_RowsOf<[BF16, F8E4M3FN]>;
def M1_F32Matrix : M1_StaticOf<[F32], 2>;
def M1_Vector : M1_StaticOf<[F32], 1>;
// f32 of rows; of groups bf16 or f16, f32 of those with minimums, or bytes of two levels.
def M1_Scale
    : RankedTensorOf<[F32, BF16, F16, I8], [HasAnyRankOfPred<[1, 2, 3]>, HasStaticShapePred],
                     "scales of rows (1D), of groups of columns (2D), or scales and "
                     "minimums of groups or scales of two levels (3D), of static shape">;
def M1_AngleTable : M1_StaticOf<[F32], 3>;
def M1_Tokens : 1DTensorOf<[I32]>;
def M1_RowScales : 1DTensorOf<[F32]>;
def M1_AnyState : Type<CPred<"::llvm::isa<::mlir::m1::StateTypeInterface>($_self)">, "state">;

//===----------------------------------------------------------------------===//
// Model, weights, states
//===----------------------------------------------------------------------===//

def M1_ModelOp : M1_Op<"model", [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "facts about the model that are not in its operations";
  let description = [{
    One per module, which it describes: KV caches have pages of `page_size` positions, and rotary
    tables serve `max_positions`. `architecture` is m1-mamba1, m1-mamba2 or the model_type of
    config.json.

    Example:
    ```mlir
    m1.model @model {architecture = "m1-mamba1", vocab_size = 512 : i64, hidden_size = 64
        : i64, layers = 4 : i64,
                     max_positions = 4096 : i64, page_size = 64 : i64, bos_id = 1 : i64,
                     eos_ids = array<i64: 2>,
                     activation_type = bf16, state_type = f32, kv_type = bf16}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$architecture, I64Attr:$vocab_size,
      I64Attr:$hidden_size, I64Attr:$layers, I64Attr:$max_positions,
      DefaultValuedAttr<I64Attr, "64">:$page_size, DefaultValuedAttr<I64Attr, "-1">:$bos_id,
      DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$eos_ids, TypeAttr:$activation_type,
      TypeAttr:$state_type, TypeAttr:$kv_type);
  let assemblyFormat = "$sym_name attr-dict";
  let hasVerifier = 1;
}

def M1_WeightOp : M1_Op<"weight", [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a named tensor made of checkpoint tensors";
  let description = [{
    Declares a weight of the given type. Its elements come from exactly one of
    - `sources`: checkpoint tensors, joined along dimension 0, `transform`ed and converted to the
      weight's element type; the elements of each source are taken in row-major order, so a source
      may have further dimensions of size 1. With `rows`, the pair (first, count) of each source
      says which of its rows (along dimension 0) are taken; a source may then stand several times;
    - `scales_of`: the scales of a weight that is quantised: [N] f32 of the rows with `int8_rows`
      and `fp8_rows`, [N, ceil(K / group)] bf16 or f16 of the groups with `int8_groups_…` and
      `int4_groups_…`, [N, ceil(K / group), 2] f32 of groups that have a minimum each, or i8 of
      scales of two levels (M1/IR/Groups.h), [N, K / 128, 12] of groups of 32 with minimums and
      [N, K / 128, 10] of groups of 16;
    - `value`: a constant;
    - `angles`: a rotary table.

    Data is read when the artifact is written, from the mapped checkpoint. With dummy weights the
    sources are names only. With `int4_groups_…` an attribute `m1.column_importance`, K numbers of
    f32, says what the squared error in each column counts when scales are searched (m1-compile
    --calibrate); without it all count the same. Of a weight of plain elements the attributes
    `m1.stored_codes`, a transform, and `m1.stored_scales`, the type of a scale, vector<2xf32> of a
    scale and a minimum, or vector<12xi8> or vector<10xi8> of two levels, say that the checkpoint
    holds such groups; the latter stays where m1-quantize-weights takes them as they are.

    Example:
    ```mlir
    m1.weight @layer0.A : tensor<64x16xf32> {sources = ["model.layers.0.mamba.A_log"], transform =
        #m1<transform neg_exp>}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyRankedTensor>:$type,
      OptionalAttr<StrArrayAttr>:$sources, OptionalAttr<DenseI64ArrayAttr>:$rows,
      DefaultValuedAttr<M1_TransformAttr, "::mlir::m1::Transform::None">:$transform,
      OptionalAttr<ElementsAttr>:$value, OptionalAttr<M1_RotaryAnglesAttr>:$angles,
      OptionalAttr<FlatSymbolRefAttr>:$scales_of);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
  let builders = [OpBuilder<(ins "::llvm::StringRef":$name, "::mlir::RankedTensorType":$type,
                                "::mlir::ArrayAttr":$sources, "::mlir::DenseI64ArrayAttr":$rows,
                                "::mlir::m1::Transform":$transform, "::mlir::ElementsAttr":$value,
                                "::mlir::m1::RotaryAnglesAttr":$angles),
                            [{
        build($_builder, $_state, name, type, sources, rows, transform, value, angles,
              ::mlir::FlatSymbolRefAttr());
      }]>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Whether its elements are integers or f8E4M3FN, whose scales another weight holds.
    bool isQuantised() { return getTransform() > ::mlir::m1::Transform::PlusOne; }
    /// Whether its elements are made of the checkpoint's.
    bool isOfCheckpoint() { return getSourcesAttr() || getScalesOfAttr(); }
    /// The weight whose scales it holds; null without scales_of.
    WeightOp getScaled();
    /// The weight's type as a ranked tensor with static shape.
    ::mlir::RankedTensorType getTensorType() {
      return ::llvm::cast<::mlir::RankedTensorType>(getType());
    }
  }];
}

def M1_StateOp : M1_Op<"state", [Symbol]> {
  let summary = "named memory that outlives a step";
  let description = [{
    Declares a pool of state: one element of the type per slot, or per page for a KV cache. Slot
    numbers come from the batch. `window`, set by the conversion to a plan, says of a KV cache that
    nobody sees more than its last so many positions.

    Example: `m1.state @layer0.scan : !m1.scan_state<64x16xf32>`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type, OptionalAttr<I64Attr>:$window);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
  let hasVerifier = 1;
}

def M1_GetWeightOp : M1_Op<"get_weight", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a weight as a value";
  let description = [{
    The result has the type that `m1.weight` declares; equal reads are equal values (CSE merges
    them).

    Example: `%w = m1.get_weight @layer0.in_proj : tensor<196x64xbf16>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

def M1_GetStateOp : M1_Op<"get_state", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a state pool as a value";
  let description = [{
    The result has the type that `m1.state` declares and stands for all its slots or pages;
    operations name the effects that they have on it.

    Example: `%s = m1.get_state @layer0.scan : !m1.scan_state<64x16xf32>`
  }];
  let arguments = (ins FlatSymbolRefAttr:$state);
  let results = (outs M1_AnyState:$result);
  let assemblyFormat = "$state attr-dict `:` type($result)";
}

//===----------------------------------------------------------------------===//
// Rows in, rows out
//===----------------------------------------------------------------------===//

def M1_EmbeddingOp : M1_KernelOp<"embedding", [Pure]> {
  let summary = "rows of a table by token id";
  let description = [{
    `out[t, :] = table[tokens[t], :]` with tokens [T], table [V, D], result [T, D] in f32.

    Example:
    ```mlir
    %h = m1.embedding %tokens, %table : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Tokens:$tokens, M1_Matrix:$table);
  let results = (outs M1_F32Rows:$out);
  let assemblyFormat = "$tokens `,` $table attr-dict `:` functional-type(operands, results)";
  let lookedUp = ["table"];
  let hasVerifier = 1;
}

def M1_LinearOp : M1_KernelOp<"linear", [Pure, M1_RowsIndependent, AttrSizedOperandSegments]> {
  let summary = "x · weightᵀ (+ bias)";
  let description = [{
    `out[t, n] = Σ_k x[t, k] · weight[n, k] · scale[n] + bias[n]` with x [T, K], weight [N, K],
    scale and bias [N]; summed in f32. A quantised weight has elements of i8 or f8E4M3FN and a scale
    [N]; or elements of i8, or [N, ceil(K / 128)·64] elements of ui8, which hold two int4 each
    (M1/IR/Int4.h), and a scale [N, ceil(K / group)] of bf16 or f16 for each group of 32, 64 or 128
    columns. Others have none. With a scale [N, ceil(K / group), 2] of f32 each group of 32, 64 or
    128 columns has scale and minimum, and `weight[n, k] · scale[n, g] - minimum[n, g]` stands in
    the place of a weight by its scale; int4 are then from 0 to 15. Of scales of two levels, i8
    (M1/IR/Groups.h), [N, K / 128, 12] are those of groups of 32 with minimums, and of i8
    [N, K / 128, 10] those of groups of 16.

    With a weight of f8E4M3FN the rows of x are quantised too, each by itself, whatever the step
    holds besides: out[t, n] = row_scale[t] · scale[n] · Σ_k code[t, k] · weight[n, k] + bias[n],
    where codes and row_scale are those that `m1.quantize_rows` makes of x. Either x is given, or
    its codes with their `row_scale` [T].

    Example:
    ```mlir
    %y = m1.linear %x, %w : (tensor<?x64xbf16>, tensor<196x64xbf16>) -> tensor<?x196xbf16>
    %z = m1.linear %x, %q scale(%s)
        : (tensor<?x64xbf16>, tensor<196x64xi8>, tensor<196xf32>) -> tensor<?x196xbf16>
    %u = m1.linear %x, %p scale(%t)
        : (tensor<?x256xbf16>, tensor<96x128xui8>, tensor<96x4xbf16>) -> tensor<?x96xbf16>
    %v = m1.linear %x, %f scale(%s)
        : (tensor<?x64xbf16>, tensor<196x64xf8E4M3FN>, tensor<196xf32>) -> tensor<?x196xbf16>
    ```
  }];
  let arguments = (ins M1_LinearRows:$x, M1_LinearMatrix:$weight, Optional<M1_Scale>:$scale,
      Optional<M1_RowScales>:$row_scale, Optional<M1_Vector>:$bias);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $weight (`scale` `(` $scale^ `)`)? (`row_scale` `(` $row_scale^ `)`)?
    (`bias` `(` $bias^ `)`)? attr-dict `:` functional-type(operands, results)
  }];
  let builders = [OpBuilder<(ins "::mlir::Type":$out, "::mlir::Value":$x, "::mlir::Value":$weight,
                                "::mlir::Value":$bias),
                            [{
        build($_builder, $_state, out, x, weight, ::mlir::Value(), ::mlir::Value(), bias);
      }]>];
  let hasVerifier = 1;
}

def M1_QuantizeRowsOp : M1_KernelOp<"quantize_rows", [Pure, M1_RowsIndependent]> {
  let summary = "rows as e4m3 numbers with a scale each";
  let description = [{
    Of x [T, K], with m = max_k |x[t, k]| of each row, in f32:
    `scale[t] = m / 448` and `codes[t, k] = e4m3(x[t, k] · (448 / m))`, rounded to nearest even;
    codes [T, K], scale [T]. A row with m below 2^-100 has the scale 0 and codes 0. A NaN stays one;
    a row that holds an infinite value has the infinite scale, and NaN in that value's place.
    Elements of bf16 hold the same numbers as those of f8E4M3FN. The targets put it before an
    `m1.linear` with a weight of f8E4M3FN where that does not round rows itself.

    Example:
    ```mlir
    %c, %s = m1.quantize_rows %x
        : (tensor<?x64xbf16>) -> (tensor<?x64xf8E4M3FN>, tensor<?xf32>)
    ```
  }];
  let arguments = (ins M1_Rows:$x);
  let results = (outs M1_CodeRows:$codes, M1_RowScales:$scale);
  let assemblyFormat = "$x attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_RmsNormOp : M1_KernelOp<"rms_norm", [Pure, M1_RowsIndependent]> {
  let summary = "root mean square normalisation";
  let description = [{
    `out = x · rsqrt(mean(x²) + eps) · weight` per row; x [T, D], weight [D], or none. With
    `groups`, each of that many ranges of D/groups columns (a head, say) is normalised on its own,
    and weight is [D], or [D/groups] and the same for every range.

    Example:
    ```mlir
    %n = m1.rms_norm %h, %w {eps = 1.0e-5 : f64}
        : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xbf16>
    %q1 = m1.rms_norm %q, %v {eps = 1.0e-6 : f64, groups = 4 : i64}
        : (tensor<?x64xf32>, tensor<16xf32>) -> tensor<?x64xf32>
    ```
  }];
  let gatherArrays = ["logit_rows"]; // plan-fuse-launches
  let arguments = (ins M1_Rows:$x, Optional<M1_Vector>:$weight, F64Attr:$eps,
      DefaultValuedAttr<I64Attr, "1">:$groups);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$x (`,` $weight^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_AddOp : M1_MapKernelOp<"add"> {
  let summary = "residual + x";
  let description = [{
    Adds a branch to the residual stream: `out[t, d] = residual[t, d] + x[t, d]` with residual
    [T, D] f32, x [T, D], result [T, D] f32.

    Example: `%h1 = m1.add %h, %y : (tensor<?x64xf32>, tensor<?x64xbf16>) -> tensor<?x64xf32>`
  }];
  let arguments = (ins M1_F32Rows:$residual, M1_Rows:$x);
  let results = (outs M1_F32Rows:$out);
  let assemblyFormat = "$residual `,` $x attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_AddRmsNormOp : M1_KernelOp<"add_rms_norm", [Pure, M1_RowsIndependent]> {
  let summary = "residual + x, and its normalisation";
  let description = [{
    `sum = residual + factor · x`; `normed = sum · rsqrt(mean(sum²) + eps) · weight` per row;
    residual, x, sum and normed [T, D], weight [D]. Without a factor it is 1.

    Example:
    ```mlir
    %h1, %n = m1.add_rms_norm %h, %y, %w {eps = 1.0e-5 : f64}
        : (tensor<?x64xf32>, tensor<?x64xbf16>, tensor<64xf32>)
        -> (tensor<?x64xf32>, tensor<?x64xbf16>)
    ```
  }];
  let arguments = (ins M1_F32Rows:$residual, M1_Rows:$x, M1_Vector:$weight, F64Attr:$eps,
      OptionalAttr<F64Attr>:$factor);
  let results = (outs M1_F32Rows:$sum, M1_Rows:$normed);
  let assemblyFormat =
      "$residual `,` $x `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_SplitOp : M1_Op<"split", [Pure, M1_RowsIndependent]> {
  let summary = "column ranges of the same rows";
  let description = [{
    Cuts x [T, ΣN_i] into pieces [T, N_i], in order. Pieces are views: no data moves.

    Example: `%g, %u = m1.split %x : tensor<?x320xbf16> -> tensor<?x160xbf16>, tensor<?x160xbf16>`
  }];
  let arguments = (ins M1_Rows:$x);
  let results = (outs Variadic<M1_Rows>:$pieces);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($pieces)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def M1_RepeatHeadsOp : M1_KernelOp<"repeat_heads", [Pure, M1_RowsIndependent]> {
  let summary = "each head several times in a row";
  let description = [{
    x [T, h·d] with heads of d = head_size columns; the result [T, h·repeat·d] holds head j of x in
    its heads j·repeat … j·repeat + repeat - 1.

    Example:
    ```mlir
    %r = m1.repeat_heads %x {head_size = 16 : i64, repeat = 2 : i64} : tensor<?x32xf32>
        -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$x, I64Attr:$head_size, I64Attr:$repeat);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($out)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def M1_SoftplusOp : M1_MapKernelOp<"softplus"> {
  let summary = "log(1 + exp(x + bias))";
  let description = [{
    `out[t, c] = log(1 + exp(x[t, c] + bias[c]))` with x [T, C], bias [C] or none, result [T, C].

    Example:
    ```mlir
    %d = m1.softplus %dt bias(%b) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let stepSizes = ["x"];
  let arguments = (ins M1_Rows:$x, Optional<M1_Vector>:$bias);
  let results = (outs M1_Rows:$out);
  let assemblyFormat =
      "$x (`bias` `(` $bias^ `)`)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_SiluOp : M1_MapKernelOp<"silu"> {
  let summary = "a · sigmoid(a)";
  let description = [{
    `out[t, c] = a[t, c] / (1 + exp(-a[t, c]))` with a and result [T, C].

    Example: `%y = m1.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>`
  }];
  let arguments = (ins M1_Rows:$a);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$a attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_MulOp : M1_MapKernelOp<"mul"> {
  let summary = "a · b, element by element";
  let description = [{
    `out[t, c] = a[t, c] · b[t, c]` with a, b and result [T, C].

    Example: `%y = m1.mul %a, %b : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>`
  }];
  let arguments = (ins M1_Rows:$a, M1_Rows:$b);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$a `,` $b attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_SiluMulOp : M1_MapKernelOp<"silu_mul"> {
  let summary = "silu(a) · b";
  let description = [{
    `out[t, c] = a[t, c] / (1 + exp(-a[t, c])) · b[t, c]` with a, b and result [T, C].

    Example:
    ```mlir
    %y = m1.silu_mul %gate, %up : (tensor<?x160xf32>, tensor<?x160xf32>) -> tensor<?x160xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$a, M1_Rows:$b);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$a `,` $b attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_SkipOp : M1_MapKernelOp<"skip"> {
  let summary = "y + D·x";
  let description = [{
    `out[t, c] = y[t, c] + D[c / k] · x[t, c]` with y, x and result [T, C] and D [C/k]: k
    neighbouring channels (a head) share one value, k = 1 where each channel has its own.

    Example:
    ```mlir
    %r = m1.skip %y, %x, %D : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>)
        -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$y, M1_Rows:$x, M1_Vector:$d);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$y `,` $x `,` $d attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_MapOp : M1_MapKernelOp<"map", [SingleBlock]> {
  let summary = "one scalar function of each column";
  let description = [{
    `out[t, c] = body(inputs[0][t, c], inputs[1][t, c], …)` with inputs and out [T, C]. An input may
    also be a vector [C/k], whose value i all rows share in the columns i·k … i·k + k - 1. The body
    takes and yields f32, whatever the element types are, and is arithmetic: `arith.addf`, `subf`,
    `mulf`, `divf`, `negf`, `maximumf`, `minimumf`, `cmpf`, `select`, `constant` and `math.exp`,
    `log1p`, `sqrt`, `tanh`, `erf`, `fma`. `label` names the map in traces.

    Example:
    ```mlir
    %y = m1.map %a, %b {label = "scaled_mul"}
        : (tensor<?x64xbf16>, tensor<?x64xf32>) -> tensor<?x64xbf16> {
    ^bb0(%u: f32, %v: f32):
      %half = arith.constant 0.5 : f32
      %w = arith.mulf %u, %half : f32
      %p = arith.mulf %w, %v : f32
      m1.yield %p : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyTypeOf<[M1_Rows, M1_Vector]>>:$inputs,
      OptionalAttr<StrAttr>:$label);
  let results = (outs M1_Rows:$out);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$inputs attr-dict `:` functional-type(operands, results) $body";
  let declarations = "::llvm::StringRef getKernelName() { return getLabel().value_or(\"map\"); }";
  let hasRegionVerifier = 1;
}

def M1_GatedRmsNormOp : M1_KernelOp<"gated_rms_norm", [Pure, M1_RowsIndependent]> {
  let summary = "rms_norm and gate silu(z), group by group";
  let description = [{
    `v = y · silu(z)`; each of `groups` ranges of C/groups columns is normalised on its own: `v ·
    rsqrt(mean(v²) + eps)`, then times weight [C], or [C/groups] and the same for every range. With
    `norm_first` y is normalised and the gate comes after the weight: `y · rsqrt(mean(y²) + eps) ·
    weight · silu(z)`.

    Example:
    ```mlir
    %r = m1.gated_rms_norm %y, %z, %w {groups = 4 : i64, eps = 1.0e-5 : f64}
        : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$y, M1_Rows:$z, M1_Vector:$weight, I64Attr:$groups, F64Attr:$eps,
      UnitAttr:$norm_first);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$y `,` $z `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_GatedMlpOp : M1_Op<"gated_mlp", [Pure, M1_RowsIndependent]> {
  let summary = "down · (silu(gate · x) · (up · x))";
  let description = [{
    `result = down · (silu(gate · x) · (up · x))` per row; x and result [T, D], gate and up [I, D],
    down [D, I]. No biases.

    Example:
    ```mlir
    %y = m1.gated_mlp %x, %g, %u, %d
        : (tensor<?x64xf32>, tensor<160x64xf32>, tensor<160x64xf32>, tensor<64x160xf32>)
        -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$x, M1_Matrix:$gate, M1_Matrix:$up, M1_Matrix:$down);
  let results = (outs M1_Rows:$result);
  let assemblyFormat =
      "$x `,` $gate `,` $up `,` $down attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_GatherRowsOp : M1_KernelOp<"gather_rows", [Pure], ["logit_rows"]> {
  let summary = "the rows whose logits are wanted";
  let description = [{
    `out[l, :] = x[logit_rows[l], :]`: from T rows to L rows.

    Example: `%r = m1.gather_rows %h, %batch : (tensor<?x64xf32>, !m1.batch) -> tensor<?x64xf32>`
  }];
  let arguments = (ins M1_AnyRows:$x, M1_BatchType:$batch);
  let results = (outs M1_AnyRows:$out);
  let assemblyFormat = "$x `,` $batch attr-dict `:` functional-type(operands, results)";
  let rowDomain = "logit_rows";
  let hasVerifier = 1;
}

def M1_SampleOp : M1_KernelOp<"sample", [Pure]> {
  let summary = "the most likely token of each row";
  let description = [{
    Greedy: the index of the largest logit, the smallest index among equals. logits [L, V], result
    [L]. With `ids`, only the first so many logits of a row count: embeddings may have more rows
    than the tokenizer has tokens. A row that holds a NaN there, or whose largest logit is not
    finite, has no token, -1.

    Example: `%t = m1.sample %logits {ids = 500 : i64} : (tensor<?x512xf32>) -> tensor<?xi32>`
  }];
  let chooses = true;
  let arguments = (ins M1_F32Rows:$logits, OptionalAttr<I64Attr>:$ids);
  let results = (outs M1_Tokens:$out);
  let assemblyFormat = "$logits attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Mixtures of experts
//===----------------------------------------------------------------------===//

def M1_RouterOp : M1_KernelOp<"router", [Pure, M1_RowsIndependent]> {
  let summary = "the experts of each row, and their weights";
  let description = [{
    Of logits [T, E], in f32: `s = softmax(logits)` over the row, or `sigmoid(logits)` with the
    attribute; the k experts of largest `s + correction`, the smaller index among equals, are
    `experts` [T, k], in this order. `weights` [T, k] are their s, with `normalize` divided by
    (their sum + 1e-20), times `scale`. correction [E] is none or a bias of the choice alone.

    With `groups` > 1 the experts are that many neighbouring groups, of two or more: a group counts
    as the sum of its two largest `s + correction`; experts of all but the `kept_groups` groups that
    count most are out.

    Example:
    ```mlir
    %w, %e = m1.router %logits {normalize, scale = 1.0 : f64}
        : (tensor<?x6xf32>) -> (tensor<?x2xf32>, tensor<?x2xi32>)
    ```
  }];
  let chooses = true;
  let arguments = (ins M1_F32Rows:$logits, Optional<M1_Vector>:$correction, UnitAttr:$sigmoid,
      UnitAttr:$normalize, F64Attr:$scale, DefaultValuedAttr<I64Attr, "1">:$groups,
      DefaultValuedAttr<I64Attr, "1">:$kept_groups);
  let results = (outs M1_F32Rows:$weights, M1_IndexRows:$experts);
  let assemblyFormat = [{
    $logits (`correction` `(` $correction^ `)`)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def M1_ExpertLinearOp : M1_KernelOp<"expert_linear", [Pure, M1_RowsIndependent]> {
  let summary = "x · weightᵀ of the experts of each row";
  let description = [{
    `out[t, j·N + n] = Σ_i x[t, i] · weight[experts[t, j]·R + first + n, i]`, j < k, summed in f32:
    weight [E·R, K] holds R rows of each of `count` = E experts, of which N from `first` on are
    used; experts [T, k], out [T, k·N]. x is [T, K], the same for all experts of a row, or [T, k·K],
    columns j·K … for the j-th. Rows of weight are read for experts that a row names, and once for
    many rows. A quantised weight has elements of i8 and a scale [E·R], by which the sums with its
    rows are multiplied, or i8 or int4 and scales of groups as in m1.linear.

    Example:
    ```mlir
    %y = m1.expert_linear %x, %experts, %w {count = 6 : i64, first = 96 : i64}
        : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<1152x64xbf16>) -> tensor<?x192xbf16>
    ```
  }];
  let arguments = (ins M1_Rows:$x, M1_IndexRows:$experts, M1_ExpertMatrix:$weight,
      Optional<M1_Scale>:$scale, I64Attr:$count, DefaultValuedAttr<I64Attr, "0">:$first);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $experts `,` $weight (`scale` `(` $scale^ `)`)? attr-dict `:` functional-type(operands,
    results)
  }];
  let hasVerifier = 1;
}

def M1_CombineOp : M1_KernelOp<"combine", [Pure, M1_RowsIndependent]> {
  let summary = "weighted sum of the parts of each row";
  let description = [{
    `out[t, c] = Σ_j weights[t, j] · x[t, j·C + c]` with x [T, k·C], weights [T, k], out [T, C];
    summed in f32.

    Example:
    ```mlir
    %y = m1.combine %x, %w : (tensor<?x128xbf16>, tensor<?x2xf32>) -> tensor<?x64xbf16>
    ```
  }];
  let arguments = (ins M1_Rows:$x, M1_Rows:$weights);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$x `,` $weights attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Mixers
//===----------------------------------------------------------------------===//

def M1_CausalConv1dOp
    : M1_KernelOp<"causal_conv1d", [], ["sequence_starts", "slots", "positions"]> {
  let summary = "depthwise causal convolution over each sequence";
  let description = [{
    `out[t, c] = act(bias[c] + Σ_j weight[c, j] · x[t - (K-1) + j, src(c)])` with x [T, Ci],
    weight [C, K], bias [C], result [T, C]. Rows before the step come from the sequence's slot of
    the state [K-1, Ci], zeros before position 0. The state then holds the last K-1 inputs. With
    `repeat` > 1, Ci = C/repeat and channel c reads the head that it repeats: `src(c) = (c /
    (repeat·head_size))·head_size + c % head_size`; otherwise src(c) = c.

    Example:
    ```mlir
    %y = m1.causal_conv1d %x, %w bias(%b), %batch, %state {activation = #m1<activation silu>, repeat
        = 2 : i64, head_size = 16 : i64}
        : (tensor<?x32xf32>, tensor<64x4xf32>, tensor<64xf32>, !m1.batch, !m1.conv_state<3x32xf32>)
            -> tensor<?x64xf32>
    ```
  }];
  let stateType = "ConvState";
  let arguments = (ins M1_Rows:$x, M1_F32Matrix:$weight, Optional<M1_Vector>:$bias,
      M1_BatchType:$batch, Arg<M1_ConvStateType, "last inputs", [MemRead, MemWrite]>:$state,
      DefaultValuedAttr<M1_ActivationAttr, "::mlir::m1::Activation::None">:$activation,
      DefaultValuedAttr<I64Attr, "1">:$repeat, DefaultValuedAttr<I64Attr, "1">:$head_size);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $weight (`bias` `(` $bias^ `)`)? `,` $batch `,` $state attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def M1_SelectiveScanOp
    : M1_KernelOp<
          "selective_scan", [AttrSizedOperandSegments], ["sequence_starts", "slots", "positions"]> {
  let summary = "Mamba-1 scan over each sequence";
  let description = [{
    Per channel c, with N = d_state and A [d_inner, N], in f32:

    `Δ[c] = dt[t, c]`, or `softplus(dt[t, c] + dt_bias[c])` with delta_softplus;
    `s[c, n] ← exp(Δ[c]·A[c, n])·s[c, n] + Δ[c]·B[t, b(c)·N + n]·x[t, c]`;
    `y[c] = Σ_n s[c, n]·C[t, k(c)·N + n]` (`+ D[c]·x[t, c]`) (`· silu(z[t, c])`).

    dt and z are [T, d_inner]. B holds any number of heads of N columns that divides d_inner, each
    of which serves as many neighbouring channels: b(c) = c / (d_inner / heads of B); so does C,
    with a number of its own. Mamba has one head of each; M1 has d_inner/N heads of C and d_xb/N of
    B. x is [T, d_inner], or [T, j·N]: j heads of N channels, each standing d_inner/(j·N) times in a
    row. s starts at zero where a sequence starts, else at its slot, and ends in its slot. dt_bias
    needs delta_softplus. A Δ that is clipped after softplus is computed before the scan.

    Example:
    ```mlir
    %y = m1.selective_scan %x, %dt, %A, %B, %C skip(%D) gate(%z) dt_bias(%b), %batch, %state
        {delta_softplus}
        : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x16xf32>, tensor<?x32xf32>,
           tensor<?x64xf32>, tensor<64xf32>,
           tensor<?x64xf32>, tensor<64xf32>, !m1.batch, !m1.scan_state<64x16xf32>)
               -> tensor<?x64xf32>
    ```
  }];
  let stateType = "ScanState";
  let stepSizes = ["dt"];
  let arguments = (ins M1_Rows:$x, M1_Rows:$dt, M1_F32Matrix:$a, M1_Rows:$b, M1_Rows:$c,
      Optional<M1_Vector>:$d, Optional<M1_Rows>:$z, Optional<M1_Vector>:$dt_bias,
      M1_BatchType:$batch, Arg<M1_ScanStateType, "s", [MemRead, MemWrite]>:$state,
      UnitAttr:$delta_softplus);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $dt `,` $a `,` $b `,` $c (`skip` `(` $d^ `)`)? (`gate` `(` $z^ `)`)? (`dt_bias` `(`
    $dt_bias^ `)`)? `,` $batch `,` $state
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def M1_SsdScanOp
    : M1_KernelOp<
          "ssd_scan", [AttrSizedOperandSegments], ["sequence_starts", "slots", "positions"]> {
  let summary = "Mamba-2 scan over each sequence";
  let description = [{
    Per head h of H, with P rows and N = d_state columns of state, in f32:

    `Δ[h] = dt[t, h]`, or `softplus(dt[t, h] + dt_bias[h])` with delta_softplus;
    `s[h, p, n] ← exp(Δ[h]·A[h])·s[h, p, n] + Δ[h]·x[t, hx·P + p]·B[t, hb·N + n]`;
    `y[h·P + p] = Σ_n s[h, p, n]·C[t, hc·N + n]` (`+ D[h]·x[t, hx·P + p]`).

    dt is [T, H], the state [H, P, N]. x holds a number of heads of P columns that divides H, each
    of which serves as many neighbouring heads: hx = h / (H / heads of x). So do B and C with heads
    of N columns and numbers of their own: Mamba-2 has H heads of x and n_groups of B and of C, M1 H
    heads of C and H/r of x and B. A Δ that is clipped after softplus is computed before the scan.

    Example:
    ```mlir
    %y = m1.ssd_scan %x, %dt, %A, %B, %C skip(%D) dt_bias(%b), %batch, %state {delta_softplus}
        : (tensor<?x32xf32>, tensor<?x4xf32>, tensor<4xf32>, tensor<?x32xf32>, tensor<?x64xf32>,
           tensor<4xf32>, tensor<4xf32>,
           !m1.batch, !m1.scan_state<4x16x16xf32>) -> tensor<?x64xf32>
    ```
  }];
  let stateType = "ScanState";
  let stepSizes = ["dt"];
  let arguments = (ins M1_Rows:$x, M1_Rows:$dt, M1_Vector:$a, M1_Rows:$b, M1_Rows:$c,
      Optional<M1_Vector>:$d, Optional<M1_Vector>:$dt_bias, M1_BatchType:$batch,
      Arg<M1_ScanStateType, "s", [MemRead, MemWrite]>:$state, UnitAttr:$delta_softplus);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $dt `,` $a `,` $b `,` $c (`skip` `(` $d^ `)`)? (`dt_bias` `(` $dt_bias^ `)`)? `,` $batch
    `,` $state
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def M1_GatedDeltaOp : M1_KernelOp<"gated_delta", [], ["sequence_starts", "slots", "positions"]> {
  let summary = "gated delta rule over each sequence";
  let description = [{
    Per value head h of Hv, with a state S [Dk, Dv], in f32:

    `q̂ = scale · q / sqrt(Σq² + eps)`, `k̂ = k / sqrt(Σk² + eps)`, of head h / (Hv/Hk);
    `g = decay[h] · softplus(a[t, h] + dt_bias[h])`, `β = sigmoid(b[t, h])`;
    `S ← exp(g)·S`, `S ← S + k̂ ⊗ β·(v - Sᵀk̂)`, `out[h] = Sᵀq̂`.

    q and k are [T, Hk·Dk], v and out [T, Hv·Dv], a and b [T, Hv], the state [Hv, Dk, Dv]; Hk
    divides Hv. decay is negative. S starts at zero where a sequence starts, else at its slot, and
    ends in its slot.

    Example:
    ```mlir
    %y = m1.gated_delta %q, %k, %v, %a, %b, %A dt_bias(%c), %batch, %state
        {eps = 1.0e-6 : f64, scale = 0.25 : f64}
        : (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x4xf32>, tensor<?x4xf32>,
           tensor<4xf32>, tensor<4xf32>, !m1.batch, !m1.scan_state<4x16x8xf32>)
        -> tensor<?x32xf32>
    ```
  }];
  let stateType = "ScanState";
  let stepSizes = ["a", "b"];
  let arguments = (ins M1_Rows:$q, M1_Rows:$k, M1_Rows:$v, M1_Rows:$a, M1_Rows:$b, M1_Vector:$decay,
      Optional<M1_Vector>:$dt_bias, M1_BatchType:$batch,
      Arg<M1_ScanStateType, "S", [MemRead, MemWrite]>:$state, F64Attr:$eps, F64Attr:$scale);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $q `,` $k `,` $v `,` $a `,` $b `,` $decay (`dt_bias` `(` $dt_bias^ `)`)? `,` $batch `,` $state
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def M1_RgLruOp : M1_KernelOp<"rg_lru", [], ["sequence_starts", "slots", "positions"]> {
  let summary = "real-gated linear recurrent unit over each sequence";
  let description = [{
    Per channel c, with one number h of state, in f32 (Griffin, arXiv 2402.19427):

    `a = exp(-8 · softplus(lambda[c]) · sigmoid(recurrence_gate[t, c]))`;
    `h ← a·h + sqrt(1 - a²) · sigmoid(input_gate[t, c]) · x[t, c]`, `out[c] = h`.

    x, both gates and out are [T, C], lambda and the state [C]. The gates come as the linears before
    them leave them. Where a sequence starts h is zero and 1 stands for the root; else h is that of
    its slot, in which it ends.

    Example:
    ```mlir
    %y = m1.rg_lru %x, %i, %r, %lambda, %batch, %state
        : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<64xf32>, !m1.batch,
            !m1.scan_state<64xf32>) -> tensor<?x64xf32>
    ```
  }];
  let stateType = "ScanState";
  let stepSizes = ["recurrence_gate"];
  let arguments = (ins M1_Rows:$x, M1_Rows:$input_gate, M1_Rows:$recurrence_gate, M1_Vector:$lambda,
      M1_BatchType:$batch, Arg<M1_ScanStateType, "h", [MemRead, MemWrite]>:$state);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $x `,` $input_gate `,` $recurrence_gate `,` $lambda `,` $batch `,` $state attr-dict `:`
    functional-type(operands, results)
  }];
  let declarations = [{
    /// The rate at which a channel forgets, of its lambda: -log a / sigmoid(recurrence_gate).
    static ::mlir::ArrayAttr getRate(::mlir::MLIRContext *context);
    /// The next h, of x, input_gate, recurrence_gate, the rate, h, and 1 where a sequence starts,
    /// 0 elsewhere.
    static ::mlir::ArrayAttr getStep(::mlir::MLIRContext *context);
  }];
  let hasVerifier = 1;
}

def M1_RotaryTableOp : M1_KernelOp<"rotary_table", [Pure], ["positions"]> {
  let summary = "cos and sin of each token's angles";
  let description = [{
    For each token's position p = 256·a + b, the angles of p by the addition formulas from hi
    [⌈max_positions/256⌉, d/2, 2], which holds (cos, sin) of 256·a·f_i, and lo [256, d/2, 2], which
    holds those of b·f_i. Result [T, d]: d/2 cosines, then d/2 sines.

    Example:
    ```mlir
    %r = m1.rotary_table %batch, %hi, %lo
        : (!m1.batch, tensor<16x8x2xf32>, tensor<256x8x2xf32>) -> tensor<?x16xf32>
    ```
  }];
  let arguments = (ins M1_BatchType:$batch, M1_AngleTable:$hi, M1_AngleTable:$lo);
  let results = (outs M1_F32Rows:$out);
  let assemblyFormat = "$batch `,` $hi `,` $lo attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_RotaryEmbeddingOp : M1_KernelOp<"rotary_embedding", [Pure, M1_RowsIndependent]> {
  let summary = "rotate pairs of columns by the token's angles";
  let description = [{
    Half-split form: of each head of head_dim columns the first r ≤ head_dim turn: (u, v) = (x[i],
    x[i + r/2]) becomes (u·cos_i - v·sin_i, v·cos_i + u·sin_i), i < r/2; the others stay. x [T,
    h·head_dim], table [T, r].

    Example:
    ```mlir
    %q1 = m1.rotary_embedding %q, %r {head_dim = 16 : i64}
        : (tensor<?x64xf32>, tensor<?x16xf32>) -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins M1_Rows:$x, M1_F32Rows:$table, I64Attr:$head_dim);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$x `,` $table attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_KVWriteOp : M1_KernelOp<"kv_write", [], ["positions", "token_sequence", "block_tables"]> {
  let summary = "write this step's keys and values into the cache";
  let description = [{
    k and v [T, kv_heads·head_dim] go to the pages that the batch's block tables name, at each
    token's position.

    Example:
    ```mlir
    m1.kv_write %k, %v, %batch, %cache
        : tensor<?x32xf32>, tensor<?x32xf32>, !m1.batch, !m1.kv_cache<2x64x16xf32>
    ```
  }];
  let stateType = "KVCache";
  let arguments = (ins M1_Rows:$k, M1_Rows:$v, M1_BatchType:$batch,
      Arg<M1_KVCacheType, "keys and values", [MemWrite]>:$cache);
  let assemblyFormat = "$k `,` $v `,` $batch `,` $cache attr-dict `:` type(operands)";
  let hasVerifier = 1;
}

def M1_RotaryKVWriteOp
    : M1_KernelOp<"rotary_kv_write", [], ["positions", "token_sequence", "block_tables"]> {
  let summary = "rotate q and k, write k and v into the cache";
  let description = [{
    `rotary_embedding` of q [T, heads·head_dim] and of k [T, kv_heads·head_dim] by table [T, r],
    with head_dim of the cache, then `kv_write` of k and of v, which has k's shape; the result is
    the rotated q.

    Example:
    ```mlir
    %q1 = m1.rotary_kv_write %q, %k, %v, %r, %batch, %cache
        : (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x16xf32>, !m1.batch,
            !m1.kv_cache<2x64x16xf32>)
        -> tensor<?x64xf32>
    ```
  }];
  let stateType = "KVCache";
  let arguments = (ins M1_Rows:$q, M1_Rows:$k, M1_Rows:$v, M1_F32Rows:$table, M1_BatchType:$batch,
      Arg<M1_KVCacheType, "keys and values", [MemWrite]>:$cache);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = [{
    $q `,` $k `,` $v `,` $table `,` $batch `,` $cache attr-dict `:` functional-type(operands,
    results)
  }];
  let hasVerifier = 1;
}

def M1_AttentionOp : M1_KernelOp<"attention", [M1_CacheReaderInterface],
                                 ["sequence_starts", "context_lengths", "block_tables"]> {
  let sharedArrays = ["prefix_items", "prefix_slots", "prefix_pages"];
  let summary = "causal attention over the cache";
  let description = [{
    For the token at position p of its sequence and head h: `softmax_{j ≤ p}(scale · q[h]·K[j, h/r])
    · V[j, h/r]` with r = heads/kv_heads; q [T, heads·head_dim]. With a positive `window` only
    positions `p - window < j ≤ p` are seen, and no page before them is read. The cache already
    holds this step's keys and values. Softmax in f32.

    In a decode step whose sequences share leading pages the batch says which (`prefix_items` …),
    and a kernel may read each of them once for all.

    Example:
    ```mlir
    %y = m1.attention %q, %batch, %cache {scale = 0.25 : f64}
        : (tensor<?x64xf32>, !m1.batch, !m1.kv_cache<2x64x16xf32>) -> tensor<?x64xf32>
    ```
  }];
  let stateType = "KVCache";
  let arguments = (ins M1_Rows:$q, M1_BatchType:$batch,
      Arg<M1_KVCacheType, "keys and values", [MemRead]>:$cache, F64Attr:$scale,
      DefaultValuedAttr<I64Attr, "0">:$window);
  let results = (outs M1_Rows:$out);
  let assemblyFormat = "$q `,` $batch `,` $cache attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def M1_YieldOp : M1_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"MapOp">]> {
  let summary = "what the region of a map computes";
  let description = [{
    Ends the region of `m1.map`.

    Example: `m1.yield %y : f32`
  }];
  let arguments = (ins F32:$x);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

#endif
