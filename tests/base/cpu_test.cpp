#include "base/cpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <sstream>
#include <thread>

#include "base/error.h"

namespace weft {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Devices = std::vector<std::vector<int>>;

const std::vector<int> kUsable = {0, 1, 2, 3, 8, 9};
const std::vector<NumaNode> kNodes = {
    {.id = 0, .cpus = {0, 1, 2, 3}}, {.id = 1, .cpus = {8, 9}}, {.id = 4, .cpus = {}}};

Devices parsed(std::string_view text) { return parse_devices(text, kUsable, kNodes); }

std::string error_of(std::string_view text) {
  try {
    parsed(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "no error";
}

TEST(Devices, AreCpusRangesAndNodes) {
  EXPECT_EQ(parsed(""), Devices{});
  EXPECT_EQ(parsed("0"), (Devices{{0}}));
  EXPECT_EQ(parsed("0-3"), (Devices{{0}, {1}, {2}, {3}}));
  EXPECT_EQ(parsed("9,2,0-1"), (Devices{{9}, {2}, {0}, {1}}));
  EXPECT_EQ(parsed("3-3"), (Devices{{3}}));
  EXPECT_EQ(parsed("numa:0"), (Devices{{0, 1, 2, 3}}));
  EXPECT_EQ(parsed("numa:1,numa:0"), (Devices{{8, 9}, {0, 1, 2, 3}}));
  EXPECT_EQ(parsed("numa:1, 2"), (Devices{{8, 9}, {2}}));
}

TEST(Devices, ErrorsNameTheBadPartAndWhatExists) {
  EXPECT_THAT(error_of("0-3,7"),
              AllOf(HasSubstr("'7' names CPU 7"), HasSubstr("the CPUs 0-3,8-9"),
                    HasSubstr("numa:0 (CPUs 0-3), numa:1 (CPUs 8-9), numa:4 (no CPUs)")));
  EXPECT_THAT(error_of("2-8"), HasSubstr("'2-8' names CPU 4"));
  EXPECT_THAT(error_of("0-2000000000"), HasSubstr("names CPU 4"));
  EXPECT_THAT(error_of("numa:2"), HasSubstr("'numa:2' does not exist"));
  EXPECT_THAT(error_of("numa:"), HasSubstr("'numa:' does not exist"));
  EXPECT_THAT(error_of("numa:x"), HasSubstr("'numa:x' does not exist"));
  EXPECT_THAT(error_of("numa:4"), HasSubstr("'numa:4' has no CPU"));
  EXPECT_THAT(error_of("3-1"), HasSubstr("'3-1' runs backwards"));
  for (const char* text :
       {"x", "0,", ",0", "0,,1", "1-", "-1", "0-1-2", "1x", "+1", "0x1", "99999999999", "gpu:0"})
    EXPECT_THAT(error_of(text), HasSubstr("is neither a CPU")) << text;
}

TEST(Devices, ACpuIsNamedOnlyOnce) {
  EXPECT_THAT(error_of("0,1,0"), HasSubstr("'0' names CPU 0 a second time"));
  EXPECT_THAT(error_of("1,numa:0"), HasSubstr("'numa:0' names CPU 1 a second time"));
}

TEST(Devices, OfThisMachineAreItsOwn) {
  const std::vector<int> cpus = usable_cpus();
  EXPECT_EQ(parse_devices(std::to_string(cpus.front())), (Devices{{cpus.front()}}));
  EXPECT_EQ(parse_devices(""), Devices{});
  for (const NumaNode& node : numa_nodes()) {
    if (node.cpus.empty()) continue;
    EXPECT_EQ(parse_devices("numa:" + std::to_string(node.id)), Devices{node.cpus});
  }
  EXPECT_THROW(parse_devices("1000000"), Error);
}

TEST(Cpus, FollowTheAffinityMask) {
  const std::vector<int> all = usable_cpus();
  ASSERT_FALSE(all.empty());
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(all.back()), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_THAT(usable_cpus(), ElementsAre(all.back()));
  }).join();
}

TEST(Cpus, LieInNodes) {
  const std::vector<NumaNode> nodes = numa_nodes();
  ASSERT_FALSE(nodes.empty());
  std::vector<int> in_nodes;
  for (const NumaNode& node : nodes)
    in_nodes.insert(in_nodes.end(), node.cpus.begin(), node.cpus.end());
  std::sort(in_nodes.begin(), in_nodes.end());
  EXPECT_EQ(in_nodes, usable_cpus());
}

TEST(CpuListText, JoinsRuns) {
  EXPECT_EQ(cpu_list_text({}), "");
  EXPECT_EQ(cpu_list_text({5}), "5");
  EXPECT_EQ(cpu_list_text({0, 1, 2, 4, 6, 7}), "0-2,4,6-7");
}

TEST(DescribeCpu, ReadsBothKindsOfCpuinfo) {
  std::istringstream x86(
      "processor\t: 0\nmodel name\t: AMD EPYC 9575F\nflags\t\t: fpu avx avx2 fma avx512f "
      "avx512_vnni avx512_vnni_not\n\nprocessor\t: 1\nmodel name\t: another\nflags\t: sse4_2\n");
  const CpuDescription epyc = describe_cpu(x86);
  EXPECT_EQ(epyc.model, "AMD EPYC 9575F");
  EXPECT_THAT(epyc.flags, ElementsAre("avx2", "fma", "avx512f", "avx512_vnni"));

  std::istringstream arm("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n");
  const CpuDescription neoverse = describe_cpu(arm);
  EXPECT_EQ(neoverse.model, "unknown processor");
  EXPECT_THAT(neoverse.flags, ElementsAre("asimd", "asimddp", "i8mm"));
}

}  // namespace
}  // namespace weft
