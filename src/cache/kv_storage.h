// The bytes of the KV cache that one shard holds: for each layer of its stage, for each block of
// the replica, the KV heads that the shard's query heads touch. How many those are may differ from
// layer to layer, since the cut rotates; a layer of none takes no memory.
//
//   storage = block 0: layer 0: [num_kv_heads(0), head_bytes]
//                      layer 1: [num_kv_heads(1), head_bytes]
//                      ...
//             block 1: ...
//
// Layers of each cache group (group_layout.h) have a storage like this of their own, with as many
// blocks as the group's pool; a group that no layer here belongs to takes no memory.
//
// Head k of block b of layer l is at layer(l) + b * block_stride(l) + k * layout.head_bytes(); what
// lies inside a head is the kernels' business (kernels::KvLayout), and a multiple of 64 bytes (of
// 32 for codes of a head_dim that 4 does not divide). A block lies together, so that it is moved in
// one piece, and so that memory is taken from the system as blocks are used: with layers outermost
// the first token past each huge page of a layer waited for pages of all layers at once (150 ms for
// SmolLM2's 30 layers).
//
// Example: 30 layers, heads of 64 in BF16, blocks of 16: 4 KiB a head and block; a shard with 2 KV
// heads in every layer needs 240 KiB a block, 15 KiB a token.
//
// Thread rule: none of its own; who writes which slot is the step's plan. Memory that was never
// written is zero and, for the most part, not yet taken from the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace weft::cache {

// What one block, and one token in it, take on a shard with these KV heads a layer.
int64_t kv_bytes_per_block(std::span<const int64_t> kv_heads_per_layer,
                           const kernels::KvLayout& layout);
int64_t kv_bytes_per_token(std::span<const int64_t> kv_heads_per_layer,
                           const kernels::KvLayout& layout);

class KvStorage {
 public:
  // Throws Error(kMemory) where the system has no such memory.
  KvStorage(std::span<const int64_t> kv_heads_per_layer, const kernels::KvLayout& layout,
            int64_t num_blocks);
  // group_of_layer: [layers]; blocks_of_group: [groups].
  KvStorage(std::span<const int64_t> kv_heads_per_layer, std::span<const int32_t> group_of_layer,
            const kernels::KvLayout& layout, std::span<const int64_t> blocks_of_group);

  int64_t num_layers() const { return static_cast<int64_t>(layers_.size()); }
  int64_t num_blocks(int group = 0) const { return of_group(group).num_blocks; }
  const kernels::KvLayout& layout() const { return layout_; }
  int64_t num_kv_heads(int64_t layer) const { return at(layer).num_kv_heads; }
  int group_of(int64_t layer) const { return at(layer).group; }
  // Bytes from a block to the next, in every layer of the group.
  int64_t block_stride(int64_t layer) const { return of_group(group_of(layer)).block_bytes; }
  int64_t bytes() const;

  // Block 0 of a layer; null where the shard holds no head of it, or there is no block.
  std::byte* layer(int64_t layer);
  const std::byte* layer(int64_t layer) const;
  // One block's part of one KV head.
  std::byte* head(int64_t layer, int64_t block, int64_t kv_head);

  // Copies all that this shard holds of block `from`, every layer and head of the group, into `to`:
  // a BlockCopy of a plan. Always the whole block: slots past the wanted ones are masked until they
  // are overwritten, and keys lie with tokens innermost.
  void copy_block(int64_t from, int64_t to, int group = 0);

 private:
  struct Layer {
    int64_t num_kv_heads = 0;
    int64_t offset = 0;  // in a block of its group
    int32_t group = 0;
  };
  struct Group {
    int64_t block_bytes = 0, num_blocks = 0;
    tensor::Buffer buffer;
  };
  const Layer& at(int64_t layer) const;
  const Group& of_group(int group) const;

  kernels::KvLayout layout_;
  int64_t head_bytes_ = 0;
  std::vector<Layer> layers_;
  std::vector<Group> groups_;
};

}  // namespace weft::cache
