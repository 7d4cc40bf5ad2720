// Typed, range-checked reading of a model's metadata, whichever of the two forms it has: GGUF keys
// ("{arch}.attention.head_count") or config.json ("num_attention_heads"). A family names both.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace weft::model {

// One datum's two names. A GGUF name beginning with '.' follows the architecture's prefix.
struct Key {
  std::string_view gguf;
  std::string_view json;
};

class Keys {
 public:
  // Parses config.json for safetensors; throws Error(kModel) where it is missing or malformed.
  explicit Keys(const checkpoint::Checkpoint& checkpoint);

  bool is_gguf() const { return gguf_; }
  // general.architecture, or architectures[0].
  const std::string& architecture() const { return architecture_; }
  const checkpoint::Checkpoint& checkpoint() const { return checkpoint_; }
  // The text model's part of config.json (multimodal files nest it).
  const nlohmann::json& json() const { return json_; }

  std::optional<int64_t> find_integer(Key key) const;
  std::optional<double> find_number(Key key) const;
  std::optional<std::string> find_string(Key key) const;
  std::optional<bool> find_bool(Key key) const;

  // Required, within [low, high].
  int64_t integer(Key key, int64_t low, int64_t high) const;
  double number(Key key, double low, double high) const;
  // Optional, within [low, high] where present.
  int64_t integer_or(Key key, int64_t fallback, int64_t low, int64_t high) const;
  double number_or(Key key, double fallback, double low, double high) const;
  // A scalar or a per-layer array whose entries must agree (GGUF's head_count_kv).
  int64_t uniform_integer(Key key, int64_t num_layers, std::optional<int64_t> fallback, int64_t low,
                          int64_t high) const;

 private:
  std::string gguf_name(Key key) const;
  std::string shown(Key key) const;

  const checkpoint::Checkpoint& checkpoint_;
  bool gguf_ = false;
  std::string architecture_;
  nlohmann::json json_;
};

}  // namespace weft::model
