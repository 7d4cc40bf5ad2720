// Every operation of a vector header on numbers that processors treat differently: NaN, both zeros,
// infinities, halves between integers, numbers past int32, denormals. Included after a vec_*.h; the
// files vec_operations_*.cpp make one function of it for each table.
#pragma once

#include <cstdint>

namespace weft::kernels {
namespace {

constexpr int64_t kNumCases = 64;
// Pairs of them meet: i and i + shift.
inline float hard_number(int64_t i) {
  // A NaN that rounding to fewer bits would carry into its sign.
  const float nan = __builtin_bit_cast(float, 0x7fffffffu), infinity = __builtin_inff();
  const float numbers[] = {
      0.0f,           -0.0f,   nan,       infinity,      -infinity,     0.5f,      -0.5f,
      1.5f,           2.5f,    -2.5f,     2147483520.0f, 2147483648.0f, 3e9f,      -3e9f,
      -2147483648.0f, 1e-39f,  -1e-39f,   65519.0f,      65520.0f,      -65536.0f, 6e-8f,
      -2.9802322e-8f, 6.1e-5f, 1e38f,     3e38f,         1.0f,          -1.0f,     1.00390625f,
      1.01171875f,    1e-20f,  0x1p-126f, 0.3f};
  constexpr int64_t kCount = sizeof(numbers) / sizeof(numbers[0]);
  return numbers[(i + i / kCount * 7) % kCount];
}

// The results one after the other, as bits; every NaN as one.
class Record {
 public:
  explicit Record(uint64_t* to) : next_(to) {}
  void add(uint64_t x) { *next_++ = x; }
  void add(float x) { add(uint64_t{x != x ? 0x7fc00000u : bits_of_lane(x)}); }
  void add(const F32x16& x) {
    float lanes[16];
    store(lanes, x);
    for (const float lane : lanes) add(lane);
  }
  void add(const I32x16& x) {
    int32_t lanes[16];
    store_int(lanes, x);
    for (const int32_t lane : lanes) add(uint64_t{static_cast<uint32_t>(lane)});
  }
  void add(const I64x16& x) {
    int64_t lanes[16];
    store_i64(lanes, x);
    for (const int64_t lane : lanes) add(static_cast<uint64_t>(lane));
  }
  void add(const Mask16& m) { add(uint64_t{bits(m)}); }
  // Halves whose NaN is what `infinity` is exceeded by.
  void add(const uint16_t (&halves)[16], uint16_t infinity) {
    for (const uint16_t half : halves) add(uint64_t{(half & 0x7fffu) > infinity ? 0x7fffu : half});
  }
  const uint64_t* end() const { return next_; }

 private:
  static uint32_t bits_of_lane(float x) { return __builtin_bit_cast(uint32_t, x); }
  uint64_t* next_;
};

inline void record_floats(const F32x16& a, const F32x16& b, Record& out) {
  out.add(a + b);
  out.add(a - b);
  out.add(a * b);
  out.add(a / b);
  out.add(fma(a, b, broadcast(0.25f)));
  out.add(min(a, b));
  out.add(max(a, b));
  out.add(abs(a));
  out.add(sqrt(a));
  out.add(round(a));
  out.add(reduce_add(select(abs(a) < broadcast(1e10f), a, broadcast(0.3f))));
  out.add(swap_pairs(a));
  out.add(negate_even(a));
  const Mask16 masks[] = {a<b, a <= b, a> b,   a >= b,   a == b, is_nan(a), (a < b) & (b > a),
                          (a < b) | is_nan(b), ~(a == b)};
  for (const Mask16& m : masks) {
    out.add(m);
    out.add(select(m, a, b));
  }
}

inline void record_integers(const F32x16& a, const F32x16& b, Record& out) {
  const I32x16 x = as_int(a), y = as_int(b);
  out.add(to_int(a));
  out.add(to_float(x));
  out.add(x + y);
  out.add(x - y);
  out.add(x & y);
  out.add(x | y);
  out.add(x ^ y);
  out.add(shift_left<5>(x));
  out.add(shift_right<5>(x));
  out.add(shift_right_logical<5>(x));
  out.add(x > y);
  out.add(x == y);
  out.add(select(x > y, x, y));
  // to_i64 has a meaning below 2^51 alone.
  const F32x16 small = select(abs(a) < broadcast(0x1p50f), a, broadcast(0.5f));
  const I64x16 wide = to_i64(small);
  out.add(wide);
  out.add(wide + to_i64(broadcast(-3.5f)));
  out.add(static_cast<uint64_t>(reduce_add(wide)));
  out.add(reduce_max(small));
}

inline void record_memory(const float* p, int64_t n, Record& out) {
  out.add(load_n(p, n));
  out.add(first_lanes(n));
  out.add(load_twice(p));
  float floats[16] = {};
  store_n(floats, load(p), n);
  out.add(load(floats));
  uint16_t f16[16], bf16[16], some[16] = {};
  store_f16(f16, load(p));
  out.add(f16, 0x7c00);
  out.add(load_f16(f16));
  out.add(load_f16_n(f16, n));
  store_bf16(bf16, load(p));
  out.add(bf16, 0x7f80);
  out.add(load_bf16(bf16));
  out.add(load_bf16_n(bf16, n));
  store_bf16_n(some, load(p), n);
  out.add(some, 0x7f80);
}

// Returns how many results were written.
inline int64_t record_operations(uint64_t* results) {
  float numbers[kNumCases + 16];
  for (int64_t i = 0; i < kNumCases + 16; ++i) numbers[i] = hard_number(i);
  Record out(results);
  for (int64_t i = 0; i < kNumCases; i += 16) {
    for (int64_t shift = 0; shift < kNumCases; ++shift) {
      float others[16];
      for (int64_t lane = 0; lane < 16; ++lane) others[lane] = hard_number(i + lane + shift);
      record_floats(load(numbers + i), load(others), out);
      record_integers(load(numbers + i), load(others), out);
    }
  }
  for (int64_t n = 0; n <= 16; ++n) {
    for (int64_t i = 0; i < kNumCases; i += 5) record_memory(numbers + i, n, out);
  }
  return out.end() - results;
}

}  // namespace
}  // namespace weft::kernels
