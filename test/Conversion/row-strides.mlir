// RUN: m1-opt %s --m1-convert-to-plan | FileCheck %s

// On CPUs rows of an even number of cache lines, 16 or more, lie one line further apart; other rows
// and what leaves by a port have no gaps.
m1.weight @embed : tensor<480x256xf32> {sources = ["e"]}
m1.weight @down : tensor<240x256xf32> {sources = ["d"]}
m1.weight @head : tensor<480x240xf32> {sources = ["h"]}
// CHECK-DAG: embedding tokens:i32 table:480x256xf32 -> out:256xf32/272 over tokens
// CHECK-DAG: linear x:256xf32/272 weight:240x256xf32 -> out:240xf32/240 over logit_rows
// CHECK-DAG: linear x:240xf32/240 weight:480x240xf32 -> out:480xf32/480 over logit_rows
func.func @prefill(%tokens: tensor<?xi32>, %batch: !m1.batch)
    -> (tensor<?x480xf32>, tensor<?xi32>) {
  %e = m1.get_weight @embed : tensor<480x256xf32>
  %d = m1.get_weight @down : tensor<240x256xf32>
  %w = m1.get_weight @head : tensor<480x240xf32>
  %h = m1.embedding %tokens, %e : (tensor<?xi32>, tensor<480x256xf32>) -> tensor<?x256xf32>
  %r = m1.gather_rows %h, %batch : (tensor<?x256xf32>, !m1.batch) -> tensor<?x256xf32>
  %s = m1.linear %r, %d : (tensor<?x256xf32>, tensor<240x256xf32>) -> tensor<?x240xf32>
  %l = m1.linear %s, %w : (tensor<?x240xf32>, tensor<480x240xf32>) -> tensor<?x480xf32>
  %n = m1.sample %l : (tensor<?x480xf32>) -> tensor<?xi32>
  return %l, %n : tensor<?x480xf32>, tensor<?xi32>
}
