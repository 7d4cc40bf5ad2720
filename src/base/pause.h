// What a thread does between two looks at a word that another one is about to change: leaves the
// core's other thread and the memory alone for some tens of cycles.
#pragma once

namespace weft {

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace weft
