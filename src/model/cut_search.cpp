#include "model/cut_search.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace weft::model {
namespace {

using kernels::KeptOrder;
using kernels::KeyBin;

// Of -inf as a logit and of inf as a deviation; what lies below is the key of no number.
constexpr uint32_t kLowestNumber = 0x007fffff;

float logit_of(uint32_t number) {
  return std::bit_cast<float>((number & 0x80000000u) != 0 ? number ^ 0x80000000u : ~number);
}

// Keeps what has this key or a larger one.
void keep_from(uint64_t key, KeptOrder order, kernels::KeptIds& kept) {
  const uint32_t number = std::max(kLowestNumber, static_cast<uint32_t>(key >> 22));
  const auto id_bits = static_cast<int64_t>(key & (kernels::kMostIds - 1));
  const auto last_id = static_cast<int32_t>(kernels::kMostIds - 1 - id_bits);
  if (order == KeptOrder::kLogit) {
    kept.last = {logit_of(number), last_id};
  } else {
    kept.farthest = std::bit_cast<float>(number ^ 0x7fffffffu);
    kept.farthest_id = last_id;
  }
}

}  // namespace

void CutSearch::run(std::span<Cut> cuts) {
  open_.clear();
  for (Cut& cut : cuts) {
    cut.mass = 0;
    open_.push_back({.cut = &cut, .remaining = cut.target});
  }
  for (int level = 0; level < kernels::kNumKeyLevels && !open_.empty(); ++level) {
    count(level);
    for (size_t i = 0; i < open_.size(); ++i)
      narrow(open_[i], level, bins_.data() + i * kernels::kMostKeyBins);
    std::erase_if(open_, [](const Progress& progress) { return progress.done; });
  }
}

// Leaves the sums over all shards in the first shard's bins.
void CutSearch::count(int level) {
  const size_t each = open_.size() * kernels::kMostKeyBins;
  bins_.assign(logits_.size() * each, {});
  logits_.for_each(open_.size(), [&](size_t s, size_t i) {
    const Progress& at = open_[i];
    const LogitShards::Shard& shard = logits_[s];
    logits_.table().count_keys(shard.row(at.cut->local), shard.size(), shard.first_id(),
                               *at.cut->kept, at.cut->order, at.key, level,
                               bins_.data() + s * each + i * kernels::kMostKeyBins);
  });
  for (size_t s = 1; s < logits_.size(); ++s) {
    for (size_t b = 0; b < each; ++b) {
      bins_[b].count += bins_[s * each + b].count;
      bins_[b].mass += bins_[s * each + b].mass;
    }
  }
  static_assert(sizeof(KeyBin) == 2 * sizeof(int64_t));
  logits_.add_up({&bins_[0].count, 2 * each});
}

void CutSearch::narrow(Progress& progress, int level, const KeyBin* bins) {
  const kernels::KeyLevel at = kernels::kKeyLevels[level];
  Cut& cut = *progress.cut;
  for (int b = (1 << at.bits) - 1; b >= 0; --b) {
    const int64_t content = cut.by_mass ? bins[b].mass : bins[b].count;
    if (content < progress.remaining) {
      progress.remaining -= content;
      cut.mass += bins[b].mass;
      continue;
    }
    progress.key |= static_cast<uint64_t>(b) << at.shift;
    // A bin that is taken whole need not be taken apart. One whose mass is all wanted may be: its
    // last ids can be of weight zero.
    const bool whole = bins[b].count == 1 || (!cut.by_mass && content == progress.remaining);
    if (!whole && level + 1 < kernels::kNumKeyLevels) return;
    cut.mass += bins[b].mass;
    keep_from(progress.key, cut.order, *cut.kept);
    progress.done = true;
    return;
  }
  progress.done = true;  // fewer than were asked for
}

}  // namespace weft::model
