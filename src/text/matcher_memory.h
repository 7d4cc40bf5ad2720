// What the matchers of all answers together may take, of one request and of all: each is a copy of
// its grammar that grows with its answer, and is within its own limits, but as many run as answers
// do. A matcher takes some 50 KiB to some MiB.
//
// One bound, kept three times: a request whose own choices would take more than that is refused for
// good before it is queued (engine/limits.h); where as much is taken by those that run,
// Grammar::matcher and GrammarMatcher::clone are Error(kBusy), so that an answer that would begin
// ends with it; at twice as much, matchers end that have grown by more than a 128th of it and still
// grow: their next calls are Error(kBusy).
#pragma once

#include "text/grammar.h"

namespace weft::text {

// Of GrammarCompiler::make.
inline constexpr int64_t kMatcherBytes = int64_t{1} << 30;

// As GrammarCompiler::make, with a bound of one's own.
std::unique_ptr<GrammarCompiler> make_grammar_compiler(const Tokenizer& tokenizer,
                                                       int64_t vocab_size,
                                                       std::span<const int32_t> end_ids,
                                                       int64_t matcher_bytes);

}  // namespace weft::text
