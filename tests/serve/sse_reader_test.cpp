#include "serve/sse_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace weft::serve {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> read_events(const std::string& stream, size_t piece) {
  std::vector<std::string> events;
  SseReader reader;
  for (size_t begin = 0; begin < stream.size(); begin += piece) {
    reader.feed(std::span(stream).subspan(begin, std::min(piece, stream.size() - begin)),
                [&](std::string_view data) { events.emplace_back(data); });
  }
  return events;
}

TEST(SseReader, GivesTheSameWhereverBytesAreCut) {
  const std::string stream =
      ": a comment\n\ndata: {\"a\": 1}\n\ndata:{\"b\": \"\xc3\xa9\"}\r\n\r\nevent: x\rid: 7\r"
      "data: two\rdata: lines\r\rdata\n\ndata: [DONE]\n\ndata: cut off\n";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    EXPECT_THAT(read_events(stream, piece),
                ElementsAre("{\"a\": 1}", "{\"b\": \"\xc3\xa9\"}", "two\nlines", "", "[DONE]"))
        << piece;
  }
}

}  // namespace
}  // namespace weft::serve
