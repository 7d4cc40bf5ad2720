#include "checkpoint/model_digest.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace weft::checkpoint {
namespace {

namespace fs = std::filesystem;

class ModelDigests : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "model-files-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  static void change(const fs::path& path, int64_t at) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(at);
    file << "x";
  }
  static std::string whole(const fs::path& path) {
    FileDigests unremembered("");
    return whole_digest(path, unremembered).digest;
  }

  fs::path folder_;
};

TEST_F(ModelDigests, AreThoseOfAFolderASplitOrASafetensorsFile) {
  const fs::path first = write("m-00001-of-00002.gguf", "a");
  write("m-00002-of-00002.gguf", "b");
  write("notes.txt", "c");
  EXPECT_EQ(files_of_model(first).size(), 2u);
  EXPECT_EQ(files_of_model(folder_).size(), 2u);
  EXPECT_EQ(sampled_digest(first).num_files, 2);
  EXPECT_EQ(sampled_digest(first).num_bytes, 2);
  EXPECT_THROW(sampled_digest(folder_ / "none.gguf"), Error);

  const fs::path weights = write("s/model.safetensors", "weights");
  const ModelDigest alone = sampled_digest(weights);
  write("s/config.json", "{}");
  EXPECT_NE(sampled_digest(weights), alone) << "it says what the weights mean";
  EXPECT_EQ(sampled_digest(weights).num_files, 2);
}

TEST_F(ModelDigests, SamplesSeeTheHeadTheEndTheSizeAndWhatIsDamagedWidely) {
  constexpr int64_t kSize = 100 << 20;
  const fs::path path = write("a.gguf", "GGUF");
  fs::resize_file(path, kSize);
  const ModelDigest before = sampled_digest(path);
  EXPECT_EQ(before.num_bytes, kSize);
  EXPECT_EQ(before.digest.size(), 64u);
  for (const int64_t at : {int64_t{0}, int64_t{10} << 20, kSize - 1}) {
    const fs::path changed = write("b.gguf", "GGUF");
    fs::resize_file(changed, kSize);
    EXPECT_EQ(sampled_digest(changed), before) << "names do not count";
    change(changed, at);
    EXPECT_NE(sampled_digest(changed).digest, before.digest) << at;
  }
  fs::resize_file(path, kSize + 1);
  EXPECT_NE(sampled_digest(path), before);
}

TEST_F(ModelDigests, OneByteInTheMiddleIsSeenByAWholeDigest) {
  const fs::path path = write("a.gguf", "GGUF");
  fs::resize_file(path, 40 << 20);
  const std::string sampled = sampled_digest(path).digest, before = whole(path);
  change(path, (30 << 20) + 77'777);
  EXPECT_EQ(sampled_digest(path).digest, sampled) << "between two samples";
  EXPECT_NE(whole(path), before);
}

}  // namespace
}  // namespace weft::checkpoint
