// What a grammar's masks take, away from any engine: answers of random allowed tokens, one after
// another, each with a matcher of its own, and the mean processor time of following a token and
// making the next mask, answer by answer. Later answers know what earlier ones have learned of the
// grammar.
//
//   mask_time MODEL.gguf (schema|regex|lark) (FILE|SOURCE) [answers] [tokens]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "engine/model_source.h"
#include "text/grammar.h"

namespace weft {
namespace {

std::string source_of(const std::string& argument) {
  if (!std::filesystem::exists(argument)) return argument;
  std::ifstream file(argument);
  return {std::istreambuf_iterator<char>(file), {}};
}

int64_t processor_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

// One of the allowed ids. Long ones are rare in a vocabulary's order of merges, as in answers.
int32_t choose(const std::vector<uint32_t>& mask, uint64_t answer, uint64_t step) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < 32 * mask.size(); ++i) {
    if ((mask[i / 32] >> (i % 32) & 1) != 0) ids.push_back(static_cast<int32_t>(i));
  }
  const uint64_t u = uniform_bits(1, answer, step) >> 32, v = uniform_bits(2, answer, step) >> 32;
  return ids[(u * v >> 32) * ids.size() >> 32];
}

// Microseconds a token.
double answer(const text::Grammar& grammar, uint64_t number, int num_tokens, int64_t vocab_size) {
  const auto matcher = grammar.matcher();
  std::vector<uint32_t> mask(static_cast<size_t>((vocab_size + 31) / 32));
  matcher->fill(mask);
  int64_t spent_ns = 0;
  int count = 0;
  while (count < num_tokens && !matcher->must_end()) {
    const int32_t id = choose(mask, number, static_cast<uint64_t>(count));
    const int64_t begin_ns = processor_ns();
    if (!matcher->advance(id)) std::abort();
    matcher->fill(mask);
    spent_ns += processor_ns() - begin_ns;
    ++count;
  }
  return 1e-3 * static_cast<double>(spent_ns) / std::max(1, count);
}

int run(int argc, char** argv) {
  using Kind = text::GrammarSpec::Kind;
  const std::string_view kind(argv[2]);
  const text::GrammarSpec spec{kind == "schema"  ? Kind::kJsonSchema
                               : kind == "regex" ? Kind::kRegex
                                                 : Kind::kLark,
                               source_of(argv[3])};
  const int num_answers = argc > 4 ? std::atoi(argv[4]) : 12;
  const int num_tokens = argc > 5 ? std::atoi(argv[5]) : 192;
  const engine::ModelSource source = engine::open_model(argv[1]);
  const auto compiler =
      text::GrammarCompiler::make(*source.tokenizer, source.config.vocab_size, source.end_ids);
  const auto grammar = compiler->compile(spec);
  std::printf("grammar %lld KiB\n", static_cast<long long>(grammar->bytes() >> 10));
  for (int i = 0; i < num_answers; ++i) {
    const double us =
        answer(*grammar, static_cast<uint64_t>(i), num_tokens, source.config.vocab_size);
    std::printf("answer %2d: %8.1f us a token, learned %lld KiB\n", i, us,
                static_cast<long long>(grammar->learned_bytes() >> 10));
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "mask_time MODEL.gguf (schema|regex|lark) SOURCE [answers] [tokens]\n");
    return 2;
  }
  try {
    return weft::run(argc, argv);
  } catch (const weft::Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.summary().c_str(), error.why().c_str());
    return error.exit_code();
  }
}
