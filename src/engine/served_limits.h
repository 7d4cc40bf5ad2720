// What one request among those of many users may ask for at most, beyond the ranges of
// check_sampling: less than an engine could do. Readers of bodies hold each field to it
// (serve/request_body.h), and whatever takes messages for an engine holds the message to it again
// (fleet/engine_client.h): the next reader may forget one.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/sampling.h"

namespace weft::engine {

struct ServedLimits {
  int64_t choices = 128;              // n and best_of: OpenAI's bound
  int64_t stops = 64;                 // each is matched against every token's text
  int64_t stop_bytes = 4096;          // of one
  int64_t bad_words = 1024;           // each is encoded twice
  int64_t bad_word_bytes = 64 << 10;  // of all
  int64_t biases = 4096;              // each is copied to every answer and added at every token
  int64_t stop_ids = 1024;            // each is looked for at every token
  int64_t logprobs = 20;              // of a position
  // Of all positions of a request, each counted with its alternatives: an answer that is written
  // whole takes about 600 bytes for each, 300 MB in all. 8,192 positions with 20 are 172,032.
  int64_t logprob_entries = 500'000;
};

// Error(kUsage) naming the field, with both numbers. max_tokens: as far as the context lets answers
// grow.
void check_served(const SamplingParams& params, int64_t num_prompt_tokens, int64_t max_tokens,
                  const ServedLimits& limits = {});

// The token and its alternatives; 0 where they are not asked for.
int64_t logprobs_of_position(const std::optional<int32_t>& asked);

}  // namespace weft::engine
