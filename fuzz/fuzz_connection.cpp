#include <cstddef>
#include <cstdint>

#include "connection_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::run_connection({reinterpret_cast<const char*>(data), size});
  return 0;
}
