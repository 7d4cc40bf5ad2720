// 100,000 random operations on a prefix cache, held against a model that is a plain list, and
// against the contents of blocks as workers would leave them: every plan first copies, then
// writes, then reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "base/range.h"
#include "cache/prefix_cache.h"

namespace weft::cache {
namespace {

constexpr int64_t kBlock = 4;
constexpr int64_t kNumBlocks = 40;
constexpr int64_t kLongest = 40;  // tokens of a sequence
constexpr size_t kMostSequences = 7;
constexpr int64_t kFewestCopied = 2;
using Tokens = std::vector<int32_t>;

// What a slot holds once the model wrote position t: a number made of the salt and tokens [0, t].
uint64_t written(uint64_t salt, const Tokens& tokens, int64_t t) {
  uint64_t hash = salt + 1;
  for (int64_t i = 0; i <= t; ++i)
    hash = hash * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(tokens[static_cast<size_t>(i)]) + 1;
  return hash;
}

struct Sequence {
  uint64_t salt = 0;
  Tokens tokens;
  int64_t num_computed = 0;
  int64_t num_published = 0;
  int64_t plan_begin = -1;  // first position that the plan being made writes; -1: not in it
  BlockTable table;
};

// A published block, by the tokens from the beginning to its end.
struct Entry {
  uint64_t salt = 0;
  Tokens path;
  int64_t written_by = 0;
  int64_t last_held = 0;  // it, or a block under it, became idle in the operation after this one
};

class RandomOperations {
 public:
  explicit RandomOperations(uint64_t seed) : random_(seed) {}

  void run(int64_t num_operations) {
    for (num_operation_ = 1; num_operation_ <= num_operations; ++num_operation_) {
      one_operation();
      note_holders();
      check();
      if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) {
        ADD_FAILURE() << "at operation " << num_operation_;
        return;
      }
    }
    sequences_.clear();
    cache_.next_plan();
    EXPECT_EQ(cache_.num_available(), kNumBlocks);
    cache_.clear();
    EXPECT_EQ(pool_.num_free(), kNumBlocks);
    // That the run reached what it is for.
    EXPECT_GT(num_copies_, num_operations / 200);
    EXPECT_GT(num_exchanged_, num_operations / 2000);
    EXPECT_GT(cache_.stats().num_evicted, num_operations / 20);
    EXPECT_GT(cache_.stats().num_withdrawn, num_operations / 200);
    EXPECT_GT(cache_.stats().hit_tokens, num_operations / 10);
  }

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  // Few tokens, so that prefixes meet.
  int32_t token() { return below(8) == 0 ? 2 : static_cast<int32_t>(below(2)); }
  Sequence* any_sequence() {
    return sequences_.empty()
               ? nullptr
               : &sequences_[static_cast<size_t>(below(static_cast<int64_t>(sequences_.size())))];
  }
  void end(Sequence* sequence) {
    sequence->table.release();
    sequences_.erase(sequences_.begin() + (sequence - sequences_.data()));
  }

  void one_operation() {
    Sequence* sequence = any_sequence();
    const bool waits = sequence != nullptr && sequence->plan_begin < 0;
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
        return start();
      case 3:
        return waits ? finish(sequence) : start();
      case 4:
        return waits && below(3) == 0 ? end(sequence) : end_plan();
      case 5:
        return waits ? fork(*sequence) : start();
      case 6:
        return make_room(below(kNumBlocks / 2));
      case 7:
        return look();
      case 8:
        return below(400) == 0 ? clear() : look();
      case 9:
      case 10:
        return end_plan();
      default:
        return waits ? advance(*sequence) : start();
    }
  }

  // ------------------------------------------------------------- the model's answers

  // The published block that ends the path of these tokens; -1: none.
  int32_t block_of(uint64_t salt, std::span<const int32_t> path) const {
    for (const auto& [block, entry] : entries_)
      if (entry.salt == salt && std::ranges::equal(entry.path, path)) return block;
    return -1;
  }
  static std::span<const int32_t> first(const Tokens& tokens, int64_t n) {
    return std::span<const int32_t>(tokens).first(static_cast<size_t>(n));
  }
  static bool hangs_under(const Entry& entry, const Entry& above) {
    return entry.salt == above.salt && entry.path.size() > above.path.size() &&
           std::equal(above.path.begin(), above.path.end(), entry.path.begin());
  }
  std::set<int32_t> blocks_of_sequences() const {
    std::set<int32_t> blocks;
    for (const Sequence& s : sequences_) blocks.insert(s.table.ids().begin(), s.table.ids().end());
    return blocks;
  }
  bool is_idle(const Entry& entry, const std::set<int32_t>& held) const {
    return std::ranges::none_of(entries_, [&](const auto& other) {
      return held.contains(other.first) &&
             (&other.second == &entry || hangs_under(other.second, entry));
    });
  }

  void check_match(const Sequence& s, int64_t limit, const PrefixMatch& match) const {
    const int64_t all = std::min<int64_t>(limit, static_cast<int64_t>(s.tokens.size()));
    int64_t n = 0;
    for (; n + kBlock <= all; n += kBlock) {
      const int32_t block = block_of(s.salt, first(s.tokens, n + kBlock));
      if (block < 0) break;
      ASSERT_LT(static_cast<size_t>(n / kBlock), match.blocks.size());
      ASSERT_EQ(match.blocks[static_cast<size_t>(n / kBlock)], block);
    }
    ASSERT_EQ(static_cast<int64_t>(match.blocks.size()), n / kBlock);
    // What siblings share past that; of several equally good ones the cache may choose.
    int64_t most = 0;
    bool any_earlier = false, any_now = false;
    for (const auto& [block, entry] : entries_) {
      if (entry.salt != s.salt || static_cast<int64_t>(entry.path.size()) <= n) continue;
      if (static_cast<int64_t>(entry.path.size()) > n + kBlock) continue;
      const auto differs = std::ranges::mismatch(entry.path, first(s.tokens, all)).in1;
      const int64_t shared = (differs - entry.path.begin()) - n;
      if (shared <= 0 || shared < most) continue;
      if (shared > most) any_earlier = any_now = false;
      most = shared;
      (entry.written_by < plan_ ? any_earlier : any_now) = true;
    }
    if (match.copy_from) {
      ASSERT_TRUE(any_earlier && most >= kFewestCopied);
      ASSERT_EQ(match.copied_tokens, most);
      ASSERT_LT(entries_.at(*match.copy_from).written_by, plan_);
    } else {
      ASSERT_TRUE(!any_earlier || any_now || most < kFewestCopied);
      ASSERT_EQ(match.copied_tokens, 0);
    }
    ASSERT_EQ(match.num_tokens, n + match.copied_tokens);
  }

  // ------------------------------------------------------------- operations

  Sequence new_sequence() {
    Sequence s{.salt = static_cast<uint64_t>(below(8) == 0), .table = BlockTable(pool_)};
    for (int64_t n = 1 + below(kLongest - 8); n > 0; --n) s.tokens.push_back(token());
    // Often the beginning is somebody else's.
    if (const Sequence* other = any_sequence(); other != nullptr && below(2) == 0) {
      const int64_t shared =
          below(static_cast<int64_t>(std::min(other->tokens.size(), s.tokens.size()) + 1));
      std::copy_n(other->tokens.begin(), shared, s.tokens.begin());
    }
    return s;
  }

  void start() {
    if (sequences_.size() == kMostSequences) return end_plan();
    Sequence s = new_sequence();
    const int64_t limit = static_cast<int64_t>(s.tokens.size()) - 1;
    PrefixMatch match;
    cache_.match(s.salt, s.tokens, limit, match);
    check_match(s, limit, match);
    refresh(match);
    held_by_match_ = match.blocks;
    if (match.copy_from) held_by_match_.push_back(*match.copy_from);
    if (match.copy_from) make_room(1);
    held_by_match_.clear();
    s.num_computed = match.num_tokens;
    s.num_published = static_cast<int64_t>(match.blocks.size());
    if (!s.table.begin(match, copies_)) return cache_.give_back(match);
    sequences_.push_back(std::move(s));
  }

  // Puts a chunk into the plan, and publishes what it fills before it is computed.
  void advance(Sequence& s) {
    const int64_t end = std::min(s.num_computed + 1 + below(10), kLongest);
    if (end == s.num_computed) return finish(&s);
    make_room(pool_.blocks_for(end) - s.table.num_blocks());
    if (!s.table.grow(end)) return;
    while (static_cast<int64_t>(s.tokens.size()) < end) s.tokens.push_back(token());
    s.plan_begin = s.num_computed;
    plan_tables_.emplace_back(s.table.ids().begin(), s.table.ids().end());
    plan_chunks_.push_back({s.salt, s.tokens, {s.num_computed, end}});
    s.num_computed = end;
    publish(s, false);
  }

  void publish(Sequence& s, bool at_end) {
    const std::vector<int32_t> before(s.table.ids().begin(), s.table.ids().end());
    const std::span<const int32_t> tokens = first(s.tokens, s.num_computed);
    const int64_t num_full = s.num_computed / kBlock;
    if (at_end) {
      cache_.publish_end(s.salt, tokens, s.table, s.num_published);
    } else {
      s.num_published = cache_.publish(s.salt, tokens, s.table, s.num_published);
      ASSERT_EQ(s.num_published, num_full);
    }
    for (int64_t i = 0; i < num_full; ++i) publish_in_model(s, (i + 1) * kBlock, before);
    const int64_t rest = s.num_computed % kBlock;
    if (!at_end || rest < kFewestCopied) return;
    for (const auto& [block, entry] : entries_)
      if (entry.salt == s.salt && entry.path.size() >= tokens.size() &&
          std::equal(tokens.begin(), tokens.end(), entry.path.begin()))
        return;
    publish_in_model(s, s.num_computed, before);
  }

  // The block that ends at token `end`.
  void publish_in_model(const Sequence& s, int64_t end, const std::vector<int32_t>& before) {
    const auto i = static_cast<size_t>((end - 1) / kBlock);
    const int32_t known = block_of(s.salt, first(s.tokens, end));
    ASSERT_EQ(s.table.ids()[i], known < 0 ? before[i] : known);
    if (known >= 0) {
      if (before[i] == known) return;
      ++num_exchanged_;
      exchanged_.push_back(before[i]);
      return;
    }
    const std::span<const int32_t> path = first(s.tokens, end);
    const Entry added{s.salt, {path.begin(), path.end()}, plan_, num_operation_ - 1};
    // A tail that this block goes on from leaves.
    std::erase_if(entries_, [&](const auto& other) {
      return other.second.path.size() % kBlock != 0 && hangs_under(added, other.second);
    });
    ASSERT_FALSE(entries_.contains(before[i]));
    entries_[before[i]] = added;
  }

  void finish(Sequence* s) {
    publish(*s, true);
    end(s);
  }

  void fork(const Sequence& parent) {
    if (sequences_.size() == kMostSequences) return;
    make_room(1);
    Sequence child{.salt = parent.salt,
                   .tokens = parent.tokens,
                   .num_computed = parent.num_computed,
                   .num_published = parent.num_published,
                   .table = BlockTable(pool_)};
    child.tokens.resize(static_cast<size_t>(parent.num_computed));
    if (child.tokens.empty() || !child.table.fork(parent.table, parent.num_computed, copies_))
      return;
    sequences_.push_back(std::move(child));
  }

  void make_room(int64_t num_blocks) {
    std::set<int32_t> held = blocks_of_sequences();
    held.insert(held_by_match_.begin(), held_by_match_.end());
    int64_t num_idle = 0;
    for (const auto& [block, entry] : entries_) num_idle += is_idle(entry, held) ? 1 : 0;
    const int64_t expected = std::clamp<int64_t>(num_blocks - pool_.num_free(), 0, num_idle);
    ASSERT_EQ(cache_.evict(num_blocks), expected);
    // Who went was idle for no shorter than who stayed, and left nobody hanging.
    int64_t num_gone = 0, last_gone = 0;
    for (auto it = entries_.begin(); it != entries_.end();) {
      if (cache_.is_published(it->first)) {
        ++it;
        continue;
      }
      ASSERT_TRUE(is_idle(it->second, held));
      last_gone = std::max(last_gone, it->second.last_held);
      ++num_gone;
      it = entries_.erase(it);
    }
    ASSERT_EQ(num_gone, expected);
    for (const auto& [block, entry] : entries_) {
      if (is_idle(entry, held)) {
        ASSERT_GE(entry.last_held, last_gone);
      }
      const int64_t parent_end = (static_cast<int64_t>(entry.path.size()) - 1) / kBlock * kBlock;
      ASSERT_TRUE(parent_end == 0 || block_of(entry.salt, first(entry.path, parent_end)) >= 0);
    }
  }

  void look() {
    const Sequence s = new_sequence();
    const int64_t limit = below(kLongest);
    PrefixMatch match;
    cache_.match(s.salt, s.tokens, limit, match);
    check_match(s, limit, match);
    ASSERT_EQ(cache_.peek(s.salt, s.tokens, limit),
              static_cast<int64_t>(match.blocks.size()) * kBlock);
    refresh(match);
    cache_.give_back(match);
  }

  // What a match held becomes idle, if at all, in this operation.
  void refresh(const PrefixMatch& match) {
    std::set<int32_t> held(match.blocks.begin(), match.blocks.end());
    if (match.copy_from) held.insert(*match.copy_from);
    for (auto& [block, entry] : entries_)
      if (!is_idle(entry, held)) entry.last_held = num_operation_ - 1;
  }

  void clear() {
    cache_.clear();
    entries_.clear();
  }

  // ------------------------------------------------------------- plans

  struct Chunk {
    uint64_t salt;
    Tokens tokens;
    Range positions;
  };

  // Workers run the plan; now and then a step fails, and what it was to write is withdrawn.
  void end_plan() {
    num_copies_ += static_cast<int64_t>(copies_.size());
    for (const BlockCopy& copy : copies_) {
      ASSERT_NE(copy.from, copy.to);
      contents_[static_cast<size_t>(copy.to)] = contents_[static_cast<size_t>(copy.from)];
    }
    for (size_t c = 0; c < plan_chunks_.size(); ++c)
      for (int64_t t = plan_chunks_[c].positions.begin; t < plan_chunks_[c].positions.end; ++t)
        slot(plan_tables_[c], t) = written(plan_chunks_[c].salt, plan_chunks_[c].tokens, t);
    for (size_t c = 0; c < plan_chunks_.size(); ++c)
      for (int64_t t = 0; t < plan_chunks_[c].positions.end; ++t)
        ASSERT_EQ(slot(plan_tables_[c], t),
                  written(plan_chunks_[c].salt, plan_chunks_[c].tokens, t))
            << "position " << t;
    if (below(6) == 0) fail_one();
    copies_.clear();
    plan_tables_.clear();
    plan_chunks_.clear();
    for (Sequence& s : sequences_) s.plan_begin = -1;
    cache_.next_plan();
    ++plan_;
    exchanged_.clear();
    for (int64_t b = 0; b < kNumBlocks; ++b)
      if (pool_.num_holders(static_cast<int32_t>(b)) == 0) contents_[static_cast<size_t>(b)] = {};
  }

  uint64_t& slot(const std::vector<int32_t>& table, int64_t t) {
    return contents_[static_cast<size_t>(table[static_cast<size_t>(t / kBlock)])]
                    [static_cast<size_t>(t % kBlock)];
  }

  void fail_one() {
    Sequence* s = any_sequence();
    if (s == nullptr || s->plan_begin < 0) return;
    const int64_t failed = s->plan_begin / kBlock;
    std::set<int32_t> expected;
    const std::span<const int32_t> blocks = s->table.ids().subspan(static_cast<size_t>(failed));
    for (const int32_t block : blocks) {
      if (!entries_.contains(block)) continue;
      for (const auto& [other, entry] : entries_)
        if (other == block || hangs_under(entry, entries_.at(block))) expected.insert(other);
    }
    std::vector<int32_t> withdrawn;
    cache_.withdraw(blocks, withdrawn);
    ASSERT_EQ(std::set<int32_t>(withdrawn.begin(), withdrawn.end()), expected);
    ASSERT_EQ(withdrawn.size(), expected.size());
    for (const int32_t block : withdrawn) entries_.erase(block);
    // All who hold one of them compute again from there, the failed one from where it failed.
    for (Sequence& other : sequences_) {
      int64_t good = 0;
      while (good < other.table.num_blocks() &&
             !expected.contains(other.table.ids()[static_cast<size_t>(good)]) &&
             (&other != s || good < failed))
        ++good;
      if (good == other.table.num_blocks()) continue;
      other.table.truncate(good * kBlock);
      other.num_computed = std::min(other.num_computed, good * kBlock);
      other.num_published = std::min(other.num_published, good);
    }
  }

  // ------------------------------------------------------------- after each operation

  void note_holders() {
    const std::set<int32_t> held = blocks_of_sequences();
    for (auto& [block, entry] : entries_)
      if (!is_idle(entry, held)) entry.last_held = num_operation_;
  }

  void check() {
    ASSERT_TRUE(cache_.is_consistent());
    const std::set<int32_t> held = blocks_of_sequences();
    std::set<int32_t> used = held;
    used.insert(exchanged_.begin(), exchanged_.end());
    int64_t num_idle = 0;
    for (const auto& [block, entry] : entries_) {
      used.insert(block);
      num_idle += is_idle(entry, held) ? 1 : 0;
      ASSERT_TRUE(cache_.is_published(block));
    }
    ASSERT_EQ(cache_.stats().num_published, static_cast<int64_t>(entries_.size()));
    ASSERT_EQ(pool_.num_used(), static_cast<int64_t>(used.size()));
    ASSERT_EQ(cache_.num_available(), pool_.num_free() + num_idle);
    ASSERT_GE(cache_.stats().asked_tokens, cache_.stats().hit_tokens);
  }

  std::mt19937_64 random_;
  BlockPool pool_{kNumBlocks, kBlock};
  PrefixCache cache_{pool_, {.fewest_copied_tokens = kFewestCopied}};
  std::vector<Sequence> sequences_;
  std::map<int32_t, Entry> entries_;  // by block
  std::vector<std::array<uint64_t, kBlock>> contents_ =
      std::vector<std::array<uint64_t, kBlock>>(kNumBlocks);
  std::vector<int32_t> held_by_match_, exchanged_;
  std::vector<BlockCopy> copies_;
  std::vector<std::vector<int32_t>> plan_tables_;
  std::vector<Chunk> plan_chunks_;
  int64_t num_operation_ = 0, plan_ = 0, num_copies_ = 0, num_exchanged_ = 0;
};

class PrefixCacheRandomTest : public ::testing::TestWithParam<int> {};

TEST_P(PrefixCacheRandomTest, AgreesWithAPlainList) {
  RandomOperations(static_cast<uint64_t>(GetParam())).run(25'000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrefixCacheRandomTest, ::testing::Range(1, 5));

}  // namespace
}  // namespace weft::cache
