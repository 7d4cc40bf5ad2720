// What a load generator asks a server: prompts and lengths of answers, all of it from a seed, under
// the names that `vllm bench serve` gives them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"

namespace weft::cli {

// text where `ids` are empty.
struct LoadPrompt {
  std::string text;
  std::vector<int32_t> ids;
  int64_t output_len = 0;
};

struct LoadDataset {
  std::string name = "random";  // mixed, prefix_repetition, custom
  int num_prompts = 1000;
  uint64_t seed = 0;
  int64_t random_input_len = 1024, random_output_len = 128, random_prefix_len = 0;
  float random_range_ratio = 0.0F;
  int64_t vocab_size = 10'000;  // ids of random prompts lie below it
  int64_t prefix_len = 256, suffix_len = 256, num_prefixes = 10, repetition_output_len = 128;
  std::string path;                 // of a custom one: lines {"prompt": "...", "output_tokens": N}
  int64_t custom_output_len = 256;  // -1: what each line says

  void declare(OptionSet* options);
  // as_ids: prompts of random tokens are ids, and have exactly their length; otherwise they are
  // words, about one a token. Error(kUsage) where a file is none.
  std::vector<LoadPrompt> make(bool as_ids) const;
};

// Seconds from the start at which each of `count` requests is sent: gaps of a gamma distribution of
// shape `burstiness` (1: a Poisson process) and mean 1 / rate, scaled so that the last lies at
// count / rate, as vLLM's are. rate: infinite for all at once.
std::vector<double> arrival_times(int count, double rate, double burstiness, uint64_t seed);

}  // namespace weft::cli
