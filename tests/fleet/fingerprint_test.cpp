#include "fleet/fingerprint.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace weft::fleet {
namespace {

namespace fs = std::filesystem;
using kernels::KvType;

class Fingerprint : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "fingerprint-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return (folder_ / name).string();
  }
  // Of a sparse file of 100 MiB.
  std::string large(const std::string& name, int64_t changed_at) const {
    const std::string path = write(name, "GGUF");
    fs::resize_file(path, 100 << 20);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(changed_at);
    file << "x";
    return path;
  }

  fs::path folder_;
};

TEST_F(Fingerprint, IsOfBytesAndCacheTypeNotOfNames) {
  const std::string a = fingerprint(write("a.gguf", "model"), KvType::kBF16);
  EXPECT_THAT(a, testing::MatchesRegex("fp_[0-9a-f]+"));
  EXPECT_EQ(a.size(), 19u);
  EXPECT_EQ(fingerprint(write("b.gguf", "model"), KvType::kBF16), a);
  EXPECT_NE(fingerprint(write("c.gguf", "modem"), KvType::kBF16), a);
  EXPECT_NE(fingerprint((folder_ / "a.gguf").string(), KvType::kQ8), a);
}

TEST_F(Fingerprint, LooksAtPlacesAllOverALargeFile) {
  const std::string a = fingerprint(large("a.gguf", 8), KvType::kBF16);
  EXPECT_EQ(fingerprint(large("a.gguf", 8), KvType::kBF16), a);
  EXPECT_NE(fingerprint(large("b.gguf", 9), KvType::kBF16), a);
  EXPECT_NE(fingerprint(large("c.gguf", (8 << 20) + 5), KvType::kBF16), a);    // first sample
  EXPECT_NE(fingerprint(large("d.gguf", (100 << 20) - 1), KvType::kBF16), a);  // the end
}

TEST_F(Fingerprint, CountsAllFilesOfAModel) {
  write("model-00001-of-00002.gguf", "one");
  write("model-00002-of-00002.gguf", "two");
  const std::string first = (folder_ / "model-00001-of-00002.gguf").string();
  const std::string a = fingerprint(first, KvType::kBF16);
  write("model-00002-of-00002.gguf", "TWO");
  EXPECT_NE(fingerprint(first, KvType::kBF16), a);
  const std::string b = fingerprint(folder_.string(), KvType::kBF16);
  write("README.md", "words");
  EXPECT_EQ(fingerprint(folder_.string(), KvType::kBF16), b);
  write("config.json", "{}");
  EXPECT_NE(fingerprint(folder_.string(), KvType::kBF16), b);
}

TEST_F(Fingerprint, AFileThatIsNotThereIsAnError) {
  EXPECT_THROW(fingerprint((folder_ / "none.gguf").string(), KvType::kBF16), Error);
}

}  // namespace
}  // namespace weft::fleet
