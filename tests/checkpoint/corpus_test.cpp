// Every file of the fuzz corpora through the fuzz targets' own entry points: valid-* must be
// accepted, bad-* refused, found-* (inputs that once broke a parser) only survived.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "../../fuzz/checkpoint_targets.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;
using fuzz::Verdict;

std::vector<std::byte> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<std::byte> bytes(fs::file_size(path));
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

// Returns how many files were run.
int run_corpus(const std::string& target, Verdict (*run)(std::span<const std::byte>)) {
  const fs::path folder =
      fs::path(__FILE__).parent_path() / ".." / ".." / "fuzz" / "corpus" / target;
  int num_files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const Verdict verdict = run(read_file(entry.path()));
    if (name.starts_with("valid-")) {
      EXPECT_EQ(verdict, Verdict::kAccepted) << target << "/" << name;
    } else if (name.starts_with("bad-")) {
      EXPECT_EQ(verdict, Verdict::kRefused) << target << "/" << name;
    } else {
      EXPECT_TRUE(name.starts_with("found-")) << target << "/" << name;
    }
    ++num_files;
  }
  return num_files;
}

TEST(Corpus, Gguf) { EXPECT_GE(run_corpus("fuzz_gguf", fuzz::run_gguf), 60); }

TEST(Corpus, Safetensors) { EXPECT_GE(run_corpus("fuzz_safetensors", fuzz::run_safetensors), 59); }

TEST(Corpus, Packed) { EXPECT_GE(run_corpus("fuzz_packed", fuzz::run_packed), 51); }

}  // namespace
}  // namespace weft::checkpoint
