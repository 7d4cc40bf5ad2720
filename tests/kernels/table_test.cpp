// Which table a processor gets.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "kernels/every_table.h"

namespace weft::kernels {
namespace {

class AskedIsa {
 public:
  explicit AskedIsa(const char* name) { setenv("WEFT_ISA", name, 1); }
  ~AskedIsa() { unsetenv("WEFT_ISA"); }
  AskedIsa(const AskedIsa&) = delete;
  AskedIsa& operator=(const AskedIsa&) = delete;
};

TEST(Table, IsTheBestThatTheProcessorRuns) {
  unsetenv("WEFT_ISA");
  const auto tables = every_table();
  EXPECT_EQ(tables.back(), &choose_table());
  EXPECT_EQ("portable", tables.front()->name);
}

TEST(Table, FollowsTheNameThatIsAsked) {
  for (const KernelTable* table : every_table()) {
    const AskedIsa asked(std::string(table->name).c_str());
    EXPECT_EQ(table, &choose_table());
  }
}

TEST(Table, RefusesAnUnknownName) {
  const AskedIsa asked("avx1024");
  try {
    choose_table();
    FAIL() << "no table has this name";
  } catch (const Error& error) {
    EXPECT_EQ(ErrorKind::kUsage, error.kind());
    EXPECT_NE(std::string::npos, error.summary().find("avx1024"));
    EXPECT_NE(std::string::npos, error.mend().find("portable"));
  }
}

TEST(Table, HasEveryKernel) {
  for (const KernelTable* table : every_table()) {
    // All that follows the name is function pointers.
    const auto* begin = reinterpret_cast<void* const*>(&table->prepare);
    const auto* end = reinterpret_cast<void* const*>(table + 1);
    for (const auto* entry = begin; entry != end; ++entry) {
      EXPECT_NE(nullptr, *entry) << table->name << ", entry " << entry - begin;
    }
  }
}

}  // namespace
}  // namespace weft::kernels
