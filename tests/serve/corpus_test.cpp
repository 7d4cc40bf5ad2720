// The corpora of the fuzz targets: requests in pieces of every size, and bodies.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "../../fuzz/http_target.h"
#include "../../fuzz/request_target.h"

namespace weft::serve {
namespace {

TEST(Corpus, RequestsAreReadAlikeInPiecesOfEverySize) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(WEFT_SOURCE_DIR) / "fuzz/corpus/fuzz_http")) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    const std::string text = bytes.str().substr(1);
    for (size_t piece = 1; piece <= 61; ++piece)
      ASSERT_TRUE(fuzz::reads_alike(text, piece)) << entry.path() << " by " << piece;
    // "valid-..." are requests, "bad-..." are refused, but for what is merely odd.
    const std::vector<std::string> requests = fuzz::read_requests(text, SIZE_MAX);
    ASSERT_FALSE(requests.empty()) << entry.path();
    if (entry.path().filename().string().starts_with("valid-")) {
      EXPECT_GT(requests.back().size(), 3U) << entry.path() << ": " << requests.back();
    }
    ++num_files;
  }
  EXPECT_GE(num_files, 14);
}

TEST(Corpus, AnEmptyChunkedBodyIsReadAlike) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* body : {"0\r\n\r\n", "0\r\nX: y\r\n\r\n", "1\r\nx\r\n0\r\n\r\n", "0\r\n", "zz"})
    for (size_t piece = 1; piece <= 8; ++piece)
      EXPECT_TRUE(fuzz::reads_alike(head + body, piece)) << body << " by " << piece;
  EXPECT_EQ(fuzz::read_requests(head + "0\r\n\r\n", 1).size(), 1U);
}

// A chunk's header of nearly all that is allowed, and of more.
TEST(Corpus, LargeChunkHeadersAreReadAlike) {
  for (const size_t length : {8'000UL, 8'180UL, 8'190UL, 8'192UL, 8'200UL, 9'000UL}) {
    const std::string text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
                             std::string(length, 'x') + "\r\ny\r\n0\r\n\r\n";
    for (const size_t piece : {1UL, 60UL, 1'000UL})
      EXPECT_TRUE(fuzz::reads_alike(text, piece)) << length << " by " << piece;
  }
}

// "valid-..." are read, "bad-..." are refused, as the target sees it.
TEST(Corpus, BodiesAreReadOrRefused) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(WEFT_SOURCE_DIR) / "fuzz/corpus/fuzz_requests")) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    const std::string name = entry.path().filename().string();
    const bool is_read = fuzz::run_request(bytes.str()) == fuzz::RequestVerdict::kAccepted;
    if (!name.starts_with("found-")) {
      EXPECT_EQ(is_read, name.starts_with("valid-")) << name;
    }
    ++num_files;
  }
  EXPECT_GE(num_files, 45);
}

}  // namespace
}  // namespace weft::serve
