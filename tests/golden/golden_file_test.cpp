// The readers of the goldens and the figures made of them, checked without a model.
#include "golden/golden_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/model_files.h"
#include "golden/agreement.h"

namespace weft::golden {
namespace {

const std::string kGoldens = WEFT_SOURCE_DIR "/tests/goldens/";

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// summary.json was written beside the files by the program that knows what it put into them.
TEST(GoldenFile, HoldsWhatTheSummarySays) {
  const auto summary = nlohmann::json::parse(bytes_of(kGoldens + "summary.json"));
  for (const char* name : {"smollm2-135m-q4_1", "gemma-3-270m-q4_k_m"}) {
    const TopFile file = read_top_file(kGoldens + name + ".bin");
    int64_t num_positions = 0;
    Perplexity perplexity;
    for (const TopCase& c : file.cases) {
      num_positions += c.num_positions;
      std::vector<LogprobList> own;  // the reference in place of ours
      for (size_t p = 0; p + 1 < c.ids.size(); ++p)
        own.push_back({{c.ids[p + 1], c.next_logprobs[p]}});
      if ((c.flags & kPerplexity) != 0) add_perplexity(c, own, perplexity);
    }
    EXPECT_EQ(file.cases.size(), summary[name]["cases"].get<size_t>());
    EXPECT_EQ(file.model, summary[name]["file"].get<std::string>());
    EXPECT_EQ(num_positions, summary[name]["positions_with_top_20"].get<int64_t>());
    EXPECT_EQ(perplexity.num_tokens, summary[name]["perplexity_tokens"].get<int64_t>());
    EXPECT_NEAR(perplexity.reference(), summary[name]["perplexity"].get<double>(), 1e-4);
    EXPECT_NEAR(perplexity.excess(), 0.0, 1e-9);
  }
  EXPECT_EQ(read_logits_file(kGoldens + "tiny_logits.bin").size(),
            summary["tiny"]["logits_cases"].get<size_t>());
}

class BrokenGoldenFile : public checkpoint::FolderTest {};

TEST_F(BrokenGoldenFile, IsRefused) {
  const std::string whole = bytes_of(kGoldens + "tiny_bf16.bin");
  EXPECT_NO_THROW(read_top_file(write("whole.bin", whole)));
  for (const size_t size : {size_t{0}, size_t{7}, size_t{12}, whole.size() / 2, whole.size() - 1})
    EXPECT_THROW(read_top_file(write("cut.bin", whole.substr(0, size))), std::runtime_error);
  EXPECT_THROW(read_top_file(write("longer.bin", whole + "x")), std::runtime_error);
  EXPECT_THROW(read_logits_file(write("other.bin", whole)), std::runtime_error);
  EXPECT_THROW(read_top_file(folder_ / "absent.bin"), std::runtime_error);
}

TEST(Kl, IsThatOfTheBuckets) {
  const int32_t ids[] = {7, 9};
  const float p[] = {std::log(0.5f), std::log(0.3f)};  // and 0.2 for the rest
  const auto ours = [](double q7, double q9) {
    return LogprobList{{7, static_cast<float>(std::log(q7))},
                       {9, static_cast<float>(std::log(q9))}};
  };
  int64_t num_absent = 0;
  EXPECT_NEAR(kl_of(ids, p, 2, ours(0.5, 0.3), &num_absent), 0.0, 1e-6);
  const double expected =
      0.5 * std::log(0.5 / 0.25) + 0.3 * std::log(0.3 / 0.35) + 0.2 * std::log(0.2 / 0.4);
  EXPECT_NEAR(kl_of(ids, p, 2, ours(0.25, 0.35), &num_absent), expected, 1e-6);
  EXPECT_EQ(num_absent, 0);
  // An id that we do not list costs more than any that we do.
  EXPECT_GT(kl_of(ids, p, 2, {{7, std::log(0.5f)}}, &num_absent), 5.0);
  EXPECT_EQ(num_absent, 1);
}

TEST(Agreement, CountsTheFirstIds) {
  TopCase c;
  c.ids = {1, 2, 3};
  c.num_positions = 2;
  c.k = 1;
  c.top_ids = {4, 5};
  c.top_logprobs = {std::log(0.9f), std::log(0.9f)};
  const LogprobList right = {{4, std::log(0.9f)}}, wrong = {{6, std::log(0.8f)}, {5, -3.0f}};
  const Agreement agreement = compare_lists(c, {right, wrong});
  EXPECT_EQ(agreement.num_positions, 2);
  EXPECT_EQ(agreement.num_agreed, 1);
  EXPECT_EQ(agreement.top1(), 0.5);
  EXPECT_GT(agreement.mean_kl(), 0.1);
}

}  // namespace
}  // namespace weft::golden
