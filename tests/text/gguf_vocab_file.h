// Reads tokenizer.ggml.* of a GGUF file into a GgufVocab, and the chat template. The text floor
// knows no files, and its tests stay below the checkpoint floor, so this trusting reader of test
// models lives here; the one that trusts nothing is src/checkpoint.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "text/text.h"

namespace weft::text {

struct GgufVocabFile {
  GgufVocab vocab;
  std::string chat_template;
};

GgufVocabFile read_gguf_vocab(const std::filesystem::path& path);

// The file in the folder named by WEFT_TEST_MODELS; nullopt where it is not there.
std::optional<std::filesystem::path> find_test_model(const std::string& file_name);

inline constexpr char kSmolLm2[] = "SmolLM2-135M-Instruct.Q4_1.gguf";
inline constexpr char kGemma3[] = "gemma-3-270m.Q4_K_M.gguf";

}  // namespace weft::text
