#include "hub/file_choice.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "hub/model_name.h"

namespace weft::hub {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string_view base_name(std::string_view name) { return name.substr(name.rfind('/') + 1); }

bool is_model_file(std::string_view name) {
  const std::string base = lower(base_name(name));
  return base.ends_with(".gguf") && base.find("mmproj") == std::string::npos &&
         base.find("imatrix") == std::string::npos;
}

// The type that a file's name ends with, as publishers write it: "-Q4_K_M", ".IQ4_XS", "-BF16".
std::string quant_of(const std::string& stem) {
  static const std::regex kQuant(
      R"((^|[-_./])((UD-)?([IT]?Q[0-9]+(_[0-9A-Z]+)*|BF16|F16|F32|FP16|FP32|MXFP4(_MOE)?))$)",
      std::regex::icase);
  std::smatch found;
  const std::string base(base_name(stem));
  if (!std::regex_search(base, found, kQuant)) return base;
  std::string quant = found[2];
  for (char& c : quant) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return quant;
}

// "stem-00002-of-00005" → stem, 2, 5; a single file is part 1 of 1.
struct Part {
  std::string stem;
  int number = 1, count = 1;
};

Part part_of(std::string_view name) {
  static const std::regex kPart(R"((.*)-([0-9]{5})-of-([0-9]{5}))");
  const std::string stem(name.substr(0, name.size() - std::string_view(".gguf").size()));
  std::smatch found;
  if (!std::regex_match(stem, found, kPart)) return {stem};
  return {found[1], std::stoi(found[2]), std::stoi(found[3])};
}

}  // namespace

std::vector<GgufModel> gguf_models(std::span<const std::string> names) {
  std::map<std::pair<std::string, int>, std::map<int, std::string>> parts;  // (stem, count) → files
  for (const std::string& name : names) {
    if (!is_model_file(name)) continue;
    const Part part = part_of(name);
    parts[{part.stem, part.count}][part.number] = name;
  }
  std::vector<GgufModel> models;
  for (const auto& [key, files] : parts) {
    GgufModel model{quant_of(key.first), {}, static_cast<int>(files.size()) == key.second};
    int expected = 1;
    for (const auto& [number, name] : files) {
      model.is_whole = model.is_whole && number == expected++;
      model.files.push_back(name);
    }
    models.push_back(std::move(model));
  }
  return models;
}

std::vector<GgufModel> matching_models(const std::vector<GgufModel>& models,
                                       std::string_view quant) {
  if (quant.empty()) return models;
  const std::string wanted = lower(quant);
  std::vector<GgufModel> found;
  const auto take = [&](auto&& matches) {
    if (found.empty()) std::ranges::copy_if(models, std::back_inserter(found), matches);
  };
  take([&](const GgufModel& model) { return lower(model.files.front()) == wanted; });
  take([&](const GgufModel& model) { return lower(base_name(model.files.front())) == wanted; });
  take([&](const GgufModel& model) { return lower(model.quant) == wanted; });
  // "Q4_K_XL" for "UD-Q4_K_XL".
  take([&](const GgufModel& model) { return lower(model.quant) == "ud-" + wanted; });
  return found;
}

bool is_side_file(std::string_view name) {
  if (name.find('/') != std::string_view::npos) return false;
  constexpr std::string_view kNames[] = {kConfig,
                                         kWeightsIndex,
                                         "generation_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt"};
  return std::ranges::find(kNames, name) != std::end(kNames) || name.starts_with("tokenizer") ||
         name.starts_with("chat_template");
}

std::string single_weights(std::span<const std::string> names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name == "model.safetensors") return name;
    if (name.find('/') == std::string::npos && name.ends_with(".safetensors") &&
        !name.starts_with("consolidated") && !name.starts_with("adapter")) {
      found.push_back(name);
    }
  }
  return found.size() == 1 ? found.front() : std::string();
}

std::optional<std::vector<std::string>> indexed_weights(const std::string& index_text) {
  const nlohmann::json index = nlohmann::json::parse(index_text, nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return std::nullopt;
  }
  std::set<std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string()) return std::nullopt;
    const std::string name = file.get<std::string>();
    if (!is_safe_file_name(name) || name.find('/') != std::string::npos) return std::nullopt;
    files.insert(name);
  }
  if (files.empty()) return std::nullopt;
  return std::vector<std::string>(files.begin(), files.end());
}

}  // namespace weft::hub
