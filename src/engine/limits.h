// What the engine serves: options, contexts and requests. What is beyond is refused before it costs
// anything, with the number that was asked for, the one that holds, and what mends it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace weft::engine {

// Error(kUsage) for numbers that no model could mend.
void check_options(const EngineOptions& options);

// --max-model-len against the model's own context. Error(kUsage) above it.
void check_model_len(int64_t asked, int64_t context_length);

// The context of a run: what was asked for, otherwise the model's as far as the cache memory allows
// it. split: of all ranks. Error(kUsage) above the model's, Error(kMemory) above the memory.
int64_t choose_model_len(const SplitReport& split, int64_t context_length,
                         const EngineOptions& options);

// Blocks of each cache group. Of full attention: those of max_num_seqs sequences of max_model_len,
// as far as the cache memory allows them; all that an explicit kv_cache_bytes pays for. Of a
// window: what max_num_seqs sequences hold and as much for cached beginnings, but no more than of
// full attention; where that leaves no room for one context, fewer, at least those of one.
std::vector<int64_t> choose_num_blocks(const SplitReport& split, int64_t max_model_len,
                                       const EngineOptions& options);

// Whether `count` sequences of `length` tokens fit side by side.
bool blocks_for_all(const SplitReport& split, int64_t count, int64_t length,
                    const EngineOptions& options);

// Requests of `length` tokens that fit at a time once their prompts are computed.
int64_t requests_that_fit(const SplitReport& split, int64_t length, int64_t block_size);

// What the cache of one context takes on a rank, in whole blocks.
int64_t context_bytes(const SplitReport& split, const RankShare& rank, int64_t length,
                      const EngineOptions& options);

// What a request is held to.
struct RequestLimits {
  int64_t vocab_size = 0;
  int64_t max_model_len = 0;
  int64_t context_length = 0;  // the model's own
  bool cut_by_memory = false;  // max_model_len is what the cache memory left of the context
};
void check_prompt(std::span<const int32_t> prompt_ids, const RequestLimits& limits);
// Also refuses more choices than places in their grammar have room beside each other
// (text/matcher_memory.h): they could never all run.
void check_request(const Request& request, const RequestLimits& limits);

}  // namespace weft::engine
