// RUN: not m1-opt %s --m1-convert-to-plan=target=cpu:i386 2>&1 | FileCheck %s

// An unknown CPU is named, with those that are known.
// CHECK: --cpu: unknown CPU 'i386'; known are all, native, x86-64-v3, x86-64-v4, cooperlake, sapphirerapids
