// Where a count or a mass of kept ids ends (kernels.h, KeptIds), exactly and over all shards of the
// vocabulary: counts and masses of the ids are added up in bins of the highest bits of their key,
// the bin where the target is crossed is taken apart by the next bits, and so on, down to the id
// where need be. No member ever sees the logits of another.
//
// Rejected: sorting (a vocabulary of 150,000 takes 10 ms a row) and bisection over the number (32
// passes, where the bins take one over all ids and up to four that find few).
#pragma once

#include <span>
#include <vector>

#include "model/logit_shards.h"

namespace weft::model {

class CutSearch {
 public:
  explicit CutSearch(LogitShards& logits) : logits_(logits) {}

  // The fewest first kept ids in `order` whose number, or whose mass, reaches `target` (at least
  // 1; a mass of all kept ids at most). All of them where they are fewer.
  struct Cut {
    int64_t local = 0;  // row
    kernels::KeptIds* kept = nullptr;
    kernels::KeptOrder order = kernels::KeptOrder::kLogit;
    bool by_mass = false;
    int64_t target = 0;
    int64_t mass = 0;  // out: of what is left
  };
  // Collective, with the same cuts in every member: narrows each one's `kept`.
  void run(std::span<Cut> cuts);

 private:
  struct Progress {
    Cut* cut = nullptr;
    uint64_t key = 0;       // the bits found so far
    int64_t remaining = 0;  // of the target
    bool done = false;
  };

  void count(int level);
  void narrow(Progress& progress, int level, const kernels::KeyBin* bins);

  LogitShards& logits_;
  std::vector<Progress> open_;
  std::vector<kernels::KeyBin> bins_;  // [shards, open cuts, kMostKeyBins]
};

}  // namespace weft::model
