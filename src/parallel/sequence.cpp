#include "parallel/sequence.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/activation_tables.h"

namespace weft::parallel {
namespace {

int64_t fewest_shared_out(int num_members) { return kFewestTokensPerMember * num_members; }

// Rows of the buffers that a group of members alternates.
int64_t alternating_rows(int num_members, int64_t max_tokens) {
  return std::min(max_tokens, fewest_shared_out(num_members) - 1);
}

}  // namespace

TokenShares::TokenShares(const comm::Communicator& communicator, int64_t num_tokens)
    : num_tokens_(num_tokens),
      member_(communicator.rank()),
      num_members_(communicator.size()),
      shared_out_(num_members_ > 1 && num_tokens >= fewest_shared_out(num_members_)) {}

int64_t ExactReduce::buffer_bytes(int num_members, int64_t max_tokens, int64_t num_rows) {
  const int64_t rows = num_members == 1
                           ? max_tokens
                           : std::max(max_tokens, 2 * alternating_rows(num_members, max_tokens));
  return rows * kernels::PartialSums{nullptr, 1, num_rows}.stride() * 8;
}

ExactReduce::ExactReduce(comm::Communicator& communicator, int64_t max_tokens, int64_t num_rows)
    : communicator_(communicator),
      max_tokens_(max_tokens),
      num_rows_(num_rows),
      buffer_(buffer_bytes(communicator.size(), max_tokens, num_rows), "partial sums") {
  parts_.reserve(static_cast<size_t>(communicator.size()));
}

void ExactReduce::begin(const TokenShares& shares) {
  WEFT_CHECK_LE(shares.num_tokens(), max_tokens_);
  shares_ = shares;
  if (!shares.shared_out()) clear_counts({0, shares.num_tokens()});
}

kernels::PartialSums ExactReduce::partial() {
  kernels::PartialSums sums{buffer_.as<int64_t>(), shares_.num_tokens(), num_rows_};
  if (alternates())
    sums.data += parity_ * alternating_rows(communicator_.size(), max_tokens_) * sums.stride();
  return sums;
}

void ExactReduce::clear_counts(Range tokens) {
  const kernels::PartialSums sums = partial();
  for (int64_t token = tokens.begin; token < tokens.end; ++token)
    sums.data[token * sums.stride() + sums.bad_index()] = 0;
}

std::span<const int64_t* const> ExactReduce::reduce(FunctionRef<void(Range tokens)> make_of,
                                                    const char* phase) {
  const kernels::PartialSums own = partial();
  const std::span<int64_t> data(own.data, static_cast<size_t>(own.num_tokens * own.stride()));
  parity_ ^= 1;
  parts_.assign(1, own.data);
  const comm::SumRows rows{data, own.stride(), own.num_rows, own.bad_index()};
  if (shares_.shared_out() && !communicator_.lends_views()) {
    communicator_.reduce_scatter_as_made(rows, {kTokensPerPiece, make_of}, phase);
    return parts_;
  }
  make_of({0, own.num_tokens});
  if (communicator_.size() == 1) return parts_;
  if (communicator_.lends_views()) {
    const auto views = communicator_.exchange(reinterpret_cast<const std::byte*>(own.data), phase);
    parts_.clear();
    for (const std::byte* view : views) parts_.push_back(reinterpret_cast<const int64_t*>(view));
    return parts_;
  }
  communicator_.all_reduce_sums(rows, phase);
  return parts_;
}

int64_t ExactReduce::bytes() const {
  return shares_.num_tokens() * kernels::PartialSums{nullptr, 1, num_rows_}.stride() * 8;
}

GatheredInputs::GatheredInputs(comm::Communicator& communicator, int64_t num_inputs)
    : communicator_(communicator), map_(tensor::InputMap::whole(num_inputs)) {}

int64_t GatheredInputs::bytes(const tensor::InputMap& map, int64_t num_tokens) {
  int64_t total = 0;
  for (const Type type : kTypes) total += kernels::activation_bytes(type, num_tokens, map);
  return total;
}

void GatheredInputs::place(std::byte* memory, kernels::Activations* forms) const {
  for (const Type type : kTypes) {
    forms[static_cast<int>(type)] =
        kernels::place_activations(type, shares_.num_tokens(), map_, memory);
    memory += kernels::activation_bytes(type, shares_.num_tokens(), map_);
  }
}

void GatheredInputs::begin(const TokenShares& shares, std::byte* memory) {
  shares_ = shares;
  memory_ = memory;
  place(memory, forms_);
}

void GatheredInputs::gather(uint8_t types, const char* phase) {
  lent_ = {};
  if (!shares_.shared_out()) return;
  if (communicator_.lends_views()) {
    lent_ = communicator_.exchange(memory_, phase);
    return;
  }
  for (const Type type : kTypes) {
    if (!contains(types, type)) continue;
    kernels::ActivationTable tables[kernels::kMaxActivationTables];
    const int num_tables = kernels::activation_tables(of(type), tables);
    for (int i = 0; i < num_tables; ++i)
      communicator_.all_gather_rows(
          {tables[i].rows, static_cast<size_t>(shares_.num_tokens() * tables[i].row_bytes)},
          tables[i].row_bytes, phase);
  }
}

void GatheredInputs::take(uint8_t types, Range tokens) {
  for (int peer = 0; peer < static_cast<int>(lent_.size()); ++peer) {
    const Range theirs = shares_.of(peer).intersect(tokens);
    if (theirs.empty() || peer == communicator_.rank()) continue;
    kernels::Activations lent[3];
    place(const_cast<std::byte*>(lent_[static_cast<size_t>(peer)]), lent);
    for (const Type type : kTypes)
      if (contains(types, type))
        kernels::copy_tokens(lent[static_cast<int>(type)], of(type), theirs);
  }
}

}  // namespace weft::parallel
