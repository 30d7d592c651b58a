// The plan dialect: what the runtime executes, one op per FlatBuffers command.
#ifndef M1_PLAN_OPS
#define M1_PLAN_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::mlir::plan";
  let summary = "Launches of kernels on buffers: the runtime's program";
  let description = [{
    A `plan.target` holds the kernels and functions of one device. A function is a straight line of
    commands on buffers: weights, states, batch arrays (ports) and temporaries. Temporaries lie in
    arenas whose unit is bytes per row, so one plan serves every number of rows: `plan.temporary` of
    `tokens` rows in the arena scaled by T, of `logit_rows` in the arena scaled by L, of `one` in
    the workspace. Commands say how they access each buffer (`ro`, `wo`, `rw`). The function's
    verifier proves that no command reads a temporary before one wrote it, none writes a weight or
    an input of the step, and none writes bytes that another of its operands names.
    `plan-place-buffers` assigns offsets; once it has, the verifier also proves that no two live
    temporaries overlap.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class Plan_Type<string name, string typeMnemonic> : TypeDef<Plan_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def Plan_Buffer : Plan_Type<"Buffer", "buffer"> {
  let summary = "A place in memory that commands read and write";
}

def Plan_RowDomain
    : I32EnumAttr<"RowDomain", "Number of rows: one, T, S or L",
                  [I32EnumAttrCase<"one", 0>, I32EnumAttrCase<"tokens", 1>,
                   I32EnumAttrCase<"sequences", 2>, I32EnumAttrCase<"logit_rows", 3>]> {
  let cppNamespace = "::mlir::plan";
  let genSpecializedAttr = 0;
}
def Plan_RowDomainAttr : EnumAttr<Plan_Dialect, Plan_RowDomain, "rows"> {
  let assemblyFormat = "$value";
}

// Values equal those of the schema's Port.
def Plan_Port
    : I32EnumAttr<"Port", "A batch array or an output of the step",
                  [I32EnumAttrCase<"tokens", 0>, I32EnumAttrCase<"positions", 1>,
                   I32EnumAttrCase<"token_sequence", 2>, I32EnumAttrCase<"sequence_starts", 3>,
                   I32EnumAttrCase<"slots", 4>, I32EnumAttrCase<"context_lengths", 5>,
                   I32EnumAttrCase<"block_tables", 6>, I32EnumAttrCase<"logit_rows", 7>,
                   I32EnumAttrCase<"logits", 8>, I32EnumAttrCase<"next_tokens", 9>,
                   I32EnumAttrCase<"prefix_items", 10>, I32EnumAttrCase<"prefix_slots", 11>,
                   I32EnumAttrCase<"prefix_pages", 12>]> {
  let cppNamespace = "::mlir::plan";
  let genSpecializedAttr = 0;
}
def Plan_Access
    : I32EnumAttr<"Access", "What a command does with a buffer",
                  [I32EnumAttrCase<"ro", 0>, I32EnumAttrCase<"wo", 1>, I32EnumAttrCase<"rw", 2>]> {
  let cppNamespace = "::mlir::plan";
  let genSpecializedAttr = 0;
}

def Plan_PortAttr : EnumAttr<Plan_Dialect, Plan_Port, "port"> { let assemblyFormat = "$value"; }

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

def Plan_TargetOp
    : Plan_Op<"target", [Symbol, SymbolTable, NoTerminator, SingleBlock, IsolatedFromAbove]> {
  let summary = "Kernels and functions of one device";
  let description = [{
    `cpu` is the --cpu it is compiled for and `cpu_features` names what that needs, as in
    /proc/cpuinfo (cpu target only); `chip` is the GPU (cuda only). The symbol is the device, and
    after a colon what tells it from others of that device.

    ```mlir
    plan.target @cpu attributes {cpu = "x86-64-v3", cpu_features = ["avx2", "fma"]} { … }
    plan.target @cuda attributes {chip = "sm_90"} { … }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, OptionalAttr<StrAttr>:$cpu,
      OptionalAttr<StrArrayAttr>:$cpu_features, OptionalAttr<StrAttr>:$chip);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// cpu or cuda.
    StringRef getDevice() { return getSymName().split(':').first; }
  }];
}

def Plan_KernelOp : Plan_Op<"kernel", [Symbol, HasParent<"TargetOp">]> {
  let summary = "A kernel of the target's code";
  let description = [{
    Equal `key`s are equal kernels; a target holds each key once. `code` is the code object that
    defines the symbol. A kernel with `launch_early` itself waits for the launches before it, in
    code for sm_90 and newer, and may start before they have ended. The blocks of a `cooperative`
    one wait for one another: they are one row group, and all run at once. Its code follows from
    `source` (CUDA C++), or else is generated from `facts` (KernelSpec::toAttribute in m1c).

    `tensor_maps` are five numbers for each operand that the kernel takes as a tensor map and not as
    an address: its place among the operands, the rows of a weight, or 0 for those of the launch,
    the columns of 16 bits, the bytes from row to row, and the rows of a box. There is machine code
    of such a kernel alone, and only functions with `min_rows` launch it.

    `extents`, of a kernel that is launched, are two numbers for each operand: the bytes that it
    touches of every row, and those from one row to the next. Of a weight or of workspace they are
    the bytes from its beginning and 0, of a state the bytes of a slot or page and 0, of a batch
    array 0 and 0. The target's verifier proves that every launch has what its kernel touches, and
    the loader proves it again for what it gets.

    ```mlir
    plan.kernel @silu_64 {key = "silu …", origin = "generated"} facts {op = "silu", operands =
        [["a", tensor<64xf32>, 64], ["out", tensor<64xf32>, 64]], outputs = 1 : i64, …}
        extents [256, 256, 256, 256]
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$key, StrAttr:$origin,
      DefaultValuedAttr<I32Attr, "0">:$code, DefaultValuedAttr<I32Attr, "0">:$block_size,
      DefaultValuedAttr<I32Attr, "0">:$shared_bytes, UnitAttr:$launch_early, UnitAttr:$cooperative,
      OptionalAttr<DictionaryAttr>:$facts, OptionalAttr<StrAttr>:$source,
      OptionalAttr<DenseI64ArrayAttr>:$extents, OptionalAttr<DenseI64ArrayAttr>:$tensor_maps);
  let assemblyFormat = [{
    $sym_name attr-dict (`facts` $facts^)? (`source` $source^)? (`extents` $extents^)?
  }];
  let hasVerifier = 1;
}

def Plan_FunctionOp : Plan_Op<"function", [Symbol, HasParent<"TargetOp">, NoTerminator, SingleBlock,
                                           IsolatedFromAbove]> {
  let summary = "A straight line of commands";
  let description = [{
    `prefill`, `decode` or `decode_shared` (decode that reads prefix arrays); several functions may
    serve one entry point, which `entry` then names, the runtime choosing the smallest sufficient
    `max_rows`, and the largest `min_rows` that is not too large. The byte counts are absent until
    `plan-place-buffers` ran; arenas are multiples of 256 bytes per row. `max_rows` is the largest T
    that the function is meant for, 0 for any; `min_rows` the smallest.

    ```mlir
    plan.function @decode attributes {row_temporary_bytes_per_row = 256, temporary_bytes_per_row =
        1024, workspace_bytes = 0} { … }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, OptionalAttr<I64Attr>:$temporary_bytes_per_row,
      OptionalAttr<I64Attr>:$row_temporary_bytes_per_row, OptionalAttr<I64Attr>:$workspace_bytes,
      DefaultValuedAttr<I32Attr, "0">:$max_rows, OptionalAttr<StrAttr>:$entry,
      DefaultValuedAttr<I32Attr, "0">:$min_rows);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// Name of the function in the artifact.
    StringRef getEntryName() { return getEntry() ? *getEntry() : getSymName(); }
    /// Whether plan-place-buffers has run.
    bool isPlaced() { return getTemporaryBytesPerRow().has_value(); }
  }];
}

def Plan_WeightOp : Plan_Op<"weight", [Pure, HasParent<"FunctionOp">,
                                       DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The buffer of a weight";
  let description = [{
    All bytes of the `m1.weight` of that name beside the target, in row-major order. No command
    writes it.

    ```mlir
    %w = plan.weight @layers.0.in_proj : tensor<196x64xbf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight, TypeAttrOf<AnyStaticShapeTensor>:$weight_type);
  let results = (outs Plan_Buffer:$result);
  let assemblyFormat = "$weight `:` $weight_type attr-dict";
}

def Plan_StateOp : Plan_Op<"state", [Pure, HasParent<"FunctionOp">,
                                     DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The buffer of a state: all its slots or pages";
  let description = [{
    The pool of the `m1.state` of that name beside the target; kernels find slots and pages by the
    batch arrays.

    ```mlir
    %s = plan.state @layers.0.scan_state : !m1.scan_state<64x16xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$state, TypeAttr:$state_type);
  let results = (outs Plan_Buffer:$result);
  let assemblyFormat = "$state `:` $state_type attr-dict";
}

def Plan_PortOp : Plan_Op<"port", [Pure, HasParent<"FunctionOp">]> {
  let summary = "A batch array or an output of the step";
  let description = [{
    The arrays of docs/architecture.md, "One forward pass". Commands write `logits` and
    `next_tokens` only.

    ```mlir
    %p = plan.port sequence_starts
    ```
  }];
  let arguments = (ins Plan_PortAttr:$port);
  let results = (outs Plan_Buffer:$result);
  let assemblyFormat = "`` $port attr-dict";
}

def Plan_TemporaryOp : Plan_Op<"temporary", [HasParent<"FunctionOp">]> {
  let summary = "A buffer of this step only";
  let description = [{
    `bytes` per row of the arena of `rows`, or in all when rows is `one`. `offset` is its place, in
    the same unit, once placed.

    ```mlir
    %0 = plan.temporary tokens 12288 {offset = 0 : i64}
    ```
  }];
  let arguments = (ins Plan_RowDomainAttr:$rows, I64Attr:$bytes, OptionalAttr<I64Attr>:$offset);
  let results = (outs Plan_Buffer:$result);
  let assemblyFormat = "`` $rows custom<Bytes>($bytes) attr-dict";
  let hasVerifier = 1;
}

def Plan_ViewOp : Plan_Op<"view", [Pure, HasParent<"FunctionOp">]> {
  let summary = "A buffer that begins `offset` bytes into another";
  let description = [{
    How columns of a row are taken: the row stride is part of the kernel, so a piece of a row needs
    only its first byte.

    ```mlir
    %1 = plan.view %0 + 6144
    ```
  }];
  let arguments = (ins Plan_Buffer:$source, I64Attr:$offset);
  let results = (outs Plan_Buffer:$result);
  let assemblyFormat = "$source `+` custom<Bytes>($offset) attr-dict";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Plan_LaunchOp
    : Plan_Op<"launch", [HasParent<"FunctionOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>,
                         DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "One kernel over its grid";
  let description = [{
    Grid `(grid_x, ceil(rows / rows_per_group))` where rows is the size of the domain. The kernel
    receives the buffers in order and reads (`ro`), writes (`wo`) or does both (`rw`); these are the
    launch's memory effects. A temporary is written before it is read; weights and batch arrays are
    only read; what a launch writes overlaps none of its other operands. `label` names op and layer
    in traces. `token_bytes` and `logit_row_bytes` are the activations that the launch reads and
    writes for each of the T and of the L rows, for measurements; weights, states and batch arrays
    do not count. `written_rows` says which rows the launch leaves of its op's results, a list of
    [operand, element type, columns, columns from row to row], for --check-numerics; launches that
    write scratch memory or states alone, or that passes have merged, have none.

    ```mlir
    plan.launch @rms_norm_3072(ro %h, ro %w, wo %x) over tokens grid 1 by 4
        label "rms_norm layers.0.input_layernorm"
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Plan_Buffer>:$buffers,
      DenseI32ArrayAttr:$accesses, Plan_RowDomainAttr:$domain, I32Attr:$grid_x,
      I32Attr:$rows_per_group, StrAttr:$label, DefaultValuedAttr<I64Attr, "0">:$token_bytes,
      DefaultValuedAttr<I64Attr, "0">:$logit_row_bytes, OptionalAttr<ArrayAttr>:$written_rows);
  let assemblyFormat = [{
    $kernel `(` custom<Accesses>($buffers, $accesses) `)` `over` `` $domain `grid`
    custom<Count>($grid_x) `by` custom<Count>($rows_per_group) `label` $label attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    Access getAccess(size_t operand) { return static_cast<Access>(getAccesses()[operand]); }
  }];
}

def Plan_GemmOp : Plan_Op<"gemm", [HasParent<"FunctionOp">, AttrSizedOperandSegments]> {
  let summary = "A library matrix product";
  let description = [{
    `out[M,N] = a[M,K] · w[N,K]ᵀ (+ bias[N])`, M the rows of the domain, lda and ldo in elements. a,
    w and out are each f32 or bf16, the bias is f32; w and bias are weights, and rows of a and out
    lie within their buffers. w may also be a temporary over `one` that a launch before it writes,
    of a's type.

    a and w may both be f8E4M3FN, with a scale for each row of either, f32: `out[m,n] = a_scale[m] ·
    w_scale[n] · (a[m,:] · w[n,:]) (+ bias[n])`. a_scale is a temporary, w_scale a weight.

    ```mlir
    plan.gemm %a, %w -> %out over tokens {a_type = bf16, k = 64 : i32, lda = 64 : i32, ldo = 32
        : i32, n = 32 : i32, …}
    ```
  }];
  let arguments = (ins Arg<Plan_Buffer, "rows", [MemRead]>:$a,
      Arg<Plan_Buffer, "weight", [MemRead]>:$w,
      Arg<Optional<Plan_Buffer>, "scales of a's rows", [MemRead]>:$a_scale,
      Arg<Optional<Plan_Buffer>, "scales of w's rows", [MemRead]>:$w_scale,
      Arg<Optional<Plan_Buffer>, "added to every row", [MemRead]>:$bias,
      Arg<Plan_Buffer, "rows", [MemWrite]>:$out, Plan_RowDomainAttr:$domain, I32Attr:$n, I32Attr:$k,
      I32Attr:$lda, I32Attr:$ldo, TypeAttr:$a_type, TypeAttr:$w_type, TypeAttr:$out_type,
      StrAttr:$label);
  let assemblyFormat = [{
    $a `,` $w (`scales` $a_scale^ `,` $w_scale)? (`bias` $bias^)? `->` $out `over` `` $domain
    `label` $label attr-dict
  }];
  let hasVerifier = 1;
}

#endif
