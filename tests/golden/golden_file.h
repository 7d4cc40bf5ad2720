// Reads tests/goldens/*.bin, the results of the reference: two formats, described field by field
// in tools/goldens/golden_file.py and explained in docs/goldens.md. Every read is checked; a file
// that lies throws std::runtime_error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace weft::golden {

inline constexpr uint32_t kAddedSpecial = 1;   // ids = encode(text) with the BOS the model asks for
inline constexpr uint32_t kParsedSpecial = 2;  // "<|im_start|>" in the text is one token
inline constexpr uint32_t kPerplexity = 4;     // every next_logprob counts towards the perplexity

// A sequence, scored position by position: position p sees ids 0..p and predicts id p + 1.
struct TopCase {
  std::string name;
  std::string text;
  uint32_t flags = 0;
  int64_t num_prompt_tokens = 0;
  std::vector<int32_t> ids;
  std::vector<float> next_logprobs;  // [ids.size() - 1] of ids[p + 1]
  int64_t num_positions = 0;         // ids.size() - 1, or 0 where no lists are kept
  int64_t k = 0;
  std::vector<int32_t> top_ids;     // [num_positions, k] best first
  std::vector<float> top_logprobs;  // [num_positions, k]
};

struct TopFile {
  std::string model;
  int64_t vocab_size = 0;
  std::vector<TopCase> cases;
};

// Raw logits of the last positions of a sequence.
struct LogitsCase {
  std::string preset, type, format;
  std::vector<int32_t> ids;
  int64_t num_positions = 0;
  int64_t vocab_size = 0;
  std::vector<float> logits;  // [num_positions, vocab_size]
};

TopFile read_top_file(const std::filesystem::path& path);
std::vector<LogitsCase> read_logits_file(const std::filesystem::path& path);

}  // namespace weft::golden
