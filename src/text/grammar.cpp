#include "text/grammar.h"

#include <string>
#include <utility>
#include <vector>

#include "text/matcher_memory.h"
#include "text/rust_bridge.h"

namespace weft::text {
namespace {

// What is wrong with a grammar is for its writer to mend.
void throw_if_refused(int32_t status, WeftError error) {
  throw_if_failed(status, error, ErrorKind::kUsage);
}

struct Free {
  void operator()(WeftGrammars* handle) const { weft_grammars_free(handle); }
  void operator()(WeftGrammar* handle) const { weft_grammar_free(handle); }
  void operator()(WeftMatcher* handle) const { weft_matcher_free(handle); }
};
template <typename T>
using Handle = std::unique_ptr<T, Free>;

class CrateMatcher final : public GrammarMatcher {
 public:
  explicit CrateMatcher(Handle<WeftMatcher> handle) : handle_(std::move(handle)) {}

  void fill(std::span<uint32_t> mask) override {
    WeftError error{};
    throw_if_refused(weft_matcher_fill(handle_.get(), mask.data(), mask.size(), &error), error);
  }

  bool advance(int32_t id) override {
    WeftError error{};
    int32_t is_allowed = 0;
    throw_if_refused(weft_matcher_advance(handle_.get(), id, &is_allowed, &error), error);
    return is_allowed != 0;
  }

  void take_back(int64_t count) override {
    WeftError error{};
    throw_if_refused(weft_matcher_take_back(handle_.get(), static_cast<size_t>(count), &error),
                     error);
  }

  bool may_end() override {
    WeftError error{};
    int32_t may = 0;
    throw_if_refused(weft_matcher_may_end(handle_.get(), &may, &error), error);
    return may != 0;
  }

  bool must_end() override { return weft_matcher_must_end(handle_.get()) != 0; }

  std::unique_ptr<GrammarMatcher> clone() const override {
    WeftError error{};
    WeftMatcher* copy = nullptr;
    throw_if_refused(weft_matcher_copy(handle_.get(), &copy, &error), error);
    return std::make_unique<CrateMatcher>(Handle<WeftMatcher>(copy));
  }

 private:
  Handle<WeftMatcher> handle_;
};

class CrateGrammar final : public Grammar {
 public:
  explicit CrateGrammar(Handle<WeftGrammar> handle) : handle_(std::move(handle)) {}

  std::unique_ptr<GrammarMatcher> matcher() const override {
    WeftError error{};
    WeftMatcher* matcher = nullptr;
    throw_if_refused(weft_matcher_new(handle_.get(), &matcher, &error), error);
    return std::make_unique<CrateMatcher>(Handle<WeftMatcher>(matcher));
  }

  int64_t bytes() const override { return weft_grammar_bytes(handle_.get()); }
  int64_t learned_bytes() const override { return weft_grammar_learned_bytes(handle_.get()); }

 private:
  Handle<WeftGrammar> handle_;
};

class CrateCompiler final : public GrammarCompiler {
 public:
  explicit CrateCompiler(Handle<WeftGrammars> handle) : handle_(std::move(handle)) {}

  std::shared_ptr<const Grammar> compile(const GrammarSpec& spec,
                                         const GrammarLimits& limits) override {
    const WeftGrammarLimits bounds{limits.source_bytes, limits.depth, limits.compile_ms,
                                   limits.grammar_bytes, limits.json_blanks};
    WeftError error{};
    WeftGrammar* grammar = nullptr;
    throw_if_refused(
        weft_grammar_compile(handle_.get(), static_cast<int32_t>(spec.kind), slice_of(spec.source),
                             slice_of(spec.frame), &bounds, &grammar, &error),
        error);
    return std::make_shared<const CrateGrammar>(Handle<WeftGrammar>(grammar));
  }

 private:
  Handle<WeftGrammars> handle_;
};

}  // namespace

std::unique_ptr<GrammarCompiler> GrammarCompiler::make(const Tokenizer& tokenizer,
                                                       int64_t vocab_size,
                                                       std::span<const int32_t> end_ids) {
  return make_grammar_compiler(tokenizer, vocab_size, end_ids, kMatcherBytes);
}

std::unique_ptr<GrammarCompiler> make_grammar_compiler(const Tokenizer& tokenizer,
                                                       int64_t vocab_size,
                                                       std::span<const int32_t> end_ids,
                                                       int64_t matcher_bytes) {
  std::string bytes, special;
  std::vector<int32_t> ends;
  for (int64_t i = 0; i < tokenizer.vocab_size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    bytes += tokenizer.piece(id, /*special=*/true);
    ends.push_back(static_cast<int32_t>(bytes.size()));
    special += tokenizer.is_special(id) ? '\1' : '\0';
  }
  const WeftVocabulary vocabulary{slice_of(bytes),   ends.data(),  ends.size(),
                                  slice_of(special), vocab_size,   end_ids.data(),
                                  end_ids.size(),    matcher_bytes};
  WeftError error{};
  WeftGrammars* grammars = nullptr;
  throw_if_failed(weft_grammars_new(&vocabulary, &grammars, &error), error);
  return std::make_unique<CrateCompiler>(Handle<WeftGrammars>(grammars));
}

}  // namespace weft::text
