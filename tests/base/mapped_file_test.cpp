#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/error.h"

namespace weft {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("weft_mapped_file_" + std::to_string(::getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  static std::string text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  std::filesystem::path folder_;
};

std::string error_of(const std::filesystem::path& path) {
  try {
    MappedFile file(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    return error.what();
  }
  return "no error";
}

TEST_F(MappedFileTest, GivesTheBytesOfTheFile) {
  std::string text(10'000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  const MappedFile file(write("a", text));
  EXPECT_EQ(file.size(), 10'000);
  EXPECT_EQ(text_of(file), text);
}

TEST_F(MappedFileTest, AnEmptyFileIsAnEmptySpan) {
  const MappedFile file(write("empty", ""));
  EXPECT_EQ(file.size(), 0);
  EXPECT_TRUE(file.bytes().empty());
  file.advise_sequential();
  file.advise_done_with({0, 100});
}

TEST_F(MappedFileTest, MovesWithoutMovingTheBytes) {
  MappedFile first(write("a", "first"));
  const std::byte* data = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), data);
  MappedFile other(write("b", "other"));
  other = std::move(moved);
  EXPECT_EQ(text_of(other), "first");
  EXPECT_EQ(other.path().filename(), "a");
}

TEST_F(MappedFileTest, AdviceNeverChangesTheBytes) {
  std::string text(100'000, 'x');
  text[50'000] = 'y';
  const MappedFile file(write("a", text));
  file.advise_sequential();
  file.advise_will_need({100, 70'001});
  file.advise_done_with({100, 70'001});
  file.advise_done_with({-5, 1'000'000'000'000});
  EXPECT_EQ(text_of(file), text);
}

TEST_F(MappedFileTest, ErrorsNameTheFileAndTheReason) {
  const std::string missing = error_of(folder_ / "missing.gguf");
  EXPECT_NE(missing.find("missing.gguf"), std::string::npos) << missing;
  EXPECT_NE(missing.find("No such file"), std::string::npos) << missing;
  EXPECT_NE(error_of(folder_).find("Is a directory"), std::string::npos) << error_of(folder_);
  EXPECT_NE(error_of("/dev/null").find("not a regular file"), std::string::npos);
}

}  // namespace
}  // namespace weft
