// Sizes computed from what a file or a caller says.
#ifndef M1RT_BASE_SIZE_H
#define M1RT_BASE_SIZE_H

#include <cstdint>

namespace m1rt {

/// A number of bytes or elements whose sums and products do not wrap: what does not fit 64 bits
/// stays the largest number, which no limit admits and no device can allocate.
class Size {
public:
  static constexpr uint64_t largest = UINT64_MAX;

  constexpr Size(uint64_t value = 0) : value(value) {}
  constexpr uint64_t get() const { return value; }

  friend constexpr Size operator+(Size a, Size b) {
    uint64_t sum = 0;
    return __builtin_add_overflow(a.value, b.value, &sum) ? Size(largest) : Size(sum);
  }
  /// The largest number times 0 stays the largest: it stands for one that is not known.
  friend constexpr Size operator*(Size a, Size b) {
    uint64_t product = 0;
    return a.value == largest || b.value == largest ||
                   __builtin_mul_overflow(a.value, b.value, &product)
               ? Size(largest)
               : Size(product);
  }
  Size &operator+=(Size other) { return *this = *this + other; }
  Size &operator*=(Size other) { return *this = *this * other; }

  /// The next multiple; a power of two.
  constexpr Size alignedTo(uint64_t alignment) const {
    const Size raised = *this + Size(alignment - 1);
    return raised.value == largest ? raised : Size(raised.value & ~(alignment - 1));
  }

private:
  uint64_t value;
};

} // namespace m1rt

#endif
