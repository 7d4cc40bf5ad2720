// Which files of a repository a model needs: pure functions of the names there are.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::hub {

// One GGUF model of a repository, in one file or in several.
struct GgufModel {
  std::string quant;               // "Q4_K_M", "UD-Q4_K_XL"; its name where it says no type
  std::vector<std::string> files;  // in order; the first one opens the model
  bool is_whole = true;            // no part of a split is missing
};

// In the order of their names. Projectors and importance matrices, which are no models, apart.
std::vector<GgufModel> gguf_models(std::span<const std::string> names);

// Those that `quant` means: of that type or of that file name, whatever the case of letters. Empty
// `quant`: all.
std::vector<GgufModel> matching_models(const std::vector<GgufModel>& models,
                                       std::string_view quant);

// Whether a model in safetensors needs the file beside its weights: configuration, tokenizer, chat
// template. Files in folders are never needed.
bool is_side_file(std::string_view name);

inline constexpr std::string_view kWeightsIndex = "model.safetensors.index.json";
inline constexpr std::string_view kConfig = "config.json";
inline constexpr std::string_view kTokenizer = "tokenizer.json";

// The weight files of a safetensors model without an index: "model.safetensors", or the only
// .safetensors file beside "consolidated" ones and adapters. Empty: there is none.
std::string single_weights(std::span<const std::string> names);

// The weight files that an index's text names, each once. Nothing where it is no index, or names
// what may not be written.
std::optional<std::vector<std::string>> indexed_weights(const std::string& index_text);

}  // namespace weft::hub
