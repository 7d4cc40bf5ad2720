#include <cstdlib>

#include "http_target.h"

// The first byte says in pieces of how many bytes the rest comes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (!weft::fuzz::reads_alike(text, size_t{data[0]} % 61 + 1)) std::abort();
  return 0;
}
