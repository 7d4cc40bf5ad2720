#include <fmt/format.h>

#include <string>
#include <utility>

#include "checkpoint/mapped_checkpoint.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxParts = 99999;  // five digits in the names

// The file with the metadata is the first of a split, and split.no counts from zero.
struct SplitKeys {
  int64_t number = 0;
  int64_t count = 1;
  std::optional<int64_t> num_tensors;
};

std::optional<int64_t> integer_of(const ValueMap& values, std::string_view key,
                                  std::string_view file) {
  const auto found = values.find(key);
  if (found == values.end()) return std::nullopt;
  const auto* value = std::get_if<int64_t>(&found->second);
  if (value == nullptr) refuse(file, fmt::format("{} is not an integer", key), kDamaged);
  return *value;
}

SplitKeys split_keys(const ValueMap& values, std::string_view file) {
  SplitKeys keys;
  keys.number = integer_of(values, "split.no", file).value_or(0);
  keys.count = integer_of(values, "split.count", file).value_or(1);
  keys.num_tensors = integer_of(values, "split.tensors.count", file);
  if (keys.number < 0 || keys.number >= keys.count || keys.count > kMaxParts) {
    refuse(file, fmt::format("split.no is {} and split.count {}", keys.number, keys.count),
           kDamaged);
  }
  return keys;
}

std::string name_of_part(std::string_view stem, int64_t number, int64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", stem, number, count);
}

// The name that the other parts are found by; errors where the file is not the first.
std::string split_stem(const fs::path& path, const SplitKeys& keys) {
  const std::optional<PartName> name = parse_part_name(path.filename().string(), ".gguf");
  if (!name || name->count != keys.count || name->number != keys.number + 1) {
    refuse(path.string(),
           fmt::format("is part {} of {} by its metadata, which its name does not say",
                       keys.number + 1, keys.count),
           "the parts of a split model find each other by their names",
           fmt::format("rename it to NAME-{:05}-of-{:05}.gguf", keys.number + 1, keys.count));
  }
  if (keys.number != 0) {
    refuse(path.string(), fmt::format("is part {} of {}", name->number, name->count),
           "a split model is opened by its first part",
           fmt::format("open {}", name_of_part(name->stem, 1, name->count)));
  }
  return name->stem;
}

void add_part(ModelParts& parts, const fs::path& path, int64_t number, const SplitKeys& first) {
  const std::string file = path.string();
  if (!is_there(path)) {
    refuse(parts.path.string(),
           fmt::format("is the first of {} parts, {} is not beside it", first.count,
                       path.filename().string()),
           "a split model needs all of its parts in one folder", "fetch the missing part");
  }
  parts.files.emplace_back(path);
  const GgufContents contents = parse_gguf(parts.files.back().bytes(), file);
  const SplitKeys keys = split_keys(contents.values, file);
  if (keys.number != number || keys.count != first.count) {
    refuse(file,
           fmt::format("is part {} of {} by its metadata, part {} of {} by its name",
                       keys.number + 1, keys.count, number + 1, first.count),
           "parts of different models were mixed, or one was renamed");
  }
  parts.tensors.add_all(contents.tensors, file);
}

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const fs::path& path) {
  const std::string file = path.string();
  ModelParts parts;
  parts.format = FileFormat::kGguf;
  parts.path = path;
  parts.files.emplace_back(path);
  GgufContents contents = parse_gguf(parts.files.back().bytes(), file);
  parts.tensors = std::move(contents.tensors);
  parts.values = std::move(contents.values);

  const SplitKeys keys = split_keys(parts.values, file);
  if (keys.count > 1) {
    const std::string stem = split_stem(path, keys);
    for (int64_t number = 1; number < keys.count; ++number) {
      const std::string name = name_of_part(stem, number + 1, keys.count);
      add_part(parts, path.parent_path() / name, number, keys);
    }
  }
  const auto num_tensors = static_cast<int64_t>(parts.tensors.list().size());
  if (keys.num_tensors.value_or(num_tensors) != num_tensors) {
    refuse(file,
           fmt::format("split.tensors.count is {}, the {} parts hold {} tensors", *keys.num_tensors,
                       keys.count, num_tensors),
           kDamaged, kFetchAgain);
  }
  return std::make_unique<MappedCheckpoint>(std::move(parts));
}

}  // namespace weft::checkpoint
