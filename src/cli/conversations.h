// The first exchanges of recorded conversations, as ShareGPT's files hold them and `vllm bench
// serve` reads them: [{"conversations": [{"value": "the question"}, {"value": "the answer"}, ...]},
// ...]. The question is what is asked, the answer only says how long one was.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/load_prompts.h"

namespace weft::cli {

struct Exchanged {
  std::string question, answer;
};

// Of every conversation with two turns or more, in the file's order. A file of a gigabyte costs the
// memory of these texts alone. Error(kUsage) for one that cannot be read or holds none.
std::vector<Exchanged> read_conversations(const std::string& path);

// Of vLLM: what is shorter or longer than these is left out.
struct ConversationLimits {
  int64_t min_tokens = 4;  // of the question, and of the answer
  int64_t max_prompt_tokens = 1024, max_total_tokens = 2048;
};

// `count` of them in an order drawn from the seed; again from the first where there are fewer.
// output_len: of every answer; 0: as long as the recorded one.
std::vector<LoadPrompt> choose_conversations(const std::vector<Exchanged>& known, size_t count,
                                             int64_t output_len, uint64_t seed,
                                             const CountTokens& count_tokens,
                                             const ConversationLimits& limits = {});

}  // namespace weft::cli
