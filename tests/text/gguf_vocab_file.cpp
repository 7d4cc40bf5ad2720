#include "text/gguf_vocab_file.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>
#include <vector>

namespace weft::text {
namespace {

// GGUF's value types, by number.
enum : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

struct Value {
  double number = 0;
  std::string text;
  std::vector<double> numbers;
  std::vector<std::string> texts;
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : file_(path, std::ios::binary) {
    file_.exceptions(std::ios::failbit | std::ios::badbit);
  }

  template <typename T>
  T scalar() {
    T value{};
    file_.read(reinterpret_cast<char*>(&value), sizeof(value));
    return value;
  }

  std::string string() {
    std::string text(scalar<uint64_t>(), '\0');
    file_.read(text.data(), static_cast<std::streamsize>(text.size()));
    return text;
  }

  double number(uint32_t type) {
    switch (type) {
      case kU8:
        return scalar<uint8_t>();
      case kI8:
        return scalar<int8_t>();
      case kU16:
        return scalar<uint16_t>();
      case kI16:
        return scalar<int16_t>();
      case kU32:
        return scalar<uint32_t>();
      case kI32:
        return scalar<int32_t>();
      case kF32:
        return scalar<float>();
      case kBool:
        return scalar<uint8_t>();
      case kU64:
        return static_cast<double>(scalar<uint64_t>());
      case kI64:
        return static_cast<double>(scalar<int64_t>());
      case kF64:
        return scalar<double>();
      default:
        throw std::runtime_error("unknown GGUF value type");
    }
  }

  Value value() {
    Value value;
    const auto type = scalar<uint32_t>();
    if (type == kString) {
      value.text = string();
    } else if (type == kArray) {
      const auto element = scalar<uint32_t>();
      const auto count = scalar<uint64_t>();
      for (uint64_t i = 0; i < count; ++i) {
        if (element == kString) {
          value.texts.push_back(string());
        } else {
          value.numbers.push_back(number(element));
        }
      }
    } else {
      value.number = number(type);
    }
    return value;
  }

 private:
  std::ifstream file_;
};

}  // namespace

GgufVocabFile read_gguf_vocab(const std::filesystem::path& path) {
  Reader reader(path);
  if (reader.scalar<uint32_t>() != 0x46554747) throw std::runtime_error("not a GGUF file");
  reader.scalar<uint32_t>();  // version
  reader.scalar<uint64_t>();  // number of tensors
  std::map<std::string, Value> values;
  for (auto left = reader.scalar<uint64_t>(); left > 0; --left) {
    std::string key = reader.string();
    values[std::move(key)] = reader.value();
  }

  const std::string prefix = "tokenizer.ggml.";
  const auto id = [&](const std::string& key) -> int64_t {
    const auto found = values.find(prefix + key);
    return found == values.end() ? -1 : static_cast<int64_t>(found->second.number);
  };
  const auto flag = [&](const std::string& key) -> std::optional<bool> {
    const auto found = values.find(prefix + key);
    return found == values.end() ? std::nullopt : std::optional(found->second.number != 0);
  };
  GgufVocabFile file;
  file.chat_template = values["tokenizer.chat_template"].text;
  GgufVocab& vocab = file.vocab;
  vocab.model = values[prefix + "model"].text;
  vocab.pre = values[prefix + "pre"].text;
  vocab.tokens = std::move(values[prefix + "tokens"].texts);
  vocab.scores = std::move(values[prefix + "scores"].numbers);
  for (const double type : values[prefix + "token_type"].numbers) {
    vocab.token_types.push_back(static_cast<int64_t>(type));
  }
  vocab.merges = std::move(values[prefix + "merges"].texts);
  vocab.bos_id = id("bos_token_id");
  vocab.eos_id = id("eos_token_id");
  vocab.unk_id = id("unknown_token_id");
  vocab.pad_id = id("padding_token_id");
  vocab.add_bos = flag("add_bos_token");
  vocab.add_eos = flag("add_eos_token");
  vocab.add_space_prefix = flag("add_space_prefix");
  return file;
}

std::optional<std::filesystem::path> find_test_model(const std::string& file_name) {
  const char* folder = std::getenv("WEFT_TEST_MODELS");
  if (folder == nullptr) return std::nullopt;
  const std::filesystem::path path = std::filesystem::path(folder) / file_name;
  return std::filesystem::exists(path) ? std::optional(path) : std::nullopt;
}

}  // namespace weft::text
