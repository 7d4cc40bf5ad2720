// The corpus of fuzz_connection: whole connections, answered alike however their bytes come, and
// without a 400 where they are called valid.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../../fuzz/connection_target.h"

namespace weft::serve {
namespace {

TEST(Corpus, ConnectionsAreAnsweredAlikeInPiecesOfEverySize) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(WEFT_SOURCE_DIR) / "fuzz/corpus/fuzz_connection")) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    SCOPED_TRACE(entry.path());
    const std::string text = bytes.str().substr(1);
    for (const bool is_guarded : {false, true}) {
      const auto whole = fuzz::answers_to(text, is_guarded, SIZE_MAX / 4);
      for (size_t piece = 1; piece <= 61; ++piece)
        ASSERT_EQ(fuzz::answers_to(text, is_guarded, piece), whole) << piece;
      const bool is_refused = std::ranges::any_of(
          whole, [](const std::string& answer) { return answer.starts_with("400"); });
      ASSERT_FALSE(whole.empty());
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("found-")) {
        EXPECT_NE(is_refused, name.starts_with("valid-"));
      }
    }
    ++num_files;
  }
  EXPECT_GE(num_files, 6);
}

}  // namespace
}  // namespace weft::serve
