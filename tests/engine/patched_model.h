// Copies of a GGUF model with some bytes changed: a weight, or a number of the metadata.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "checkpoint/checkpoint.h"

namespace weft::engine {

class PatchedModel {
 public:
  explicit PatchedModel(const std::string& path) : source_(path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }

  // Writes over the bytes of an F32 tensor from element `index` on. The tensor is found by its
  // first bytes, which are random and occur once.
  PatchedModel& set_weight(const std::string& tensor, int64_t index, int64_t count, float value) {
    const auto checkpoint = checkpoint::Checkpoint::open(source_);
    const tensor::RawTensor& raw = checkpoint->require(tensor);
    if (raw.dtype != tensor::DType::kF32) throw std::invalid_argument(tensor + " is not F32");
    const std::string head(reinterpret_cast<const char*>(raw.data), 256);
    const size_t at = original().find(head);
    for (int64_t i = index; i < index + count; ++i)
      std::memcpy(&bytes_.at(at + static_cast<size_t>(i) * 4), &value, sizeof(value));
    return *this;
  }

  // Gives a tensor another name of the same length, so that the model lacks it.
  PatchedModel& rename(const std::string& from, const std::string& to) {
    const uint64_t length = from.size();
    const std::string entry = std::string(reinterpret_cast<const char*>(&length), 8) + from;
    const size_t at = bytes_.find(entry);
    if (at == std::string::npos || to.size() != from.size())
      throw std::invalid_argument("cannot rename " + from);
    bytes_.replace(at + 8, to.size(), to);
    return *this;
  }

  // A key whose value is a u32.
  PatchedModel& set_number(const std::string& key, uint32_t value) {
    // In the file: u64 length, key, u32 type, value. No longer key matches with its length in
    // front.
    const uint64_t length = key.size();
    const std::string entry = std::string(reinterpret_cast<const char*>(&length), 8) + key;
    const size_t at = bytes_.find(entry);
    if (at == std::string::npos) throw std::invalid_argument("no " + key);
    constexpr size_t kTypeBytes = 4;
    std::memcpy(&bytes_.at(at + entry.size() + kTypeBytes), &value, sizeof(value));
    return *this;
  }

  std::string write(const std::filesystem::path& path) const {
    std::ofstream(path, std::ios::binary) << bytes_;
    return path.string();
  }

 private:
  std::string original() const {
    std::ifstream file(source_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string source_, bytes_;
};

}  // namespace weft::engine
