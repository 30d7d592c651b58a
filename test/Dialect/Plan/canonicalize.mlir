// RUN: m1-opt %s --canonicalize | FileCheck %s

plan.target @cpu {
  plan.kernel @fill {key = "fill", origin = "generated"}
  plan.kernel @k {key = "k", origin = "generated"}
  // Views of views are one view, views of nothing disappear.
  // CHECK-LABEL: plan.function @prefill
  plan.function @prefill {
    // CHECK: %[[T:.*]] = plan.temporary tokens 256
    %0 = plan.temporary tokens 256
    // CHECK-NEXT: %[[V:.*]] = plan.view %[[T]] + 96
    %1 = plan.view %0 + 32
    %2 = plan.view %1 + 64
    %3 = plan.view %0 + 0
    // CHECK-NEXT: plan.launch @fill(wo %[[T]])
    plan.launch @fill(wo %3) over tokens grid 1 by 1 label ""
    // CHECK-NEXT: plan.launch @k(ro %[[V]], wo %[[T]])
    plan.launch @k(ro %2, wo %3) over tokens grid 1 by 1 label ""
  }
}
