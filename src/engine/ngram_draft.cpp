#include "engine/ngram_draft.h"

#include <algorithm>
#include <bit>

namespace weft::engine {
namespace {

uint64_t hash_of(std::span<const int32_t> run) {
  uint64_t h = 0x9E3779B97F4A7C15;
  for (const int32_t id : run) {
    h = (h ^ static_cast<uint64_t>(static_cast<uint32_t>(id))) * 0xBF58476D1CE4E5B9;
    h ^= h >> 29;
  }
  return h;
}

std::span<const int32_t> run_before(std::span<const int32_t> tokens, int64_t end) {
  return tokens.subspan(static_cast<size_t>(end - NgramDraft::kNgram), NgramDraft::kNgram);
}

}  // namespace

NgramDraft::NgramDraft(int64_t max_tokens)
    : slots_(std::bit_ceil(static_cast<size_t>(2 * std::max<int64_t>(max_tokens, 32)))) {
  seen_.reserve(static_cast<size_t>(max_tokens));
}

int64_t NgramDraft::exchange(std::span<const int32_t> tokens, int64_t end) {
  const std::span<const int32_t> run = run_before(tokens, end);
  const size_t mask = slots_.size() - 1;
  size_t at = hash_of(run) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    if (!std::ranges::equal(run_before(tokens, slots_[at]), run)) continue;
    const int64_t before = slots_[at];
    slots_[at] = end;
    return before;
  }
  slots_[at] = end;
  if (2 * static_cast<size_t>(++num_entries_) > slots_.size()) grow();
  return 0;
}

void NgramDraft::grow() {
  std::vector<int64_t> old(2 * slots_.size());
  old.swap(slots_);
  num_entries_ = 0;
  for (const int64_t end : old) {
    if (end != 0) exchange(seen_, end);
  }
}

void NgramDraft::propose(std::span<const int32_t> tokens, int64_t most, std::vector<int32_t>& out) {
  out.clear();
  while (seen_.size() < tokens.size()) {
    seen_.push_back(tokens[seen_.size()]);
    const auto end = static_cast<int64_t>(seen_.size());
    if (end >= kNgram) match_ = exchange(seen_, end);
  }
  if (match_ == 0) return;
  const auto from = tokens.begin() + match_;
  const int64_t count = std::min<int64_t>(most, tokens.end() - from);
  out.assign(from, from + count);
}

}  // namespace weft::engine
