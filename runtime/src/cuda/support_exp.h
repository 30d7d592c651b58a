// exp for the device's own kernels, which have no library of functions. Plain C, for the host's
// tests too.
#ifndef M1RT_CUDA_SUPPORT_EXP_H
#define M1RT_CUDA_SUPPORT_EXP_H

#ifdef __CUDACC__
#define M1_SUPPORT_FUNCTION static __host__ __device__ inline
#else
#define M1_SUPPORT_FUNCTION static inline
#endif

// -exp(x), computed in double with an error below 2^-50 of it and rounded to float: what a C
// library's exp gives, unless the exact value lies so near the middle of two floats.
M1_SUPPORT_FUNCTION float m1_neg_exp(float x) {
  if (!(x == x))
    return x;
  if (x > 89.0f) // exp(88.73) is above every float
    return -__builtin_inff();
  if (x < -104.0f) // exp(-103.98) is less than half the smallest one
    return -0.0f;
  // x = k ln 2 + r with |r| <= ln 2 / 2; adding 1.5 · 2^52 rounds to an integer.
  const double shift = 6755399441055744.0;
  const double shifted = x * 1.4426950408889634 + shift, k = shifted - shift;
  // ln 2 in two parts: k times the first is exact.
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double sum = 1.0; // Taylor's series to r^13 / 13!: the next term is below 2^-57
  for (int n = 13; n >= 1; --n)
    sum = 1.0 + sum * r / n;
  const unsigned long long bits = (unsigned long long)(1023 + (long long)k) << 52; // 2^k
  return (float)-(sum * __builtin_bit_cast(double, bits));
}

#endif
