// The table of docs/parallelism.md is what the cuts say today: a change of a cut that forgets the
// page fails here, and prints the rows that the page should hold.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "parallel/partition.h"

namespace weft::parallel {
namespace {

struct Shape {
  const char* name;
  int64_t layers, heads, kv_heads, head_dim, ffn;
};

std::string row_of(const Shape& shape, int64_t ranks) {
  const std::vector<double> weights(static_cast<size_t>(ranks), 1.0);
  std::vector<double> load(weights.size(), 0.0), kv_total(weights.size(), 0.0);
  std::vector<int64_t> heads, kv_heads, units;
  double attention_work = 0;  // of the slowest rank, in heads' weights
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const auto shares = cut_attention(shape.heads, shape.kv_heads, weights, 1.0, load);
    for (size_t r = 0; r < shares.size(); ++r) {
      load[r] += attention_memory(shares[r]);
      kv_total[r] += static_cast<double>(shares[r].kv_heads.size());
      if (layer > 0) continue;
      heads.push_back(shares[r].heads.size());
      kv_heads.push_back(shares[r].kv_heads.size());
      attention_work =
          std::max(attention_work, static_cast<double>(heads.back() + kv_heads.back()));
    }
  }
  const auto num_units = static_cast<int64_t>(ffn_units(shape.ffn).size());
  std::vector<double> ffn;
  for (const Range& range : partition_units(num_units, weights)) {
    units.push_back(range.size());
    ffn.push_back(static_cast<double>(range.size()));
  }
  const auto whole = static_cast<double>(shape.heads + shape.kv_heads);
  const auto n = static_cast<double>(ranks);
  const double attention = attention_work * n / whole;
  const double attention_bytes = 2.0 * static_cast<double>(shape.head_dim) * whole;
  const double ffn_bytes = 3.0 * static_cast<double>(shape.ffn);
  const double layer = (attention_bytes * attention + ffn_bytes * imbalance(ffn, weights)) /
                       (attention_bytes + ffn_bytes);
  const double cache = *std::max_element(kv_total.begin(), kv_total.end()) * n /
                       static_cast<double>(shape.layers * shape.kv_heads);
  return fmt::format("| {} | {} | {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |", ranks,
                     fmt::join(heads, "+"), fmt::join(kv_heads, "+"), fmt::join(units, "+"),
                     attention, imbalance(ffn, weights), layer, cache);
}

TEST(ImbalanceTable, ThePageSaysWhatTheCutsSay) {
  const auto page = std::filesystem::path(__FILE__).parent_path() / "../../docs/parallelism.md";
  std::ifstream file(page);
  ASSERT_TRUE(file.is_open()) << page;
  std::stringstream text;
  text << file.rdbuf();
  const Shape shapes[] = {{"SmolLM2-135M", 30, 9, 3, 64, 1536},
                          {"Qwen2.5-0.5B", 24, 14, 2, 64, 4864},
                          {"Llama-3.1-8B", 32, 32, 8, 128, 14336}};
  for (const Shape& shape : shapes) {
    std::string table;
    for (int64_t ranks = 1; ranks <= 8; ++ranks) table += row_of(shape, ranks) + "\n";
    EXPECT_NE(text.str().find(table), std::string::npos)
        << "docs/parallelism.md should hold, for " << shape.name << ":\n"
        << table;
  }
}

}  // namespace
}  // namespace weft::parallel
