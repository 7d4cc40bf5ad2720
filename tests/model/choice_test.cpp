// The choice against a plain one that sees the whole row, sorts it and adds up in integers, for
// random logits, parameters and cuts of the vocabulary into shards and members.
#include "model/choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "base/random.h"

namespace weft::model {
namespace {

using kernels::KernelTable;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A batch that owns what its spans show.
struct Rows {
  Batch batch;
  std::vector<TokenAdjustment> adjustments;
  std::vector<uint32_t> masks;
  std::vector<std::vector<float>> logits;  // a row each

  void add(LogitRow row, std::vector<float> values, const std::vector<TokenAdjustment>& adjusted,
           const std::vector<uint32_t>& mask) {
    const auto append = [](auto& to, const auto& from) {
      const auto begin = static_cast<int64_t>(to.size());
      to.insert(to.end(), from.begin(), from.end());
      return Range{begin, static_cast<int64_t>(to.size())};
    };
    row.adjustments = append(adjustments, adjusted);
    row.mask = append(masks, mask);
    row.position = static_cast<int64_t>(logits.size());
    batch.rows.push_back(row);
    logits.push_back(std::move(values));
    batch.adjustments = adjustments;
    batch.masks = masks;
  }
  int64_t vocab_size() const { return static_cast<int64_t>(logits[0].size()); }
};

// ---------------------------------------------------------------- the plain choice

struct Plain {
  float logit;
  int32_t id;
  int64_t weight;
};

int64_t mass_of(const std::vector<Plain>& all) {
  int64_t mass = 0;
  for (const Plain& p : all) mass += p.weight;
  return mass;
}

void keep_share(std::vector<Plain>& sorted, float share) {
  const int64_t mass = mass_of(sorted);
  const auto target = std::max<int64_t>(
      1, std::min(mass, static_cast<int64_t>(
                            std::ceil(static_cast<double>(share) * static_cast<double>(mass)))));
  int64_t sum = 0;
  size_t count = 0;
  while (sum < target) sum += sorted[count++].weight;
  sorted.resize(count);
}

void keep_typical(std::vector<Plain>& kept, float share, float max, float inverse,
                  const KernelTable& table) {
  const auto scaled = [&](float l) { return std::min(0.0f, (l - max) * inverse); };
  int64_t moment = 0;
  for (const Plain& p : kept) {
    kernels::KeptIds all;
    all.max = max;
    all.inv_temperature = inverse;
    moment += table.kept_moment(&p.logit, 1, 0, all);
  }
  const auto centre =
      static_cast<float>(static_cast<double>(moment) / static_cast<double>(mass_of(kept)));
  std::sort(kept.begin(), kept.end(), [&](const Plain& a, const Plain& b) {
    const float da = std::fabs(scaled(a.logit) - centre), db = std::fabs(scaled(b.logit) - centre);
    return da != db ? da < db : a.id < b.id;
  });
  keep_share(kept, share);
}

// -1 where nothing is allowed.
int32_t plain_choice(const Rows& rows, size_t index, const KernelTable& table,
                     std::vector<int32_t>* kept_ids = nullptr) {
  const LogitRow& row = rows.batch.rows[index];
  std::vector<float> logits = rows.logits[index];
  for (size_t id = 0; id < logits.size() && !row.mask.empty(); ++id) {
    const uint32_t word = rows.masks[static_cast<size_t>(row.mask.begin) + id / 32];
    if ((word >> (id % 32) & 1u) == 0) logits[id] = -kInfinity;
  }
  for (int64_t i = row.adjustments.begin; i < row.adjustments.end; ++i) {
    const TokenAdjustment& a = rows.adjustments[static_cast<size_t>(i)];
    float& l = logits[static_cast<size_t>(a.id)];
    l += a.bias;
    if (a.repeated != 0) l = l > 0 ? l / row.repetition_penalty : l * row.repetition_penalty;
    l -= a.penalty;
  }
  std::vector<Plain> all;
  for (size_t id = 0; id < logits.size(); ++id)
    all.push_back({logits[id], static_cast<int32_t>(id), 0});
  std::sort(all.begin(), all.end(), [](const Plain& a, const Plain& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  });
  const float max = all[0].logit;
  if (max == -kInfinity) return -1;
  if (row.temperature == 0.0f) return all[0].id;
  const float inverse = 1.0f / row.temperature;
  for (Plain& p : all) table.weigh(&p.logit, 1, max, inverse, &p.weight);
  if (row.min_p > 0.0f) {
    const auto lowest = static_cast<float>(kernels::log_double(row.min_p));
    std::erase_if(all, [&](const Plain& p) { return (p.logit - max) * inverse < lowest; });
  }
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < all.size())
    all.resize(static_cast<size_t>(row.top_k));
  if (row.top_p < 1.0f) keep_share(all, row.top_p);
  if (row.typical_p < 1.0f) keep_typical(all, row.typical_p, max, inverse, table);
  std::sort(all.begin(), all.end(), [](const Plain& a, const Plain& b) { return a.id < b.id; });
  if (kept_ids != nullptr)
    for (const Plain& p : all) kept_ids->push_back(p.id);
  int64_t point = locate_point(
      uniform_bits(row.seed, row.choice, static_cast<uint64_t>(row.position)), mass_of(all));
  for (const Plain& p : all) {
    if (point < p.weight) return p.id;
    point -= p.weight;
  }
  return -2;
}

// ---------------------------------------------------------------- the choice over shards

// Cuts at multiples of 32, as the vocabulary's are: `members` threads of `shards` shards each.
struct Split {
  int members = 1, shards = 1, threads = 1;
  std::vector<Range> parts;  // [members * shards] of ids, some maybe empty
};

Split make_split(int members, int shards, int64_t vocab_size, std::mt19937& random) {
  Split split{.members = members, .shards = shards, .threads = 1 + static_cast<int>(random() % 2)};
  std::vector<int64_t> ends;
  for (int i = 1; i < members * shards; ++i)
    ends.push_back(std::min<int64_t>(vocab_size, 32 * (random() % (ceil_div(vocab_size, 32) + 1))));
  ends.push_back(vocab_size);
  std::sort(ends.begin(), ends.end());
  int64_t begin = 0;
  for (const int64_t end : ends) {
    split.parts.push_back({begin, end});
    begin = end;
  }
  return split;
}

std::vector<RowResult> run_member(const Rows& rows, const Split& split, int member,
                                  const KernelTable& table, comm::Communicator& communicator) {
  ThreadTeam team(split.threads);
  prepare_this_thread();
  std::vector<std::vector<float>> memory;
  std::vector<LogitShards::Shard> shards;
  for (int s = 0; s < split.shards; ++s) {
    const Range vocab = split.parts[static_cast<size_t>(member * split.shards + s)];
    std::vector<float>& values = memory.emplace_back();
    for (const std::vector<float>& row : rows.logits)
      values.insert(values.end(), row.begin() + vocab.begin, row.begin() + vocab.end);
    values.resize(values.size() + 16);
    shards.push_back({vocab, nullptr, vocab.size()});
  }
  for (size_t s = 0; s < shards.size(); ++s) shards[s].logits = memory[s].data();
  ActivityClock clock;
  LogitShards logits(table, team, communicator, clock, shards);
  Chooser chooser(logits, rows.vocab_size());
  std::vector<RowResult> results(rows.logits.size());
  std::vector<float> raw_max;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto best = std::max_element(rows.logits[i].begin(), rows.logits[i].end());
    raw_max.push_back(*best);
    results[i].id = static_cast<int32_t>(best - rows.logits[i].begin());
  }
  constexpr size_t kMost = Chooser::kMostCandidates;
  std::vector<kernels::Candidate> best(shards.size() * results.size() * kMost);
  for (size_t s = 0; s < shards.size(); ++s) {
    for (size_t i = 0; i < results.size(); ++i) {
      int64_t num_nan = 0;
      table.top_k(shards[s].row(static_cast<int64_t>(i)), shards[s].size(), shards[s].first_id(),
                  Chooser::num_raw_best(rows.batch.rows[i]),
                  best.data() + (s * results.size() + i) * kMost, &num_nan);
    }
  }
  chooser.run(rows.batch, {0, static_cast<int64_t>(results.size())}, raw_max,
              {best.data(), results.size() * kMost, kMost}, results);
  for (size_t i = 0; i < results.size(); ++i) {
    const int32_t id = results[i].id;
    for (size_t s = 0; s < shards.size(); ++s) {
      if (!shards[s].vocab.contains(id)) continue;
      EXPECT_EQ(chooser.raw_logit(rows.batch, rows.batch.rows[i], static_cast<int64_t>(i), s, id),
                rows.logits[i][static_cast<size_t>(id)]);
    }
  }
  return results;
}

// Ids of the choices, -1 where nothing was allowed; the same from every member.
std::vector<int32_t> choices(const Rows& rows, const Split& split, const KernelTable& table) {
  std::vector<std::vector<RowResult>> results(static_cast<size_t>(split.members));
  auto group = comm::make_thread_group(split.members);
  std::vector<std::thread> threads;
  for (int m = 0; m < split.members; ++m)
    threads.emplace_back([&, m] {
      const auto at = static_cast<size_t>(m);
      results[at] = run_member(rows, split, m, table, *group[at]);
    });
  for (std::thread& thread : threads) thread.join();
  std::vector<int32_t> ids;
  for (size_t i = 0; i < rows.logits.size(); ++i) {
    ids.push_back(results[0][i].id);
    for (const auto& of_member : results) {
      EXPECT_EQ(of_member[i].id, ids.back());
      EXPECT_EQ(of_member[i].no_choice, of_member[i].id < 0);
    }
  }
  return ids;
}

const KernelTable& any_table(unsigned number) {
  std::vector<const KernelTable*> tables;
  for (const auto isa :
       {kernels::Isa::kPortable, kernels::Isa::kAvx2, kernels::Isa::kAvx512, kernels::Isa::kNeon})
    if (const KernelTable* table = kernels::table_for(isa)) tables.push_back(table);
  return *tables[number % tables.size()];
}

std::vector<int32_t> plain_choices(const Rows& rows, const KernelTable& table) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < rows.logits.size(); ++i) ids.push_back(plain_choice(rows, i, table));
  return ids;
}

// ---------------------------------------------------------------- random rows

// Peaked, flat, full of ties, or partly forbidden.
std::vector<float> random_logits(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const float spread = std::vector<float>{0.0f, 0.01f, 1.0f, 4.0f, 15.0f}[random() % 5];
  const bool ties = random() % 3 == 0, holes = random() % 4 == 0;
  std::vector<float> logits;
  for (int64_t i = 0; i < count; ++i) {
    float l = spread * normal(random) - 2.0f;
    if (ties) l = std::round(l);
    if (holes && random() % 3 == 0 && i > 0) l = -kInfinity;
    if (random() % 50 == 0) l = random() % 2 == 0 ? -0.0f : 0.0f;
    logits.push_back(l);
  }
  return logits;
}

template <typename T>
T pick(std::initializer_list<T> from, std::mt19937& random) {
  return std::data(from)[random() % from.size()];
}

LogitRow random_row(int64_t vocab_size, std::mt19937& random) {
  LogitRow row;
  row.seed = random();
  row.choice = random() % 4;
  row.temperature = pick({0.0f, 0.01f, 0.5f, 1.0f, 1.0f, 1.3f, 50.0f}, random);
  const auto vocab = static_cast<int32_t>(vocab_size);
  row.top_k =
      pick({0, 0, -1, 1, 2, 40, 64, 65, 128, 129, 300, vocab - 1, vocab, vocab + 7}, random);
  row.top_p = pick({1.0f, 1.0f, 1e-9f, 0.1f, 0.5f, 0.9f, 0.99f, 0.9999f}, random);
  row.min_p = pick({0.0f, 0.0f, 0.0f, 1e-6f, 0.05f, 0.5f, 1.0f}, random);
  row.typical_p = pick({1.0f, 1.0f, 1.0f, 1e-9f, 0.2f, 0.9f, 0.999f}, random);
  row.repetition_penalty = pick({1.0f, 0.8f, 1.2f}, random);
  return row;
}

std::vector<TokenAdjustment> random_adjustments(int64_t vocab_size, std::mt19937& random) {
  std::vector<TokenAdjustment> all;
  for (unsigned i = random() % 3 == 0 ? random() % 40 : 0; i > 0; --i) {
    TokenAdjustment a;
    a.id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
    a.bias = pick({0.0f, -kInfinity, 5.0f, -1.5f, 100.0f}, random);
    a.penalty = pick({0.0f, 0.5f, -2.0f}, random);
    a.repeated = random() % 2;
    all.push_back(a);
  }
  return all;
}

std::vector<uint32_t> random_mask(int64_t vocab_size, std::mt19937& random) {
  std::vector<uint32_t> mask;
  if (random() % 3 != 0) return mask;
  mask.resize(static_cast<size_t>(ceil_div(vocab_size, 32)));
  const unsigned kind = random() % 4;
  for (uint32_t& word : mask) {
    word = kind == 0 ? 0 : static_cast<uint32_t>(random());
    if (kind == 2) word |= static_cast<uint32_t>(random());
  }
  if (kind == 0 && random() % 4 != 0)  // one id alone
    mask[random() % mask.size()] =
        1u << random() % static_cast<unsigned>(vocab_size < 32 ? vocab_size : vocab_size % 32 + 1);
  return mask;
}

Rows random_rows(int64_t vocab_size, int count, std::mt19937& random) {
  Rows rows;
  for (int i = 0; i < count; ++i)
    rows.add(random_row(vocab_size, random), random_logits(vocab_size, random),
             random_adjustments(vocab_size, random), random_mask(vocab_size, random));
  return rows;
}

TEST(Choice, IsThePlainOneForAnyCut) {
  prepare_this_thread();
  std::mt19937 random(1);
  int none = 0;
  for (int round = 0; round < 150; ++round) {
    const int64_t vocab_size = pick<int64_t>({1, 5, 31, 64, 100, 500, 2000, 5003, 9000}, random);
    const Rows rows = random_rows(vocab_size, 8, random);
    const KernelTable& table = any_table(static_cast<unsigned>(random()));
    const std::vector<int32_t> expected = plain_choices(rows, table);
    none += static_cast<int>(std::count(expected.begin(), expected.end(), -1));
    for (const int members : {1, 2, 3}) {
      const int shards = 1 + static_cast<int>(random() % (members == 1 ? 7 : 2));
      const Split split = make_split(members, shards, vocab_size, random);
      ASSERT_EQ(choices(rows, split, table), expected)
          << "round " << round << " vocabulary " << vocab_size << " members " << members
          << " shards " << shards << " " << table.name;
    }
  }
  EXPECT_GT(none, 0);
}

// Each filter alone, at the edges of its range, against the ids that may be drawn at all.
TEST(Choice, DrawsWhatIsKeptAndNothingElse) {
  prepare_this_thread();
  std::mt19937 random(2);
  const int64_t vocab_size = 300;
  const LogitRow shapes[] = {
      {.temperature = 1, .top_k = 1},
      {.temperature = 1, .top_k = 3},
      {.temperature = 1, .top_k = 200},
      {.temperature = 1, .top_p = 1e-9f},
      {.temperature = 1, .top_p = 0.3f},
      {.temperature = 1, .min_p = 1},
      {.temperature = 1, .min_p = 0.5f},
      {.temperature = 1, .typical_p = 1e-9f},
      {.temperature = 1, .typical_p = 0.3f},
      {.temperature = 1, .top_k = 5, .typical_p = 0.5f},
      {.temperature = 1, .top_k = 250, .top_p = 0.5f, .min_p = 0.01f, .typical_p = 0.5f}};
  for (const LogitRow& shape : shapes) {
    std::vector<float> logits;
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < vocab_size; ++i) logits.push_back(std::round(2 * normal(random)));
    Rows rows;
    for (uint64_t seed = 0; seed < 400; ++seed) {
      LogitRow row = shape;
      row.seed = seed;
      rows.add(row, logits, {}, {});
    }
    std::vector<int32_t> kept;
    plain_choice(rows, 0, any_table(0), &kept);
    std::set<int32_t> drawn;
    for (const int32_t id : choices(rows, make_split(1, 3, vocab_size, random), any_table(1)))
      drawn.insert(id);
    for (const int32_t id : drawn)
      EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), id)) << id;
    if (kept.size() < 6) {
      EXPECT_EQ(drawn.size(), kept.size());
    }
  }
}

// A hand-made row whose kept ids can be counted on the fingers.
TEST(Choice, KeepsThePrefixThatTheDocumentationNames) {
  prepare_this_thread();
  const KernelTable& table = any_table(0);
  // Probabilities 0.4, 0.3, 0.1, 0.1, 0.1, in another order of ids.
  const float a = std::log(0.4f), b = std::log(0.3f), c = std::log(0.1f);
  const std::vector<float> logits = {c, b, c, a, c};
  const auto kept = [&](const LogitRow& row) {
    Rows rows;
    rows.add(row, logits, {}, {});
    std::vector<int32_t> ids;
    plain_choice(rows, 0, table, &ids);
    std::set<int32_t> drawn;
    Rows many;
    for (uint64_t seed = 0; seed < 300; ++seed) {
      LogitRow one = row;
      one.seed = seed;
      many.add(one, logits, {}, {});
    }
    for (const int32_t id : choices(many, {.parts = {{0, 5}}}, table)) drawn.insert(id);
    EXPECT_EQ(std::vector<int32_t>(drawn.begin(), drawn.end()), ids);
    return ids;
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(kept({.temperature = 1}), (Ids{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept({.temperature = 1, .top_k = 3}), (Ids{0, 1, 3}));  // of a tie the smaller id
  EXPECT_EQ(kept({.temperature = 1, .top_p = 0.39f}), (Ids{3}));
  EXPECT_EQ(kept({.temperature = 1, .top_p = 0.41f}), (Ids{1, 3}));
  EXPECT_EQ(kept({.temperature = 1, .top_p = 0.75f}), (Ids{0, 1, 3}));
  EXPECT_EQ(kept({.temperature = 1, .min_p = 0.7f}), (Ids{1, 3}));
  // top_p is a share of what top_k left: 0.3 of 0.7 is 43 %.
  EXPECT_EQ(kept({.temperature = 1, .top_k = 2, .top_p = 0.57f}), (Ids{3}));
  EXPECT_EQ(kept({.temperature = 1, .top_k = 2, .top_p = 0.58f}), (Ids{1, 3}));
  // The entropy is 1.419: surprise 1.204 of id 1 is nearest to it, then 0.916, then 2.303.
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.29f}), (Ids{1}));
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.69f}), (Ids{1, 3}));
  EXPECT_EQ(kept({.temperature = 1, .typical_p = 0.75f}), (Ids{0, 1, 3}));
}

// Pearson's test over the kept ids, of 20,000 draws with fixed seeds, by candidates and by search.
TEST(Choice, FollowsTheDistribution) {
  prepare_this_thread();
  std::mt19937 random(3);
  constexpr int kDraws = 20'000;
  for (const LogitRow& shape :
       {LogitRow{.temperature = 0.8f}, LogitRow{.temperature = 1.0f, .top_k = 20},
        LogitRow{.temperature = 1.2f, .top_p = 0.9f}, LogitRow{.temperature = 1, .top_k = 150},
        LogitRow{.temperature = 1, .typical_p = 0.7f}}) {
    std::vector<float> logits;
    for (int i = 0; i < 200; ++i) logits.push_back(static_cast<float>(random() % 1000) / 400.0f);
    std::vector<int64_t> drawn(200);
    Split split = make_split(1, 2, 200, random);
    split.threads = 1;
    std::vector<int32_t> kept;
    for (int block = 0; block < kDraws / 400; ++block) {
      Rows rows;
      for (int i = 0; i < 400; ++i) {
        LogitRow row = shape;
        row.seed = 5;
        row.choice = static_cast<uint32_t>(block);
        rows.add(row, logits, {}, {});
      }
      if (kept.empty()) plain_choice(rows, 0, any_table(0), &kept);
      for (const int32_t id : choices(rows, split, any_table(1))) ++drawn[static_cast<size_t>(id)];
    }
    double total = 0, chi_square = 0;
    const auto weight = [&](int32_t id) {
      return std::exp(static_cast<double>(logits[static_cast<size_t>(id)]) / shape.temperature);
    };
    for (const int32_t id : kept) total += weight(id);
    for (const int32_t id : kept) {
      const double expected = kDraws * weight(id) / total;
      const double off = static_cast<double>(drawn[static_cast<size_t>(id)]) - expected;
      chi_square += off * off / expected;
    }
    // Four standard deviations of a chi-square of as many degrees.
    const auto degrees = static_cast<double>(kept.size() - 1);
    EXPECT_LT(chi_square, degrees + 4 * std::sqrt(2 * degrees)) << shape.top_k;
  }
}

TEST(Choice, AnswersOfOneRequestDifferAndComeAgain) {
  prepare_this_thread();
  std::mt19937 random(4);
  Rows rows;
  const std::vector<float> logits(5000, 0.5f);
  for (uint32_t choice = 0; choice < 16; ++choice)
    rows.add({.temperature = 1, .seed = 9, .choice = choice}, logits, {}, {});
  for (LogitRow& row : rows.batch.rows) row.position = 3;
  const Split split = make_split(2, 2, 5000, random);
  const std::vector<int32_t> ids = choices(rows, split, any_table(0));
  EXPECT_EQ(choices(rows, split, any_table(1)), ids);
  EXPECT_GT(std::set<int32_t>(ids.begin(), ids.end()).size(), 14u);
}

TEST(Choice, OfOneAllowedIdIsThatId) {
  prepare_this_thread();
  std::mt19937 random(5);
  for (const int64_t vocab_size : {1, 33, 700}) {
    for (const float temperature : {0.0f, 1.0f}) {
      const auto id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
      std::vector<uint32_t> mask(static_cast<size_t>(ceil_div(vocab_size, 32)));
      mask[static_cast<size_t>(id) / 32] = 1u << (id % 32);
      Rows rows;
      const std::vector<float> logits = random_logits(vocab_size, random);
      for (const float top_p : {1.0f, 0.5f, 1e-9f})
        rows.add({.temperature = temperature, .top_p = top_p, .typical_p = top_p},
                 std::vector<float>(static_cast<size_t>(vocab_size), 1.0f), {}, mask);
      const std::vector<TokenAdjustment> all_but_none = {{.id = id, .bias = -kInfinity}};
      rows.add({.temperature = temperature}, logits, all_but_none, mask);
      const Split split = make_split(2, 1, vocab_size, random);
      EXPECT_EQ(choices(rows, split, any_table(0)), (std::vector<int32_t>{id, id, id, -1}));
    }
  }
}

}  // namespace
}  // namespace weft::model
