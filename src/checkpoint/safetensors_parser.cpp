#include "checkpoint/safetensors_parser.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "checkpoint/byte_reader.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDims = 8;

// What the header says of one tensor; all three fields are required, once each.
struct HeaderEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> data_offsets;
};

// Takes the header apart as it is parsed, so that no tree of hostile depth is ever built and a
// repeated name is seen (a tree keeps the last one silently). Throws Error through the parser.
class HeaderHandler final : public json::json_sax_t {
 public:
  explicit HeaderHandler(std::string_view file) : file_(file) {}
  std::vector<HeaderEntry> take_entries() { return std::move(entries_); }

  bool start_object(size_t) override {
    switch (state_) {
      case State::kBegin:
        return go(State::kTensors);
      case State::kTensorBegin:
        return go(State::kFields);
      case State::kMetadataBegin:
        return go(State::kMetadata);
      default:
        refuse_json("an object");
    }
  }
  bool end_object() override {
    if (state_ == State::kTensors) return go(State::kEnd);
    if (state_ == State::kFields) check_complete(entries_.back());
    return go(State::kTensors);
  }
  bool key(std::string& text) override {
    if (state_ == State::kTensors) return begin_entry(text);
    if (state_ == State::kFields) return begin_field(text);
    return true;  // a key of __metadata__, whose value is a text for people
  }
  bool string(std::string& text) override {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kDtype) refuse_json("a text");
    entries_.back().dtype = text;
    return go(State::kFields);
  }
  bool start_array(size_t) override {
    if (state_ == State::kShapeBegin) return go(State::kShape);
    if (state_ == State::kOffsetsBegin) return go(State::kOffsets);
    refuse_json("a list");
  }
  bool end_array() override { return go(State::kFields); }
  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (state_ != State::kShape && state_ != State::kOffsets) refuse_json("a number");
    if (value > kMost) refuse_json("a number above 2^63");
    HeaderEntry& entry = entries_.back();
    auto& numbers = state_ == State::kShape ? *entry.shape : *entry.data_offsets;
    if (numbers.size() == kMaxDims) refuse_json("a list of more than 8 numbers");
    numbers.push_back(static_cast<int64_t>(value));
    return true;
  }
  bool number_integer(number_integer_t) override { refuse_json("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { refuse_json("a fraction"); }
  bool boolean(bool) override { refuse_json("a truth value"); }
  bool null() override { refuse_json("null"); }
  bool binary(binary_t&) override { refuse_json("binary"); }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    refuse(file_, fmt::format("the header is not JSON, from its byte {} on", position), kDamaged,
           kFetchAgain);
  }

 private:
  enum class State {
    kBegin,
    kTensors,
    kEnd,  // { "name": ..., }
    kMetadataBegin,
    kMetadata,  // "__metadata__": { ... }
    kTensorBegin,
    kFields,  // "name": { ... }
    kDtype,
    kShapeBegin,
    kShape,
    kOffsetsBegin,
    kOffsets,
  };

  bool go(State next) {
    state_ = next;
    return true;
  }
  std::string subject() const {
    if (state_ == State::kMetadataBegin || state_ == State::kMetadata) return "__metadata__";
    return entries_.empty() ? "the header" : fmt::format("tensor {}", shown(entries_.back().name));
  }
  [[noreturn]] void refuse_json(std::string_view found) const {
    refuse(file_, fmt::format("{} holds {} where none belongs", subject(), found), kDamaged);
  }
  bool begin_entry(const std::string& name) {
    if (name == "__metadata__") return go(State::kMetadataBegin);
    entries_.push_back({});
    entries_.back().name = name;
    return go(State::kTensorBegin);
  }
  bool begin_field(const std::string& field) {
    HeaderEntry& entry = entries_.back();
    const bool repeated = (field == "dtype" && entry.dtype) || (field == "shape" && entry.shape) ||
                          (field == "data_offsets" && entry.data_offsets);
    if (repeated) refuse_json(fmt::format("{} twice", shown(field)));
    if (field == "dtype") return go(State::kDtype);
    if (field == "shape") {
      entry.shape.emplace();
      return go(State::kShapeBegin);
    }
    if (field == "data_offsets") {
      entry.data_offsets.emplace();
      return go(State::kOffsetsBegin);
    }
    refuse_json(fmt::format("the field {}", shown(field)));
  }
  void check_complete(const HeaderEntry& entry) const {
    if (!entry.dtype || !entry.shape || !entry.data_offsets || entry.data_offsets->size() != 2) {
      refuse(file_, fmt::format("{} lacks its dtype, shape or two data_offsets", subject()),
             kDamaged);
    }
  }

  std::string_view file_;
  std::vector<HeaderEntry> entries_;
  State state_ = State::kBegin;
};

tensor::DType to_dtype(const HeaderEntry& entry, std::string_view file) {
  if (*entry.dtype == "BF16") return tensor::DType::kBF16;
  if (*entry.dtype == "F16") return tensor::DType::kF16;
  if (*entry.dtype == "F32") return tensor::DType::kF32;
  refuse(file,
         fmt::format("tensor {} has the type {}, which is not supported", shown(entry.name),
                     shown(*entry.dtype)),
         "safetensors are read in BF16, F16 and F32; AWQ, GPTQ and FP8 files are not",
         "take the unquantised model, or a GGUF file of it");
}

tensor::RawTensor to_tensor(HeaderEntry entry, std::span<const std::byte> data,
                            std::string_view file) {
  tensor::RawTensor tensor;
  tensor.dtype = to_dtype(entry, file);
  tensor.name = std::move(entry.name);
  tensor.shape = std::move(*entry.shape);
  const int64_t begin = (*entry.data_offsets)[0], end = (*entry.data_offsets)[1];
  const int64_t num_bytes = checked_num_bytes(file, tensor.name, tensor.dtype, tensor.shape);
  if (end < begin || end - begin != num_bytes) {
    refuse(file,
           fmt::format("tensor {} takes {} bytes by its shape, bytes {} to {} by its data_offsets",
                       shown(tensor.name), num_bytes, begin, end),
           kDamaged);
  }
  place(tensor, static_cast<uint64_t>(begin), data, file);
  const auto element_bytes = static_cast<uintptr_t>(tensor::info(tensor.dtype).block_bytes);
  if (reinterpret_cast<uintptr_t>(tensor.data) % element_bytes != 0) {
    refuse(file,
           fmt::format("tensor {} begins at an address that its {} bytes an element do not divide",
                       shown(tensor.name), element_bytes),
           "it was written by an old tool", "load and save it again with a current safetensors");
  }
  return tensor;
}

// The format has no gaps: bytes that no tensor names are a sign of a damaged or doctored file.
void refuse_unnamed_bytes(const std::vector<tensor::RawTensor>& tensors, size_t data_bytes,
                          std::string_view file) {
  uint64_t named = 0;  // cannot overflow: without overlaps the sum is within the file
  for (const tensor::RawTensor& tensor : tensors)
    named += static_cast<uint64_t>(tensor.num_bytes());
  if (named != data_bytes) {
    refuse(file, fmt::format("the tensors take {} bytes, the data has {}", named, data_bytes),
           kDamaged, kFetchAgain);
  }
}

std::string_view to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_plain_safetensors_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.find_first_of("/\\") == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace

TensorTable parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  ByteReader in(bytes, file);
  in.set_subject("the length of the header");
  const auto header_bytes = in.number<uint64_t>();
  if (header_bytes > kMaxHeaderBytes || header_bytes > in.remaining()) {
    refuse(file,
           fmt::format("the header takes {} bytes, {} are left in the file", header_bytes,
                       in.remaining()),
           "it is no safetensors file, or cut short", kFetchAgain);
  }
  const std::string_view header =
      to_text(bytes.subspan(sizeof(uint64_t), static_cast<size_t>(header_bytes)));
  HeaderHandler handler(file);
  json::sax_parse(header, &handler);

  const auto data = bytes.subspan(sizeof(uint64_t) + static_cast<size_t>(header_bytes));
  TensorTable tensors;
  for (HeaderEntry& entry : handler.take_entries()) {
    tensors.add(to_tensor(std::move(entry), data, file), file);
  }
  refuse_overlaps(tensors.list(), file);
  refuse_unnamed_bytes(tensors.list(), data.size(), file);
  return tensors;
}

std::map<std::string, std::string, std::less<>> parse_safetensors_index(
    std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.size() > kMaxHeaderBytes) {
    refuse(file, fmt::format("is {} bytes long, more than {}", bytes.size(), kMaxHeaderBytes));
  }
  const json index = json::parse(to_text(bytes), nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    refuse(file, "is no JSON object with a \"weight_map\"", kDamaged, kFetchAgain);
  }
  std::map<std::string, std::string, std::less<>> file_of;
  for (const auto& [tensor, value] : index["weight_map"].items()) {
    if (!value.is_string() || !is_plain_safetensors_name(value.get_ref<const std::string&>())) {
      refuse(file,
             fmt::format("places tensor {} in something that is no plain name of a "
                         ".safetensors file",
                         shown(tensor)),
             kDamaged);
    }
    file_of.emplace(tensor, value.get<std::string>());
  }
  if (file_of.empty()) refuse(file, "names no tensor", kDamaged);
  return file_of;
}

}  // namespace weft::checkpoint
