#include "base/float_state.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace weft {
namespace {

#if defined(__x86_64__)

// Exceptions masked (0x1f80), round to nearest (00), flush to zero (bit 15), denormals are zero
// (bit 6).
constexpr uint64_t kPrepared = 0x1f80u | 0x8000u | 0x0040u;
uint64_t read_state() { return _mm_getcsr(); }
void write_state(uint64_t state) { _mm_setcsr(static_cast<unsigned>(state)); }

#elif defined(__aarch64__)

// FZ (bit 24) does both for inputs and results; rounding mode 00 is to nearest; exceptions are not
// trapped.
constexpr uint64_t kPrepared = uint64_t{1} << 24;
uint64_t read_state() {
  uint64_t state;
  asm volatile("mrs %0, fpcr" : "=r"(state));
  return state;
}
void write_state(uint64_t state) { asm volatile("msr fpcr, %0" ::"r"(state)); }

#else

constexpr uint64_t kPrepared = FE_TONEAREST;
uint64_t read_state() { return static_cast<uint64_t>(std::fegetround()); }
void write_state(uint64_t state) { std::fesetround(static_cast<int>(state)); }

#endif

}  // namespace

void prepare_this_thread() { write_state(kPrepared); }

PreparedScope::PreparedScope() : saved_(read_state()) { write_state(kPrepared); }
PreparedScope::~PreparedScope() { write_state(saved_); }

}  // namespace weft
