// Guesses what comes next from what came before: where the last tokens stood earlier in the same
// sequence, what followed them is proposed. Prompt lookup decoding (Saxena, 2023) over prompt and
// answer, with an index in place of a search: the last place of every run of kNgram tokens.
//
// One a sequence; allocates only where the sequence outgrows `max_tokens`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace weft::engine {

class NgramDraft {
 public:
  // Shorter runs are found by chance too often, longer ones miss what was varied a little.
  static constexpr int64_t kNgram = 3;

  explicit NgramDraft(int64_t max_tokens);

  // tokens: those of the calls before, and perhaps more. Appends at most `most` guesses to `out`,
  // which it clears first.
  void propose(std::span<const int32_t> tokens, int64_t most, std::vector<int32_t>& out);

 private:
  // Where the run that ends before `end` was last, 0: nowhere; and puts `end` in its place.
  int64_t exchange(std::span<const int32_t> tokens, int64_t end);
  void grow();

  // Open addressing over ends of runs; equal runs share a slot, told by their tokens.
  std::vector<int64_t> slots_;
  std::vector<int32_t> seen_;  // tokens whose runs are in the table
  int64_t num_entries_ = 0;
  int64_t match_ = 0;  // where the last run of seen_ stood before
};

}  // namespace weft::engine
