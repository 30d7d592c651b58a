#ifndef M1_PLAN_PASSES
#define M1_PLAN_PASSES

include "mlir/Pass/PassBase.td"

def PlacePlanBuffersPass : Pass<"plan-place-buffers", "::mlir::plan::FunctionOp"> {
  let summary = "Give temporaries places in their arenas, by lifetime";
  let description = [{
    A temporary lives from the first command that uses it or a view of it to the last. Largest first, each gets the lowest offset where
    it overlaps no placed temporary of the same arena that lives at the same time; offsets and arenas are multiples of 256 bytes.
    Unused temporaries and views are erased. The function's verifier then checks the result against lifetimes computed anew.

    ```mlir
    %0 = plan.temporary tokens 1024        ->  %0 = plan.temporary tokens 1024 {offset = 0 : i64}
    ```
    Runs after `m1-convert-to-plan`; the artifact writer is next.
  }];
  let statistics = [
    Statistic<"numPlaced", "temporaries-placed", "Temporaries that got an offset">,
    Statistic<"numErased", "temporaries-erased", "Temporaries without use">,
    Statistic<"bytesSaved", "bytes-per-row-saved", "Bytes per row below the sum of all temporaries">
  ];
  let dependentDialects = ["::mlir::plan::PlanDialect"];
}

#endif
