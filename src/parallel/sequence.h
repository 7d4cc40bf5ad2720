// Between a row-parallel linear and the next column-parallel one: partial sums are added exactly,
// and the rows that come of them are laid out as inputs. Where tokens are many, the members of a
// stage share this work out by tokens (sequence parallelism: Korthikanti et al. 2022, arXiv
// 2205.05198), and every other part of a layer by heads and inner units as before:
//
//   few    every member adds the parts of all tokens and lays all of them out: one exchange
//   many   a member adds the parts of its own tokens (a reduce-scatter), adds the residual, norms
//          and lays out; then all take each other's rows (an all-gather): two exchanges. A token's
//          row travels as it was laid out, 1.5 bytes an element for 8-bit weights, not 8.
//
// Which member treats a token shows in no bit: sums are exact, the rest is a function of the token.
// (Where a user has them rounded between processes, comm/sum_wire.h, a token's sum is that of its
// parts as each process has them, in both ways the same.)
// On shared memory both moves are reads of what the peers lend (comm.h, exchange); a transport that
// lends nothing sends rows.
//
// Thread rule: the leader of a member's team calls; `take` and `clear_counts` may be called from
// its tiles, with tokens that differ.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "base/range.h"
#include "comm/comm.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"
#include "tensor/panel.h"

namespace weft::parallel {

// Which tokens of a batch each member of a stage treats between linears.
class TokenShares {
 public:
  TokenShares() = default;
  explicit TokenShares(int64_t num_tokens) : num_tokens_(num_tokens) {}  // not shared out
  TokenShares(const comm::Communicator& communicator, int64_t num_tokens);

  // False where every member treats them all.
  bool shared_out() const { return shared_out_; }
  int64_t num_tokens() const { return num_tokens_; }
  int num_members() const { return num_members_; }
  // As reduce_scatter and all_gather_rows cut rows.
  Range of(int member) const {
    const Range all{0, num_tokens_};
    return shared_out_ ? equal_part(all, member, num_members_) : all;
  }
  Range own() const { return of(member_); }

 private:
  int64_t num_tokens_ = 0;
  int member_ = 0, num_members_ = 1;
  bool shared_out_ = false;
};

// The second exchange costs what it spares a member of a small model in two or three tokens:
// measured on two ranks of one thread, 576 elements a token, steps of 4 tokens lose 2 % by sharing,
// 6 gain 3 and 8 gain 6; with 896 elements 4 gain 1 and 8 gain 7.
inline constexpr int64_t kFewestTokensPerMember = 3;

// What is computed before it leaves for another process while the next tokens are, where these are
// shared out between processes that send (comm.h, reduce_scatter_as_made). Whole register tiles of
// the kernels (kernels.h, Tiling) and no fewer than what row-parallel ones gain blocks from
// (kFewestBlockedTokens); fewer read the weights more often, more leave later.
inline constexpr int64_t kTokensPerPiece = 48;

// Adds the members' partial sums exactly. What is lent to peers stays untouched until they have met
// again (comm.h). Few tokens alternate two buffers. Many need one: after each reduction the members
// meet once more, to gather rows or, at the end of a stage, the hidden state, or just so.
class ExactReduce {
 public:
  ExactReduce(comm::Communicator& communicator, int64_t max_tokens, int64_t num_rows);
  static int64_t buffer_bytes(int num_members, int64_t max_tokens, int64_t num_rows);

  // Begins a step. Tokens that are shared out still need clear_counts, after the step's first
  // exchange: a peer may be reading the sums of the step before.
  void begin(const TokenShares& shares);
  // The member's buffer for the coming reduction, into which all its shards add.
  kernels::PartialSums partial();
  // Zeroes the tokens' counts of bad units in it: once, before it is filled, and where tokens are
  // shared out after the rows that came of it have been gathered.
  void clear_counts(Range tokens);
  // Joins all members. make_of fills partial() for every token once, some tokens at a time, those
  // first that other processes wait for. Returns the parts whose sum is the result, [num_tokens,
  // stride] each, of which only the member's own tokens may be read. Valid until the exchange after
  // the next one.
  std::span<const int64_t* const> reduce(FunctionRef<void(Range tokens)> make_of,
                                         const char* phase);
  // Payload of one reduction, as one shard contributes it.
  int64_t bytes() const;

 private:
  bool alternates() const { return communicator_.size() > 1 && !shares_.shared_out(); }

  comm::Communicator& communicator_;
  int64_t max_tokens_, num_rows_;
  tensor::Buffer buffer_;
  TokenShares shares_;
  int parity_ = 0;
  std::vector<const int64_t*> parts_;
};

// The inputs of a stage's column-parallel linears, every token's, in the forms that its weights
// want. A member lays its own tokens out and takes the others' from its peers.
class GatheredInputs {
 public:
  using Type = kernels::ActivationType;
  static constexpr Type kTypes[] = {Type::kF32, Type::kBF16, Type::kInt8};
  // Sets of types, a bit each.
  static constexpr uint8_t bit(Type type) {
    return static_cast<uint8_t>(1 << static_cast<int>(type));
  }
  static constexpr bool contains(uint8_t types, Type type) { return (types & bit(type)) != 0; }

  GatheredInputs(comm::Communicator& communicator, int64_t num_inputs);
  static int64_t bytes(const tensor::InputMap& map, int64_t num_tokens);

  // Begins a step, in memory of bytes(map(), shares.num_tokens()).
  void begin(const TokenShares& shares, std::byte* memory);
  const tensor::InputMap& map() const { return map_; }
  const kernels::Activations& of(Type type) const { return forms_[static_cast<int>(type)]; }

  // Joins all members, which have laid their own tokens out in `types`, the same on each. Nothing
  // where tokens are not shared out.
  void gather(uint8_t types, const char* phase);
  // After `gather`: makes some tokens' rows of `types` ready, those of its set that this member
  // reads. Each token is to be taken once, before the next exchange.
  void take(uint8_t types, Range tokens);

 private:
  void place(std::byte* memory, kernels::Activations* forms) const;

  comm::Communicator& communicator_;
  tensor::InputMap map_;
  TokenShares shares_;
  std::byte* memory_ = nullptr;
  kernels::Activations forms_[3];           // by type
  std::span<const std::byte* const> lent_;  // by member, of the last gather
};

}  // namespace weft::parallel
