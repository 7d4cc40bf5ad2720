// How far answers drift where sums are rounded between processes (--reduce), at every position of
// the goldens' texts: each model over two processes against the goldens, by what is asked of exact
// sums (real_models_test.cpp), and against itself with exact sums. The least change of a sum is
// another rounding of some 8-bit activation later on, so that two runs with other bits agree with
// each other about as well as each with the goldens. The figures are those of docs/cluster.md.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/spanning_engine.h"
#include "golden/agreement.h"

namespace weft::golden {
namespace {

constexpr int kKept = 20, kDepth = 128;  // ids of an exact list, and of those compared with it

// What is asked of quantised models, and of a cache of 8 bits.
double min_top1(comm::SumWire wire) { return wire == comm::SumWire::kQ8 ? 0.95 : 0.97; }
constexpr double kMaxMeanKl = 0.01;

struct Model {
  std::string file, goldens;
  bool always;  // or in `make test-full` alone
};
void PrintTo(const Model& model, std::ostream* out) { *out << model.goldens; }

// The exact lists as goldens.
TopCase reference(const TopCase& c, const std::vector<LogprobList>& exact) {
  TopCase own = c;
  own.num_positions = std::ssize(exact);
  own.k = kKept;
  own.top_ids.clear();
  own.top_logprobs.clear();
  for (const LogprobList& list : exact) {
    for (size_t i = 0; i < kKept; ++i) {
      own.top_ids.push_back(list[i].id);
      own.top_logprobs.push_back(list[i].logprob);
    }
  }
  return own;
}

using Lists = std::vector<LogprobList>;  // of one text, a list a position

class RoundedSums : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("WEFT_TEST_MODELS");
    if (folder == nullptr) GTEST_SKIP() << "WEFT_TEST_MODELS is not set";
    if (!GetParam().always && std::getenv("WEFT_FULL_TESTS") == nullptr)
      GTEST_SKIP() << "WEFT_FULL_TESTS is not set";
    options_.model_path = std::string(folder) + "/" + GetParam().file;
    ASSERT_TRUE(std::filesystem::exists(options_.model_path)) << options_.model_path;
    options_.max_model_len = 1040;  // the longest window and a little
    options_.topology.tensor_parallel_size = 2;
    goldens_ =
        read_top_file(std::string(WEFT_SOURCE_DIR "/tests/goldens/") + GetParam().goldens + ".bin");
    std::erase_if(goldens_.cases, [](const TopCase& c) { return c.num_positions == 0; });
    const auto exact = engine::Engine::load(options_);
    for (const TopCase& c : goldens_.cases) exact_.push_back(score(*exact, c.ids, kDepth));
  }

  void expect_little_drift(comm::SumWire wire);

  engine::EngineOptions options_;
  TopFile goldens_;
  std::vector<Lists> exact_;  // of each text
};

void RoundedSums::expect_little_drift(comm::SumWire wire) {
  options_.reduce = wire;
  engine::SpanningEngine rounded(options_, 2);
  Agreement with_exact, with_goldens;
  for (size_t i = 0; i < goldens_.cases.size(); ++i) {
    const TopCase& c = goldens_.cases[i];
    const Lists lists = score(*rounded, c.ids, kDepth);
    with_exact.add(compare_lists(reference(c, exact_[i]), lists));
    with_goldens.add(compare_lists(c, lists));
  }
  fmt::print(
      "{}, {} between two processes: {} positions, with the goldens top-1 {:.2f} %, mean KL "
      "{:.5f}; with exact sums {:.2f} %, {:.5f}\n",
      goldens_.model, comm::name(wire), with_goldens.num_positions, 100 * with_goldens.top1(),
      with_goldens.mean_kl(), 100 * with_exact.top1(), with_exact.mean_kl());
  EXPECT_GE(with_goldens.num_positions, 2000);
  EXPECT_GE(with_goldens.top1(), min_top1(wire));
  EXPECT_LE(with_goldens.mean_kl(), kMaxMeanKl);
  EXPECT_GE(with_exact.top1(), min_top1(wire));
  EXPECT_LE(with_exact.mean_kl(), kMaxMeanKl);
}

TEST_P(RoundedSums, DriftLittle) {
  for (const auto wire : {comm::SumWire::kF32, comm::SumWire::kBF16, comm::SumWire::kQ8}) {
    SCOPED_TRACE(comm::name(wire));
    expect_little_drift(wire);
  }
}

const Model kModels[] = {{"SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-q4_1", true},
                         {"SmolLM2-135M-Instruct.BF16.gguf", "smollm2-135m-bf16", false}};
INSTANTIATE_TEST_SUITE_P(Goldens, RoundedSums, testing::ValuesIn(kModels),
                         [](const auto& one) { return as_test_name(one.param.goldens); });

}  // namespace
}  // namespace weft::golden
