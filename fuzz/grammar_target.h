// Grammars as requests bring them: the first byte is the kind ('0' to '4', as in
// text::GrammarSpec::Kind), the rest the source. What compiles is followed for some tokens, which
// the source itself chooses. An error must be Error(kUsage) in a few printable words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../tests/text/byte_tokenizer.h"
#include "base/error.h"
#include "text/grammar.h"

namespace weft::fuzz {

enum class GrammarVerdict { kAccepted, kRefused };

inline constexpr int64_t kVocabSize = 288;

inline void require_of_grammar(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a grammar must %s\n", what);
  std::abort();
}

inline void follow(const text::Grammar& grammar, const std::string& source) {
  constexpr size_t kMostTokens = 24;
  const auto matcher = grammar.matcher();
  std::vector<uint32_t> mask(kVocabSize / 32), again(kVocabSize / 32);
  for (size_t i = 0; i < std::min(source.size(), kMostTokens); ++i) {
    matcher->fill(mask);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < kVocabSize; ++id)
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    require_of_grammar(!allowed.empty(), "allow something, or end");
    if (matcher->must_end()) return;
    const int32_t id = allowed[static_cast<unsigned char>(source[i]) % allowed.size()];
    require_of_grammar(matcher->advance(id), "take what its mask allows");
    if (id == text::ByteTokenizer::kEnd) return;
    if (i % 4 != 3) continue;
    matcher->take_back(1);
    matcher->fill(again);
    require_of_grammar(again == mask, "forget what is taken back");
    require_of_grammar(matcher->advance(id), "take it again");
  }
}

// Less than the server allows, so that what takes all that it may is soon over.
inline text::GrammarLimits small_grammar_limits() {
  text::GrammarLimits limits;
  limits.source_bytes = 16 * 1024;
  limits.depth = 64;
  limits.grammar_bytes = 8 << 20;
  return limits;
}

inline GrammarVerdict run_grammar(std::string_view input) {
  static const auto compiler = text::GrammarCompiler::make(
      text::ByteTokenizer(), kVocabSize, std::vector<int32_t>{text::ByteTokenizer::kEnd});
  if (input.empty()) return GrammarVerdict::kRefused;
  text::GrammarSpec spec;
  const unsigned kind = static_cast<unsigned char>(input[0]) - '0';
  spec.kind = static_cast<text::GrammarSpec::Kind>(kind % 5);
  spec.source = input.substr(1);
  try {
    follow(*compiler->compile(spec, small_grammar_limits()), spec.source);
    return GrammarVerdict::kAccepted;
  } catch (const Error& error) {
    // Busy: eight before it were left behind, which is how the server bounds them.
    require_of_grammar(error.kind() == ErrorKind::kUsage || error.kind() == ErrorKind::kBusy,
                       "be its writer's to mend");
    require_of_grammar(!error.summary().empty(), "be refused in words");
    return GrammarVerdict::kRefused;
  }
}

}  // namespace weft::fuzz
