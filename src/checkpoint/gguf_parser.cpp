#include "checkpoint/gguf_parser.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <limits>
#include <optional>
#include <utility>

#include "checkpoint/byte_reader.h"
#include "checkpoint/refuse.h"

namespace weft::checkpoint {
namespace {

enum class ValueType : uint32_t {
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
  kF64,
};

constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr int64_t kDefaultAlignment = 32;
// The least that an entry can take, names of one byte: no count above the rest of the file
// divided by it is believed.
constexpr uint64_t kLeastValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// ------------------------------------------------------------------ metadata

int64_t to_int64(uint64_t value, const ByteReader& in) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    refuse(in.file(), fmt::format("{} is {}, more than 63 bits", in.subject(), value));
  }
  return static_cast<int64_t>(value);
}

bool read_bool(ByteReader& in) {
  const auto value = in.number<uint8_t>();
  if (value > 1) {
    refuse(in.file(), fmt::format("{} is a truth value of {}", in.subject(), value), kDamaged);
  }
  return value == 1;
}

// Calls read(element reader, bytes of an element at least) with the C++ type that `type` maps to.
template <typename Result, typename Read>
Result with_element(ValueType type, const ByteReader& in, Read read) {
  const auto integer = [&]<typename T>(T) {
    return read([](ByteReader& r) { return int64_t{r.number<T>()}; }, sizeof(T));
  };
  switch (type) {
    case ValueType::kU8:
      return integer(uint8_t{});
    case ValueType::kI8:
      return integer(int8_t{});
    case ValueType::kU16:
      return integer(uint16_t{});
    case ValueType::kI16:
      return integer(int16_t{});
    case ValueType::kU32:
      return integer(uint32_t{});
    case ValueType::kI32:
      return integer(int32_t{});
    case ValueType::kI64:
      return integer(int64_t{});
    case ValueType::kU64:
      return read([](ByteReader& r) { return to_int64(r.number<uint64_t>(), r); }, 8);
    case ValueType::kF32:
      return read([](ByteReader& r) { return double{r.number<float>()}; }, 4);
    case ValueType::kF64:
      return read([](ByteReader& r) { return r.number<double>(); }, 8);
    case ValueType::kBool:
      return read(read_bool, 1);
    case ValueType::kString:
      return read([](ByteReader& r) { return std::string(r.text()); }, 8);
    case ValueType::kArray:
      refuse(in.file(), fmt::format("{} is an array of arrays", in.subject()),
             "only arrays of numbers, truth values and strings are read");
  }
  refuse(in.file(),
         fmt::format("{} has the unknown type {}", in.subject(), static_cast<uint32_t>(type)),
         kDamaged);
}

Value read_array(ByteReader& in) {
  const auto type = static_cast<ValueType>(in.number<uint32_t>());
  const auto count = in.number<uint64_t>();
  return with_element<Value>(type, in, [&](auto read_element, uint64_t least_bytes) -> Value {
    in.require_room(count, least_bytes);
    std::vector<decltype(read_element(in))> elements;
    elements.reserve(static_cast<size_t>(count));
    for (uint64_t i = 0; i < count; ++i) elements.push_back(read_element(in));
    return elements;
  });
}

Value read_value(ByteReader& in) {
  const auto type = static_cast<ValueType>(in.number<uint32_t>());
  if (type == ValueType::kArray) return read_array(in);
  return with_element<Value>(
      type, in, [&](auto read_element, uint64_t) -> Value { return read_element(in); });
}

std::string read_name(ByteReader& in) {
  const std::string_view name = in.text();
  if (name.empty() || name.size() > kMaxNameBytes) {
    refuse(in.file(), fmt::format("{} has a name of {} bytes", in.subject(), name.size()),
           kDamaged);
  }
  return std::string(name);
}

ValueMap read_values(ByteReader& in, uint64_t count) {
  ValueMap values;
  for (uint64_t i = 0; i < count; ++i) {
    in.set_subject(fmt::format("metadata key {} of {}", i, count));
    std::string key = read_name(in);
    in.set_subject(fmt::format("the value of {}", shown(key)));
    Value value = read_value(in);
    if (!values.emplace(std::move(key), std::move(value)).second) {
      refuse(in.file(), fmt::format("{} is there twice", in.subject()), kDamaged);
    }
  }
  return values;
}

int64_t alignment_of(const ValueMap& values, std::string_view file) {
  const auto found = values.find("general.alignment");
  if (found == values.end()) return kDefaultAlignment;
  const auto* alignment = std::get_if<int64_t>(&found->second);
  if (alignment == nullptr) refuse(file, "general.alignment is not an integer", kDamaged);
  const bool allowed = *alignment >= 8 && *alignment <= (int64_t{1} << 31) &&
                       std::has_single_bit(static_cast<uint64_t>(*alignment));
  if (!allowed) {
    refuse(file, fmt::format("general.alignment is {}, not a power of two from 8 on", *alignment),
           kDamaged);
  }
  return *alignment;
}

// ------------------------------------------------------------------ tensors

// Types that ggml knows and this engine does not compute with, so that the error can name them.
std::string type_name(uint32_t id) {
  struct Named {
    uint32_t id;
    std::string_view name;
  };
  constexpr std::array<Named, 18> kOthers = {{{9, "Q8_1"},
                                              {15, "Q8_K"},
                                              {16, "IQ2_XXS"},
                                              {17, "IQ2_XS"},
                                              {18, "IQ3_XXS"},
                                              {19, "IQ1_S"},
                                              {21, "IQ3_S"},
                                              {22, "IQ2_S"},
                                              {24, "I8"},
                                              {25, "I16"},
                                              {26, "I32"},
                                              {27, "I64"},
                                              {28, "F64"},
                                              {29, "IQ1_M"},
                                              {34, "TQ1_0"},
                                              {35, "TQ2_0"},
                                              {40, "NVFP4"},
                                              {41, "Q1_0"}}};
  for (const Named& other : kOthers) {
    if (other.id == id) return fmt::format("{} (ggml type {})", other.name, id);
  }
  return fmt::format("ggml type {}", id);
}

tensor::DType read_dtype(ByteReader& in) {
  const auto id = in.number<uint32_t>();
  const std::optional<tensor::DType> dtype = tensor::dtype_from_ggml(id);
  if (!dtype) {
    refuse(in.file(),
           fmt::format("{} has the type {}, which is not supported", in.subject(), type_name(id)),
           {},
           "take a file in F32, F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS or MXFP4");
  }
  return *dtype;
}

// The file's ne[] names the contiguous dimension first; ours names it last.
std::vector<int64_t> read_shape(ByteReader& in) {
  const auto num_dims = in.number<uint32_t>();
  if (num_dims < 1 || num_dims > kMaxDims) {
    refuse(in.file(),
           fmt::format("{} has {} dimensions, not 1 to {}", in.subject(), num_dims, kMaxDims),
           kDamaged);
  }
  std::vector<int64_t> shape(num_dims);
  for (size_t i = num_dims; i > 0; --i) shape[i - 1] = in.number<int64_t>();
  return shape;
}

struct TensorEntry {
  tensor::RawTensor tensor;
  uint64_t offset = 0;
};

std::vector<TensorEntry> read_tensor_entries(ByteReader& in, uint64_t count) {
  in.set_subject("the list of tensors");
  in.require_room(count, kLeastTensorBytes);
  std::vector<TensorEntry> entries;
  entries.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    in.set_subject(fmt::format("tensor {} of {}", i, count));
    TensorEntry entry;
    entry.tensor.name = read_name(in);
    in.set_subject(fmt::format("tensor {}", shown(entry.tensor.name)));
    entry.tensor.shape = read_shape(in);
    entry.tensor.dtype = read_dtype(in);
    entry.offset = in.number<uint64_t>();
    entries.push_back(std::move(entry));
  }
  return entries;
}

TensorTable place_tensors(std::vector<TensorEntry> entries, std::span<const std::byte> bytes,
                          uint64_t header_end, uint64_t alignment, std::string_view file) {
  TensorTable tensors;
  if (entries.empty()) return tensors;
  const uint64_t data_begin = (header_end + alignment - 1) / alignment * alignment;
  if (data_begin > bytes.size()) {
    refuse(file,
           fmt::format("the data begins at byte {}, the file has {}", data_begin, bytes.size()),
           kDamaged, kFetchAgain);
  }
  for (TensorEntry& entry : entries) {
    if (entry.offset % alignment != 0) {
      refuse(file,
             fmt::format("tensor {} begins at byte {} of the data, not a multiple of {}",
                         shown(entry.tensor.name), entry.offset, alignment),
             kDamaged);
    }
    place(entry.tensor, entry.offset, bytes.subspan(static_cast<size_t>(data_begin)), file);
    tensors.add(std::move(entry.tensor), file);
  }
  refuse_overlaps(tensors.list(), file);
  return tensors;
}

// ------------------------------------------------------------------ header

void check_magic_and_version(ByteReader& in) {
  constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
  const auto magic = in.number<uint32_t>();
  if (magic != kMagic) {
    // In the order of the file, where the lowest byte comes first.
    refuse(in.file(),
           fmt::format("begins with the bytes {:02x} {:02x} {:02x} {:02x}, not with \"GGUF\" "
                       "(47 47 55 46)",
                       magic & 0xff, magic >> 8 & 0xff, magic >> 16 & 0xff, magic >> 24),
           "it is not a GGUF file");
  }
  const auto version = in.number<uint32_t>();
  if ((version & 0xffff) == 0 && version != 0) {
    refuse(in.file(), "is a big-endian GGUF file", "only little-endian files are read",
           "take the little-endian file, or convert it with gguf-py's gguf_convert_endian.py");
  }
  if (version != 2 && version != 3) {
    refuse(in.file(), fmt::format("is GGUF version {}; versions 2 and 3 are read", version), {},
           "convert the model again with a current converter");
  }
}

}  // namespace

GgufContents parse_gguf(std::span<const std::byte> bytes, std::string_view file) {
  ByteReader in(bytes, file);
  check_magic_and_version(in);
  const auto num_tensors = in.number<uint64_t>();
  const auto num_values = in.number<uint64_t>();
  in.set_subject("the list of tensors");
  in.require_room(num_tensors, kLeastTensorBytes);
  in.set_subject("the metadata");
  in.require_room(num_values, kLeastValueBytes);

  GgufContents contents;
  contents.values = read_values(in, num_values);
  const int64_t alignment = alignment_of(contents.values, file);
  std::vector<TensorEntry> entries = read_tensor_entries(in, num_tensors);
  contents.tensors = place_tensors(std::move(entries), bytes, in.position(),
                                   static_cast<uint64_t>(alignment), file);
  return contents;
}

}  // namespace weft::checkpoint
