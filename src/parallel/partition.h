// Uneven cuts (DESIGN.md 2): which units of a dimension belong to which rank.
//
// One integer problem: N equal units, weights w_r > 0; a block's time is max_r n_r / w_r. Zero
// units are allowed. Pure functions of small integers: the loader, `inspect` and the planner call
// the same ones. Nothing here changes a bit of any result; only speed and memory follow.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/range.h"

namespace weft::parallel {

// Contiguous shares of `num_units` for weights.size() ranks: each unit goes to the rank with the
// smallest (n_r + 1) / w_r; ties go to the rank with the smallest load[r] / w_r (units it already
// holds in other layers; empty: all zero), then to the lower rank. So the remainder rotates over
// layers.
// caps: at most caps[r] units for rank r (empty: no caps; negative: none). Throws Error(kMemory)
// naming the caps when they leave units without a rank.
std::vector<Range> partition_units(int64_t num_units, std::span<const double> weights,
                                   std::span<const double> load = {},
                                   std::span<const int64_t> caps = {});

// A rank's share of one layer's attention.
struct AttentionShare {
  Range heads;     // query heads, contiguous in KV-group order
  Range kv_heads;  // every KV head that those query heads touch (empty where heads is)
  friend bool operator==(const AttentionShare&, const AttentionShare&) = default;
};

// What a share takes of its rank's memory, in query heads: a KV head counts as four, its weights
// and its cache together.
double attention_memory(const AttentionShare& share);

// Cuts num_heads query heads (num_heads % num_kv_heads == 0) into one contiguous run a rank. A KV
// head that two runs touch is held by both ranks. Minimises
//   1. the slowest rank's (q_r + kappa * kv_r) / w_r,
//   2. the sum of (load_r + attention_memory)^2 / w_r,
// and gives what is still equal to the lower rank. kappa: work of one KV head in query heads (1
// for weight bytes; more with a long cache). load[r]: the sum of attention_memory over the layers
// cut so far (empty: all zero).
// The runs follow each other in rank order, beginning at whichever rank serves best: rank 0 while
// nothing is loaded and the weights do not ask otherwise. So the rank whose run straddles most KV
// heads, which bounds the cache, changes from layer to layer: 14 heads on 2 KV heads over 3 ranks
// are 5+4+5 with 1, 2 and 1 KV heads, and no other cut is as fast.
// O(heads^2 * ranks^2) dynamic programme at most; 128 heads over 8 ranks take about a millisecond.
std::vector<AttentionShare> cut_attention(int64_t num_heads, int64_t num_kv_heads,
                                          std::span<const double> weights, double kappa = 1.0,
                                          std::span<const double> load = {});

// The units of an FFN of `ffn_size` inputs that exact sums are taken over: slices of the largest
// of 256, 128, 64 that leaves at least 32 units, the last and shorter one counted; always 128 for
// an FFN under 2,048. Part of the arithmetic: another choice changes bits (DESIGN.md 1.2).
int64_t ffn_unit_size(int64_t ffn_size);
std::vector<Range> ffn_units(int64_t ffn_size);

// Vocabulary rows in groups of 32 (a grammar's mask is words of 32 bits).
inline constexpr int64_t kVocabUnit = 32;
std::vector<Range> cut_vocabulary(int64_t vocab_size, std::span<const double> weights);

// Layers per stage for stages of `widths[s]` ranks, minimising the slowest stage's time where a
// layer costs 1 / width and the first / last stage pay `embedding_cost` / `head_cost` layers more
// (divided by their width); every stage gets at least one layer, the last may get none when it
// holds the head alone and there are more stages than layers. Ties: least sum of squares, then
// more layers first. P above num_layers + 1 is Error(kUsage) naming both numbers.
std::vector<int64_t> balance_layers(int64_t num_layers, std::span<const int64_t> widths,
                                    double embedding_cost, double head_cost);

// max_r (n_r / w_r) * sum(w) / N: 1 is perfect; 1.11 means the slowest rank takes 11 % longer.
double imbalance(std::span<const double> shares, std::span<const double> weights);

}  // namespace weft::parallel
