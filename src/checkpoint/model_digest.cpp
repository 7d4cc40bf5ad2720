#include "checkpoint/model_digest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <regex>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "checkpoint/packed_manifest.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

// The tokenizer of a large vocabulary takes 8 MB of a GGUF file's beginning.
constexpr int64_t kHeadBytes = 16 << 20, kLeastHeadBytes = 1 << 20;
constexpr int64_t kNumSamples = 256, kSampleBytes = 4096;

bool is_of_a_model(const fs::path& file) {
  static constexpr std::array<std::string_view, 5> kEndings = {".gguf", ".safetensors", ".panels",
                                                               ".json", ".jinja"};
  return std::ranges::find(kEndings, file.extension().string()) != kEndings.end();
}

// The other parts of "model-00001-of-00003.gguf" beside it.
std::vector<fs::path> parts_of(const fs::path& file) {
  static const std::regex pattern(R"((.*-)(\d{5})(-of-\d{5}\.gguf))");
  std::smatch match;
  const std::string name = file.filename().string();
  if (!std::regex_match(name, match, pattern)) return {file};
  std::vector<fs::path> parts;
  for (int part = 1;; ++part) {
    const fs::path other =
        file.parent_path() / fmt::format("{}{:05}{}", match.str(1), part, match.str(3));
    if (!fs::exists(other)) break;
    parts.push_back(other);
  }
  return parts.empty() ? std::vector<fs::path>{file} : parts;
}

// What says what the weights mean lies beside them.
std::vector<fs::path> files_with_side_files(const fs::path& model) {
  std::vector<fs::path> files = files_of_model(model);
  if (files.size() != 1 || files.front().extension() != ".safetensors") return files;
  for (const std::string_view side : kSideFiles) {
    const fs::path beside = files.front().parent_path() / side;
    if (fs::exists(beside)) files.push_back(beside);
  }
  return files;
}

void add_number(int64_t number, Sha256& sum) { sum.add(std::as_bytes(std::span(&number, 1))); }

void add_samples(const MappedFile& file, int64_t head_bytes, Sha256& sum) {
  const std::span<const std::byte> bytes = file.bytes();
  sum.add(bytes.first(static_cast<size_t>(std::min(head_bytes, file.size()))));
  if (file.size() <= head_bytes) return;
  const int64_t last = file.size() - kSampleBytes;  // a head is longer than a sample
  for (int64_t i = 0; i < kNumSamples; ++i) {
    const int64_t begin = i == kNumSamples - 1 ? last : last / (kNumSamples - 1) * i;
    sum.add(bytes.subspan(static_cast<size_t>(begin), kSampleBytes));
  }
}

}  // namespace

std::vector<fs::path> files_of_model(const fs::path& model) try {
  if (!fs::is_directory(model)) return parts_of(model);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(model))
    if (entry.is_regular_file() && is_of_a_model(entry.path())) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
} catch (const fs::filesystem_error& e) {
  throw Error(ErrorKind::kModel, fmt::format("{} cannot be read", model.string()),
              e.code().message());
}

ModelDigest sampled_digest(const fs::path& model) {
  const std::vector<fs::path> files = files_with_side_files(model);
  const auto count = static_cast<int64_t>(files.size());
  const int64_t head_bytes = std::max(kLeastHeadBytes, kHeadBytes / std::max<int64_t>(1, count));
  ModelDigest digest{count, 0, {}};
  Sha256 sum;
  for (const fs::path& path : files) {
    const MappedFile file(path);
    add_number(file.size(), sum);
    add_samples(file, head_bytes, sum);
    digest.num_bytes += file.size();
  }
  digest.digest = sum.finish();
  return digest;
}

ModelDigest whole_digest(const fs::path& model, FileDigests& digests) {
  const std::vector<fs::path> files = files_with_side_files(model);
  ModelDigest digest{static_cast<int64_t>(files.size()), 0, {}};
  Sha256 sum;
  for (const fs::path& path : files) {
    const std::string of_file = digests.digest(path);
    sum.add(std::as_bytes(std::span(of_file)));
    digest.num_bytes += MappedFile(path).size();
  }
  digest.digest = sum.finish();
  return digest;
}

}  // namespace weft::checkpoint
