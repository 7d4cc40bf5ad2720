// Small model files for tests, written by hand: a GGUF and a safetensors writer that trust their
// caller (the corpus of the fuzz targets has the files that lie), and a folder that goes away.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace weft::checkpoint {

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// What GGUF calls its value types.
enum GgufType : uint32_t {
  kGgufU8,
  kGgufI8,
  kGgufU16,
  kGgufI16,
  kGgufU32,
  kGgufI32,
  kGgufF32,
  kGgufBool,
  kGgufString,
  kGgufArray,
  kGgufU64,
  kGgufI64,
  kGgufF64,
};

class GgufWriter {
 public:
  explicit GgufWriter(uint64_t alignment = 32) : alignment_(alignment) {
    if (alignment != 32) value("general.alignment", kGgufU32, static_cast<uint32_t>(alignment));
  }

  template <typename T>
  GgufWriter& value(const std::string& key, GgufType type, const T& v) {
    ++num_values_;
    append_text(values_, key);
    append(values_, type);
    append_element(values_, v);
    return *this;
  }
  template <typename T>
  GgufWriter& array(const std::string& key, GgufType type, const std::vector<T>& elements) {
    ++num_values_;
    append_text(values_, key);
    append(values_, kGgufArray);
    append(values_, type);
    append(values_, uint64_t{elements.size()});
    for (const T& v : elements) append_element(values_, v);
    return *this;
  }
  // ne: the contiguous dimension first, as in the file. The data is placed behind what is there.
  GgufWriter& tensor(const std::string& name, const std::vector<uint64_t>& ne, uint32_t ggml_type,
                     const std::string& bytes) {
    ++num_tensors_;
    append_text(tensors_, name);
    append(tensors_, static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) append(tensors_, n);
    append(tensors_, ggml_type);
    pad(data_);
    append(tensors_, uint64_t{data_.size()});
    data_ += bytes;
    return *this;
  }
  std::string bytes(uint32_t version = 3) const {
    std::string file = "GGUF";
    append(file, version);
    append(file, num_tensors_);
    append(file, num_values_);
    file += values_ + tensors_;
    if (num_tensors_ > 0) pad(file);
    return file + data_;
  }

 private:
  template <typename T>
  static void append(std::string& out, const T& v) {
    out.append(reinterpret_cast<const char*>(&v), sizeof(v));
  }
  static void append_text(std::string& out, const std::string& text) {
    append(out, uint64_t{text.size()});
    out += text;
  }
  template <typename T>
  static void append_element(std::string& out, const T& v) {
    if constexpr (std::is_arithmetic_v<T>) {
      append(out, v);
    } else {
      append_text(out, v);
    }
  }
  void pad(std::string& out) const {
    out.resize((out.size() + alignment_ - 1) / alignment_ * alignment_);
  }

  uint64_t alignment_, num_values_ = 0, num_tensors_ = 0;
  std::string values_, tensors_, data_;
};

// A safetensors file: the header is padded with spaces to 8 bytes.
inline std::string safetensors_file(std::string header, const std::string& data) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + data;
}

// n floats of 4 bytes: first, first + 1, ...
inline std::string floats(float first, int n) {
  std::string bytes;
  for (int i = 0; i < n; ++i) {
    const float v = first + static_cast<float>(i);
    bytes.append(reinterpret_cast<const char*>(&v), sizeof(v));
  }
  return bytes;
}

// Tests of files share this: a folder of their own.
class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              fmt::format("weft_{}_{}_{}", info->test_suite_name(), info->name(),
                          testing::UnitTest::GetInstance()->random_seed());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::filesystem::path folder_;
};

// The text of the Error(kModel) that `run` throws; a failure of the test where it throws none.
inline std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

}  // namespace weft::checkpoint
