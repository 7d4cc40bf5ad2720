#include "cache/kv_storage.h"

#include <cstring>
#include <limits>
#include <numeric>

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
    : layout_(layout), head_bytes_(layout.head_bytes()), num_blocks_(num_blocks) {
  check_layout(kv_heads_per_layer, layout);
  WEFT_CHECK_LE(0, num_blocks);
  for (const int64_t num_kv_heads : kv_heads_per_layer) {
    layers_.push_back({num_kv_heads, block_bytes_});
    block_bytes_ += num_kv_heads * head_bytes_;
  }
  buffer_ = tensor::Buffer(storage_bytes(num_blocks, block_bytes_), "the KV cache");
}

const KvStorage::Layer& KvStorage::at(int64_t layer) const {
  WEFT_CHECK(layer >= 0 && layer < num_layers(), "layer {} of {}", layer, num_layers());
  return layers_[static_cast<size_t>(layer)];
}

std::byte* KvStorage::layer(int64_t layer) {
  const Layer& place = at(layer);
  return place.num_kv_heads == 0 || num_blocks_ == 0 ? nullptr : buffer_.data() + place.offset;
}

const std::byte* KvStorage::layer(int64_t layer) const {
  const Layer& place = at(layer);
  return place.num_kv_heads == 0 || num_blocks_ == 0 ? nullptr : buffer_.data() + place.offset;
}

std::byte* KvStorage::head(int64_t layer, int64_t block, int64_t kv_head) {
  const Layer& place = at(layer);
  WEFT_CHECK(block >= 0 && block < num_blocks_, "block {} of {}", block, num_blocks_);
  WEFT_CHECK(kv_head >= 0 && kv_head < place.num_kv_heads, "KV head {} of {} in layer {}", kv_head,
             place.num_kv_heads, layer);
  return buffer_.data() + block * block_bytes_ + place.offset + kv_head * head_bytes_;
}

void KvStorage::copy_block(int64_t from, int64_t to) {
  WEFT_CHECK(from >= 0 && from < num_blocks_ && to >= 0 && to < num_blocks_ && from != to,
             "block {} to {} of {}", from, to, num_blocks_);
  std::memcpy(buffer_.data() + to * block_bytes_, buffer_.data() + from * block_bytes_,
              static_cast<size_t>(block_bytes_));
}

}  // namespace weft::cache
