#include <cstddef>
#include <cstdint>

#include "grammar_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::run_grammar({reinterpret_cast<const char*>(data), size});
  return 0;
}
