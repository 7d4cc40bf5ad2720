#include "engine/limits.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "model/head.h"

namespace weft::engine {
namespace {

// Share of the free memory, less what the ranks hold besides, that the cache may take where no flag
// says otherwise: half, since the page cache of the model file and other programs want the rest.
constexpr double kCacheMemoryShare = 0.5;
constexpr int64_t kCoarseTokens = 16384;
constexpr int64_t kMostBlocks = int64_t{1} << 30;

// Tokens that the cache memory holds, over all ranks.
struct CacheSize {
  int64_t tokens = 0;
  int64_t bytes_per_token = 0;
  int64_t budget = 0;
};

int64_t default_budget(const SplitReport& split) {
  int64_t left = available_memory_bytes();
  for (const RankShare& rank : split.ranks)
    left -= rank.weight_bytes + rank.logits_bytes + rank.step_bytes;
  return static_cast<int64_t>(kCacheMemoryShare * static_cast<double>(std::max<int64_t>(0, left)));
}

std::string size_text(int64_t bytes) {
  return bytes < 100'000 ? fmt::format("{} bytes", bytes)
                         : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// Memory that was never there is taken without a word by a system that overcommits, and the process
// is killed when the cache fills.
void check_cache_bytes(int64_t asked) {
  const int64_t available = available_memory_bytes();
  if (available <= 0 || asked <= available) return;
  throw Error(ErrorKind::kMemory,
              fmt::format("--kv-cache-memory-bytes asks for {} of cache; {} of memory are free",
                          size_text(asked), size_text(available)),
              "",
              "lower --kv-cache-memory-bytes, or leave it out: half of what the weights leave free "
              "is taken then");
}

CacheSize cache_size(const SplitReport& split, const EngineOptions& options) {
  CacheSize size;
  for (const RankShare& rank : split.ranks) size.bytes_per_token += rank.kv_bytes_per_token;
  size.budget = options.kv_cache_bytes > 0 ? options.kv_cache_bytes : default_budget(split);
  size.tokens = size.bytes_per_token > 0 ? size.budget / size.bytes_per_token : 0;
  // A coarse step, so that what else runs on the machine seldom shows in the context.
  const int64_t step = size.tokens > kCoarseTokens ? kCoarseTokens : options.block_size;
  size.tokens = size.tokens / step * step;
  return size;
}

// A prompt of `length` tokens is too long: what holds it back, and what therefore helps.
[[noreturn]] void refuse_length(int64_t length, const RequestLimits& limits) {
  const std::string what =
      fmt::format("the prompt has {} tokens; the context holds {}", length, limits.max_model_len);
  if (limits.cut_by_memory)
    throw Error(ErrorKind::kMemory, what, "the cache memory holds no more",
                "shorten the prompt, or raise --kv-cache-memory-bytes");
  if (limits.max_model_len >= limits.context_length)
    throw Error(ErrorKind::kUsage, what, "it is the model's own context, which no option extends",
                "shorten the prompt, or take a model of a longer context");
  throw Error(
      ErrorKind::kUsage, what, "",
      fmt::format("shorten the prompt, or raise --max-model-len (the model's context is {})",
                  limits.context_length));
}

}  // namespace

void check_options(const EngineOptions& o) {
  const auto within = [](const char* flag, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} is {}, outside {} to {}", flag, value, low, high));
  };
  within("--max-num-batched-tokens", o.max_num_batched_tokens, 1, 8192);
  within("--block-size", o.block_size, 16, 256);
  within("the number of sequences", o.max_num_seqs, 1, 4096);
  within("--threads", o.threads_per_rank, 0, 1024);
  within("--num-speculative-tokens", o.num_speculative_tokens, 0, 32);
  within("--max-model-len", o.max_model_len, 0, kMaxModelLen);
  if (o.block_size % 16 != 0)
    throw Error(
        ErrorKind::kUsage, fmt::format("--block-size is {}, no multiple of 16", o.block_size), "",
        fmt::format("choose {} or {}", o.block_size / 16 * 16, o.block_size / 16 * 16 + 16));
}

void check_model_len(int64_t asked, int64_t context_length) {
  if (asked > context_length)
    throw Error(ErrorKind::kUsage,
                fmt::format("--max-model-len {} is above the model's context of {} tokens", asked,
                            context_length),
                "", fmt::format("give {} at most, or leave it out", context_length));
}

int64_t choose_model_len(const SplitReport& split, int64_t context_length,
                         const EngineOptions& options) {
  check_cache_bytes(options.kv_cache_bytes);
  const CacheSize size = cache_size(split, options);
  const int64_t asked = options.max_model_len;
  check_model_len(asked, context_length);
  if (asked > size.tokens || size.tokens < options.block_size) {
    const int64_t least = std::max(asked, options.block_size);
    throw Error(ErrorKind::kMemory,
                fmt::format("a context of {} tokens needs {} of cache; {} are allowed", least,
                            size_text(least * size.bytes_per_token), size_text(size.budget)),
                options.kv_cache_bytes > 0
                    ? std::string()
                    : "that is half of what weights, logits and steps leave of the free memory",
                asked > options.block_size
                    ? "lower --max-model-len, or raise --kv-cache-memory-bytes"
                    : "raise --kv-cache-memory-bytes");
  }
  return asked > 0 ? asked : std::min(context_length, size.tokens);
}

int64_t choose_num_blocks(const SplitReport& split, int64_t max_model_len,
                          const EngineOptions& options) {
  const CacheSize size = cache_size(split, options);
  const int64_t for_one = ceil_div(max_model_len, options.block_size);
  const int64_t paid =
      size.budget / std::max<int64_t>(1, size.bytes_per_token * options.block_size);
  const int64_t wanted = options.kv_cache_bytes > 0 ? kMostBlocks : options.max_num_seqs * for_one;
  if (options.num_blocks > 0) {
    if (options.num_blocks < for_one || options.num_blocks > paid)
      throw Error(
          ErrorKind::kUsage,
          fmt::format("--num-kv-blocks is {}, outside {} to {}", options.num_blocks, for_one, paid),
          "one context takes the fewer, the cache memory holds the more",
          "lower --max-model-len, or raise --kv-cache-memory-bytes");
    return options.num_blocks;
  }
  // Block ids are 32-bit; a context that was let in fits whatever the rounding.
  return std::max(for_one, std::min({paid, wanted, kMostBlocks}));
}

void check_prompt(std::span<const int32_t> prompt_ids, const RequestLimits& limits) {
  const auto length = static_cast<int64_t>(prompt_ids.size());
  if (length == 0) throw Error(ErrorKind::kUsage, "the prompt is empty");
  if (length > limits.max_model_len) refuse_length(length, limits);
  for (const int32_t id : prompt_ids) {
    if (id < 0 || id >= limits.vocab_size)
      throw Error(ErrorKind::kUsage, fmt::format("token id {} is outside the vocabulary of {}", id,
                                                 limits.vocab_size));
  }
}

void check_request(const Request& request, const RequestLimits& limits) {
  check_prompt(request.prompt_ids, limits);
  check_sampling(request.sampling, limits.vocab_size);
}

}  // namespace weft::engine
