#include <cstddef>
#include <cstdint>

#include "template_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::run_template({reinterpret_cast<const char*>(data), size});
  return 0;
}
