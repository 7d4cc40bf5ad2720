// 100,000 random operations on a prefix cache, held against a model that is a plain list, and
// against the contents of blocks as workers would leave them: every plan first copies, then
// writes, then reads. The same with groups of layers that see a window.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "base/range.h"
#include "cache/plain_prefixes.h"
#include "cache/prefix_cache.h"

namespace weft::cache {
namespace {

class RandomOperations : private PlainPrefixes {
 public:
  // windows: of groups 1 on.
  RandomOperations(uint64_t seed, const std::vector<int64_t>& windows)
      : random_(seed), windows_(windows) {}

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
    for (int g = 0; g < num_groups(); ++g)
      EXPECT_EQ(cache_.num_available(g), pools_.pool(g).num_blocks());
    cache_.clear();
    for (int g = 0; g < num_groups(); ++g)
      EXPECT_EQ(pools_.pool(g).num_free(), pools_.pool(g).num_blocks());
    // That the run reached what it is for.
    EXPECT_GT(num_copies_, num_operations / 200);
    EXPECT_GT(num_exchanged_, num_operations / 2000);
    EXPECT_GT(cache_.stats().num_evicted, num_operations / 20);
    EXPECT_GT(cache_.stats().num_withdrawn, num_operations / 200);
    EXPECT_GT(cache_.stats().hit_tokens, num_operations / 10);
    if (windows_.empty()) return;
    EXPECT_GT(num_window_evicted_, num_operations / 20);
    EXPECT_GT(num_window_exchanged_, num_operations / 2000);
    EXPECT_GT(num_cut_short_, num_operations / 2000);
    EXPECT_GT(num_passed_, num_operations / 20);
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
    sequence->blocks.release();
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
        return make_room(below(kNumBlocks / 2),
                         num_groups() == 1 ? 0 : static_cast<int>(below(num_groups())));
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

  int num_groups() const { return pools_.num_groups(); }
  std::set<int32_t> blocks_of_sequences(int group) const {
    std::set<int32_t> blocks;
    for (const Sequence& s : sequences_) {
      const std::span<const int32_t> ids = s.blocks.table(group).ids();
      blocks.insert(ids.begin(), ids.end());
    }
    return blocks;
  }
  // Whether the token at `position` finds in every group what it sees of these nodes.
  bool all_see(const std::vector<int32_t>& path, int64_t position) const {
    for (int g = 1; g < num_groups(); ++g) {
      for (size_t i = 0; i < path.size(); ++i) {
        const int64_t last = (static_cast<int64_t>(i) + 1) * kBlock - 1;
        if (last > position - pools_.window(g) && part(entries_.at(path[i]), g).block == kNoBlock)
          return false;
      }
    }
    return true;
  }
  // What a match holds: the path that its tokens spell, and what the next token sees of it.
  void check_held(const PrefixMatch& match, const std::vector<int32_t>& path) {
    const auto num_blocks = static_cast<size_t>((match.num_tokens - match.copied_tokens) / kBlock);
    ASSERT_EQ(match.full.first_block, 0);
    ASSERT_EQ(match.full.blocks.size(), num_blocks);
    ASSERT_LE(num_blocks, path.size());
    ASSERT_TRUE(std::equal(match.full.blocks.begin(), match.full.blocks.end(), path.begin()));
    for (int g = 1; g < num_groups(); ++g) {
      const GroupMatch& held = match.windows[static_cast<size_t>(g) - 1];
      const int64_t seen = std::max<int64_t>(0, match.num_tokens - pools_.window(g) + 1);
      ASSERT_EQ(held.first_block, seen / kBlock);
      ASSERT_EQ(held.first_block + static_cast<int64_t>(held.blocks.size()),
                static_cast<int64_t>(num_blocks));
      for (size_t i = 0; i < held.blocks.size(); ++i)
        ASSERT_EQ(held.blocks[i],
                  part(entries_.at(path[static_cast<size_t>(held.first_block) + i]), g).block);
      ASSERT_EQ(held.copy_from.has_value(), match.full.copy_from.has_value());
      if (held.copy_from) {
        ASSERT_EQ(*held.copy_from, part(entries_.at(*match.full.copy_from), g).block);
      }
    }
  }

  void check_match(const Sequence& s, int64_t limit, const PrefixMatch& match) {
    const int64_t all = std::min<int64_t>(limit, static_cast<int64_t>(s.tokens.size()));
    std::vector<int32_t> path;
    int64_t n = 0, agreed = 0;  // tokens
    while (n + kBlock <= all) {
      const int32_t block = block_of(s.salt, first(s.tokens, n + kBlock));
      if (block < 0) break;
      path.push_back(block);
      n += kBlock;
      if (all_see(path, n)) agreed = n;
    }
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
      (may_be_copied(entry, plan_) ? any_earlier : any_now) = true;
    }
    if (match.full.copy_from) {
      ASSERT_TRUE(any_earlier && most >= kFewestCopied && all_see(path, n + most));
      ASSERT_EQ(match.copied_tokens, most);
      ASSERT_TRUE(may_be_copied(entries_.at(*match.full.copy_from), plan_));
      ASSERT_EQ(match.num_tokens, n + match.copied_tokens);
    } else {
      ASSERT_TRUE(!any_earlier || any_now || most < kFewestCopied || !all_see(path, n + most));
      ASSERT_EQ(match.copied_tokens, 0);
      ASSERT_EQ(match.num_tokens, agreed);
      num_cut_short_ += agreed < n ? 1 : 0;
    }
    check_held(match, path);
  }

  // ------------------------------------------------------------- operations

  Sequence new_sequence() {
    Sequence s{.salt = static_cast<uint64_t>(below(8) == 0), .blocks = SequenceBlocks(pools_)};
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
    for (int g = 0; g < num_groups(); ++g) {
      std::vector<int32_t>& held = held_by_match_[static_cast<size_t>(g)];
      held = match.of(g).blocks;
      if (match.of(g).copy_from) held.push_back(*match.of(g).copy_from);
    }
    for (int g = 0; match.full.copy_from && g < num_groups(); ++g) make_room(1, g);
    held_by_match_.fill({});
    s.num_computed = match.num_tokens;
    s.num_published = match.num_blocks();
    if (!s.blocks.begin(match, copies_)) return cache_.give_back(match);
    sequences_.push_back(std::move(s));
  }

  // Puts a chunk into the plan, and publishes what it fills before it is computed.
  void advance(Sequence& s) {
    const int64_t end = std::min(s.num_computed + 1 + below(10), kLongest);
    if (end == s.num_computed) return finish(&s);
    int64_t held = s.blocks.table(num_groups() - 1).num_blocks();
    s.blocks.slide(s.num_computed);
    num_passed_ += held - s.blocks.table(num_groups() - 1).num_blocks();
    for (int g = 0; g < num_groups(); ++g) make_room(s.blocks.table(g).num_missing(end), g);
    if (!s.blocks.grow(end)) return;
    while (static_cast<int64_t>(s.tokens.size()) < end) s.tokens.push_back(token());
    s.plan_begin = s.num_computed;
    plan_tables_.push_back(tables_of(s.blocks));
    plan_chunks_.push_back({s.salt, s.tokens, {s.num_computed, end}});
    s.num_computed = end;
    publish(s, false);
  }

  void publish(Sequence& s, bool at_end) {
    const std::vector<Table> before = tables_of(s.blocks);
    const std::span<const int32_t> tokens = first(s.tokens, s.num_computed);
    const int64_t num_full = s.num_computed / kBlock;
    if (at_end) {
      cache_.publish_end(s.salt, tokens, s.blocks, s.num_published);
    } else {
      s.num_published = cache_.publish(s.salt, tokens, s.blocks, s.num_published);
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
  void publish_in_model(const Sequence& s, int64_t end, const std::vector<Table>& before) {
    const int64_t i = (end - 1) / kBlock;
    const int32_t known = block_of(s.salt, first(s.tokens, end));
    const int32_t own = before[0].at(i);
    ASSERT_EQ(s.blocks.full().id_of(i), known < 0 ? own : known);
    if (known < 0) {
      add_entry(s, end, own);
    } else if (own != known) {
      ++num_exchanged_;
      exchanged_[0].push_back(own);
    }
    // Held from now on, perhaps not beyond this operation.
    Entry& entry = entries_.at(known < 0 ? own : known);
    entry.last_held = num_operation_ - 1;
    for (int g = 1; g < num_groups(); ++g) {
      if (i < before[static_cast<size_t>(g)].first_block) continue;
      WindowPart& window = part(entry, g);
      const int32_t mine = before[static_cast<size_t>(g)].at(i);
      if (window.block == kNoBlock) window = {mine, plan_, num_operation_ - 1};
      ASSERT_EQ(s.blocks.table(g).id_of(i), window.block);
      window.last_held = num_operation_ - 1;
      if (window.block == mine) continue;
      ++num_window_exchanged_;
      exchanged_[static_cast<size_t>(g)].push_back(mine);
    }
  }

  void add_entry(const Sequence& s, int64_t end, int32_t block) {
    const std::span<const int32_t> path = first(s.tokens, end);
    const Entry added{s.salt,
                      {path.begin(), path.end()},
                      plan_,
                      num_operation_ - 1,
                      std::vector<WindowPart>(windows_.size())};
    // A tail that this block goes on from leaves.
    std::erase_if(entries_, [&](const auto& other) {
      return other.second.path.size() % kBlock != 0 && hangs_under(added, other.second);
    });
    ASSERT_FALSE(entries_.contains(block));
    entries_[block] = added;
  }

  void finish(Sequence* s) {
    publish(*s, true);
    end(s);
  }

  void fork(const Sequence& parent) {
    if (sequences_.size() == kMostSequences) return;
    for (int g = 0; g < num_groups(); ++g) make_room(1, g);
    Sequence child{.salt = parent.salt,
                   .tokens = parent.tokens,
                   .num_computed = parent.num_computed,
                   .num_published = parent.num_published,
                   .blocks = SequenceBlocks(pools_)};
    child.tokens.resize(static_cast<size_t>(parent.num_computed));
    if (child.tokens.empty() || !child.blocks.fork(parent.blocks, parent.num_computed, copies_))
      return;
    sequences_.push_back(std::move(child));
  }

  void make_room(int64_t num_blocks, int group) {
    std::set<int32_t> held = blocks_of_sequences(group);
    const std::vector<int32_t>& more = held_by_match_[static_cast<size_t>(group)];
    held.insert(more.begin(), more.end());
    group == 0 ? make_room_in_full(num_blocks, held) : make_room_in_window(num_blocks, group, held);
  }

  void make_room_in_window(int64_t num_blocks, int group, const std::set<int32_t>& held) {
    const auto is_idle_in = [&](const WindowPart& w) {
      return w.block != kNoBlock && !held.contains(w.block);
    };
    int64_t num_idle = 0, num_gone = 0, last_gone = 0;
    for (const auto& [node, entry] : entries_) num_idle += is_idle_in(part(entry, group)) ? 1 : 0;
    const int64_t expected =
        std::clamp<int64_t>(num_blocks - pools_.pool(group).num_free(), 0, num_idle);
    ASSERT_EQ(cache_.evict(num_blocks, group), expected);
    num_window_evicted_ += expected;
    for (auto& [node, entry] : entries_) {
      WindowPart& w = part(entry, group);
      if (cache_.block_in(group, node) == w.block) continue;
      ASSERT_TRUE(is_idle_in(w) && cache_.block_in(group, node) == kNoBlock);
      last_gone = std::max(last_gone, w.last_held);
      w = {};
      ++num_gone;
    }
    ASSERT_EQ(num_gone, expected);
    for (const auto& [node, entry] : entries_) {
      if (is_idle_in(part(entry, group))) {
        ASSERT_GE(part(entry, group).last_held, last_gone);
      }
    }
  }

  void make_room_in_full(int64_t num_blocks, const std::set<int32_t>& held) {
    int64_t num_idle = 0;
    for (const auto& [block, entry] : entries_) num_idle += is_idle(entry, held) ? 1 : 0;
    const int64_t expected =
        std::clamp<int64_t>(num_blocks - pools_.full().num_free(), 0, num_idle);
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
    ASSERT_EQ(cache_.peek(s.salt, s.tokens, limit), peeked(s, limit));
    refresh(match);
    cache_.give_back(match);
  }

  // What a match held becomes idle, if at all, in this operation.
  void refresh(const PrefixMatch& match) {
    const auto held_in = [](const GroupMatch& group) {
      std::set<int32_t> held(group.blocks.begin(), group.blocks.end());
      if (group.copy_from) held.insert(*group.copy_from);
      return held;
    };
    const std::set<int32_t> held = held_in(match.full);
    for (auto& [block, entry] : entries_) {
      if (!is_idle(entry, held)) entry.last_held = num_operation_ - 1;
      for (size_t w = 0; w < windows_.size(); ++w)
        if (held_in(match.windows[w]).contains(entry.windows[w].block))
          entry.windows[w].last_held = num_operation_ - 1;
    }
  }

  int64_t peeked(const Sequence& s, int64_t limit) const {
    std::vector<int32_t> path;
    int64_t agreed = 0;
    const int64_t all = std::min<int64_t>(limit, static_cast<int64_t>(s.tokens.size()));
    for (int64_t n = kBlock; n <= all; n += kBlock) {
      path.push_back(block_of(s.salt, first(s.tokens, n)));
      if (path.back() < 0) break;
      if (all_see(path, n)) agreed = n;
    }
    return agreed;
  }

  // Of forks, one may publish again what another shares with it, under a block that is not the
  // other's: all start anew, and what was exchanged has gone.
  void clear() {
    end_plan();
    cache_.clear();
    entries_.clear();
    for (Sequence& s : sequences_) s.num_published = 0;
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
      Contents& contents = contents_[static_cast<size_t>(copy.group)];
      contents[static_cast<size_t>(copy.to)] = contents[static_cast<size_t>(copy.from)];
    }
    for (size_t c = 0; c < plan_chunks_.size(); ++c)
      for (int64_t t = plan_chunks_[c].positions.begin; t < plan_chunks_[c].positions.end; ++t)
        for (int g = 0; g < num_groups(); ++g)
          slot(c, g, t) = written(plan_chunks_[c].salt, plan_chunks_[c].tokens, t);
    for (size_t c = 0; c < plan_chunks_.size(); ++c) {
      const Chunk& chunk = plan_chunks_[c];
      for (int g = 0; g < num_groups(); ++g) {
        const int64_t window = g == 0 ? kLongest : pools_.window(g);
        for (int64_t t = std::max<int64_t>(0, chunk.positions.begin - window + 1);
             t < chunk.positions.end; ++t)
          ASSERT_EQ(slot(c, g, t), written(chunk.salt, chunk.tokens, t))
              << "position " << t << ", group " << g;
      }
    }
    if (below(6) == 0) fail_one();
    copies_.clear();
    plan_tables_.clear();
    plan_chunks_.clear();
    for (Sequence& s : sequences_) s.plan_begin = -1;
    cache_.next_plan();
    ++plan_;
    exchanged_.fill({});
    for (int g = 0; g < num_groups(); ++g)
      for (int32_t b = 0; b < pools_.pool(g).num_blocks(); ++b)
        if (pools_.pool(g).num_holders(b) == 0)
          contents_[static_cast<size_t>(g)][static_cast<size_t>(b)] = {};
  }

  // Of a chunk of the plan: what its table says of position t.
  uint64_t& slot(size_t chunk, int group, int64_t t) {
    const auto g = static_cast<size_t>(group);
    const int32_t block = plan_tables_[chunk][g].at(t / kBlock);
    return contents_[g][static_cast<size_t>(block)][static_cast<size_t>(t % kBlock)];
  }

  void fail_one() {
    Sequence* s = any_sequence();
    if (s == nullptr || s->plan_begin < 0) return;
    const int64_t failed = s->plan_begin / kBlock;
    std::set<int32_t> expected;
    const std::span<const int32_t> blocks =
        s->blocks.full().ids().subspan(static_cast<size_t>(failed));
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
    // All who hold one of them compute again from there, the failed one from where it failed; from
    // the beginning, where windows have given up what they would see.
    for (Sequence& other : sequences_) {
      BlockTable& table = other.blocks.full();
      int64_t good = 0;
      while (good < table.num_blocks() && !expected.contains(table.id_of(good)) &&
             (&other != s || good < failed))
        ++good;
      if (good == table.num_blocks()) continue;
      if (!windows_.empty()) good = 0;
      windows_.empty() ? table.truncate(good * kBlock) : other.blocks.release();
      other.num_computed = std::min(other.num_computed, good * kBlock);
      other.num_published = std::min(other.num_published, good);
    }
  }

  // ------------------------------------------------------------- after each operation

  void note_holders() {
    const std::set<int32_t> held = blocks_of_sequences(0);
    for (auto& [block, entry] : entries_)
      if (!is_idle(entry, held)) entry.last_held = num_operation_;
    for (int g = 1; g < num_groups(); ++g) {
      const std::set<int32_t> held_in = blocks_of_sequences(g);
      for (auto& [block, entry] : entries_)
        if (held_in.contains(part(entry, g).block)) part(entry, g).last_held = num_operation_;
    }
  }

  void check() {
    ASSERT_TRUE(cache_.is_consistent());
    const std::set<int32_t> held = blocks_of_sequences(0);
    std::set<int32_t> used = held;
    used.insert(exchanged_[0].begin(), exchanged_[0].end());
    int64_t num_idle = 0;
    for (const auto& [block, entry] : entries_) {
      used.insert(block);
      num_idle += is_idle(entry, held) ? 1 : 0;
      ASSERT_TRUE(cache_.is_published(block));
    }
    ASSERT_EQ(cache_.stats().num_published, static_cast<int64_t>(entries_.size()));
    ASSERT_EQ(pools_.full().num_used(), static_cast<int64_t>(used.size()));
    ASSERT_EQ(cache_.num_available(), pools_.full().num_free() + num_idle);
    ASSERT_GE(cache_.stats().asked_tokens, cache_.stats().hit_tokens);
    for (int g = 1; g < num_groups(); ++g) check_window(g);
  }

  void check_window(int group) {
    const std::set<int32_t> held = blocks_of_sequences(group);
    const std::vector<int32_t>& exchanged = exchanged_[static_cast<size_t>(group)];
    std::set<int32_t> used = held;
    used.insert(exchanged.begin(), exchanged.end());
    int64_t num_idle = 0;
    for (const auto& [node, entry] : entries_) {
      const int32_t block = part(entry, group).block;
      ASSERT_EQ(cache_.block_in(group, node), block);
      if (block == kNoBlock) continue;
      used.insert(block);
      num_idle += held.contains(block) ? 0 : 1;
    }
    ASSERT_EQ(pools_.pool(group).num_used(), static_cast<int64_t>(used.size()));
    ASSERT_EQ(cache_.num_available(group), pools_.pool(group).num_free() + num_idle);
    for (const Sequence& s : sequences_)  // what it keeps is its window, and no more after a slide
      ASSERT_EQ(s.blocks.table(group).end_block(), s.blocks.full().end_block());
  }

  static std::vector<int64_t> with_full(const std::vector<int64_t>& windows, int64_t first,
                                        int64_t others) {
    std::vector<int64_t> all{first};
    for (const int64_t window : windows) all.push_back(others > 0 ? others : window);
    return all;
  }

  std::mt19937_64 random_;
  std::vector<int64_t> windows_;
  BlockPools pools_{with_full(windows_, 0, 0), with_full(windows_, kNumBlocks, kWindowBlocks),
                    kBlock};
  PrefixCache cache_{pools_, {.fewest_copied_tokens = kFewestCopied}};
  std::vector<Sequence> sequences_;
  using Contents = std::array<std::array<uint64_t, kBlock>, kNumBlocks>;
  std::array<Contents, kMostGroups> contents_{};
  std::array<std::vector<int32_t>, kMostGroups> held_by_match_, exchanged_;
  std::vector<BlockCopy> copies_;
  std::vector<std::vector<Table>> plan_tables_;  // [chunks, groups]
  std::vector<Chunk> plan_chunks_;
  int64_t num_operation_ = 0, plan_ = 0, num_copies_ = 0, num_exchanged_ = 0;
  int64_t num_window_evicted_ = 0, num_window_exchanged_ = 0, num_cut_short_ = 0, num_passed_ = 0;
};

class PrefixCacheRandomTest : public ::testing::TestWithParam<int> {};

TEST_P(PrefixCacheRandomTest, AgreesWithAPlainList) {
  RandomOperations(static_cast<uint64_t>(GetParam()), {}).run(25'000);
}

TEST_P(PrefixCacheRandomTest, AgreesWithAPlainListInTwoGroups) {
  RandomOperations(static_cast<uint64_t>(GetParam()), {9}).run(25'000);
}

TEST_P(PrefixCacheRandomTest, AgreesWithAPlainListInThreeGroups) {
  RandomOperations(static_cast<uint64_t>(GetParam()), {14, 1}).run(5'000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrefixCacheRandomTest, ::testing::Range(1, 5));

}  // namespace
}  // namespace weft::cache
