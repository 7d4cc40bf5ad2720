// Every operation of every vector header means what vec_portable.h says.
#include <vector>

#include "kernels/every_table.h"

namespace weft::kernels {

// vec_operations_*.cpp, each for processors that run its table.
namespace portable {
int64_t vec_operations(uint64_t* results);
}
#if defined(__x86_64__)
namespace avx2 {
int64_t vec_operations(uint64_t* results);
}
namespace avx512 {
int64_t vec_operations(uint64_t* results);
}
#elif defined(__aarch64__)
namespace neon {
int64_t vec_operations(uint64_t* results);
}
#endif

namespace {

int64_t operations_of(Isa isa, uint64_t* results) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::vec_operations(results);
  if (isa == Isa::kAvx512) return avx512::vec_operations(results);
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return neon::vec_operations(results);
#endif
  return portable::vec_operations(results);
}

TEST(VectorHeaders, MeanWhatThePortableOneSays) {
  std::vector<uint64_t> want(size_t{1} << 19), found(want.size());
  prepare_this_thread();
  const int64_t count = portable::vec_operations(want.data());
  ASSERT_LE(count, static_cast<int64_t>(want.size()));
  for (const KernelTable* table : every_table()) {
    ASSERT_EQ(count, operations_of(table->isa, found.data()));
    int64_t wrong = 0, first = -1;
    for (int64_t i = 0; i < count; ++i) {
      if (want[static_cast<size_t>(i)] == found[static_cast<size_t>(i)]) continue;
      if (first < 0) first = i;
      ++wrong;
    }
    EXPECT_EQ(0, wrong) << table->name << ": result " << first << " of " << count << " is "
                        << std::hex << found[static_cast<size_t>(first < 0 ? 0 : first)]
                        << " in place of " << want[static_cast<size_t>(first < 0 ? 0 : first)];
  }
}

}  // namespace
}  // namespace weft::kernels
