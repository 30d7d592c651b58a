// Plans of devices and chips that the compiler does not know.
// RUN: m1-opt %s --m1-generate-kernels --split-input-file --verify-diagnostics

// expected-error @+1 {{no device is named 'tpu'; known are cpu[:x86-64-v3,x86-64-v4], cuda[:sm_80,sm_90]}}
plan.target @tpu {
}

// -----

// expected-error @+1 {{expected a chip as --target cuda:CHIP takes it, got 'sm_91'}}
plan.target @cuda attributes {chip = "sm_91"} {
}

// -----

// expected-error @+1 {{expected a chip as --target cuda:CHIP takes it, got ''}}
plan.target @cuda {
}
