// Model files → metadata and named raw tensors. Knows no layers and no panels.
//
// GGUF v2/v3 (single and split) and safetensors folders (single and with an index; BF16, F16, F32)
// are mapped, never read whole. Every size in a file is checked against the file's length with
// overflow-safe arithmetic before use; a file that lies ends with Error(kModel) in one line that
// names the file, the tensor or key, and both numbers. Immutable after open; thread-safe to read.
// A packed model (weft pack) opens like any other; its matrices are there by name and shape, and as
// panels in packed(). AWQ and GPTQ will be two more decoders here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/raw_tensor.h"

namespace weft::checkpoint {

// A metadata value of a GGUF file. Integers of all widths arrive as int64_t (u64 above 2^63 is an
// error), floats as double. Arrays of arrays are refused.
using Value = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>,
                           std::vector<double>, std::vector<bool>, std::vector<std::string>>;

enum class FileFormat { kGguf, kSafetensors };

struct PackedModel;  // packed_checkpoint.h

class Checkpoint {
 public:
  // A .gguf file, the first file of a split GGUF, a .safetensors file, or a folder holding either
  // (a folder with exactly one model; otherwise the error lists what is there), or a packed model.
  static std::unique_ptr<Checkpoint> open(const std::filesystem::path& path);
  virtual ~Checkpoint() = default;

  virtual FileFormat format() const = 0;
  // The file that was opened: the first of a split, the index of a safetensors model.
  virtual const std::filesystem::path& path() const = 0;
  virtual int64_t file_bytes() const = 0;

  // Tensors in file order.
  virtual const std::vector<tensor::RawTensor>& tensors() const = 0;
  virtual const tensor::RawTensor* find(std::string_view name) const = 0;  // null where absent
  const tensor::RawTensor& require(std::string_view name) const;  // Error(kModel) where absent

  // GGUF metadata (empty for safetensors); of a split, the first file's. Keys are sorted.
  virtual const Value* find_value(std::string_view key) const = 0;
  virtual std::vector<std::string> keys() const = 0;

  // Side files beside safetensors, as text; nullopt where absent. For GGUF always nullopt.
  // names: "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
  // "chat_template.jinja".
  virtual std::optional<std::string> side_file(std::string_view name) const = 0;

  // Of a packed model: its panels and the split that they serve. Otherwise null.
  virtual const PackedModel* packed() const { return nullptr; }
};

}  // namespace weft::checkpoint
