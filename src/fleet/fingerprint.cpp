#include "fleet/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <regex>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "engine/numerics.h"

namespace weft::fleet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHexDigits = 16;

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

std::vector<fs::path> files_of(const fs::path& path) {
  if (!fs::is_directory(path)) return parts_of(path);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && is_of_a_model(entry.path())) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::string fingerprint(const std::string& model_path, kernels::KvType cache,
                        FileDigests& digests) try {
  Sha256 sum;
  const std::string numerics = engine::numerics_id(cache);
  sum.add(std::as_bytes(std::span(numerics)));
  for (const fs::path& file : files_of(model_path)) {
    const std::string digest = digests.digest(file);
    sum.add(std::as_bytes(std::span(digest)));
  }
  return "fp_" + sum.finish().substr(0, kHexDigits);
} catch (const fs::filesystem_error& e) {
  throw Error(ErrorKind::kModel, fmt::format("{} cannot be read", model_path), e.code().message());
}

std::string fingerprint(const std::string& model_path, kernels::KvType cache) {
  FileDigests digests = FileDigests::of_user();
  return fingerprint(model_path, cache, digests);
}

}  // namespace weft::fleet
