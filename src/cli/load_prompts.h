// What a load generator asks a server: prompts and lengths of answers, all of it from a seed, under
// the names that `vllm bench serve` gives them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/options.h"

namespace weft::cli {

// text where `ids` are empty.
struct LoadPrompt {
  std::string text;
  std::vector<int32_t> ids;
  int64_t output_len = 0;
  int64_t input_len = 0;  // of a text, where it was counted
};

// The tokens of each text.
using CountTokens = std::function<std::vector<int64_t>(const std::vector<std::string>& texts)>;

struct LoadDataset {
  std::string name = "random";  // mixed, prefix_repetition, custom, sharegpt
  int num_prompts = 1000;
  uint64_t seed = 0;
  int64_t random_input_len = 1024, random_output_len = 128, random_prefix_len = 0;
  float random_range_ratio = 0.0F;
  int64_t vocab_size = 10'000;  // ids of random prompts lie below it
  int64_t prefix_len = 256, suffix_len = 256, num_prefixes = 10, repetition_output_len = 128;
  // Of a custom one: lines {"prompt": "...", "output_tokens": N}; of sharegpt: conversations.h.
  std::string path;
  int64_t custom_output_len = 256;  // -1: what each line says
  int64_t sharegpt_output_len = 0;  // 0: what each conversation says

  void declare(OptionSet* options);
  // as_ids: prompts of random tokens are ids, and have exactly their length; otherwise they are
  // words, about one a token. count_tokens: asked for recorded conversations alone. Error(kUsage)
  // where a file is none.
  std::vector<LoadPrompt> make(bool as_ids, const CountTokens& count_tokens = {}) const;
  // What to type where a server says that they are too long for it.
  std::string mend_of_length() const;
};

// A rate that grows from the first request to the last, evenly or by equal factors.
struct RampUp {
  bool is_exponential = false;
  double first = 0, last = 0;  // requests a second
};

// Seconds from the start at which each of `count` requests is sent: gaps of a gamma distribution of
// shape `burstiness` (1: a Poisson process) and mean 1 / rate, scaled so that the last lies at
// count / rate, as vLLM's are. rate: infinite for all at once.
std::vector<double> arrival_times(int count, double rate, double burstiness, uint64_t seed);
// The same where each gap has the mean of the rate of its time; none is scaled, as in vLLM.
std::vector<double> arrival_times(int count, const RampUp& ramp, double burstiness, uint64_t seed);

}  // namespace weft::cli
