// A paged cache of one layer for the tests of attention: blocks in scrambled order, every byte that
// nobody wrote a NaN, and the keys and values that went in.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/every_table.h"
#include "kernels/reference_vector.h"

namespace weft::kernels {

// One sequence: `context` positions in the cache, of which the last `chunk` are the query tokens.
struct AttentionCase {
  KvType type = KvType::kF32;
  int64_t head_dim = 64;
  int64_t block_tokens = 16;
  int64_t num_heads = 3;  // query heads on the one KV head that is asked
  int64_t context = 100;
  int64_t chunk = 1;
  int64_t window = 0;
  float softcap = 0;
  uint32_t seed = 1;
};

class AttentionCache {
 public:
  static constexpr int64_t kNumKvHeads = 2, kKvHead = 1;

  explicit AttentionCache(const AttentionCase& c)
      : case_(c), layout_{c.type, c.head_dim, c.block_tokens} {
    Random random(c.seed);
    keys_ = random.numbers(c.context * c.head_dim);
    values_ = random.numbers(c.context * c.head_dim);
    queries_ = random.numbers(c.chunk * stride(), 2.0f);
    const int64_t num_blocks = ceil_div(c.context, c.block_tokens);
    block_table_.resize(static_cast<size_t>(num_blocks));
    std::iota(block_table_.begin(), block_table_.end(), 1);  // block 0 stays unused
    std::shuffle(block_table_.begin(), block_table_.end(), std::mt19937(c.seed));
    memory_.assign(static_cast<size_t>((num_blocks + 1) * block_stride()), std::byte{0xff});
    for (int64_t position = 0; position < c.context; ++position) write(position);
  }

  const KvLayout& layout() const { return layout_; }
  int64_t stride() const { return (case_.num_heads + 2) * case_.head_dim; }  // a head either side
  int64_t block_stride() const { return kNumKvHeads * layout_.head_bytes(); }
  const std::vector<std::byte>& memory() const { return memory_; }
  float key(int64_t position, int64_t d) const { return keys_[at(position, d)]; }
  float value(int64_t position, int64_t d) const { return values_[at(position, d)]; }
  float query(int64_t token, int64_t head, int64_t d) const {
    return queries_[static_cast<size_t>(token * stride() + (head + 1) * case_.head_dim + d)];
  }
  void set_value(int64_t position, int64_t d, float x) {
    values_[at(position, d)] = x;
    write(position);
  }
  void set_key(int64_t position, int64_t d, float x) {
    keys_[at(position, d)] = x;
    write(position);
  }
  // Gives the blocks that lie wholly before `position` away, as a sliding window does.
  void drop_blocks_before(int64_t position) {
    first_block_ = position / case_.block_tokens;
    block_table_.erase(block_table_.begin(), block_table_.begin() + first_block_);
  }

  // Heads are local heads 1 .. num_heads of num_heads + 2.
  Attention op(std::vector<float>& out) const {
    out.assign(queries_.size(), 7.0f);
    Attention op;
    op.q = queries_.data();
    op.q_stride = stride();
    op.out = out.data();
    op.out_stride = stride();
    op.tokens = {0, case_.chunk};
    op.heads = {1, 1 + case_.num_heads};
    op.kv_head = kKvHead;
    op.first_position = case_.context - case_.chunk;
    op.window = case_.window;
    op.scale = 1.0f / std::sqrt(static_cast<float>(case_.head_dim));
    op.softcap = case_.softcap;
    op.layout = layout_;
    op.cache = memory_.data();
    op.block_stride = block_stride();
    op.block_table = block_table_.data();
    op.first_block = first_block_;
    return op;
  }

 private:
  size_t at(int64_t position, int64_t d) const {
    return static_cast<size_t>(position * case_.head_dim + d);
  }
  void write(int64_t position) {
    KvWrite op;
    op.k = &keys_[at(position, 0)];
    op.v = &values_[at(position, 0)];
    op.layout = layout_;
    op.head = memory_.data() +
              block_table_[static_cast<size_t>(position / case_.block_tokens)] * block_stride() +
              kKvHead * layout_.head_bytes();
    op.slot = position % case_.block_tokens;
    reference::write_kv(op);
  }

  AttentionCase case_;
  KvLayout layout_;
  std::vector<float> keys_, values_, queries_;
  std::vector<int32_t> block_table_;
  int64_t first_block_ = 0;
  std::vector<std::byte> memory_;
};

using AttentionKernel = void (*)(const Attention&);

inline std::vector<float> attend(const AttentionCache& cache, AttentionKernel kernel) {
  prepare_this_thread();
  std::vector<float> out;
  kernel(cache.op(out));
  return out;
}

}  // namespace weft::kernels
