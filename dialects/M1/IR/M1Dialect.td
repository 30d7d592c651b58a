// The m1 dialect: what a hybrid model computes. Types and attributes.
#ifndef M1_DIALECT_TD
#define M1_DIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "M1Interfaces.td"

def M1_Dialect : Dialect {
  let name = "m1";
  let cppNamespace = "::mlir::m1";
  let summary = "hybrid Mamba/attention models";
  let description = [{
    Operations of decoder models whose layers mix tokens by attention, by a Mamba-1 scan or by a
    Mamba-2 (SSD) scan.

    Activations are 2-D tensors `[rows, features]`. The rows are the tokens of all sequences of a
    step laid end to end (a ragged batch), a dynamic size; the features are static. `!m1.batch`
    stands for the arrays that describe the batch: positions, sequence starts, state slots, context
    lengths, block tables and the rows whose logits are wanted. Weights and states are symbols:
    `m1.weight` names the checkpoint tensors that it is made of and never holds them, `m1.state`
    names memory that outlives a step. Ops that touch a state declare the effect on the state's
    value; all others are pure.

    The residual stream is f32; other activations are f32 or bf16. Scans and softmax are computed in
    f32. Matrix weights are bf16 or f32, those of linears also i8 or f8E4M3FN with a scale for each
    row, or i8 or int4, two to a byte (ui8), with a scale for each group of columns of a row, and
    some with a minimum (M1/IR/Groups.h);
    vectors (norms, biases, A, D, convolution, scales of rows) are f32.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class M1_Type<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<M1_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def M1_BatchType : M1_Type<"Batch", "batch"> {
  let summary = "the arrays that describe a ragged batch";
  let description = [{
    T tokens of S sequences laid end to end, of which L rows want logits: `positions` [T],
    `token_sequence` [T], `sequence_starts` [S+1], `slots` [S], `context_lengths` [S],
    `block_tables` [S, max_pages], `logit_rows` [L], all int32. A sequence whose first token has
    position 0 starts from zero state; otherwise its state is read from its slot.
  }];
}

class M1_StateType<string name, string typeMnemonic, string kind>
    : M1_Type<name, typeMnemonic, [M1_StateTypeInterface]> {
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType);
  let assemblyFormat = "`<` custom<StateShape>($shape, $elementType) `>`";
  let genVerifyDecl = 1;
  string declarations = "";
  let extraClassDeclaration =
      "static ::llvm::StringRef getKind() { return \""#kind#"\"; }\n"#declarations;
}

def M1_ScanStateType : M1_StateType<"ScanState", "scan_state", "scan"> {
  let summary = "recurrent state of a scan, one per slot";
  let description = [{
    Mamba-1: `!m1.scan_state<64x16xf32>` is [d_inner, N] per slot. Mamba-2:
    `!m1.scan_state<4x16x16xf32>` is [H, P, N] per slot. One number a channel:
    `!m1.scan_state<64xf32>`. Elements are f32, bf16 or f16.
  }];
}

def M1_ConvStateType : M1_StateType<"ConvState", "conv_state", "conv"> {
  let summary = "last inputs of a causal convolution, one per slot";
  let description = [{
    `!m1.conv_state<3x64xbf16>` is [width - 1, channels] per slot, oldest row first. Elements are
    f32, bf16 or f16. The first dimension is 0 for a convolution of width 1, which carries nothing.
  }];
}

def M1_KVCacheType : M1_StateType<"KVCache", "kv_cache", "kv"> {
  let summary = "paged keys and values";
  let description = [{
    `!m1.kv_cache<2x64x16xbf16>` is [kv_heads, page_size, head_dim]; a page holds that twice, keys
    then values. Elements are f32, bf16, f16, i8 or f8E4M3FN.

    The last two are codes. Each key and each value of a head at a position has a scale of its own,
    f32: with m the largest of its absolute values, m / 127 (i8) or m / 448 (f8E4M3FN), and its
    codes are its numbers times 127 / m or 448 / m, rounded to nearest even; a code stands for
    itself times the scale. Where m is below 2^-100, scale and codes are 0; where m is not finite,
    or one of the numbers is no number, the scale is NaN and the codes are 0. A head's scales follow
    its codes: what a page has of one head's keys, or values, is `page_size` rows of head_dim bytes,
    then `page_size` scales.
  }];
  let declarations = [{
    bool isQuantised() const {
      return isCacheCode(getElementType());
    }
    /// The scales of quantised elements are counted among a row's columns, 4 bytes each.
    ::llvm::SmallVector<int64_t> getStorageShape() const {
      ::llvm::SmallVector<int64_t> shape = {2}; // keys, then values
      ::llvm::append_range(shape, getShape());
      if (isQuantised())
        shape.back() += 4;
      return shape;
    }
  }];
}

class M1_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::mlir::m1";
  let genSpecializedAttr = 0;
}

def M1_Transform
    : M1_Enum<"Transform", "what is done to the elements of a weight when it is written",
              [I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"NegExp", 1, "neg_exp">,
               I32EnumAttrCase<"Double", 2, "double">, I32EnumAttrCase<"PlusOne", 3, "plus_one">,
               I32EnumAttrCase<"Int8Rows", 4, "int8_rows">,
               I32EnumAttrCase<"Int4Groups32", 5, "int4_groups_32">,
               I32EnumAttrCase<"Int4Groups64", 6, "int4_groups_64">,
               I32EnumAttrCase<"Int4Groups128", 7, "int4_groups_128">,
               I32EnumAttrCase<"Fp8Rows", 8, "fp8_rows">,
               I32EnumAttrCase<"Int8Groups32", 9, "int8_groups_32">,
               I32EnumAttrCase<"Int8Groups64", 10, "int8_groups_64">,
               I32EnumAttrCase<"Int8Groups128", 11, "int8_groups_128">,
               I32EnumAttrCase<"Int8Groups16", 12, "int8_groups_16">]>;
def M1_TransformAttr : EnumAttr<M1_Dialect, M1_Transform, "transform"> {
  let description =
      [{`none`; `neg_exp`: -exp(x), which makes A of A_log; `double`: 2·x; `plus_one`: 1 + x,
    for norms whose weights are stored as the distance from 1; `int8_rows`: each row of a matrix
    divided by its scale, the largest of its absolute values / 127 in f32, and rounded to nearest
    even, as i8. `int4_groups_32`, `_64`, `_128`: each group of as many columns of a row (the last
    one fewer, where rows are no multiple) divided by its scale, a bf16, rounded to nearest even and
    held within -8 … 7; two to a byte, as M1/IR/Int4.h says. The scale is the one of some tried with
    which the squares of the errors sum to the least. `int8_groups_32`, `_64`, `_128`: such groups
    divided by their scale, the largest of their absolute values / 127 rounded to bf16, rounded to
    nearest even and held within -127 … 127, as i8. Where the checkpoint holds such groups of
    integers itself, with scales of the type that this weight's have, or with minimums beside them,
    all stay as they are, integers from -128 on. Nothing else has minimums, scales of two levels,
    or `int8_groups_16`: groups of 16 columns. `fp8_rows`: each row of a matrix divided by
    its scale, the largest of its absolute values / 448 in f32, and rounded to nearest even, as
    f8E4M3FN. A row or group that holds a NaN or an infinite value has the scale NaN, and becomes
    zeros.}];
}

def M1_Activation
    : M1_Enum<"Activation", "activation function of a convolution",
              [I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Silu", 1, "silu">]>;
def M1_ActivationAttr : EnumAttr<M1_Dialect, M1_Activation, "activation">;

def M1_RotaryAnglesAttr : AttrDef<M1_Dialect, "RotaryAngles"> {
  let mnemonic = "rotary_angles";
  let summary = "table of (cos, sin) of rotary angles, computed in f64 when the weight is written";
  let description = [{
    Initialises a weight of shape [rows, pairs, 2]: entry [r, i] is scale · (cos, sin) of `r · step
    · frequencies[i]`. What a model does to its frequencies (llama3, yarn, …) is worked into them.

    Example:
    ```mlir
    #m1.rotary_angles<step = 256, frequencies = [1.0, 0.01], scale = 1.0>
    ```
  }];
  let parameters = (ins "int64_t":$step, "::mlir::DenseF64ArrayAttr":$frequencies,
      "::mlir::FloatAttr":$scale);
  let builders = [AttrBuilder<
      (ins "int64_t":$step, "::llvm::ArrayRef<double>":$frequencies, "double":$scale), [{
      return $_get($_ctxt, step, ::mlir::DenseF64ArrayAttr::get($_ctxt, frequencies),
                   ::mlir::FloatAttr::get(::mlir::Float64Type::get($_ctxt), scale));
    }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

#endif
