// What the choice of one token costs on one thread: the head's pass over a row of logits and what
// model/choice.h does with it, for each kind of request, beside the greedy pass alone.
//
//   build/bench/sampling/choice_cost
//
// Rows are normal random numbers, of a peaked (spread 3) and of a flat (spread 1) distribution; the
// figures are microseconds a row, the best of fifteen runs of eight rows.
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/clock.h"
#include "model/choice.h"

namespace weft::model {
namespace {

constexpr size_t kRows = 8, kRuns = 15, kMost = Chooser::kMostCandidates;

struct Kind {
  const char* name;
  LogitRow row;
  int32_t num_adjustments = 0;
  bool masked = false;
};

const Kind kKinds[] = {
    {"greedy", {}},
    {"temperature", {.temperature = 1}},
    {"top_k 50", {.temperature = 1, .top_k = 50}},
    {"top_p 0.95, min_p 0.05", {.temperature = 1, .top_p = 0.95f, .min_p = 0.05f}},
    {"top_p 0.5", {.temperature = 1, .top_p = 0.5f}},
    {"top_p 0.9", {.temperature = 1, .top_p = 0.9f}},
    {"top_k 500, top_p 0.9", {.temperature = 1, .top_k = 500, .top_p = 0.9f}},
    {"typical_p 0.9", {.temperature = 1, .typical_p = 0.9f}},
    {"greedy, 1,000 ids penalised", {.repetition_penalty = 1.1f}, 1000},
    {"greedy, half the ids allowed", {}, 0, true},
};

class Bench {
 public:
  Bench(int64_t vocab_size, float spread)
      : vocab_size_(vocab_size),
        team_(1),
        solo_(comm::make_solo()),
        table_(kernels::choose_table()),
        best_(kRows * kMost) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    raw_.resize(kRows * static_cast<size_t>(vocab_size));
    for (float& logit : raw_) logit = spread * normal(random);
  }

  double microseconds(const Kind& kind) {
    std::vector<float> logits = raw_;
    LogitShards shards(table_, team_, *solo_, {{{0, vocab_size_}, logits.data(), vocab_size_}});
    Chooser chooser(shards, vocab_size_);
    fill(kind);
    int64_t shortest = 0;
    for (size_t run = 0; run < kRuns; ++run) {
      std::copy(raw_.begin(), raw_.end(), logits.begin());
      const int64_t begin = now_ns();
      step(shards, chooser);
      const int64_t taken = now_ns() - begin;
      if (run == 0 || taken < shortest) shortest = taken;
    }
    return static_cast<double>(shortest) / 1e3 / kRows;
  }

 private:
  void fill(const Kind& kind) {
    adjustments_.clear();
    for (int32_t i = 0; i < kind.num_adjustments; ++i)
      adjustments_.push_back({.id = static_cast<int32_t>(int64_t{i} * 7919 % vocab_size_),
                              .penalty = 0.1f,
                              .repeated = 1});
    masks_.assign(kind.masked ? static_cast<size_t>(ceil_div(vocab_size_, 32)) : 0, 0xffff0000u);
    batch_.rows.assign(kRows, kind.row);
    for (size_t i = 0; i < kRows; ++i) {
      batch_.rows[i].position = static_cast<int64_t>(i);
      batch_.rows[i].adjustments = {0, kind.num_adjustments};
      batch_.rows[i].mask = {0, static_cast<int64_t>(masks_.size())};
    }
    batch_.adjustments = adjustments_;
    batch_.masks = masks_;
  }

  void step(LogitShards& shards, Chooser& chooser) {
    std::vector<RowResult>& results = results_;
    results.resize(kRows);
    float max[kRows];
    for (size_t i = 0; i < kRows; ++i) {
      int64_t num_nan = 0;
      table_.top_k(shards[0].row(static_cast<int64_t>(i)), vocab_size_, 0,
                   std::max(1, Chooser::num_raw_best(batch_.rows[i])), best_.data() + i * kMost,
                   &num_nan);
      max[i] = best_[i * kMost].logit;
    }
    chooser.run(batch_, {0, kRows}, max, {best_.data(), 0, kMost}, results);
  }

  int64_t vocab_size_;
  ThreadTeam team_;
  std::unique_ptr<comm::Communicator> solo_;
  const kernels::KernelTable& table_;
  std::vector<float> raw_;
  std::vector<kernels::Candidate> best_;
  std::vector<TokenAdjustment> adjustments_;
  std::vector<uint32_t> masks_;
  std::vector<RowResult> results_;
  Batch batch_;
};

}  // namespace
}  // namespace weft::model

int main() {
  using weft::model::Bench;
  weft::prepare_this_thread();
  fmt::print("{:30}{:>12}{:>12}{:>12}{:>12}\n", "us a row", "49,152", "flat", "151,936", "flat");
  Bench benches[] = {{49'152, 3.0f}, {49'152, 1.0f}, {151'936, 3.0f}, {151'936, 1.0f}};
  for (const weft::model::Kind& kind : weft::model::kKinds) {
    fmt::print("{:30}", kind.name);
    for (Bench& bench : benches) fmt::print("{:12.1f}", bench.microseconds(kind));
    fmt::print("\n");
  }
}
