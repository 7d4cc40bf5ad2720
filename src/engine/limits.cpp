#include "engine/limits.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/memory.h"
#include "cache/group_layout.h"
#include "model/head.h"
#include "text/matcher_memory.h"

namespace weft::engine {
namespace {

// Share of the free memory, less what the ranks hold besides, that the cache may take where no flag
// says otherwise: half, since the page cache of the model file and other programs want the rest.
constexpr double kCacheMemoryShare = 0.5;
constexpr int64_t kCoarseTokens = 16384;
constexpr int64_t kMostBlocks = int64_t{1} << 30;

int64_t default_budget(const SplitReport& split) {
  int64_t left = available_memory_bytes();
  for (const auto* ranks : {&split.ranks, &split.draft_ranks}) {
    for (const RankShare& rank : *ranks)
      left -= rank.weight_bytes + rank.logits_bytes + rank.step_bytes;
  }
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

// The largest n in [0, most] for which `holds`, which holds up to some n and not beyond.
template <typename Holds>
int64_t largest(int64_t most, Holds holds) {
  int64_t low = 0, high = most;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (holds(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Sizes of the cache, over all ranks.
class CacheSizes {
 public:
  CacheSizes(const SplitReport& split, const EngineOptions& options)
      : groups_(split.kv_groups),
        options_(options),
        budget_(options.kv_cache_bytes > 0 ? options.kv_cache_bytes : default_budget(split)) {
    // A draft model has a part in every block of full attention.
    for (const RankShare& rank : split.draft_ranks)
      groups_.front().bytes_per_token += rank.kv_bytes_per_token;
  }

  int64_t budget() const { return budget_; }
  const std::vector<KvGroup>& groups() const { return groups_; }

  // Blocks of one context: all of it, and of a window what its longest chunk sees.
  int64_t of_one(const KvGroup& group, int64_t length) const {
    return cache::most_blocks(group.window, options_.max_num_batched_tokens, length,
                              options_.block_size);
  }
  std::vector<int64_t> of_one(int64_t length) const {
    std::vector<int64_t> blocks;
    for (const KvGroup& group : groups_) blocks.push_back(of_one(group, length));
    return blocks;
  }

  // Blocks of a window that serve whatever so many of full attention do. Each sequence holds its
  // window, with a block that two chunks share, and in each step one long chunk is computed, or
  // several short ones; the prefix cache keeps as many windows of sequences that are over.
  int64_t beside(const KvGroup& group, int64_t full_blocks) const {
    if (group.window == 0) return full_blocks;
    if (options_.num_window_blocks > 0) return options_.num_window_blocks;
    const int64_t a_sequence =
        cache::most_blocks(group.window, 1, kMaxModelLen, options_.block_size) + 1;
    const int64_t copies = options_.prefix_caching ? 2 : 1;
    return std::min(full_blocks,
                    copies * options_.max_num_seqs * a_sequence +
                        ceil_div(options_.max_num_batched_tokens, options_.block_size));
  }
  std::vector<int64_t> beside(int64_t full_blocks) const {
    std::vector<int64_t> blocks;
    for (const KvGroup& group : groups_) blocks.push_back(beside(group, full_blocks));
    return blocks;
  }

  int64_t bytes(const std::vector<int64_t>& blocks) const {
    int64_t bytes = 0;
    for (size_t g = 0; g < groups_.size(); ++g)
      bytes += blocks[g] * options_.block_size * groups_[g].bytes_per_token;
    return bytes;
  }
  bool are_paid(const std::vector<int64_t>& blocks) const { return bytes(blocks) <= budget_; }

  // The most blocks of full attention that can be paid for with windows as they should be.
  int64_t most_full_blocks() const {
    const int64_t block_bytes = groups_.front().bytes_per_token * options_.block_size;
    const int64_t most =
        block_bytes > 0 ? std::min(kMostBlocks, budget_ / block_bytes) : kMostBlocks;
    return largest(most, [&](int64_t n) { return are_paid(beside(n)); });
  }

 private:
  std::vector<KvGroup> groups_;
  const EngineOptions& options_;
  int64_t budget_;
};

// Where windows as they should be leave no room for one context: a part of them.
std::vector<int64_t> with_short_windows(const CacheSizes& sizes, int64_t max_model_len) {
  const std::vector<int64_t> least = sizes.of_one(max_model_len);
  const std::vector<int64_t> wanted = sizes.beside(least.front());
  constexpr int64_t kParts = 1024;
  const auto blocks_of = [&](int64_t part) {
    std::vector<int64_t> blocks = least;
    for (size_t g = 1; g < blocks.size(); ++g)
      blocks[g] += std::max<int64_t>(0, wanted[g] - least[g]) * part / kParts;
    return blocks;
  };
  return blocks_of(largest(kParts, [&](int64_t part) { return sizes.are_paid(blocks_of(part)); }));
}

void check_window_blocks(const CacheSizes& sizes, int64_t max_model_len,
                         const EngineOptions& options) {
  for (const KvGroup& group : sizes.groups()) {
    const int64_t least = cache::most_blocks(group.window, 1, max_model_len, options.block_size);
    if (group.window > 0 && options.num_window_blocks < least)
      throw Error(ErrorKind::kUsage, fmt::format("{} blocks hold no window of {} tokens: {} do",
                                                 options.num_window_blocks, group.window, least));
  }
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
  within("--draft-tensor-parallel-size", o.draft_tensor_parallel_size, 0,
         parallel::kMaxRanksPerStage);
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
  const CacheSizes sizes(split, options);
  const int64_t asked = options.max_model_len;
  check_model_len(asked, context_length);
  int64_t tokens =
      options.block_size * largest(ceil_div(context_length, options.block_size), [&](int64_t n) {
        return sizes.are_paid(sizes.of_one(n * options.block_size));
      });
  // A coarse step, so that what else runs on the machine seldom shows in the context.
  if (tokens > kCoarseTokens && tokens < context_length)
    tokens = tokens / kCoarseTokens * kCoarseTokens;
  if (asked > tokens || tokens < options.block_size) {
    const int64_t least = std::max(asked, options.block_size);
    throw Error(ErrorKind::kMemory,
                fmt::format("a context of {} tokens needs {} of cache; {} are allowed", least,
                            size_text(sizes.bytes(sizes.of_one(least))), size_text(sizes.budget())),
                options.kv_cache_bytes > 0
                    ? std::string()
                    : "that is half of what weights, logits and steps leave of the free memory",
                asked > options.block_size
                    ? "lower --max-model-len, or raise --kv-cache-memory-bytes"
                    : "raise --kv-cache-memory-bytes");
  }
  return asked > 0 ? asked : std::min(context_length, tokens);
}

std::vector<int64_t> choose_num_blocks(const SplitReport& split, int64_t max_model_len,
                                       const EngineOptions& options) {
  const CacheSizes sizes(split, options);
  const int64_t for_one = ceil_div(max_model_len, options.block_size);
  // Block ids are 32-bit. Full attention without a layer costs nothing, and is not grown for that.
  const bool takes_all = options.kv_cache_bytes > 0 && split.kv_groups.front().bytes_per_token > 0;
  const int64_t wanted =
      std::min(kMostBlocks, takes_all ? kMostBlocks : options.max_num_seqs * for_one);
  const int64_t paid = sizes.most_full_blocks();
  if (options.num_window_blocks > 0) check_window_blocks(sizes, max_model_len, options);
  if (options.num_blocks > 0) {
    const int64_t most = std::max(for_one, paid);
    if (options.num_blocks < for_one || options.num_blocks > most)
      throw Error(
          ErrorKind::kUsage,
          fmt::format("--num-kv-blocks is {}, outside {} to {}", options.num_blocks, for_one, most),
          "one context takes the fewer, the cache memory holds the more",
          "lower --max-model-len, or raise --kv-cache-memory-bytes");
    return sizes.beside(options.num_blocks);
  }
  if (paid < for_one) return with_short_windows(sizes, max_model_len);
  return sizes.beside(std::min(paid, wanted));
}

bool blocks_for_all(const SplitReport& split, int64_t count, int64_t length,
                    const EngineOptions& options) {
  return std::ranges::all_of(split.kv_groups, [&](const KvGroup& group) {
    const int64_t whole = cache::most_blocks(0, 1, length, options.block_size);
    const int64_t one = cache::most_blocks(group.window, 1, length, options.block_size);
    const int64_t chunks = ceil_div(options.max_num_batched_tokens, options.block_size);
    const int64_t all =
        group.window == 0 ? count * whole : count * std::min(whole, one + 1) + chunks;
    return std::min(all, count * whole) <= group.num_blocks;
  });
}

int64_t requests_that_fit(const SplitReport& split, int64_t length, int64_t block_size) {
  int64_t fit = std::numeric_limits<int64_t>::max();
  for (const KvGroup& group : split.kv_groups)
    fit = std::min(fit, group.num_blocks / cache::most_blocks(group.window, 1, length, block_size));
  return fit;
}

int64_t context_bytes(const SplitReport& split, const RankShare& rank, int64_t length,
                      const EngineOptions& options) {
  int64_t bytes = 0;
  for (size_t g = 0; g < split.kv_groups.size(); ++g)
    bytes += cache::most_blocks(split.kv_groups[g].window, options.max_num_batched_tokens, length,
                                options.block_size) *
             options.block_size * rank.kv_group_bytes_per_token[g];
  return bytes;
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

namespace {

void check_matchers(const Request& request) {
  const int64_t num_choices = request.sampling.num_choices(), bytes = request.grammar->bytes();
  if (num_choices <= 1 || bytes <= text::kMatcherBytes / num_choices) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("n is {} (or best_of), too many for this grammar", num_choices),
              fmt::format("each takes {} MiB for its place in the grammar; all answers that run "
                          "share {} MiB",
                          (bytes >> 20) + 1, text::kMatcherBytes >> 20),
              "ask for fewer, or simplify the grammar");
}

}  // namespace

void check_request(const Request& request, const RequestLimits& limits) {
  check_prompt(request.prompt_ids, limits);
  if (request.pooling && (request.sampling.num_choices() != 1 || request.sampling.prompt_logprobs ||
                          request.full_prompt_logits))
    throw Error(ErrorKind::kUsage, "a request for a vector has one choice and no prompt logprobs");
  check_sampling(request.sampling, limits.vocab_size);
  if (request.grammar != nullptr) check_matchers(request);
}

}  // namespace weft::engine
