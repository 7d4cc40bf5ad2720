// Which Arm processors get the NEON table.
#include <gtest/gtest.h>
#include <sys/auxv.h>

#include <cstdint>

#include "kernels/kernels.h"

namespace weft::kernels {
namespace {

// The processor's own word for what it can do, where the system lets programs read it.
uint64_t instruction_set_register() {
  uint64_t value;
  asm("mrs %0, ID_AA64ISAR0_EL1" : "=r"(value));
  return value;
}

TEST(NativeTables, NeonIsForProcessorsWithTheDotProduct) {
  constexpr unsigned long kReadable = 1ul << 11;
  if ((getauxval(AT_HWCAP) & kReadable) == 0) GTEST_SKIP() << "its registers cannot be read here";
  const uint64_t atomics = instruction_set_register() >> 20 & 15;
  const uint64_t dot_product = instruction_set_register() >> 44 & 15;
  EXPECT_EQ(atomics != 0 && dot_product != 0, table_for(Isa::kNeon) != nullptr);
  EXPECT_EQ(nullptr, table_for(Isa::kAvx2));
  EXPECT_EQ(nullptr, table_for(Isa::kAvx512));
}

}  // namespace
}  // namespace weft::kernels
