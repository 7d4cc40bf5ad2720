#include "base/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace weft {
namespace {

std::string sha256_of(std::string_view text) {
  Sha256 sum;
  sum.add(std::as_bytes(std::span(text)));
  return sum.finish();
}

// The examples of FIPS 180-2, appendix B, and the empty message.
TEST(Sha256, MatchesThePublishedExamples) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, ReadsFilesInPieces) {
  const auto path =
      std::filesystem::temp_directory_path() / ("weft_sha256_" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << std::string(1'000'000, 'a');
  int64_t num_bytes = 0, num_pieces = 0;
  EXPECT_EQ(sha256_of_file(path,
                           [&](int64_t piece) {
                             num_bytes += piece;
                             ++num_pieces;
                           }),
            sha256_of(std::string(1'000'000, 'a')));
  EXPECT_EQ(num_bytes, 1'000'000);
  EXPECT_GT(num_pieces, 1);
  std::filesystem::remove(path);
}

TEST(Sha256, ErrorsNameTheFile) {
  for (const char* path : {"/nonexistent/model.gguf", "/"}) {
    try {
      sha256_of_file(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kModel);
      EXPECT_THAT(error.what(), testing::HasSubstr(std::string("cannot read ") + path));
    }
  }
}

}  // namespace
}  // namespace weft
