#include "base/memory.h"

#include <gtest/gtest.h>

#include <sstream>

namespace weft {
namespace {

TEST(Memory, ReadsWhatIsAvailable) {
  std::istringstream meminfo("MemTotal: 100 kB\nMemAvailable:   24601 kB\nBuffers: 3 kB\n");
  EXPECT_EQ(parse_mem_available(meminfo), 24601 * 1024);
  std::istringstream none("MemTotal: 100 kB\n");
  EXPECT_EQ(parse_mem_available(none), 0);
}

TEST(Memory, ThisMachineHasSome) { EXPECT_GT(available_memory_bytes(), int64_t{64} << 20); }

}  // namespace
}  // namespace weft
