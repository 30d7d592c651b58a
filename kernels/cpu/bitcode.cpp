// All CPU kernels in one module, for the bitcode that the compiler embeds.
#include "attention.cpp"
#include "causal_conv1d.cpp"
#include "experts.cpp"
#include "gated_delta.cpp"
#include "kv_write.cpp"
#include "linear.cpp"
#include "selective_scan.cpp"
#include "ssd_scan.cpp"
