// The floating-point state that every kernel is called in (DESIGN.md 1.7): rounding to nearest
// even, denormal inputs and denormal results zero. A thread sets it once, before it computes.
//
// Two processor families flush alike but for one sliver. A result whose exact size lies in
// [2^-126 - 2^-151, 2^-126) would round up to the smallest normal number: x86 judges after that
// rounding and keeps 2^-126, Arm judges before it and gives zero (doubles likewise at 2^-1022). So
// all tables of one machine agree to the bit, and an Arm machine agrees with an x86 one until some
// product or sum falls there: one in 2^25 of those near 2^-126, where a model's sums have no
// business (softmax weights and 8-bit groups become zero before). That is no proof, so ranks of
// both families in one topology are not promised equal bits. Armv8.7's FPCR.AH would close the
// gap on the processors that have it, and open one to those that have not.
//
// What else differs never reaches a number: the sign and payload of a NaN (every consumer asks
// only whether it is one). Half precision is stored, never computed with; both families convert it
// with its denormals, whatever this state says (Arm's FPCR.FZ16 stays clear).
#pragma once

#include <cstdint>

namespace weft {

// Sets the state of the calling thread (MXCSR on x86, FPCR on Arm; elsewhere rounding alone, and
// the kernels' promise holds for numbers that are not denormal).
void prepare_this_thread();

// The same for as long as it lives; then the thread has its own state again.
class PreparedScope {
 public:
  PreparedScope();
  ~PreparedScope();
  PreparedScope(const PreparedScope&) = delete;
  PreparedScope& operator=(const PreparedScope&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace weft
