#include "fleet/fingerprint.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "engine/numerics.h"

namespace weft::fleet {
namespace {

namespace fs = std::filesystem;
using checkpoint::FileDigests;
using kernels::KvType;

const std::string kNumerics = engine::numerics_id(KvType::kBF16);

// As an engine of these options would be called.
std::string named(const std::string& path, KvType cache = KvType::kBF16) {
  engine::EngineOptions options;
  options.model_path = path;
  options.kv_type = cache;
  return fingerprint(options);
}

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
    large_change(path, changed_at);
    return path;
  }
  static void large_change(const std::string& path, int64_t changed_at) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(changed_at);
    file << "x";
  }

  fs::path folder_;
};

TEST_F(Fingerprint, IsOfBytesAndCacheTypeNotOfNames) {
  const std::string a = named(write("a.gguf", "model"));
  EXPECT_THAT(a, testing::MatchesRegex("fp_[0-9a-f]+"));
  EXPECT_EQ(a.size(), 19u);
  EXPECT_EQ(named(write("b.gguf", "model")), a);
  EXPECT_NE(named(write("c.gguf", "modem")), a);
  EXPECT_NE(named((folder_ / "a.gguf").string(), KvType::kQ8), a);
}

TEST_F(Fingerprint, IsOfEveryByteOfALargeFile) {
  FileDigests none("");
  std::set<std::string> seen;
  for (const int64_t at : {8 << 20, (8 << 20) + 5, (9 << 20) + 70'001, 50'000'003, (99 << 20) - 7})
    EXPECT_TRUE(seen.insert(fingerprint(large("a.gguf", at), kNumerics, none)).second) << at;
  EXPECT_FALSE(seen.insert(fingerprint(large("b.gguf", 50'000'003), kNumerics, none)).second);
}

TEST_F(Fingerprint, MissesNoChangeBetweenItsPieces) {
  FileDigests none("");
  const std::string path = write("a.gguf", std::string(20 << 20, '.'));
  std::string last = none.digest(path);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  for (int64_t at = FileDigests::kPieceBytes - 1; at < 20 << 20; at += 1'048'573) {
    file.seekp(at);
    file << "x" << std::flush;
    const std::string now = none.digest(path);
    EXPECT_NE(now, last) << at;
    last = now;
  }
}

TEST_F(Fingerprint, ReadsASettledFileOnceAndAChangedOneAgain) {
  const std::string path = large("a.gguf", 5);
  const fs::path memory = folder_ / "memory";
  FileDigests fresh(memory);
  const std::string a = fresh.digest(path);
  EXPECT_EQ(fresh.digest(path), a);
  EXPECT_EQ(fresh.num_bytes_read(), 200 << 20);  // just written: not to be trusted yet
  EXPECT_FALSE(fs::exists(memory / "digests"));

  EXPECT_EQ(FileDigests(memory, 0).digest(path), a);
  FileDigests later(memory, 0);
  EXPECT_EQ(later.digest(path), a);
  EXPECT_EQ(later.num_bytes_read(), 0);

  // Its old time of change is given back to it: the time of the change of state betrays that.
  const auto time = fs::last_write_time(path);
  large_change(path, 50'000'003);
  fs::last_write_time(path, time);
  EXPECT_NE(later.digest(path), a);
}

TEST_F(Fingerprint, ATornOrForeignLineIsNotBelieved) {
  const std::string path = large("a.gguf", 5);
  const fs::path memory = folder_ / "memory";
  const std::string a = FileDigests(memory, 0).digest(path);
  for (const auto& entry : fs::directory_iterator(memory / "digests")) {
    std::string line;
    std::ifstream in(entry.path());
    std::getline(in, line);
    std::ofstream(entry.path()) << line.substr(0, line.size() - 3);
  }
  FileDigests again(memory, 0);
  EXPECT_EQ(again.digest(path), a);
  EXPECT_EQ(again.num_bytes_read(), 100 << 20);
}

TEST_F(Fingerprint, CountsAllFilesOfAModel) {
  write("model-00001-of-00002.gguf", "one");
  write("model-00002-of-00002.gguf", "two");
  const std::string first = (folder_ / "model-00001-of-00002.gguf").string();
  const std::string a = named(first);
  write("model-00002-of-00002.gguf", "TWO");
  EXPECT_NE(named(first), a);
  const std::string b = named(folder_.string());
  write("README.md", "words");
  EXPECT_EQ(named(folder_.string()), b);
  write("config.json", "{}");
  EXPECT_NE(named(folder_.string()), b);
}

TEST_F(Fingerprint, AFileThatIsNotThereIsAnError) {
  EXPECT_THROW(named((folder_ / "none.gguf").string()), Error);
}

}  // namespace
}  // namespace weft::fleet
