// One prompt and 64 generated tokens, with every bit that a user could see: the parity suite
// compares two of these with ==.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace weft::parity {

struct Answer {
  std::vector<int32_t> token_ids;
  std::vector<uint32_t> logprob_bits;  // ids, bits, ranks of all logprobs, prompt and generated
  uint64_t logits_hash = 0;            // of the logits of every position, prompt and generated
  std::string text;

  friend bool operator==(const Answer&, const Answer&) = default;
};

inline void append_bits(const std::vector<std::vector<engine::TokenLogprob>>& lists,
                        std::vector<uint32_t>& out) {
  for (const auto& list : lists) {
    out.push_back(static_cast<uint32_t>(list.size()));
    for (const engine::TokenLogprob& entry : list) {
      out.push_back(static_cast<uint32_t>(entry.id));
      out.push_back(std::bit_cast<uint32_t>(entry.logprob));
      out.push_back(static_cast<uint32_t>(entry.rank));
    }
  }
}

// A prompt of `length` ids, spread over the vocabulary by a fixed rule.
inline std::vector<int32_t> prompt_ids(int64_t length, int64_t vocab_size) {
  std::vector<int32_t> ids;
  uint64_t state = 0x9E3779B97F4A7C15;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab_size)));
  }
  return ids;
}

struct Work {
  int64_t prompt_tokens = 300;
  int64_t generated_tokens = 64;
  float temperature = 0.0f;
  bool prompt_logprobs = true;  // without them, prompt chunks ask for no logits
};

inline Answer answer(engine::Engine& engine, const Work& work) {
  engine::Request request;
  request.prompt_ids = prompt_ids(work.prompt_tokens, engine.model().vocab_size);
  request.sampling.max_tokens = work.generated_tokens;
  request.sampling.temperature = work.temperature;
  request.sampling.seed = 7;
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 3;
  if (work.prompt_logprobs) request.sampling.prompt_logprobs = 1;
  request.hash_logits = true;
  const engine::GenerationResult result = engine.generate(request);
  Answer answer;
  answer.token_ids = result.token_ids;
  answer.logits_hash = result.logits_hash;
  answer.text = result.text;
  append_bits(result.prompt_logprobs, answer.logprob_bits);
  append_bits(result.logprobs, answer.logprob_bits);
  return answer;
}

}  // namespace weft::parity
