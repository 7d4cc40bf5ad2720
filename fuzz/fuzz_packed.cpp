#include "checkpoint_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::run_packed({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
