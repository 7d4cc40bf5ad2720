// Loops of one kind of product in registers: the rates that no kernel on this table can exceed.
// Included after a vec_*.h and its dot_*.h; they measure, nothing else calls them.
#pragma once

#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// Independent sums that hide the latency of each: 4 cycles on two ports on the processors at hand.
inline constexpr int kProbeSums = kTilePanels * 6;

// Every sum starts elsewhere, or the compiler would compute one for all.
template <typename Vector, typename Start, typename Step>
WEFT_INLINE void probe(int64_t rounds, Start start, Step step) {
  Vector sums[kProbeSums];
#pragma GCC unroll 16
  for (int i = 0; i < kProbeSums; ++i) sums[i] = start(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kProbeSums; ++i) sums[i] = step(sums[i]);
  }
  asm volatile("" : : "r"(&sums) : "memory");
}

WEFT_INLINE F32x16 start_f32(int i) { return broadcast(static_cast<float>(i)); }

int64_t probe_int8(int64_t rounds) {
  const I32x16 w = broadcast_int(0x01020301), x = broadcast_int(static_cast<int32_t>(rounds));
  probe<I32x16>(rounds, broadcast_int, [&](I32x16 sum) { return dot_int8(sum, w, x); });
  return rounds * kProbeSums * 128;
}

template <bool kHardwareBf16>
int64_t probe_bf16(int64_t rounds) {
  const uint16_t one[2] = {0x3f80, 0x3f80}, half[2] = {0x3f00, static_cast<uint16_t>(rounds)};
  const Bf16Pairs w = broadcast_bf16_pair(one), x = broadcast_bf16_pair(half);
  probe<F32x16>(rounds, start_f32, [&](F32x16 sum) { return dot_bf16<kHardwareBf16>(sum, w, x); });
  return rounds * kProbeSums * 64;
}

int64_t probe_f32(int64_t rounds) {
  const F32x16 w = broadcast(1.0f), x = broadcast(static_cast<float>(rounds));
  probe<F32x16>(rounds, start_f32, [&](F32x16 sum) { return fma(w, x, sum); });
  return rounds * kProbeSums * 32;
}

}  // namespace
}  // namespace weft::kernels
