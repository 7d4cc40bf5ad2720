#include "model/keys.h"

#include <cmath>

#include "base/error.h"

namespace weft::model {
namespace {

using checkpoint::Value;

[[noreturn]] void fail(const checkpoint::Checkpoint& checkpoint, const std::string& what) {
  throw Error(ErrorKind::kModel, fmt::format("{}: {}", checkpoint.path().string(), what));
}

}  // namespace

Keys::Keys(const checkpoint::Checkpoint& checkpoint)
    : checkpoint_(checkpoint), gguf_(checkpoint.format() == checkpoint::FileFormat::kGguf) {
  if (gguf_) {
    const Value* value = checkpoint.find_value("general.architecture");
    if (value == nullptr || !std::holds_alternative<std::string>(*value))
      fail(checkpoint, "the file names no general.architecture");
    architecture_ = std::get<std::string>(*value);
    return;
  }
  const auto text = checkpoint.side_file("config.json");
  if (!text)
    throw Error(ErrorKind::kModel,
                fmt::format("{}: config.json is missing", checkpoint.path().string()),
                "safetensors files hold tensors only", "keep config.json in the same folder");
  nlohmann::json root = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) fail(checkpoint, "config.json is not a JSON object");
  const auto names = root.find("architectures");
  if (names != root.end() && names->is_array() && !names->empty() && (*names)[0].is_string())
    architecture_ = (*names)[0].get<std::string>();
  if (architecture_.empty()) fail(checkpoint, "config.json names no architectures[0]");
  const auto nested = root.find("text_config");
  json_ = nested != root.end() && nested->is_object() ? *nested : std::move(root);
}

std::string Keys::gguf_name(Key key) const {
  return key.gguf.starts_with('.') ? architecture_ + std::string(key.gguf) : std::string(key.gguf);
}

std::string Keys::shown(Key key) const {
  return gguf_ ? gguf_name(key) : "config.json: " + std::string(key.json);
}

std::optional<int64_t> Keys::find_integer(Key key) const {
  if (gguf_) {
    if (key.gguf.empty()) return std::nullopt;
    const Value* value = checkpoint_.find_value(gguf_name(key));
    if (value == nullptr) return std::nullopt;
    if (const auto* number = std::get_if<int64_t>(value)) return *number;
    fail(checkpoint_, fmt::format("{} is not an integer", shown(key)));
  }
  const auto it = json_.find(key.json);
  if (it == json_.end() || it->is_null()) return std::nullopt;
  const bool too_large =
      it->is_number_unsigned() && it->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (!it->is_number_integer() || too_large)
    fail(checkpoint_, fmt::format("{} is not an integer of 64 bits", shown(key)));
  return it->get<int64_t>();
}

std::optional<double> Keys::find_number(Key key) const {
  if (gguf_) {
    if (key.gguf.empty()) return std::nullopt;
    const Value* value = checkpoint_.find_value(gguf_name(key));
    if (value == nullptr) return std::nullopt;
    if (const auto* number = std::get_if<double>(value)) return *number;
    if (const auto* whole = std::get_if<int64_t>(value)) return static_cast<double>(*whole);
    fail(checkpoint_, fmt::format("{} is not a number", shown(key)));
  }
  const auto it = json_.find(key.json);
  if (it == json_.end() || it->is_null()) return std::nullopt;
  if (!it->is_number()) fail(checkpoint_, fmt::format("{} is not a number", shown(key)));
  return it->get<double>();
}

std::optional<std::string> Keys::find_string(Key key) const {
  if (gguf_) {
    if (key.gguf.empty()) return std::nullopt;
    const Value* value = checkpoint_.find_value(gguf_name(key));
    const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
    return text == nullptr ? std::nullopt : std::optional(*text);
  }
  const auto it = json_.find(key.json);
  if (it == json_.end() || !it->is_string()) return std::nullopt;
  return it->get<std::string>();
}

std::optional<bool> Keys::find_bool(Key key) const {
  if (gguf_) {
    if (key.gguf.empty()) return std::nullopt;
    const Value* value = checkpoint_.find_value(gguf_name(key));
    const auto* flag = value == nullptr ? nullptr : std::get_if<bool>(value);
    return flag == nullptr ? std::nullopt : std::optional(*flag);
  }
  const auto it = json_.find(key.json);
  if (it == json_.end() || !it->is_boolean()) return std::nullopt;
  return it->get<bool>();
}

int64_t Keys::integer(Key key, int64_t low, int64_t high) const {
  const auto value = find_integer(key);
  if (!value) fail(checkpoint_, fmt::format("{} is missing", shown(key)));
  if (*value < low || *value > high)
    fail(checkpoint_, fmt::format("{} is {}, outside {} to {}", shown(key), *value, low, high));
  return *value;
}

double Keys::number(Key key, double low, double high) const {
  const auto value = find_number(key);
  if (!value) fail(checkpoint_, fmt::format("{} is missing", shown(key)));
  if (!(*value >= low && *value <= high))
    fail(checkpoint_, fmt::format("{} is {}, outside {} to {}", shown(key), *value, low, high));
  return *value;
}

int64_t Keys::integer_or(Key key, int64_t fallback, int64_t low, int64_t high) const {
  return find_integer(key) ? integer(key, low, high) : fallback;
}

double Keys::number_or(Key key, double fallback, double low, double high) const {
  return find_number(key) ? number(key, low, high) : fallback;
}

int64_t Keys::uniform_integer(Key key, int64_t num_layers, std::optional<int64_t> fallback,
                              int64_t low, int64_t high) const {
  if (gguf_) {
    const Value* value = checkpoint_.find_value(gguf_name(key));
    if (const auto* list = value ? std::get_if<std::vector<int64_t>>(value) : nullptr) {
      if (static_cast<int64_t>(list->size()) < num_layers || list->empty())
        fail(checkpoint_,
             fmt::format("{} lists {} layers of {}", shown(key), list->size(), num_layers));
      for (const int64_t entry : *list) {
        if (entry != list->front())
          fail(checkpoint_, fmt::format("{} differs between layers ({} and {}), which this version "
                                        "does not run",
                                        shown(key), list->front(), entry));
      }
      if (list->front() < low || list->front() > high)
        fail(checkpoint_,
             fmt::format("{} is {}, outside {} to {}", shown(key), list->front(), low, high));
      return list->front();
    }
  }
  if (fallback && !find_integer(key)) return *fallback;
  return integer(key, low, high);
}

}  // namespace weft::model
