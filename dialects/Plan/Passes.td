#ifndef M1_PLAN_PASSES
#define M1_PLAN_PASSES

include "mlir/Pass/PassBase.td"

def PlacePlanBuffersPass : Pass<"plan-place-buffers", "::mlir::plan::FunctionOp"> {
  let summary = "Give temporaries places in their arenas, by lifetime";
  let description = [{
    A temporary lives from the first command that uses it or a view of it to the last. Largest
    first, each gets the lowest offset where it overlaps no placed temporary of the same arena that
    lives at the same time; offsets and arenas are multiples of 256 bytes. Unused temporaries and
    views are erased. The function's verifier then checks the result against lifetimes computed
    anew.

    It refuses nothing: temporaries that already have an offset get a new one. Those of different
    arenas never share bytes, nor do an input and an output of one command, as a kernel may write
    before it has read all.

    Before:
    ```mlir
    plan.function @prefill {
      %0 = plan.temporary tokens 1000
      %1 = plan.temporary tokens 400
      %2 = plan.temporary tokens 600
      plan.launch @a(wo %0) …
      plan.launch @b(ro %0, wo %1) …
      plan.launch @c(ro %1, wo %2) …
    }
    ```
    After:
    ```mlir
    plan.function @prefill attributes {row_temporary_bytes_per_row = 0
        : i64, temporary_bytes_per_row = 1536 : i64, workspace_bytes = 0 : i64} {
      %0 = plan.temporary tokens 1000 {offset = 0 : i64}
      %1 = plan.temporary tokens 400 {offset = 1024 : i64}
      %2 = plan.temporary tokens 600 {offset = 0 : i64}
      …
    }
    ```
    Next: the artifact writer. It runs after `m1-convert-to-plan`.
  }];
  let statistics = [Statistic<"numPlaced", "temporaries-placed", "Temporaries that got an offset">,
                    Statistic<"numErased", "temporaries-erased", "Temporaries without use">,
                    Statistic<"bytesSaved", "bytes-per-row-saved",
                              "Bytes per row below the sum of all temporaries">];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

#endif
