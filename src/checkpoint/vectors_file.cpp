#include "checkpoint/vectors_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/range.h"

namespace weft::checkpoint {
namespace {

using Tensors = std::vector<const tensor::RawTensor*>;

// GGUF's numbers of value types (gguf_parser.cpp reads them all).
enum GgufType : uint32_t { kBool = 7, kString = 8, kArray = 9, kI64 = 11, kF64 = 12 };
constexpr int64_t kGgufAlignment = 32;

template <typename T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_text(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out += text;
}

void append_bytes(std::string& out, const tensor::RawTensor& tensor) {
  out.append(reinterpret_cast<const char*>(tensor.data), static_cast<size_t>(tensor.num_bytes()));
}

void pad(std::string& out, int64_t alignment) {
  out.resize(static_cast<size_t>(round_up(static_cast<int64_t>(out.size()), alignment)));
}

template <typename T>
constexpr GgufType gguf_type() {
  if constexpr (std::is_same_v<T, bool>) return kBool;
  if constexpr (std::is_same_v<T, int64_t>) return kI64;
  if constexpr (std::is_same_v<T, double>) return kF64;
  return kString;
}

template <typename T>
void append_element(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    append_text(out, value);
  } else {
    append(out, value);
  }
}

struct AppendValue {
  std::string& out;

  template <typename T>
  void operator()(const T& value) const {
    append(out, gguf_type<T>());
    append_element(out, value);
  }
  template <typename T>
  void operator()(const std::vector<T>& values) const {
    append(out, kArray);
    append(out, gguf_type<T>());
    append(out, uint64_t{values.size()});
    for (const auto& element : values) append_element<T>(out, element);
  }
};

// The parts of a split model are one file here, and this file has an alignment of its own.
bool is_dropped(std::string_view key) {
  return key.starts_with("split.") || key == "general.alignment";
}

std::string gguf_file(const Checkpoint& source, const Tensors& tensors) {
  std::string values, list, data;
  uint64_t num_values = 0;
  for (const std::string& key : source.keys()) {
    if (is_dropped(key)) continue;
    append_text(values, key);
    std::visit(AppendValue{values}, *source.find_value(key));
    ++num_values;
  }
  for (const tensor::RawTensor* tensor : tensors) {
    append_text(list, tensor->name);
    append(list, static_cast<uint32_t>(tensor->shape.size()));
    for (auto size = tensor->shape.rbegin(); size != tensor->shape.rend(); ++size)
      append(list, *size);
    append(list, tensor::info(tensor->dtype).ggml_id);
    pad(data, kGgufAlignment);
    append(list, uint64_t{data.size()});
    append_bytes(data, *tensor);
  }
  std::string out = "GGUF";
  append(out, uint32_t{3});
  append(out, uint64_t{tensors.size()});
  append(out, num_values);
  out += values + list;
  pad(out, kGgufAlignment);
  return out + data;
}

// The widest elements first: then each tensor begins at a multiple of its element's bytes.
std::string safetensors_file(Tensors tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto* a, const auto* b) {
    return tensor::info(a->dtype).block_bytes > tensor::info(b->dtype).block_bytes;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::string data;
  for (const tensor::RawTensor* tensor : tensors) {
    const size_t begin = data.size();
    append_bytes(data, *tensor);
    header[tensor->name] = {{"dtype", tensor::name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  std::string out;
  append_text(out, text);
  return out + data;
}

}  // namespace

std::string vectors_file(const Checkpoint& source, const Tensors& vectors) {
  return source.format() == FileFormat::kGguf ? gguf_file(source, vectors)
                                              : safetensors_file(vectors);
}

}  // namespace weft::checkpoint
