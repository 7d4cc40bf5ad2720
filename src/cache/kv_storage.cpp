#include "cache/kv_storage.h"

#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/range.h"

namespace weft::cache {
namespace {

void check_layout(std::span<const int64_t> kv_heads_per_layer, const kernels::KvLayout& layout) {
  WEFT_CHECK(layout.head_dim > 0 && layout.block_tokens > 0 && layout.block_tokens % 16 == 0,
             "head of {}, blocks of {}", layout.head_dim, layout.block_tokens);
  for (const int64_t num_kv_heads : kv_heads_per_layer) WEFT_CHECK_LE(0, num_kv_heads);
}

// num_blocks comes from a memory budget or an option, so the product may exceed 64 bits.
int64_t storage_bytes(int64_t num_blocks, int64_t block_bytes) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(num_blocks, block_bytes, &bytes))
    throw Error(ErrorKind::kMemory,
                fmt::format("a KV cache of {} blocks of {} bytes exceeds any memory", num_blocks,
                            block_bytes),
                "", "use fewer blocks: a smaller --max-model-len");
  return bytes;
}

}  // namespace

int64_t kv_bytes_per_block(std::span<const int64_t> kv_heads_per_layer,
                           const kernels::KvLayout& layout) {
  check_layout(kv_heads_per_layer, layout);
  return layout.head_bytes() *
         std::accumulate(kv_heads_per_layer.begin(), kv_heads_per_layer.end(), int64_t{0});
}

int64_t kv_bytes_per_token(std::span<const int64_t> kv_heads_per_layer,
                           const kernels::KvLayout& layout) {
  return kv_bytes_per_block(kv_heads_per_layer, layout) / layout.block_tokens;
}

KvStorage::KvStorage(std::span<const int64_t> kv_heads_per_layer, const kernels::KvLayout& layout,
                     int64_t num_blocks)
    : KvStorage(kv_heads_per_layer, std::vector<int32_t>(kv_heads_per_layer.size(), 0), layout,
                std::span(&num_blocks, 1)) {}

KvStorage::KvStorage(std::span<const int64_t> kv_heads_per_layer,
                     std::span<const int32_t> group_of_layer, const kernels::KvLayout& layout,
                     std::span<const int64_t> blocks_of_group)
    : layout_(layout), head_bytes_(layout.head_bytes()) {
  check_layout(kv_heads_per_layer, layout);
  WEFT_CHECK_EQ(group_of_layer.size(), kv_heads_per_layer.size());
  for (const int64_t num_blocks : blocks_of_group) {
    WEFT_CHECK_LE(0, num_blocks);
    groups_.emplace_back().num_blocks = num_blocks;
  }
  for (size_t layer = 0; layer < kv_heads_per_layer.size(); ++layer) {
    WEFT_CHECK(
        group_of_layer[layer] >= 0 && static_cast<size_t>(group_of_layer[layer]) < groups_.size(),
        "layer {} is of group {}", layer, group_of_layer[layer]);
    Group& group = groups_[static_cast<size_t>(group_of_layer[layer])];
    layers_.push_back({kv_heads_per_layer[layer], group.block_bytes, group_of_layer[layer]});
    group.block_bytes += kv_heads_per_layer[layer] * head_bytes_;
  }
  for (Group& group : groups_)
    group.buffer =
        tensor::Buffer(storage_bytes(group.num_blocks, group.block_bytes), "the KV cache");
}

const KvStorage::Layer& KvStorage::at(int64_t layer) const {
  WEFT_CHECK(layer >= 0 && layer < num_layers(), "layer {} of {}", layer, num_layers());
  return layers_[static_cast<size_t>(layer)];
}

const KvStorage::Group& KvStorage::of_group(int group) const {
  WEFT_CHECK(group >= 0 && static_cast<size_t>(group) < groups_.size(), "group {} of {}", group,
             groups_.size());
  return groups_[static_cast<size_t>(group)];
}

int64_t KvStorage::bytes() const {
  int64_t bytes = 0;
  for (const Group& group : groups_) bytes += group.buffer.size();
  return bytes;
}

const std::byte* KvStorage::layer(int64_t layer) const {
  const Layer& place = at(layer);
  const Group& group = of_group(place.group);
  return place.num_kv_heads == 0 || group.num_blocks == 0 ? nullptr
                                                          : group.buffer.data() + place.offset;
}

std::byte* KvStorage::layer(int64_t layer) {
  return const_cast<std::byte*>(std::as_const(*this).layer(layer));
}

std::byte* KvStorage::head(int64_t layer, int64_t block, int64_t kv_head) {
  const Layer& place = at(layer);
  const Group& group = of_group(place.group);
  WEFT_CHECK(block >= 0 && block < group.num_blocks, "block {} of {}", block, group.num_blocks);
  WEFT_CHECK(kv_head >= 0 && kv_head < place.num_kv_heads, "KV head {} of {} in layer {}", kv_head,
             place.num_kv_heads, layer);
  return groups_[static_cast<size_t>(place.group)].buffer.data() + block * group.block_bytes +
         place.offset + kv_head * head_bytes_;
}

void KvStorage::copy_block(int64_t from, int64_t to, int group) {
  const auto& [block_bytes, num_blocks, _] = of_group(group);
  WEFT_CHECK(from >= 0 && from < num_blocks && to >= 0 && to < num_blocks && from != to,
             "block {} to {} of {}", from, to, num_blocks);
  if (block_bytes == 0) return;
  std::byte* data = groups_[static_cast<size_t>(group)].buffer.data();
  std::memcpy(data + to * block_bytes, data + from * block_bytes, static_cast<size_t>(block_bytes));
}

}  // namespace weft::cache
