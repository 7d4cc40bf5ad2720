// Grammars as requests bring them: the first byte is the kind ('0' to '4', as in
// text::GrammarSpec::Kind), the rest the source. What compiles is followed for some tokens, which
// the source itself chooses. An error must be Error(kUsage) in a few printable words.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "../tests/text/byte_tokenizer.h"
#include "base/error.h"
#include "text/grammar.h"

namespace {

using weft::Error;
using weft::ErrorKind;
using namespace weft::text;

constexpr int64_t kVocabSize = 288;
constexpr size_t kMostTokens = 64;

void require(bool holds) {
  if (!holds) std::abort();
}

void follow(const Grammar& grammar, const std::string& source) {
  const auto matcher = grammar.matcher();
  std::vector<uint32_t> mask(kVocabSize / 32), again(kVocabSize / 32);
  for (size_t i = 0; i < std::min(source.size(), kMostTokens); ++i) {
    matcher->fill(mask);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < kVocabSize; ++id)
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    require(!allowed.empty());
    if (matcher->must_end()) return;
    const int32_t id = allowed[static_cast<unsigned char>(source[i]) % allowed.size()];
    require(matcher->advance(id));
    if (id == ByteTokenizer::kEnd) return;
    if (i % 4 != 3) continue;
    matcher->take_back(1);
    matcher->fill(again);
    require(again == mask);
    require(matcher->advance(id));
  }
}

void check(const Error& error) {
  require(error.kind() == ErrorKind::kUsage);
  require(!error.summary().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto compiler =
      GrammarCompiler::make(ByteTokenizer(), kVocabSize, std::vector<int32_t>{ByteTokenizer::kEnd});
  if (size == 0) return 0;
  GrammarSpec spec;
  spec.kind = static_cast<GrammarSpec::Kind>((data[0] - '0') % 5u);
  spec.source.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    follow(*compiler->compile(spec), spec.source);
  } catch (const Error& error) {
    check(error);
  }
  return 0;
}
